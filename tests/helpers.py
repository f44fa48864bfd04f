"""What the tests of several rooms call; the fixtures are in conftest.py."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tasks.model import Histogram, ModelVersion
from tasks.parameters import Training
from tasks.registry.versions import publish_version, version_folder
from tasks.storage.store import Store, to_json

Run = Callable[..., subprocess.CompletedProcess[str]]


def make_version(store: Store, version: str, **changes: object) -> ModelVersion:
    """Publish a version with made-up numbers, for tests of what happens to versions and not in them."""
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
        dataset={"name": "made up", "sha256": "0" * 64, "source": "package", "remarks": []},
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
        if store.local:
            shutil.copytree(folder, version_folder(store, version).path)
            folder = Path(version_folder(store, version).path)
        publish_version(store, version, folder)
    return model
