"""A version of the model: begun as a folder, described in `model.json`, completed by its manifest."""

import logging
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from prefect import get_run_logger, runtime

from tasks import boston
from tasks.errors import UserError
from tasks.fingerprint import describe_code, find_version, fingerprint
from tasks.model import Histogram, Neuron
from tasks.parameters import Dataset, Table, Training
from tasks.steps import step
from tasks.store import Store, digest, to_json
from tasks.values import Download, Draft, Evaluation, Split, Trained


@step("Begin a version")
def begin(download: Download, dataset: Dataset, training: Training, table: Table, force: bool) -> Draft:
    """Names a new version and makes the folder that it is built in, unless an existing one would come out again.

    Raises:
        UserError: the store can't be written.
    """
    store = Store()
    wanted = fingerprint(download.sha256, dataset, training, table)
    known = None if force else find_version(store, wanted)
    if known:
        return Draft(known, str(store.model(known)), Path(), wanted, unchanged=True)
    store.check_writable()
    version, folder = store.start_version()
    return Draft(version, str(store.model(version)), folder, wanted)


def describe_neuron(
    draft: Draft, download: Download, split: Split, training: Training, trained: Trained, evaluation: Evaluation
) -> Neuron:
    """The content of `model.json`."""
    counts, edges = np.histogram(split.train.y, bins=20)
    low, high = split.train.x.min(axis=0).tolist(), split.train.x.max(axis=0).tolist()
    return Neuron(
        version=draft.version,
        features=list(split.features),
        target=split.target,
        weights=list(trained.line.weights),
        bias=trained.line.bias,
        ranges=dict(zip(split.features, zip(low, high, strict=True), strict=True)),
        intervals=evaluation.intervals,
        coverage=evaluation.coverage,
        targets=Histogram(edges=edges.tolist(), counts=counts.tolist()),
        dataset={
            "name": boston.NAME,
            "sha256": download.sha256,
            "source": download.source,
            "remarks": download.remarks,
        },
        training=training.model_dump(),
        metrics=evaluation.metrics,
        fingerprint=draft.fingerprint,
        lineage=describe_code() | {"flow_run": runtime.flow_run.get_name(), "flow_run_id": runtime.flow_run.get_id()},
        created_at=datetime.now(UTC),
    )


@step("Describe the version")
def describe(
    draft: Draft, download: Download, split: Split, training: Training, trained: Trained, evaluation: Evaluation
) -> Neuron:
    """Writes `model.json` and `metrics.json`."""
    neuron = describe_neuron(draft, download, split, training, trained, evaluation)
    (draft.folder / "model.json").write_bytes(to_json(neuron.model_dump(mode="json")))
    (draft.folder / "metrics.json").write_bytes(to_json(evaluation.metrics))
    return neuron


@step("Publish the version")
def publish(draft: Draft) -> None:
    """Completes the version with its manifest."""
    Store().publish(draft.version, draft.folder)
    get_run_logger().info("Published %s", draft.place)


@step("Recall the version")
def recall(version: str) -> tuple[Neuron, Download, Draft]:
    """The version as it was described, the dataset it was made from, and a scratch folder.

    Raises:
        UserError: the version or its dataset is not there, or is damaged.
    """
    store = Store()
    neuron = store.neuron(version)
    sha256 = neuron.dataset["sha256"]
    path = store.dataset(sha256, ".npz")
    if digest(store.read(path) or b"") != sha256:
        raise UserError(
            f"{path}, the dataset of {version}, is missing or damaged; fetch it anew by: linear-neuron retrain."
        )
    draft = Draft(version, "", Path(tempfile.mkdtemp(prefix="reproduce-")), neuron.fingerprint)
    return neuron, Download(str(path), sha256, "cache"), draft


def compare_reproduction(neuron: Neuron, trained: Trained) -> tuple[bool, str]:
    """Whether the weights agree to the bit, and a sentence that, if not, names what differs beneath them."""
    if trained.line == neuron.line:
        return (
            True,
            f"{neuron.version} came out again to the bit: {neuron.line.formula(neuron.features, neuron.target)}.",
        )
    before, now = ({**lineage, **lineage["packages"]} for lineage in (neuron.lineage, describe_code()))
    changed = [
        f"{name} was {before.get(name)}, is {now.get(name)}"
        for name in sorted({*before, *now} - {"packages", "flow_run", "flow_run_id", "commit"})
        if before.get(name) != now.get(name)
    ]
    return False, (
        f"{neuron.version} came out differently: weights {trained.line.weights} and bias {trained.line.bias}, "
        f"not {neuron.line.weights} and {neuron.line.bias}; {'; '.join(changed) or 'no package differs'}."
    )


@step("Compare to the bit")
def compare_bits(neuron: Neuron, trained: Trained, draft: Draft) -> tuple[bool, str]:
    """Compares, says so, and removes the scratch folder."""
    shutil.rmtree(draft.folder)
    agrees, told = compare_reproduction(neuron, trained)
    get_run_logger().log(logging.INFO if agrees else logging.WARNING, told)
    return agrees, told
