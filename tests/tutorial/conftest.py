"""What the tour starts with."""

import shutil
from pathlib import Path

import pytest

from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.registry.versions import list_versions
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version


@pytest.fixture
def store(trained_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy of the store in which the tutorial's model was trained, which is also the default one."""
    shutil.copytree(trained_store.root.path, tmp_path / "store")
    monkeypatch.setenv("LINEAR_NEURON_STORE", str(tmp_path / "store"))
    return Store()


@pytest.fixture
def tutorial(store: Store) -> str:
    """Name the version that the tutorial's recipe made, which is the champion."""
    return list_versions(store)[0]


@pytest.fixture
def simple(store: Store, tutorial: str) -> str:
    """Name another version, which is champion by now and predicts twice the rooms plus one, +-0.5."""
    version = make_version(
        store, "29990101T000000Z-aaaaaa", weights=[2.0], bias=1.0, ranges={"RM": (3.0, 9.0)}, intervals={"90": 0.5}
    ).version
    promote(store, version, "by hand")
    return version


@pytest.fixture
def homes(tmp_path: Path) -> Path:
    """A file of two homes to predict, of which one can't be."""
    file = tmp_path / "homes.csv"
    file.write_text("id,RM\n007,6\n008,many\n")
    return file
