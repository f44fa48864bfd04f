"""The plots are pictures of the data, small enough to show in the Prefect UI."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.dataset.rows import Rows, Split
from tasks.model import LinearModel
from tasks.reporting.plots import PLOTS, draw_plots
from tasks.training.results import TrainingResult


def a_split(features: int) -> Split:
    rng = np.random.default_rng(1)
    x = rng.normal(6, 1, (400, features))
    names = ("RM", "LSTAT")[:features]
    parts = (
        Rows(x[a:b], 4 * x[a:b, 0] + rng.normal(size=b - a), np.arange(a, b))
        for a, b in [(0, 250), (250, 300), (300, 400)]
    )
    return Split(names, "MEDV", *parts)


@pytest.mark.parametrize(("features", "val_loss"), [(1, (3.0, 2.0)), (2, ())])
def test_five_plots_are_drawn_under_60_kilobytes_each(
    tmp_path: Path, features: int, val_loss: tuple[float, ...]
) -> None:
    line = LinearModel((3.0,) * features, 1.0)
    draw_plots(a_split(features), TrainingResult(line, (3000.0, 1.0), val_loss, ""), line, tmp_path / "plots")
    for name in PLOTS:
        path = tmp_path / "plots" / f"{name}.png"
        with Image.open(path) as picture:
            assert picture.size == (800, 450)
            assert len(picture.getcolors() or []) > 8, "more than an empty frame"
        assert path.stat().st_size < 60_000
