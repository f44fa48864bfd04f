"""Fixtures for the tests of several folders of tasks."""

from pathlib import Path

import pytest

from linear_neuron.tasks.model import ModelVersion
from tests.tasks.helpers import Scoring


@pytest.fixture
def score(tmp_path: Path, neuron: ModelVersion) -> Scoring:
    return Scoring(tmp_path, neuron)
