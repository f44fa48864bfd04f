"""The prediction files have full float32 precision."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.dataset.rows import Rows, Split
from tasks.model import LinearModel
from tasks.parameters import ExampleInputs
from tasks.registry.versions import NewVersion
from tasks.reporting.csv_files import predict_table, predict_test, table_values, write_predictions
from tasks.training.results import TrainingResult


def rows(x: list[list[float]], y: list[float]) -> Rows:
    return Rows(np.array(x), np.array(y), np.arange(len(y)) * 10)


def a_split(*features: str) -> Split:
    x = [[float(number + location) for location, _ in enumerate(features)] for number in (4, 6, 8)]
    return Split(features, "MEDV", rows(x, [1, 2, 3]), rows(x, [1, 2, 3]), rows(x, [1, 2, 3]))


NEURON = TrainingResult(LinearModel((np.float32(0.1).item(),), np.float32(0.7).item()), (2.0, 1.0), (), "")


def test_test_rows_carry_number_feature_actual_predicted_and_residual() -> None:
    frame = predict_test(a_split("RM"), NEURON)
    assert list(frame) == ["row", "RM", "actual", "predicted", "residual"]
    assert frame["row"].tolist() == [0, 10, 20]
    assert frame["predicted"].to_numpy().dtype == np.float32
    assert frame["residual"].tolist() == pytest.approx([1 - 1.1, 2 - 1.3, 3 - 1.5])


def test_table_is_three_to_seven_rooms_unless_asked_otherwise() -> None:
    assert table_values(a_split("RM"), ExampleInputs())[:, 0].tolist() == [3, 4, 5, 6, 7]
    assert table_values(a_split("RM"), ExampleInputs(values=[5.5]))[:, 0].tolist() == [5.5]


def test_table_of_another_feature_spans_its_training_rows_and_holds_the_others_at_their_mean() -> None:
    assert table_values(a_split("TAX", "RM"), ExampleInputs()).tolist() == [[4, 7], [5, 7], [6, 7], [7, 7], [8, 7]]


def test_files_read_back_as_the_same_float32(tmp_path: Path) -> None:
    split = a_split("RM")
    table = write_predictions.fn(split, NEURON, ExampleInputs(), NewVersion("v", "", tmp_path, ""))
    back = pd.read_csv(tmp_path / "predictions_table.csv", dtype=np.float32)
    assert np.array_equal(back["predicted"], predict_table(split, NEURON, ExampleInputs())["predicted"])
    assert table[0] == {"RM": 3.0, "predicted": pytest.approx(1.0)}
    assert (tmp_path / "history.csv").read_text() == "epoch,loss,val_loss\n1,2.0,\n2,1.0,\n"
