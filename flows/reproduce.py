"""Reproduce: a version made again from its lineage, and compared to the bit."""

from prefect import flow, runtime

from tasks.dataset.split import extract_features, split
from tasks.name import entitle
from tasks.parameters import Dataset, Training
from tasks.registry.reproduce import compare_bits, recall
from tasks.training.train import train


def run_name() -> str:
    """Name the run, such as `reproduce 20261123T060000Z-1a2b3c`."""
    return entitle(f"reproduce {runtime.flow_run.get_parameters()['version']}")


@flow(name="reproduce", flow_run_name=run_name)
def reproduce(version: str) -> tuple[bool, str]:
    """Train a version again from its dataset and recipe; the store stays as it is.

    Args:
        version: Name of a complete version, such as 20261123T060000Z-1a2b3c.

    Returns:
        Whether the weights agree to the bit, and a sentence for people.
    """
    model, snapshot, folder = recall(version)
    dataset, training = Dataset(features=model.features, target=model.target), Training(**model.training)
    rows = extract_features(split(snapshot, dataset, training.validation_split), dataset)
    return compare_bits(model, train(rows, training, folder).linear_model, folder)
