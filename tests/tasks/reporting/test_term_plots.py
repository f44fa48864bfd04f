"""The partial effect of each term is drawn over what it reads, the strongest first."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from linear_neuron.tasks.dataset.raw_columns import Labels
from linear_neuron.tasks.dataset.rows import Column, Origin, Snapshot, Split
from linear_neuron.tasks.dataset.split import check_features, split
from linear_neuron.tasks.parameters import Dataset, ExampleInputs, Training
from linear_neuron.tasks.reporting.plots import PLOTS, draw_plots, thin_out
from linear_neuron.tasks.reporting.term_plots import MOST_BARS, list_levels, measure
from linear_neuron.tasks.training.fit_data import prepare_fit
from linear_neuron.tasks.training.metrics import evaluate
from linear_neuron.tasks.training.results import Evaluation, Fitted, TrainingResult

CITIES = ("Aachen", "Bonn", "Celle")


def make_snapshot() -> Snapshot:
    """Make rows whose price has a curve of the area, a slope of the age in each city, and a level of the city."""
    rng = np.random.default_rng(0)
    area, age = rng.uniform(1, 9, (2, 1000))
    city = rng.choice(3, 1000, p=[0.5, 0.3, 0.2])
    price = np.exp(3 + np.sin(area) + 0.05 * age * (city - 1) + np.array([0.0, 0.4, -0.2])[city])
    columns = (Column("area", "area"), Column("age", "age"), Column("price", "price", "$"))
    return Snapshot(
        "homes",
        Origin("", ""),
        columns,
        np.column_stack([area, age, price + rng.uniform(0, 1, 1000)]),
        None,
        0.8,
        hashes=np.sort(rng.integers(0, 2**64, 1000, dtype=np.uint64)),
        labels={"city": Labels(city, CITIES)},
    )


def fit(features: list[str], categories: list[str], target: str = "log(price)") -> tuple[Split, Evaluation]:
    """Fit least squares in the place of a neuron."""
    training = Training(recipe="converged").resolve(own_table=True)
    dataset = Dataset(source="t", features=features, categories=categories, target=target)
    data = prepare_fit.fn(check_features.fn(split.fn(make_snapshot(), dataset, 0.3)), training)
    line = data.solve(data.parts["train"])
    if data.split.terms:
        line = data.split.terms.settle(line, data.split.train.x.mean(axis=0))
    result = TrainingResult(training, line, (2.0, 1.0), (), "")
    return thin_out(data.split, evaluate.fn(replace(data, served=None), Fitted(result, result), ExampleInputs()))


def draw(fitted: tuple[Split, Evaluation], name: str = "partial") -> list[Axes]:
    (plot,) = (plot for plot in PLOTS if plot.name == name)
    figure = Figure()
    plot.draw(figure.add_subplot(), *fitted)
    return figure.axes[name == "partial" :]


def test_curve_is_drawn_over_its_column_and_goes_through_its_residuals() -> None:
    panels = draw(fit(["spline(area, 8)"], ["city"]))
    assert [panel.get_xlabel() for panel in panels] == ["spline(area, 8)", "city"]
    (line,) = panels[0].get_lines()
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    assert (x.min(), x.max()) == (pytest.approx(1, abs=0.1), pytest.approx(9, abs=0.1))
    sine = np.sin(x) - np.sin(x).mean()
    assert np.abs(y - y.mean() - sine).max() < 0.1
    points = np.asarray(panels[0].collections[0].get_offsets())
    assert np.abs(np.interp(points[:, 0], x, y) - points[:, 1]).mean() < 0.12


def test_bars_have_the_levels_and_their_rows() -> None:
    fitted = fit(["area"], ["city"])
    bars = draw(fitted)[0]
    assert bars.get_xlabel() == "city"
    counts = [
        int((make_snapshot().labels["city"].codes[fitted[1].data.split.train.number] == i).sum()) for i in (2, 1, 0)
    ]
    shown = [f"{city} ({count})" for city, count in zip(CITIES[::-1], counts, strict=True)]
    assert [text.get_text() for text in bars.get_yticklabels()] == shown


def test_slopes_have_a_line_for_each_level() -> None:
    panels = draw(fit(["age:city", "area"], []))
    (slopes,) = (panel for panel in panels if panel.get_xlabel() == "age:city")
    found = [np.ptp(np.asarray(line.get_ydata())) / np.ptp(np.asarray(line.get_xdata())) for line in slopes.get_lines()]
    assert len(found) == 3


def test_expression_of_two_columns_is_drawn_over_its_value() -> None:
    panels = draw(fit(["area*age", "spline(age, 3)"], []))
    (product,) = (panel for panel in panels if panel.get_xlabel() == "area*age")
    x = np.asarray(product.get_lines()[0].get_xdata())
    assert x.max() > 60


def test_strongest_terms_come_first_and_frequent_levels_too() -> None:
    split, evaluation = fit(["spline(area, 8)", "age"], ["city"])
    effects = measure(split, evaluation)
    assert [effects.terms[index].name for index in effects.strongest] == ["spline(area, 8)", "city", "age"]
    city = effects.terms[2]
    assert list_levels(city) == ["Aachen", "Bonn", "Celle"]
    many = city.model_copy(update={"rows": {str(number): number for number in range(100)}})
    assert list_levels(many) == [str(number) for number in range(99, 99 - MOST_BARS, -1)]


def test_plain_columns_of_a_log_target_have_residuals_of_the_logarithm() -> None:
    split, evaluation = fit(["area", "age"], [])
    assert split.terms is None
    panel = draw((split, evaluation))[0]
    points = np.asarray(panel.collections[0].get_offsets())
    assert np.abs(points[:, 1]).max() < 3


def test_loss_of_a_log_target_is_that_of_the_logarithm() -> None:
    fitted = fit(["spline(area, 8)"], ["city"])
    (axes,) = draw(fitted, "loss")
    assert axes.get_ylabel() == "MSE of the logarithm"
    least = np.asarray(axes.get_lines()[1].get_ydata())[0]
    assert 0 < least < 0.1


def test_plots_of_terms_are_small(tmp_path: Path) -> None:
    draw_plots(*fit(["spline(area, 8)", "log(age)", "age:city"], ["city"], "price"), tmp_path / "plots")
    with Image.open(tmp_path / "plots" / "partial.png") as picture:
        assert picture.size == (800, 560)
    assert all(path.stat().st_size < 60_000 for path in (tmp_path / "plots").iterdir())
