"""What the tests of several rooms call; the fixtures are in conftest.py."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from linear_neuron.tasks.dataset.boston import FILE
from linear_neuron.tasks.dataset.rows import Column, Rows, Split
from linear_neuron.tasks.model import Histogram, ModelVersion
from linear_neuron.tasks.parameters import Training
from linear_neuron.tasks.registry.versions import publish_version, version_folder
from linear_neuron.tasks.storage.store import Store, to_json
from linear_neuron.tasks.training.fit_data import FitData
from linear_neuron.tasks.training.past import ALL, Choice
from linear_neuron.tasks.training.results import Fitted, TrainingResult

Run = Callable[..., subprocess.CompletedProcess[str]]


def make_split(columns: tuple[Column, ...], target: Column, *parts: Rows) -> Split:
    """Make a split whose columns are all features, of its three parts or of one that is all three."""
    rows = dict(zip(("train", "validation", "test"), parts if len(parts) == 3 else parts * 3, strict=True))
    return Split(columns, target, [column.name for column in columns], rows)


def fit_alone(split: Split, result: TrainingResult) -> tuple[FitData, Fitted]:
    """Make of a training what a fit without a refit leaves."""
    return FitData(split, Choice(ALL, "")), Fitted(result, result)


def make_version(store: Store, version: str, **changes: object) -> ModelVersion:
    """Publish a version with made-up numbers and `files`, for tests of what happens to versions and not in them."""
    files = changes.pop("files", {})
    assert isinstance(files, dict)
    scores = {"mse": 50.0}
    model = ModelVersion(
        version=version,
        features=["RM"],
        target="MEDV",
        weights=[3.0],
        bias=1.0,
        ranges={"RM": (3.5, 8.7)},
        intervals={str(percent): 10.0 for percent in range(50, 100)},
        coverage=0.9,
        targets=Histogram(edges=[0, 25, 50], counts=[3, 1]),
        dataset={"name": "made up", "sha256": FILE.sha256, "source": "package", "remarks": []},
        training=Training().model_dump(),
        metrics={"test": {"rows": 102, "neuron": scores, "mean": scores, "least_squares": scores}},
        lineage={"packages": {}},
        fingerprint=version,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    ).model_copy(update=changes)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / version
        folder.mkdir()
        (folder / "model.json").write_bytes(to_json(model.model_dump(mode="json")))
        for name, text in files.items():
            (folder / name).write_text(text)
        if store.local:
            shutil.copytree(folder, version_folder(store, version).path)
            folder = Path(version_folder(store, version).path)
        publish_version(store, version, folder)
    return model
