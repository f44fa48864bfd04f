"""The chart of all versions over time, in the style of the plots."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from tasks.reporting.plots import BLUE, GREY, INK, ORANGE, open_figure
from tasks.text import one_line

GREEN, PURPLE, YELLOW = "#009E73", "#CC79A7", "#E69F00"  # also of the Okabe-Ito palette
HEIGHT, ABOVE, BELOW = 5.5, 0.72, 1.3  # inches: of the figure, and of what is above and below its axes
SPAN = 1 / 144  # days that the axis of time shows at least: ten minutes
MANY = 60  # versions above which their marks are small
DECADES = 30  # the greatest error, as a multiple of the least, above which the axis is logarithmic

Point = tuple[datetime, float]


@dataclass(frozen=True)
class History:
    """What happened to the versions of one target, each list in the order of time; errors are mean squared ones."""

    target: str
    tested: list[Point]  # the test error of each version that was not refused, when it was made
    refused: list[Point]  # that of each one that was
    least_squares: list[Point]  # that of the best line for the same rows
    served: list[Point]  # the test error of each champion, when it began to serve
    realised: list[Point]  # the error of a batch of predictions, when they were made
    drifts: list[datetime]  # when it was noticed that inputs or predictions are not what they were
    broken: list[datetime]  # when it was noticed that the actuals are not what the test rows promised


def draw_history(history: History, path: Path) -> None:
    """Draw the errors of all versions by when they were made, which one served, and what became of predictions."""
    with open_figure(path, "", HEIGHT) as axes:
        axes.figure.subplots_adjust(bottom=BELOW / HEIGHT, top=1 - ABOVE / HEIGHT, right=0.96)
        draw_points(axes, history)
        axes.set_title(f"Error of each version for {one_line(history.target)[:40]}", pad=26)
        axes.set(xlabel="Made, or predicted, at (UTC)", ylabel="Mean squared error")
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (-0.02, -0.2), "borderaxespad": 0}
        axes.legend(**place, ncols=4, fontsize=11, columnspacing=1.4, handlelength=1.8)


def draw_points(axes: Axes, history: History) -> None:
    """Draw errors and alarms, and an axis of time that suits them."""
    _draw_errors(axes, history)
    _draw_alarms(axes, history)
    _widen(axes)


def _draw_errors(axes: Axes, history: History) -> None:
    """Draw all errors, on a logarithmic axis where they lie far apart."""
    few, mark = _choose_marks(history)
    cross = mark | {"marker": "x", "markersize": 8 if few else 4.5, "markeredgewidth": 2.2 if few else 1.2}
    floor = {"linestyle": "--", "linewidth": 1.4, "marker": "_", "markersize": 11 if few else 0}
    series: tuple[tuple[list[Point], str, dict[str, Any]], ...] = (
        (history.least_squares, "least squares", floor | {"color": GREY}),
        (_extend(history), "champion", {"color": INK, "drawstyle": "steps-post", "linewidth": 1.8 if few else 0.8}),
        (history.realised, "realised error", mark | {"color": GREEN, "marker": "D"}),
        (history.tested, "test error", mark | {"color": BLUE, "marker": "o"}),
        (history.refused, "refused", cross | {"color": ORANGE}),
    )
    for points, label, style in series:
        _plot(axes, points, label, style)
    errors = [error for points, _, _ in series for _, error in points]
    if max(errors) > DECADES * min(errors) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.set_ylim(0, 1.06 * max(errors) or 1)


def _draw_alarms(axes: Axes, history: History) -> None:
    """Draw the alarms above the axes, since they have no error; one row for each kind."""
    mark = _choose_marks(history)[1] | {"transform": axes.get_xaxis_transform(), "clip_on": False}
    _plot(axes, [(at, 1.07) for at in history.drifts], "drift alarm", mark | {"color": PURPLE, "marker": "v"})
    _plot(axes, [(at, 1.03) for at in history.broken], "broken promise", mark | {"color": YELLOW, "marker": "s"})


def _choose_marks(history: History) -> tuple[bool, dict[str, Any]]:
    """Say whether there are few versions, and how large a mark is."""
    few = len(history.least_squares) <= MANY
    return few, {"linestyle": "", "markersize": 7 if few else 3.5}


def _extend(history: History) -> list[Point]:
    """Have the last champion serve until a little after all else that is drawn."""
    if not history.served:
        return []
    every = (history.least_squares, history.realised, history.served)
    moments = [*(at for points in every for at, _ in points), *history.drifts, *history.broken]
    more = max((max(moments) - min(moments)) / 30, timedelta(minutes=1))
    return [*history.served, (max(moments) + more, history.served[-1][1])]


def _widen(axes: Axes) -> None:
    """Show `SPAN` at least, since an axis of seconds, or of years, tells nobody when the only version was made."""
    first, last = axes.dataLim.intervalx  # in days
    if last - first < SPAN:
        axes.set_xlim((first + last - SPAN) / 2, (first + last + SPAN) / 2)


def _plot(axes: Axes, points: Sequence[Point], label: str, style: dict[str, Any]) -> None:
    if points:
        times, heights = zip(*points, strict=True)
        axes.plot(_convert(times), heights, label=label, **style)


def _convert(times: Sequence[datetime]) -> NDArray[np.datetime64]:
    """Convert times to UTC, as the axis needs them."""
    return np.array([at.astimezone(UTC).replace(tzinfo=None) for at in times], "datetime64[us]")
