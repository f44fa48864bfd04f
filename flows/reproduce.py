"""Reproduce: train a version again from its lineage, and compare the weights bit for bit."""

from operator import itemgetter

from prefect import flow

from linear_neuron.tasks.dataset.design_matrix import encode
from linear_neuron.tasks.dataset.split import split
from linear_neuron.tasks.registry.reproduce import compare_bits, recall, recall_dataset, recall_training
from linear_neuron.tasks.steps import name_run, send_heartbeats
from linear_neuron.tasks.training.fit_data import prepare_fit
from linear_neuron.tasks.training.train import train


@flow(name="reproduce", flow_run_name=name_run("reproduce", itemgetter("version")))
@send_heartbeats
def reproduce(version: str) -> tuple[bool, str]:
    """Train a version again from its dataset and recipe, both its candidate and what serves; the store stays as it is.

    Args:
        version: Name of a complete version, such as 20261123T060000Z-1a2b3c.

    Returns:
        Whether the weights agree bit for bit, and a sentence for people.
    """
    model, snapshot, folder = recall(version)
    dataset, training = recall_dataset(model), recall_training(model)
    rows = split(snapshot, dataset, training.validation_split)
    fitted = train(prepare_fit(encode(rows), training), training, folder)
    return compare_bits(model, fitted.served.linear_model, fitted.candidate.linear_model, folder)
