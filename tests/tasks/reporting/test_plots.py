"""The plots are pictures of the data, small enough to show in the Prefect UI."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from linear_neuron.tasks.dataset.rows import Column, Rows, Split
from linear_neuron.tasks.model import LinearModel
from linear_neuron.tasks.parameters import ExampleInputs, Training
from linear_neuron.tasks.reporting.plots import (
    PLOTS,
    draw_plots,
    open_figure,
    thin_out,
)
from linear_neuron.tasks.training.metrics import evaluate
from linear_neuron.tasks.training.results import Evaluation, TrainingResult
from tests.helpers import fit_alone, make_split

COLUMNS = Column("RM", "rooms"), Column("LSTAT", "lower-status population", "%")


def a_split(features: int) -> Split:
    rng = np.random.default_rng(1)
    x = rng.normal(6, 1, (400, features))
    parts = (
        Rows(x[a:b], 4 * x[a:b, 0] + rng.normal(size=b - a), np.arange(a, b))
        for a, b in [(0, 250), (250, 300), (300, 400)]
    )
    train, validation, test = parts
    columns = COLUMNS if features == 2 else (*COLUMNS, *(Column(f"X{place}", "") for place in range(14)))[:features]
    return make_split(columns, Column("MEDV", "median price", "$K"), train, validation, test)


def evaluated(
    split: Split, loss: tuple[float, ...] = (3.0, 2.0), val_loss: tuple[float, ...] = (4.0, 3.0)
) -> Evaluation:
    line = LinearModel((3.0,) * len(split.features), 1.0)
    return evaluate.fn(*fit_alone(split, TrainingResult(Training(), line, loss, val_loss, "")), ExampleInputs())


def drawn(name: str, split: Split, evaluation: Evaluation) -> Axes:
    (plot,) = (plot for plot in PLOTS if plot.name == name)
    axes = Figure().add_subplot()
    plot.draw(axes, split, evaluation)
    return axes


def legend(axes: Axes) -> list[str]:
    return axes.get_legend_handles_labels()[1]


@pytest.mark.parametrize(
    ("features", "loss", "val_loss", "height"),
    [(1, (3000.0, 1.0), (3.0, 2.0), 450), (2, (3000.0, 1.0), (), 450), (1, (5.0,), (), 450), (13, (5.0,), (), 1250)],
)
def test_five_plots_are_drawn_under_60_kilobytes_each(
    tmp_path: Path, features: int, loss: tuple[float, ...], val_loss: tuple[float, ...], height: int
) -> None:
    split = a_split(features)
    draw_plots(split, evaluated(split, loss, val_loss), tmp_path / "plots")
    paths = sorted((tmp_path / "plots").iterdir())
    first = "partial" if features > 1 else "feature"
    assert {path.stem for path in paths} == {first, "loss", "fit_train", "fit_test", "residuals"}
    for path in paths:
        with Image.open(path) as picture:
            assert picture.size == (800, height if path.stem == "partial" else 450)
            assert len(picture.getcolors() or []) > 8, "more than an empty frame"
        assert path.stat().st_size < 60_000


def test_the_loss_stands_beside_that_of_least_squares() -> None:
    split = a_split(1)
    evaluation = evaluated(split)
    axes = drawn("loss", split, evaluation)
    training, validation, least = axes.get_lines()
    assert (training.get_xdata().tolist(), training.get_ydata().tolist()) == ([1, 2], [3.0, 2.0])  # type: ignore[union-attr]
    assert validation.get_ydata().tolist() == [4.0, 3.0]  # type: ignore[union-attr]
    assert least.get_ydata()[0] == evaluation.metrics["train"]["least_squares"]["mse"]  # type: ignore[index]
    assert legend(axes) == ["training", "validation", "least squares, training"]
    assert (axes.get_ylabel(), axes.get_yscale()) == ("Mean squared error [$K²]", "linear")


def test_a_column_without_a_meaning_keeps_its_name_and_numbers_have_separators(tmp_path: Path) -> None:
    split = replace(a_split(1), target=Column("lprice", "lprice"))
    axes = drawn("feature", split, evaluated(split))
    assert axes.get_ylabel() == "lprice"
    with open_figure(tmp_path / "a.png", "a") as axes:
        axes.plot([0, 20_000_000], [0.1, 0.3])
    assert [axis.get_major_formatter()(2e7, 0) for axis in (axes.xaxis, axes.yaxis)] == ["20,000,000"] * 2


def test_validation_rows_lie_below_train_rows() -> None:
    split = a_split(1)
    train, validation = drawn("feature", split, evaluated(split)).collections
    assert validation.get_zorder() < train.get_zorder()


def test_a_loss_that_spans_more_than_two_decades_is_drawn_logarithmically() -> None:
    split = a_split(1)
    assert drawn("loss", split, evaluated(split, (300.0, 1.0))).get_yscale() == "log"


@pytest.mark.parametrize(
    ("name", "rows"), [("fit_train", {"train": 250, "validation": 50}), ("fit_test", {"test": 100})]
)
def test_one_feature_is_drawn_with_both_lines(name: str, rows: dict[str, int]) -> None:
    split = a_split(1)
    axes = drawn(name, split, evaluated(split))
    neuron, least = axes.get_lines()
    band = name == "fit_test"  # is one shape
    x, y = neuron.get_data()
    assert y[0] == pytest.approx(3 * x[0] + 1)  # type: ignore[index, operator]
    assert least.get_ydata()[-1] == pytest.approx(4 * x[-1], rel=0.1)  # type: ignore[index, operator]
    assert [len(points.get_offsets()) for points in axes.collections] == list(rows.values()) + [1] * band  # type: ignore[arg-type]
    assert legend(axes) == [*(f"{part} rows" for part in rows), "neuron", *["90% interval"] * band, "least squares"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Rooms", "Median price [$K]")


def test_several_features_are_drawn_as_predicted_against_actual() -> None:
    split = a_split(2)
    evaluation = evaluated(split)
    axes = drawn("fit_test", split, evaluation)
    points = axes.collections[0].get_offsets()
    assert np.array_equal(points, np.column_stack([evaluation.predicted["test"], split.test.y]))
    assert axes.get_xlabel() == "Predicted median price [$K]"


def test_each_of_several_features_has_a_panel_with_its_partial_residuals() -> None:
    split = a_split(2)
    evaluation = evaluated(split)
    evaluation = replace(evaluation, result=replace(evaluation.result, linear_model=LinearModel((1.0, -2.0), 1.0)))
    title, *panels = drawn("partial", split, evaluation).figure.axes
    assert not title.axison
    assert [panel.get_xlabel() for panel in panels] == ["LSTAT [%]", "RM"], "the one that moves predictions most first"
    residuals = split.train.y - evaluation.predicted["train"]
    for panel, place, weight in zip(panels, (1, 0), (-2.0, 1.0), strict=True):
        x = split.train.x[:, place]
        points = np.column_stack([x, residuals + weight * (x - x.mean())])
        assert np.allclose(panel.collections[0].get_offsets(), points)
        (line,) = panel.get_lines()
        assert (line.get_xy1(), line.get_slope()) == ((x.mean(), 0), weight)  # type: ignore[attr-defined]


def test_at_most_fifteen_features_have_a_panel() -> None:
    split = a_split(16)
    assert len(drawn("partial", split, evaluated(split)).figure.axes) == 1 + 15


def test_residuals_are_actual_less_predicted() -> None:
    split = a_split(1)
    axes = drawn("residuals", split, evaluated(split))
    predicted = 3 * split.test.x[:, 0] + 1
    points = np.column_stack([predicted, split.test.y - predicted])
    assert np.allclose(axes.collections[0].get_offsets(), points, atol=1e-5)
    assert axes.get_ylabel() == "Actual less predicted [$K]"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Plots whose columns have plain names, by the number of features."""
    folders = {features: tmp_path_factory.mktemp("plain") / "plots" for features in (1, 2)}
    for features, folder in folders.items():
        split = a_split(features)
        draw_plots(split, evaluated(split), folder)
    return folders


@pytest.mark.parametrize(("name", "features"), [("$x^2$", 2), ("$\\frac", 1), ("$\\frac", 2), ("a\nb", 2), ("面积", 2)])
def test_names_of_columns_are_drawn_as_they_are(
    tmp_path: Path, plain: dict[int, Path], name: str, features: int
) -> None:
    named, split = Column(name, name, name), a_split(features)
    hostile = replace(split, columns=(named, *split.columns[1:]), target=named, names=[name] * features)
    draw_plots(hostile, evaluated(hostile), tmp_path / "hostile")
    for plot in (plot for plot in PLOTS if plot.suits(features)):
        pictures = [(folder / f"{plot.name}.png").read_bytes() for folder in (tmp_path / "hostile", plain[features])]
        assert pictures[0] != pictures[1]


@pytest.mark.parametrize(("rows", "drawn"), [(0, 0), (5000, 5000), (5001, 2501), (100_000, 5000)])
def test_a_fair_share_of_the_rows_is_drawn(rows: int, drawn: int) -> None:
    part = Rows(np.arange(rows, dtype=float)[:, None], np.arange(rows, dtype=float), np.arange(rows), np.arange(rows))
    model = LinearModel((1.0,), 0.0)
    result = TrainingResult(Training(), model, (1.0,), (), "")
    predicted = {name: model.predict(part.x) for name in ("train", "validation", "test")}
    split = make_split((Column("x", ""),), Column("y", ""), part)
    examples = np.ones((5, 1))
    predicted = predicted | {"examples": model.predict(examples)}
    evaluation = Evaluation(result, model, predicted, examples, {}, {}, None, fit_alone(split, result)[0])
    split, thinned = thin_out(split, evaluation)
    assert len(split.train) == len(split.train.x) == len(thinned.predicted["train"]) == drawn
    assert np.array_equal(thinned.predicted["test"], split.test.y)
    assert len(thinned.predicted["examples"]) == 5
    assert drawn == 0 or split.test.y[-1] > 0.99 * (rows - 1)
