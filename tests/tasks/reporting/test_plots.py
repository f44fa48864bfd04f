"""The plots are pictures of the data, small enough to show in the Prefect UI."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.dataset.rows import Column, Rows, Split
from tasks.model import LinearModel
from tasks.parameters import ExampleInputs, Training
from tasks.reporting.plots import PLOTS, draw_plots
from tasks.training.metrics import evaluate
from tasks.training.results import TrainingResult


def a_split(features: int) -> Split:
    rng = np.random.default_rng(1)
    x = rng.normal(6, 1, (400, features))
    columns = (Column("RM", "rooms"), Column("LSTAT", "lower-status population", "%"))[:features]
    parts = (
        Rows(x[a:b], 4 * x[a:b, 0] + rng.normal(size=b - a), np.arange(a, b))
        for a, b in [(0, 250), (250, 300), (300, 400)]
    )
    return Split(columns, Column("MEDV", "median price", "$K"), *parts)


@pytest.mark.parametrize(
    ("features", "loss", "val_loss"), [(1, (3000.0, 1.0), (3.0, 2.0)), (2, (3000.0, 1.0), ()), (1, (5.0,), ())]
)
def test_five_plots_are_drawn_under_60_kilobytes_each(
    tmp_path: Path, features: int, loss: tuple[float, ...], val_loss: tuple[float, ...]
) -> None:
    line = LinearModel((3.0,) * features, 1.0)
    split, result = a_split(features), TrainingResult(Training(), line, loss, val_loss, "")
    draw_plots(split, evaluate.fn(split, result, ExampleInputs()), tmp_path / "plots")
    for plot in PLOTS:
        path = tmp_path / "plots" / f"{plot.name}.png"
        with Image.open(path) as picture:
            assert picture.size == (800, 450)
            assert len(picture.getcolors() or []) > 8, "more than an empty frame"
        assert path.stat().st_size < 60_000
