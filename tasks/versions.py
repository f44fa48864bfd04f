"""A version of the model: begun as a folder, described in `model.json`, completed by its manifest."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from prefect import get_run_logger, runtime

from tasks import boston
from tasks.model import Histogram, Neuron
from tasks.parameters import Training
from tasks.steps import step
from tasks.store import Store, digest, to_json
from tasks.values import Download, Evaluation, Split, Trained

HERE = Path(__file__).parent
PACKAGES = ("linear-neuron", "tensorflow", "tensorflow-cpu", "keras", "numpy", "pandas", "prefect")


@step("Begin a version")
def begin() -> tuple[str, Path]:
    """Names the version and makes the folder that it is built in.

    Raises:
        UserError: the store can't be written.
    """
    store = Store()
    store.check_writable()
    return store.start_version()


def describe_code() -> dict[str, Any]:
    """The commit of the checkout, a digest of the code in `tasks/`, and the versions of what is beneath it."""
    git = subprocess.run(
        ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True
    )
    packages = {item.name: item.version for name in PACKAGES for item in metadata.distributions(name=name)}
    return {
        "commit": git.stdout.strip() or None,
        "code": digest(b"".join(path.read_bytes() for path in sorted(HERE.glob("*.py"))))[:12],
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": packages,
    }


def describe_neuron(
    version: str, download: Download, split: Split, training: Training, trained: Trained, evaluation: Evaluation
) -> Neuron:
    """The content of `model.json`."""
    counts, edges = np.histogram(split.train.y, bins=20)
    low, high = split.train.x.min(axis=0).tolist(), split.train.x.max(axis=0).tolist()
    return Neuron(
        version=version,
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
        lineage=describe_code() | {"flow_run": runtime.flow_run.get_name(), "flow_run_id": runtime.flow_run.get_id()},
        created_at=datetime.now(UTC),
    )


@step("Describe the version")
def describe(
    version: str,
    download: Download,
    split: Split,
    training: Training,
    trained: Trained,
    evaluation: Evaluation,
    folder: Path,
) -> Neuron:
    """Writes `model.json` and `metrics.json`."""
    neuron = describe_neuron(version, download, split, training, trained, evaluation)
    (folder / "model.json").write_bytes(to_json(neuron.model_dump(mode="json")))
    (folder / "metrics.json").write_bytes(to_json(evaluation.metrics))
    return neuron


@step("Publish the version")
def publish(version: str, folder: Path) -> str:
    """Completes the version with its manifest, and returns its folder or URL."""
    place = str(Store().publish(version, folder))
    get_run_logger().info("Published %s", place)
    return place
