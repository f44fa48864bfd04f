"""A version made again, and compared to the bit."""

import logging
import shutil
from pathlib import Path

from tasks.dataset.rows import Origin, Snapshot
from tasks.dataset.sources import open_snapshot
from tasks.errors import UserError
from tasks.model import LinearModel, ModelVersion
from tasks.name import command
from tasks.registry.fingerprint import describe_code
from tasks.registry.versions import read_version
from tasks.steps import get_logger, task
from tasks.storage.files import make_temporary
from tasks.storage.store import Store


@task("Recall the version")
def recall(version: str) -> tuple[ModelVersion, Snapshot, Path]:
    """Read a version as it was described and the dataset it was made from, and make a scratch folder.

    Raises:
        UserError: the version or its dataset is not there, or is damaged.
    """
    store = Store()
    model = read_version(store, version)
    try:
        snapshot = open_snapshot(store, Origin(model.dataset["sha256"], "cache"))
    except UserError as error:
        raise UserError(f"The dataset of {version}: {error}; fetch it anew by: {command()} retrain.") from None
    return model, snapshot, make_temporary("reproduce-")


def compare_reproduction(model: ModelVersion, again: LinearModel) -> tuple[bool, str]:
    """Return whether the weights agree to the bit, and a sentence that, if not, names what differs beneath them."""
    if again == model.linear_model:
        formula = again.formula(model.features, model.target)
        return True, f"{model.version} came out again to the bit: {formula}."
    before, now = ({**lineage, **lineage["packages"]} for lineage in (model.lineage, describe_code()))
    changed = [
        f"{name} was {before.get(name)}, is {now.get(name)}"
        for name in sorted({*before, *now} - {"packages", "flow_run", "flow_run_id", "commit"})
        if before.get(name) != now.get(name)
    ]
    return False, (
        f"{model.version} came out differently: weights {again.weights} and bias {again.bias}, "
        f"not {tuple(model.weights)} and {model.bias}; {'; '.join(changed) or 'no package differs'}."
    )


@task("Compare to the bit")
def compare_bits(model: ModelVersion, again: LinearModel, folder: Path) -> tuple[bool, str]:
    """Compare, log the outcome, and remove the scratch folder."""
    shutil.rmtree(folder)
    agrees, message = compare_reproduction(model, again)
    get_logger().log(logging.INFO if agrees else logging.WARNING, message)
    return agrees, message
