"""The prediction files have full float32 precision."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.dataset.rows import Column, Rows, Split
from tasks.model import LinearModel
from tasks.parameters import ExampleInputs, Training
from tasks.reporting.csv_files import tabulate_examples, tabulate_test, write_csv_files
from tasks.training.metrics import evaluate
from tasks.training.results import Evaluation, TrainingResult

ROWS = Rows(np.array([[4.0], [6.0], [8.0]]), np.array([1.0, 2.0, 3.0]), np.array([0, 10, 20]))
SPLIT = Split((Column("RM", "rooms"),), Column("MEDV", "price"), ROWS, ROWS, ROWS)


@pytest.fixture
def evaluation() -> Evaluation:
    line = LinearModel((np.float32(0.1).item(),), np.float32(0.7).item())
    return evaluate.fn(SPLIT, TrainingResult(Training(), line, (2.0, 1.0), (), ""), ExampleInputs(values=[3, 4]))


def test_test_rows_carry_number_feature_actual_predicted_and_residual(evaluation: Evaluation) -> None:
    frame = tabulate_test(SPLIT, evaluation)
    assert list(frame) == ["row", "RM", "actual", "predicted", "residual"]
    assert frame["row"].tolist() == [0, 10, 20]
    assert frame["predicted"].to_numpy().dtype == np.float32
    assert frame["residual"].tolist() == pytest.approx([1 - 1.1, 2 - 1.3, 3 - 1.5])


def test_files_read_back_as_the_same_float32(tmp_path: Path, evaluation: Evaluation) -> None:
    write_csv_files(SPLIT, evaluation, tmp_path)
    back = pd.read_csv(tmp_path / "predictions_table.csv", dtype=np.float32)
    table = tabulate_examples(SPLIT, evaluation)
    assert np.array_equal(back["predicted"], table["predicted"])
    assert table.to_dict("records")[0] == {"RM": 3.0, "predicted": pytest.approx(1.0)}
    assert (tmp_path / "predictions_table.csv").read_text() == "RM,predicted\n3.0,1.0\n4.0,1.1\n"
    assert (tmp_path / "predictions_test.csv").read_text().splitlines()[1].startswith("0,4.0,1.0,1.1,-0.1")
    assert (tmp_path / "history.csv").read_text() == "epoch,loss,val_loss\n1,2.0,\n2,1.0,\n"
