"""What is drawn of a big table is a fair share of it."""

import numpy as np
import pytest

from tasks.dataset.rows import Column, Rows, Split
from tasks.model import LinearModel
from tasks.parameters import Training
from tasks.reporting.thinning import thin_out
from tasks.training.results import Evaluation, TrainingResult


@pytest.mark.parametrize(("rows", "drawn"), [(0, 0), (5000, 5000), (5001, 2501), (100_000, 5000)])
def test_a_fair_share_of_the_rows_is_drawn(rows: int, drawn: int) -> None:
    part = Rows(np.arange(rows, dtype=float)[:, None], np.arange(rows, dtype=float), np.arange(rows), np.arange(rows))
    model = LinearModel((1.0,), 0.0)
    result = TrainingResult(Training(), model, (1.0,), (), "")
    predicted = {name: model.predict(part.x) for name in ("train", "validation", "test")}
    evaluation = Evaluation(
        result, model, predicted | {"examples": model.predict(np.ones((5, 1)))}, np.ones((5, 1)), {}, {}, None
    )
    split, thinned = thin_out(Split((Column("x", ""),), Column("y", ""), part, part, part), evaluation)
    assert len(split.train) == len(split.train.x) == len(thinned.predicted["train"]) == drawn
    assert np.array_equal(thinned.predicted["test"], split.test.y)
    assert len(thinned.predicted["examples"]) == 5
    assert drawn == 0 or split.test.y[-1] > 0.99 * (rows - 1)
