"""The plots of a version, in one quiet style, drawn without a display.

Source: the figures of the tutorial. The colours are from the Okabe-Ito palette, which colour-blind readers can
distinguish; training and test also differ by marker, lines by dash.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.ticker import ScalarFormatter
from PIL import Image

from linear_neuron.tasks.dataset.rows import Column, Floats, Predictions, Rows, Split, release_pages
from linear_neuron.tasks.reporting.histogram import show_tick
from linear_neuron.tasks.reporting.term_plots import draw_terms, measure
from linear_neuron.tasks.text import one_line
from linear_neuron.tasks.training.results import Evaluation

BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#8A8A8A", "#222222"
LEAST_SQUARES: dict[str, Any] = {"color": GREEN, "linestyle": "--"}  # in every picture; the neuron is a line of ink
STYLE: dict[Any, Any] = {
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 15,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "grid.color": "#E6E6E6",
    "legend.frameon": False,
    "lines.linewidth": 2.2,
    "text.parse_math": False,  # A dollar is a dollar.
    "date.converter": "concise",
}
POINTS: dict[str, Any] = {"s": 26, "alpha": 0.55, "linewidths": 0}
LOOKS = {"train": ("o", BLUE, 1.5), "validation": ("s", GREY, 1.2), "test": ("^", ORANGE, 1.5)}
HEIGHT = 4.5  # of a plot, in inches; its width is 8
SHOWN = 5000  # rows of each part that are drawn
MOST_PANELS, COLUMNS = 15, 3  # of a plot with a panel a feature

DrawPlot = Callable[[Axes, Split, Evaluation], None]


@dataclass(frozen=True)
class Plot:
    """A plot of a version: the name of its file, the title in it, the caption below it, and how it is drawn."""

    name: str
    title: str
    caption: str
    draw: DrawPlot
    features: str = "one or several"  # that it is for

    def suits(self, features: int) -> bool:
        """Return whether a version with this number of features has this plot."""
        return ("one" if features == 1 else "several") in self.features


@contextmanager
def open_figure(path: Path, title: str, height: float = HEIGHT) -> Iterator[Axes]:
    """Open a figure in the common style, `height` inches high, and save it as a PNG of about 15 KB."""
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # The font has no Chinese; each letter is shown as a box.
        figure = Figure(figsize=(8, height), dpi=100)
        figure.subplots_adjust(0.14, 0.63 / height, 0.96, 1 - 0.36 / height)  # A layout engine would draw all twice.
        canvas = FigureCanvasAgg(figure)
        yield figure.add_subplot(title=title)
        for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
            if type(axis.get_major_formatter()) is ScalarFormatter:
                axis.set_major_formatter(lambda value, _: show_tick(value))
        canvas.draw()  # type: ignore[no-untyped-call]
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba()))  # type: ignore[no-untyped-call]
        # A palette makes the picture a third of the size; the artifacts of a run must stay small.
        picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=48).save(path, optimize=True)


def _label(column: Column) -> str:
    """Capitalise what a column means, for an axis; its name alone stays as it is."""
    text = one_line(column)
    return text if column.meaning == column.name else text[:1].upper() + text[1:]


def _with_unit(text: str, column: Column, power: str = "") -> str:
    return f"{text} [{one_line(column.unit)}{power}]" if column.unit else text


def _draw_rows(axes: Axes, x: Floats | Predictions, y: Floats | Predictions, part: str) -> None:
    """Draw the rows of a part of the split, each part in its own look; validation rows lie below the others."""
    marker, colour, order = LOOKS[part]
    axes.scatter(x, y, marker=marker, color=colour, label=f"{part} rows", zorder=order, **POINTS)


def _draw_feature(axes: Axes, split: Split, _: Evaluation) -> None:
    """Draw the feature against the target, training and validation rows."""
    for name in ("train", "validation"):
        _draw_rows(axes, split.parts[name].x[:, 0], split.parts[name].y, name)
    axes.set(xlabel=_label(split.features[0]), ylabel=_label(split.target))
    axes.legend()


def _draw_partial(axes: Axes, split: Split, evaluation: Evaluation) -> None:
    """Draw a panel for each feature: the target less the terms of all other features, and the neuron's line.

    The features that move the predictions most come first. Source of these partial residuals: Larsen and McCleary, "The
    Use of Partial Residual Plots in Regression Analysis", Technometrics 14 (1972).
    """
    label = _with_unit(f"Change of {one_line(split.target.meaning)}", split.target)[:40]
    if split.link == "log":
        label = f"Change of log({one_line(split.target.name)})"[:40]
    if split.terms:
        draw_terms(axes, measure(split, evaluation), label, INK, BLUE)
        return
    axes.set_axis_off()
    line = evaluation.result.linear_model
    weights = np.array(line.weights)
    residuals = split.train.y - evaluation.predicted["train"]
    if split.link == "log":
        residuals = split.learn(split.train).y - line.compute(split.train.x)
    strongest = np.argsort(-np.abs(split.train.x.std(axis=0) * weights), kind="stable")[:MOST_PANELS].tolist()
    columns, spec = min(COLUMNS, len(strongest)), cast(SubplotSpec, axes.get_subplotspec())
    grid = spec.subgridspec(-(-len(strongest) // columns), columns, wspace=0.12, hspace=0.45)
    panels = grid.subplots(sharey=True, squeeze=False).ravel()
    for panel in panels[len(strongest) :]:
        panel.remove()
    for panel, index in zip(panels, strongest, strict=False):
        x, column = split.train.x[:, index], split.features[index]
        panel.scatter(x, residuals + weights[index] * (x - x.mean()), marker="o", color=BLUE, **POINTS | {"s": 9})
        panel.axline((x.mean(), 0), slope=weights[index], color=INK, linewidth=1.8)
        panel.set_xlabel(_with_unit(one_line(column.name), column)[:30], fontsize=10)
        panel.tick_params(labelsize=9)
        panel.locator_params(axis="x", nbins=4)
    axes.figure.text(0.012, 0.5, label, rotation="vertical", va="center", color=INK)


def _draw_loss(axes: Axes, split: Split, evaluation: Evaluation) -> None:
    """Draw the loss by epoch beside that of least squares; logarithmic where it spans more than two decades."""
    result, least = evaluation.result, evaluation.metrics["train"]["least_squares"]["mse"]
    constraints, what = evaluation.data.constraints, "Mean squared error"
    if constraints.l2 or split.link == "log":
        least = constraints.apply(evaluation.data.parts["train"]).measure_mse(evaluation.least_squares)
        what = f"MSE{' of the logarithm' * (split.link == 'log')}{' and ridge' * bool(constraints.l2)}"
    epochs = np.arange(1, len(result.loss) + 1)
    axes.plot(epochs, result.loss, color=BLUE, label="training")
    if result.val_loss:
        axes.plot(epochs, result.val_loss, color=GREY, linestyle="-.", label="validation")
    axes.axhline(least, label="least squares, training", **LEAST_SQUARES)
    if max((*result.loss, *result.val_loss)) > 100 * max(least, 1e-9):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: show_tick(value))
    else:
        axes.set_ylim(bottom=0)
    axes.set(xlabel="Epoch", ylabel=what if split.link == "log" else _with_unit(what, split.target, "²"))
    axes.legend()


def _draw_fit(part: str) -> DrawPlot:
    """Make a plot: for one feature rows and lines of neuron and least squares, for several predicted against actual."""

    def draw(axes: Axes, split: Split, evaluation: Evaluation) -> None:
        several = len(split.features) > 1
        for name in ("train", "validation") if part == "train" else (part,):
            rows = split.parts[name]
            _draw_rows(axes, evaluation.predicted[name] if several else rows.x[:, 0], rows.y, name)
        if several:
            rows = split.parts[part]
            ends: Floats = np.array([rows.y.min(), rows.y.max()])
            axes.plot(ends, ends, color=INK, label="where both agree")
            axes.set(xlabel=f"Predicted {one_line(split.target)}", ylabel=_label(split.target))
        else:
            every = np.concatenate([split.train.x, split.test.x])
            x = np.linspace(every.min(axis=0), every.max(axis=0), 50)
            predicted = evaluation.result.linear_model.predict(x)
            axes.plot(x[:, 0], predicted, color=INK, label="neuron")
            if part == "test" and (width := evaluation.intervals["90"]) is not None and evaluation.bins is None:
                band: dict[str, Any] = {"color": INK, "alpha": 0.1, "linewidth": 0, "zorder": 1.1}
                axes.fill_between(x[:, 0], predicted - width, predicted + width, label="90% interval", **band)
            line = evaluation.least_squares.predict(x)
            axes.plot(x[:, 0], line, label="least squares", **LEAST_SQUARES)
            axes.set(xlabel=_label(split.features[0]), ylabel=_label(split.target))
        axes.legend()

    return draw


def _draw_residuals(axes: Axes, split: Split, evaluation: Evaluation) -> None:
    """Draw residuals against predictions on the test rows."""
    predicted = evaluation.predicted["test"]
    _draw_rows(axes, predicted, split.test.y - predicted, "test")
    axes.axhline(0, color=INK, linewidth=1.2)
    axes.set(xlabel=f"Predicted {one_line(split.target)}", ylabel=_with_unit("Actual less predicted", split.target))
    axes.legend()


PLOTS = (
    Plot(
        "feature",
        "Feature and target",
        "Train rows, and below them validation rows.",
        _draw_feature,
        "one",
    ),
    Plot(
        "partial",
        "Partial residuals",
        "For each train row the target less the neuron's terms of all other features, and the neuron's line or curve; "
        "of a category a bar for each of its most frequent levels, with their rows. "
        f"The features that move the predictions most come first, {MOST_PANELS} at most.",
        _draw_partial,
        "several",
    ),
    Plot(
        "loss",
        "Loss by epoch",
        "Mean squared error by epoch; the dashed line is what least squares reaches on the train rows.",
        _draw_loss,
    ),
    Plot(
        "fit_train",
        "Fit on the train rows",
        "The model, train rows, and below them validation rows.",
        _draw_fit("train"),
    ),
    Plot(
        "fit_test",
        "Fit on the test rows",
        "The model, and rows it has never seen.",
        _draw_fit("test"),
    ),
    Plot(
        "residuals",
        "Test residuals",
        "Errors on the test rows; a pattern here is something that a straight line can't express.",
        _draw_residuals,
    ),
)


def draw_plots(split: Split, evaluation: Evaluation, folder: Path) -> None:
    """Draw every plot that suits the number of features into the folder, each as `<name>.png`."""
    folder.mkdir(exist_ok=True)
    features = len(split.features)
    panels = min(len(split.terms.texts) if split.terms else features, MOST_PANELS)
    high = max(HEIGHT, 1 + 2.3 * -(-panels // COLUMNS))  # with a row of panels for three features
    for plot in PLOTS:
        if plot.suits(features):
            with open_figure(
                folder / f"{plot.name}.png", plot.title, high if plot.name == "partial" else HEIGHT
            ) as axes:
                plot.draw(axes, split, evaluation)


def thin_out(split: Split, evaluation: Evaluation) -> tuple[Split, Evaluation]:
    """Keep evenly spaced rows of each part, at most SHOWN of them."""
    steps = {name: slice(None, None, -(-len(rows) // SHOWN) or 1) for name, rows in split.rows.items()}
    parts = {name: _take(rows, steps[name]) for name, rows in split.rows.items()}
    predicted = {
        name: values[steps[name]] if name in steps else values for name, values in evaluation.predicted.items()
    }
    return replace(split, rows=parts), replace(evaluation, predicted=predicted)


def _take(rows: Rows, step: slice) -> Rows:
    x, y = rows.x[step].copy(), rows.y[step].copy()
    release_pages(rows.x)
    return Rows(x, y, rows.number[step], None if rows.time is None else rows.time[step])
