"""The prediction files have full float32 precision."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from linear_neuron.tasks.dataset.rows import RANGE_ROWS, Column, Rows
from linear_neuron.tasks.model import LinearModel
from linear_neuron.tasks.parameters import ExampleInputs, Training
from linear_neuron.tasks.reporting.retrain_report import tabulate_examples, write_predictions, write_test_rows
from linear_neuron.tasks.training.metrics import evaluate
from linear_neuron.tasks.training.results import Evaluation, TrainingResult
from tests.helpers import fit_alone, make_split

ROWS = Rows(np.array([[4.0], [6.0], [8.0]]), np.array([1.0, 2.0, 3.0]), np.array([0, 10, 20]))
SPLIT = make_split((Column("RM", "rooms"),), Column("MEDV", "price"), ROWS)


@pytest.fixture
def evaluation() -> Evaluation:
    line = LinearModel((np.float32(0.1).item(),), np.float32(0.7).item())
    return evaluate.fn(
        *fit_alone(SPLIT, TrainingResult(Training(), line, (2.0, 1.0), (), "")), ExampleInputs(values=[3, 4])
    )


def test_test_rows_carry_number_feature_actual_predicted_and_residual(tmp_path: Path, evaluation: Evaluation) -> None:
    write_test_rows(SPLIT, evaluation, tmp_path / "rows.csv")
    frame = pd.read_csv(tmp_path / "rows.csv", dtype={"predicted": np.float32})
    assert list(frame) == ["row", "RM", "actual", "predicted", "residual"]
    assert frame["row"].tolist() == [0, 10, 20]
    assert frame["predicted"].tolist() == evaluation.predicted["test"].tolist()
    assert frame["residual"].tolist() == pytest.approx([1 - 1.1, 2 - 1.3, 3 - 1.5])


def test_test_rows_of_many_blocks_are_all_written(tmp_path: Path, evaluation: Evaluation) -> None:
    count = 2 * RANGE_ROWS + 3
    rows = Rows(np.full((count, 1), 4.0), np.ones(count), np.arange(count))
    many = replace(evaluation, predicted={"test": np.arange(count, dtype=np.float32)})
    write_test_rows(make_split(SPLIT.columns, SPLIT.target, rows), many, tmp_path / "rows.csv")
    frame = pd.read_csv(tmp_path / "rows.csv")
    assert frame["row"].tolist() == frame["predicted"].tolist() == list(range(count))


def test_files_read_back_as_the_same_float32(tmp_path: Path, evaluation: Evaluation) -> None:
    write_predictions(SPLIT, evaluation, tmp_path)
    back = pd.read_csv(tmp_path / "predictions_table.csv", dtype=np.float32)
    table = tabulate_examples(SPLIT, evaluation)
    assert np.array_equal(back["predicted"], table["predicted"])
    assert table.to_dict("records")[0] == {"RM": 3.0, "predicted": pytest.approx(1.0)}
    assert (tmp_path / "predictions_table.csv").read_text() == "RM,predicted\n3.0,1.0\n4.0,1.1\n"
    assert (tmp_path / "predictions_test.csv").read_text().splitlines()[1].startswith("0,4.0,1.0,1.1,-0.1")
    assert (tmp_path / "history.csv").read_text() == "epoch,loss,val_loss\n1,2.0,\n2,1.0,\n"
