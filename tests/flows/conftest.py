"""What the tests of the flows share."""

from pathlib import Path

import pytest

from tasks.model import ModelVersion
from tasks.registry.champion import promote
from tasks.storage.store import Store


@pytest.fixture
def served(server: str, store: Store, neuron: ModelVersion) -> Store:
    """A store whose one model is the champion."""
    promote(store, neuron.version, "by hand")
    return store


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    (folder / "a.csv").write_text("id,RM\n007,5\n008,x\n")
    (folder / "b.csv").write_text("id,RM\n1,6\n")
    return folder
