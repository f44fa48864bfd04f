"""The plots of a version, five of them, in one quiet style, drawn without a display.

Source: the figures of the tutorial. The colours are from the Okabe-Ito palette, which colour-blind readers can tell
apart; training and test also differ by marker, lines by dash.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from PIL import Image

from tasks.dataset.rows import Column, Floats, Split
from tasks.model import ModelVersion
from tasks.text import one_line
from tasks.training.results import Evaluation

BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#8A8A8A", "#222222"
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
    "grid.color": "#E6E6E6",
    "legend.frameon": False,
    "lines.linewidth": 2.2,
    "text.parse_math": False,  # A dollar is a dollar.
    "date.converter": "concise",
}
POINTS: dict[str, Any] = {"s": 26, "alpha": 0.55, "linewidths": 0}
HEIGHT = 4.5  # of a plot, in inches; its width is 8
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
        """Return whether a version with so many features has this plot."""
        return ("one" if features == 1 else "several") in self.features


@contextmanager
def open_figure(path: Path, title: str, height: float = HEIGHT) -> Iterator[Axes]:
    """Open a figure in the common style, so many inches high, and save it as a PNG of about 15 KB."""
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # The font has no Chinese; a box stands for each letter.
        figure = Figure(figsize=(8, height), dpi=100)
        figure.subplots_adjust(0.125, 0.63 / height, 0.98, 1 - 0.36 / height)  # A layout engine would draw all twice.
        canvas = FigureCanvasAgg(figure)
        yield figure.add_subplot(title=title)
        canvas.draw()  # type: ignore[no-untyped-call]
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba()))  # type: ignore[no-untyped-call]
        # A palette makes the picture a third of the size; the artifacts of a run must stay small.
        picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=48).save(path, optimize=True)


def _label(column: object) -> str:
    """Capitalise what a column means, for an axis."""
    text = one_line(column)
    return text[:1].upper() + text[1:]


def _with_unit(text: str, column: Column, power: str = "") -> str:
    return f"{text} [{one_line(column.unit)}{power}]" if column.unit else text


def _draw_feature(axes: Axes, split: Split, _: Evaluation) -> None:
    """Draw the feature against the target, training and validation rows."""
    for rows, marker, colour, label in (
        (split.train, "o", BLUE, "fitted"),
        (split.validation, "s", GREY, "validation"),
    ):
        axes.scatter(rows.x[:, 0], rows.y, marker=marker, color=colour, label=label, **POINTS)
    axes.set(xlabel=_label(split.features[0]), ylabel=_label(split.target))
    axes.legend()


def _draw_partial(axes: Axes, split: Split, evaluation: Evaluation) -> None:
    """Draw a panel a feature: what is left of the target once all others have had their say, and the neuron's line.

    The features that move the predictions most come first. Source of these partial residuals: Larsen and McCleary, "The
    Use of Partial Residual Plots in Regression Analysis", Technometrics 14 (1972).
    """
    axes.set_axis_off()
    weights = np.array(evaluation.result.linear_model.weights)
    residuals = split.train.y - evaluation.predicted["train"]
    strongest = np.argsort(-np.abs(split.train.x.std(axis=0) * weights), kind="stable")[:MOST_PANELS].tolist()
    columns, spec = min(COLUMNS, len(strongest)), cast(SubplotSpec, axes.get_subplotspec())
    grid = spec.subgridspec(-(-len(strongest) // columns), columns, wspace=0.12, hspace=0.45)
    panels = grid.subplots(sharey=True, squeeze=False).ravel()
    for panel in panels[len(strongest) :]:
        panel.remove()
    for panel, place in zip(panels, strongest, strict=False):
        x, column = split.train.x[:, place], split.features[place]
        panel.scatter(x, residuals + weights[place] * (x - x.mean()), marker="o", color=BLUE, **POINTS | {"s": 9})
        panel.axline((x.mean(), 0), slope=weights[place], color=INK, linewidth=1.8)
        panel.set_xlabel(_with_unit(one_line(column.name), column)[:30], fontsize=10)
        panel.tick_params(labelsize=9)
    label = _with_unit(f"Change of {one_line(split.target.meaning)}", split.target)[:40]
    axes.figure.text(0.012, 0.5, label, rotation="vertical", va="center", color=INK)


def _draw_loss(axes: Axes, split: Split, evaluation: Evaluation) -> None:
    """Draw the loss by epoch beside that of least squares; logarithmic where it spans more than two decades."""
    result, least = evaluation.result, evaluation.metrics["train"]["least_squares"]["mse"]
    epochs = np.arange(1, len(result.loss) + 1)
    axes.plot(epochs, result.loss, color=BLUE, label="training")
    if result.val_loss:
        axes.plot(epochs, result.val_loss, color=ORANGE, linestyle="--", label="validation")
    axes.axhline(least, color=INK, linestyle=":", label="least squares, training")
    if max((*result.loss, *result.val_loss)) > 100 * max(least, 1e-9):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.set_ylim(bottom=0)
    axes.set(xlabel="Epoch", ylabel=_with_unit("Mean squared error", split.target, "²"))
    axes.legend()


def _draw_fit(part: str, marker: str, colour: str, other: str) -> DrawPlot:
    """Make a plot: for one feature rows and lines of neuron and least squares, for several predicted against actual."""

    def draw(axes: Axes, split: Split, evaluation: Evaluation) -> None:
        several = len(split.features) > 1
        validation = {"validation": ("s", GREY)} if part == "train" else {}
        for name, (shape, shade) in {part: (marker, colour), **validation}.items():
            rows = split.parts[name]
            x = evaluation.predicted[name] if several else rows.x[:, 0]
            axes.scatter(x, rows.y, marker=shape, color=shade, label=f"{name} rows", **POINTS)
        if several:
            rows = split.parts[part]
            ends: Floats = np.array([rows.y.min(), rows.y.max()])
            axes.plot(ends, ends, color=INK, label="where both agree")
            axes.set(xlabel=f"Predicted {one_line(split.target)}", ylabel=_label(split.target))
        else:
            every = np.concatenate([split.train.x, split.test.x])
            x = np.linspace(every.min(axis=0), every.max(axis=0), 50)
            axes.plot(x[:, 0], evaluation.result.linear_model.predict(x), color=INK, label="neuron")
            line = evaluation.least_squares.predict(x)
            axes.plot(x[:, 0], line, color=other, linestyle="--", label="least squares")
            axes.set(xlabel=_label(split.features[0]), ylabel=_label(split.target))
        axes.legend()

    return draw


def _draw_residuals(axes: Axes, split: Split, evaluation: Evaluation) -> None:
    """Draw residuals against predictions on the test rows."""
    predicted = evaluation.predicted["test"]
    axes.scatter(predicted, split.test.y - predicted, marker="^", color=ORANGE, label="test rows", **POINTS)
    axes.axhline(0, color=INK, linewidth=1.2)
    axes.set(xlabel=f"Predicted {one_line(split.target)}", ylabel=_with_unit("Actual less predicted", split.target))
    axes.legend()


PLOTS = (
    Plot(
        "feature",
        "What the neuron learns from",
        "The rows that the neuron learned from, and those it was validated on.",
        _draw_feature,
        "one",
    ),
    Plot(
        "partial",
        "What each feature does",
        "What is left of the target once the neuron's terms of all other features are taken away, for the fitted rows, "
        f"and the neuron's line. The features that move the predictions most come first, {MOST_PANELS} at most.",
        _draw_partial,
        "several",
    ),
    Plot(
        "loss",
        "How the loss fell",
        "Mean squared error by epoch; the dotted line is what least squares reaches on the fitted rows.",
        _draw_loss,
    ),
    Plot(
        "fit_train",
        "The model over the training rows",
        "The model over the rows it was fitted on, and those it was validated on.",
        _draw_fit("train", "o", BLUE, ORANGE),
    ),
    Plot(
        "fit_test",
        "The model over the test rows",
        "The model over rows it has never seen.",
        _draw_fit("test", "^", ORANGE, BLUE),
    ),
    Plot(
        "residuals",
        "What is left over on the test rows",
        "Errors on the test rows; a pattern here is something that a straight line can't say.",
        _draw_residuals,
    ),
)


def draw_plots(split: Split, evaluation: Evaluation, folder: Path) -> None:
    """Draw every plot that suits the number of features into the folder, each as `<name>.png`."""
    folder.mkdir(exist_ok=True)
    features = len(split.features)
    high = max(HEIGHT, 1 + 2.3 * -(-min(features, MOST_PANELS) // COLUMNS))  # with a row of panels for three features
    for plot in PLOTS:
        if plot.suits(features):
            with open_figure(
                folder / f"{plot.name}.png", plot.title, high if plot.name == "partial" else HEIGHT
            ) as axes:
                plot.draw(axes, split, evaluation)


def draw_histogram(model: ModelVersion, counts: list[int], path: Path) -> None:
    """Draw how the predictions of a batch are spread, beside the targets that the model was trained on.

    `counts` is for the bins of `model.targets`, with one bin more on either side.
    """
    edges, targets = model.targets.edges, model.targets.counts
    with open_figure(path, "Predictions beside the training targets") as axes:
        for values, label, colour, fill in (
            (counts[1:-1] or [0] * len(targets), "predictions", BLUE, True),
            (targets, "training targets", ORANGE, False),
        ):
            shares = np.array(values) / max(1, sum(values))
            axes.stairs(shares, edges, label=label, color=colour, fill=fill, alpha=0.55 if fill else 1, linewidth=2.2)
        axes.set(xlabel=_label(model.labels.get(model.target, model.target)), ylabel="Share of the rows")
        axes.legend()
