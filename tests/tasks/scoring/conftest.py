"""The fixtures of the tests of scoring."""

from pathlib import Path

import pytest

from tasks.model import ModelVersion
from tests.tasks.scoring.helpers import Scoring


@pytest.fixture
def score(tmp_path: Path, neuron: ModelVersion) -> Scoring:
    return Scoring(tmp_path, neuron)
