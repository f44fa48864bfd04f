"""The charts of time: errors of all versions, of a backtest, and of each past, in the style of the plots."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from linear_neuron.tasks.reporting.plots import BLUE, GREEN, GREY, INK, LEAST_SQUARES, ORANGE, open_figure
from linear_neuron.tasks.text import one_line

SKY, PURPLE, YELLOW = "#56B4E9", "#CC79A7", "#E69F00"  # also of the Okabe-Ito palette
HEIGHT, ABOVE, BELOW = 5.5, 0.72, 1.3  # inches: of the figure, and of what is above and below its axes
SPAN = 1 / 144  # days that the axis of time shows of a single version at least: ten minutes
MANY = 60  # versions above which their marks are small
DECADES = 30  # the greatest error, as a multiple of the least, above which the axis is logarithmic
LINES = (
    ("neuron", "neuron", {"color": INK, "marker": "o"}),
    ("mean", "mean predictor", {"color": GREY, "linestyle": ":", "marker": "s"}),
    (
        "least_squares",
        "least squares",
        LEAST_SQUARES | {"marker": "^"},
    ),  # last, since it often lies on the neuron's line
)

Point = tuple[datetime, float]


@dataclass(frozen=True)
class History:
    """What happened to the versions of one target, each list in the order of time; errors are mean squared ones.

    The chart shows their roots, which are in the unit of the target.
    """

    target: str
    tested: list[Point]  # the test error of each version that was not refused, when it was made
    refused: list[Point]  # that of each one that was
    least_squares: list[Point]  # that of the best line for the same rows
    served: list[Point]  # the test error of each champion, when it began to serve
    realized: list[Point]  # the error of a batch of predictions on its actuals, when they were made
    drifts: list[datetime]  # alarms: inputs or predictions are no longer distributed as in training
    failing: list[datetime]  # alarms: the actuals are worse than expected from the test rows


def draw_history(history: History, path: Path) -> None:
    """Draw the errors of all versions by when they were made, which one served, and what became of predictions."""
    with open_figure(path, "", HEIGHT) as axes:
        axes.figure.subplots_adjust(bottom=BELOW / HEIGHT, top=1 - ABOVE / HEIGHT, right=0.96)
        draw_points(axes, history)
        axes.set_title(f"Error of each version for {one_line(history.target)[:40]}", pad=26)
        axes.set(xlabel="Made, or predicted, at (UTC)", ylabel=f"RMSE of {one_line(history.target)[:40]}")
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (-0.02, -0.2), "borderaxespad": 0}
        axes.legend(**place, ncols=4, fontsize=11, columnspacing=1.4, handlelength=1.8)


def draw_points(axes: Axes, history: History) -> None:
    """Draw errors and alarms, and an axis of time that suits them."""
    _draw_errors(axes, history)
    _draw_alarms(axes, history)
    _widen(axes, single=len(history.least_squares) < 2)


def _draw_errors(axes: Axes, history: History) -> None:
    """Draw all errors, on a logarithmic axis where they lie far apart."""
    few, mark = _choose_marks(history)
    cross = mark | {"marker": "x", "markersize": 8 if few else 4.5, "markeredgewidth": 2.2 if few else 1.2}
    floor = mark | {"marker": "_", "markersize": 12 if few else 4, "markeredgewidth": 1.6}
    series: tuple[tuple[list[Point], str, dict[str, Any]], ...] = (
        (history.least_squares, "least squares", floor | {"color": GREEN}),
        (_extend(history), "champion", {"color": INK, "drawstyle": "steps-post", "linewidth": 1.8 if few else 0.8}),
        (history.realized, "realized error", mark | {"color": SKY, "marker": "D"}),
        (history.tested, "test error", mark | {"color": BLUE, "marker": "o"}),
        (history.refused, "refused", cross | {"color": ORANGE}),
    )
    for points, label, style in series:
        _plot(axes, [(at, math.sqrt(mse)) for at, mse in points], label, style)
    errors = [math.sqrt(mse) for points, _, _ in series for _, mse in points]
    if max(errors) > DECADES * min(errors) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,g}")
    else:
        axes.set_ylim(0, 1.06 * max(errors) or 1)


def _draw_alarms(axes: Axes, history: History) -> None:
    """Draw the alarms above the axes, since they have no error; one row for each kind."""
    mark = _choose_marks(history)[1] | {"transform": axes.get_xaxis_transform(), "clip_on": False}
    _plot(axes, [(at, 1.07) for at in history.drifts], "drift alarm", mark | {"color": PURPLE, "marker": "v"})
    _plot(axes, [(at, 1.03) for at in history.failing], "performance alarm", mark | {"color": YELLOW, "marker": "s"})


def _choose_marks(history: History) -> tuple[bool, dict[str, Any]]:
    """Return whether there are few versions, and the style of a mark."""
    few = len(history.least_squares) <= MANY
    return few, {"linestyle": "", "markersize": 7 if few else 3.5}


def _extend(history: History) -> list[Point]:
    """Let the last champion serve until a little after all else in the chart."""
    if not history.served:
        return []
    every = (history.least_squares, history.realized, history.served)
    moments = [*(at for points in every for at, _ in points), *history.drifts, *history.failing]
    more = (max(moments) - min(moments)) / 30 or timedelta(minutes=1)
    return [*history.served, (max(moments) + more, history.served[-1][1])]


def _widen(axes: Axes, *, single: bool) -> None:
    """Show `SPAN` of a single version, since an axis of seconds, or of years, does not show when it was made."""
    first, last = axes.dataLim.intervalx  # in days
    if single and last - first < SPAN:
        axes.set_xlim((first + last - SPAN) / 2, (first + last + SPAN) / 2)


def _plot(axes: Axes, points: Sequence[Point], label: str, style: dict[str, Any]) -> None:
    if points:
        times, heights = zip(*points, strict=True)
        axes.plot(_convert(times), heights, label=label, **style)


def _convert(times: Sequence[datetime]) -> NDArray[np.datetime64]:
    """Convert times to UTC, as the axis needs them."""
    return np.array([at.astimezone(UTC).replace(tzinfo=None) for at in times], "datetime64[us]")


def draw_backtest(steps: list[dict[str, Any]], target: str, path: Path) -> None:
    """Draw the error of each model by the day it was trained on; a step without rows leaves a gap."""
    days = [np.datetime64(step["from"]) for step in steps]
    with open_figure(path, "Error on the rows that came after the training") as axes:
        for name, label, style in LINES:
            errors = [step.get(f"{name}_mse", np.nan) ** 0.5 for step in steps]
            axes.plot(days, errors, label=label, **style)
        axes.set(xlabel="Trained on what was known on this day", ylabel=f"RMSE of {one_line(target)[:40]}")
        axes.set_ylim(bottom=0)
        axes.legend()


def draw_past(past: dict[str, Any], target: str, path: Path) -> None:
    """Draw the error one period ahead with each past of the grid; all rows and the best of the others stand out."""
    days = [np.datetime64(start) for start in past["starts"]]
    whole, *others = past["trials"]
    best = min(others, key=lambda trial: trial["mse"])
    with open_figure(path, f"Error on the next {past['unit']}, by the past that is learned from") as axes:
        for trial in others:
            if trial is not best:
                axes.plot(days, np.sqrt(trial["by_period"]), color="#D5D5D5", linewidth=1.2)
        axes.plot(days, np.sqrt(best["by_period"]), label=best["past"], color=BLUE, marker="o")
        axes.plot(days, np.sqrt(whole["by_period"]), label="all", color=ORANGE, linestyle="--", marker="^")
        axes.set(xlabel=f"Start of the {past['unit']}", ylabel=f"RMSE of {one_line(target)[:40]}")
        axes.set_ylim(bottom=0)
        axes.legend()
