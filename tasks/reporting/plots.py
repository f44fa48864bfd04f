"""The five plots of a version, in one quiet style, drawn without a display.

Source: the figures of the tutorial. The colours are from the Okabe-Ito palette, which colour-blind readers can tell
apart; training and test also differ by marker, lines by dash.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from tasks.dataset import boston
from tasks.dataset.rows import Floats, Split
from tasks.model import LinearModel, ModelVersion
from tasks.registry.versions import NewVersion
from tasks.scoring.manifest import BatchRun, Manifest
from tasks.steps import task
from tasks.training.results import Evaluation, TrainingResult

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
}
POINTS: dict[str, Any] = {"s": 26, "alpha": 0.55, "linewidths": 0}
PLOTS = ("feature", "loss", "fit_train", "fit_test", "residuals")
TITLES = {
    "feature": "What the neuron learns from",
    "loss": "How the loss fell",
    "fit_train": "The model over the training rows",
    "fit_test": "The model over the test rows",
    "residuals": "What is left over on the test rows",
}


@contextmanager
def _figure(path: Path, title: str) -> Iterator[Axes]:
    """A figure in the common style, saved as a PNG of about 15 KB."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 4.5), dpi=100)
        figure.subplots_adjust(left=0.125, right=0.98, top=0.92, bottom=0.14)  # A layout engine would draw all twice.
        canvas = FigureCanvasAgg(figure)
        yield figure.add_subplot(title=title)
        canvas.draw()  # type: ignore[no-untyped-call]
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba()))  # type: ignore[no-untyped-call]
        # A palette makes the picture a third of the size; the artifacts of a run must stay small.
        picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=48).save(path, optimize=True)


def draw_plots(split: Split, trained: TrainingResult, least_squares: LinearModel, folder: Path) -> None:
    """Draws the five into `folder`, each `<name>.png`."""
    folder.mkdir(exist_ok=True)
    draw: dict[str, Callable[[Axes], None]] = {
        "feature": lambda axes: _draw_feature(axes, split),
        "loss": lambda axes: _draw_loss(axes, split, trained, least_squares),
        "fit_train": lambda axes: _draw_fit(axes, split, trained.linear_model, least_squares, "train"),
        "fit_test": lambda axes: _draw_fit(axes, split, trained.linear_model, least_squares, "test"),
        "residuals": lambda axes: _draw_residuals(axes, split, trained.linear_model),
    }
    for name in PLOTS:
        with _figure(folder / f"{name}.png", TITLES[name]) as axes:
            draw[name](axes)


def _label(name: str) -> str:
    """What a column means, with its unit."""
    meaning = boston.COLUMNS[name]
    return meaning[0].upper() + meaning[1:]


def _draw_feature(axes: Axes, split: Split) -> None:
    """The (first) feature against the target, training and validation rows."""
    for rows, marker, colour, label in (
        (split.train, "o", BLUE, "fitted"),
        (split.validation, "s", GREY, "validation"),
    ):
        axes.scatter(rows.x[:, 0], rows.y, marker=marker, color=colour, label=label, **POINTS)
    axes.set(xlabel=_label(split.features[0]), ylabel=_label(split.target))
    axes.legend()


def _draw_loss(axes: Axes, split: Split, trained: TrainingResult, least_squares: LinearModel) -> None:
    """Loss by epoch, with the closed form's loss as the floor; logarithmic where it spans more than two decades."""
    epochs = np.arange(1, len(trained.loss) + 1)
    axes.plot(epochs, trained.loss, color=BLUE, label="training")
    if trained.val_loss:
        axes.plot(epochs, trained.val_loss, color=ORANGE, linestyle="--", label="validation")
    floor = float(np.mean((least_squares.predict(split.train.x) - split.train.y) ** 2))
    axes.axhline(floor, color=INK, linestyle=":", label="closed form, training")
    losses = [*trained.loss, *trained.val_loss]
    if max(losses) > 100 * max(floor, 1e-9):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.set_ylim(bottom=0)
    axes.set(xlabel="Epoch", ylabel=_with_unit("Mean squared error", split.target, "²"))
    axes.legend()


def _with_unit(text: str, name: str, power: str = "") -> str:
    """The text with the unit of a column, where it has one."""
    unit = boston.COLUMNS[name].partition("[")[2].rstrip("]")
    return f"{text} [{unit}{power}]" if unit else text


def _draw_fit(axes: Axes, split: Split, neuron: LinearModel, least_squares: LinearModel, part: str) -> None:
    """One feature: rows and the neuron's line beside the closed form's. Several: predicted against actual."""
    train = part == "train"
    rows, marker, colour, other = (split.train, "o", BLUE, ORANGE) if train else (split.test, "^", ORANGE, BLUE)
    points: dict[str, Any] = {
        "s": 26,
        "marker": marker,
        "color": colour,
        "alpha": 0.55,
        "linewidths": 0,
        "label": f"{part} rows",
    }
    if len(split.features) > 1:
        axes.scatter(neuron.predict(rows.x), rows.y, **points)
        ends: Floats = np.array([rows.y.min(), rows.y.max()])
        axes.plot(ends, ends, color=INK, label="where both agree")
        axes.set(xlabel=f"Predicted {boston.COLUMNS[split.target]}", ylabel=_label(split.target))
    else:
        axes.scatter(rows.x[:, 0], rows.y, **points)
        every = np.concatenate([split.train.x, split.test.x])
        x = np.linspace(every.min(axis=0), every.max(axis=0), 50)
        axes.plot(x[:, 0], neuron.predict(x), color=INK, label="neuron")
        axes.plot(x[:, 0], least_squares.predict(x), color=other, linestyle="--", label="closed form")
        axes.set(xlabel=_label(split.features[0]), ylabel=_label(split.target))
    axes.legend()


def _draw_residuals(axes: Axes, split: Split, neuron: LinearModel) -> None:
    """Residual against prediction on the test rows."""
    predicted = neuron.predict(split.test.x)
    axes.scatter(predicted, split.test.y - predicted, marker="^", color=ORANGE, label="test rows", **POINTS)
    axes.axhline(0, color=INK, linewidth=1.2)
    axes.set(
        xlabel=f"Predicted {boston.COLUMNS[split.target]}", ylabel=_with_unit("Actual less predicted", split.target)
    )
    axes.legend()


def draw_histogram(neuron: ModelVersion, counts: list[int], path: Path) -> None:
    """How the predictions of a batch are spread, beside the targets that the model was trained on.

    `counts` is for the bins of `neuron.targets`, with one bin more on either side.
    """
    edges, targets = neuron.targets.edges, neuron.targets.counts
    with _figure(path, "Predictions beside the training targets") as axes:
        for values, label, colour, fill in (
            (counts[1:-1] or [0] * len(targets), "predictions", BLUE, True),
            (targets, "training targets", ORANGE, False),
        ):
            shares = np.array(values) / max(1, sum(values))
            axes.stairs(shares, edges, label=label, color=colour, fill=fill, alpha=0.55 if fill else 1, linewidth=2.2)
        axes.set(xlabel=_label(neuron.target), ylabel="Share of the rows")
        axes.legend()


@task("Draw the histogram")
def draw_predictions(manifest: Manifest, job: BatchRun) -> bytes:
    """The histogram of a batch as a PNG."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "histogram.png"
        draw_histogram(job.neuron, manifest.total.histogram, path)
        return path.read_bytes()


@task("Draw the plots")
def draw(split: Split, trained: TrainingResult, evaluation: Evaluation, draft: NewVersion) -> None:
    """Draws the version's plots into its folder."""
    draw_plots(split, trained, evaluation.least_squares, draft.folder / "plots")
