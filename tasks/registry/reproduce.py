"""Reproduce a version: train it again from its lineage, and compare the weights bit for bit."""

import logging
import shutil
from pathlib import Path

from linear_neuron.tasks.dataset.rows import SUFFIX, Origin, Snapshot
from linear_neuron.tasks.dataset.sources import open_snapshot
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.entries import Target
from linear_neuron.tasks.model import LinearModel, ModelVersion
from linear_neuron.tasks.name import command
from linear_neuron.tasks.parameters import Dataset, Training
from linear_neuron.tasks.registry.fingerprint import describe_code
from linear_neuron.tasks.registry.forgotten import Replaced, read_replaced, trace
from linear_neuron.tasks.registry.versions import read_version
from linear_neuron.tasks.steps import get_logger, task
from linear_neuron.tasks.storage.files import make_temporary
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.text import plural


@task("Recall the version")
def recall(version: str) -> tuple[ModelVersion, Snapshot, Path]:
    """Read a version and the dataset it was made from, and make a scratch folder to train in.

    Raises:
        UserError: the version or its dataset is not there, or is damaged.
    """
    store = Store()
    model = read_version(store, version)
    try:
        snapshot = open_snapshot(store, Origin(model.dataset["sha256"], "cache"))
    except UserError as error:
        if steps := trace(read_replaced(store), model.dataset["sha256"]):
            raise UserError(_describe_forgotten(version, steps)) from None
        raise UserError(f"The dataset of {version}: {error}; fetch it again with `{command()} retrain`.") from None
    return model, snapshot, make_temporary("reproduce-")


def _describe_forgotten(version: str, steps: list[Replaced]) -> str:
    count, left = sum(len(step.numbers) for step in steps), steps[-1].to
    others = f"; datasets/{left}{SUFFIX} has the others" if left else ""
    return (
        f"{version} cannot be reproduced: {plural(count, 'row')} that it learned from or was tested on "
        f"{'was' if count == 1 else 'were'} forgotten on {steps[-1].at[:10]}{others}."
    )


def recall_training(model: ModelVersion) -> Training:
    """Recall the recipe of a version; older ones served their candidate, fitted on all its rows."""
    before = {} if model.learned else {"past": "all", "refit": "never"}
    return Training(**(model.training | before))


def recall_dataset(model: ModelVersion) -> Dataset:
    """Recall what a version has learned from, as far as its snapshot does not say it."""
    categories = [term.name for term in model.terms if term.kind == "category"]
    return Dataset(
        features=[name for name in model.features if name not in categories],
        categories=categories,
        target=Target(model.target, model.link).text,
        min_level_rows=model.dataset.get("min_level_rows", 10),
        missing=model.dataset.get("missing_cells", "reject"),
    )


def compare_reproduction(model: ModelVersion, served: LinearModel, candidate: LinearModel) -> tuple[bool, str]:
    """Return whether the weights agree bit for bit, and a sentence that names the packages that differ if not.

    Args:
        model: the version.
        served: the model that predicts, trained again.
        candidate: the model that was measured, trained again.
    """
    if served == model.linear_model and candidate == model.candidate_model:
        both = " and its candidate" if model.is_refitted else ""
        return True, f"Reproduced bit for bit: {model.version}{both}, {model.formula}."
    part, old, again = "", model.linear_model, served
    if served == old:
        part, old, again = "its candidate with ", model.candidate_model, candidate
    before, now = ({**lineage, **lineage["packages"]} for lineage in (model.lineage, describe_code()))
    changed = [
        f"{name} was {before.get(name)}, is {now.get(name)}"
        for name in sorted({*before, *now} - {"packages", "flow_run", "flow_run_id", "commit"})
        if before.get(name) != now.get(name)
    ]
    return False, (
        f"Not reproduced: {model.version} has {part}weights {old.weights} and bias {old.bias}, training it again "
        f"gives {again.weights} and {again.bias}; {'; '.join(changed) or 'no package differs'}."
    )


@task("Compare bit for bit")
def compare_bits(model: ModelVersion, served: LinearModel, candidate: LinearModel, folder: Path) -> tuple[bool, str]:
    """Compare, log the outcome, and remove the scratch folder."""
    shutil.rmtree(folder)
    agrees, message = compare_reproduction(model, served, candidate)
    get_logger().log(logging.INFO if agrees else logging.WARNING, message)
    return agrees, message
