"""The description of a version says what it was made from and how well it does."""

import json
from pathlib import Path

import numpy as np
import pytest

from linear_neuron.tasks.dataset.rows import Column, Origin, Rows, Snapshot
from linear_neuron.tasks.model import LinearModel
from linear_neuron.tasks.parameters import ExampleInputs, Training
from linear_neuron.tasks.registry.versions import NewVersion
from linear_neuron.tasks.training.describe import describe
from linear_neuron.tasks.training.metrics import evaluate
from linear_neuron.tasks.training.results import TrainingResult
from tests.helpers import fit_alone, make_split

RM, LSTAT, MEDV = Column("RM", "rooms"), Column("LSTAT", "lower-status population", "%"), Column("MEDV", "price", "$K")
TRAIN = Rows(np.array([[5.0, 9.0], [7.0, 2.0]]), np.array([10.0, 30.0]), np.arange(2))
TEST = Rows(np.array([[1.0, 1.0], [99.0, 99.0]]), np.array([1.0, 99.0]), np.arange(2))
SPLIT = make_split((RM, LSTAT), MEDV, TRAIN, TEST, TEST)
SNAPSHOT = Snapshot("homes", Origin("ab" * 32, "package", ("network: no",)), (), np.empty((0, 0)), 0, 0.5)


def test_model_json_has_numbers_meanings_ranges_and_origin(tmp_path: Path) -> None:
    result = TrainingResult(Training(seed=7), LinearModel((2.0, 0.5), 1.0), (4.0,), (), "")
    evaluation = evaluate.fn(*fit_alone(SPLIT, result), ExampleInputs())
    model = describe.fn(NewVersion("v1", "", tmp_path, "f00d"), SNAPSHOT, evaluation)
    assert json.loads((tmp_path / "model.json").read_bytes()) == model.model_dump(mode="json")
    assert json.loads((tmp_path / "metrics.json").read_bytes()) == model.metrics == evaluation.metrics
    assert (model.version, model.fingerprint) == ("v1", "f00d")
    assert (model.features, model.target, model.weights, model.bias) == (["RM", "LSTAT"], "MEDV", [2.0, 0.5], 1.0)
    assert model.labels == {"RM": "rooms", "LSTAT": "lower-status population [%]", "MEDV": "price [$K]"}
    assert model.effects == {"RM": 2.0, "LSTAT": 1.75}, "weights times 1 and 3.5, the standard deviations"
    assert model.shares == pytest.approx({"RM": 2 / 3.75, "LSTAT": 1.75 / 3.75})
    assert model.ranges == {"RM": (5.0, 7.0), "LSTAT": (2.0, 9.0)}
    assert (model.targets.edges[0], model.targets.edges[-1], sum(model.targets.counts)) == (10.0, 30.0, 2)
    assert model.dataset == {"name": "homes", "sha256": "ab" * 32, "source": "package", "remarks": ("network: no",)}
    assert model.training["seed"] == 7
    assert (model.contract["RM"]["mean"], model.predictions["mean"]) == (6.0, 15.75)
    assert model.predictions["deciles"][::5] == [15.5, 15.75, 16.0]
    assert (model.intervals, model.coverage) == (evaluation.intervals, evaluation.coverage)
