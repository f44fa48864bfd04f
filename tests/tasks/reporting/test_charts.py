"""The chart of the history is readable with one version and with hundreds."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from linear_neuron.tasks.reporting.charts import History, Point, draw_history, draw_points

BEGIN = datetime(2026, 1, 5, 6, tzinfo=UTC)


def weekly(*errors: float) -> list[Point]:
    return [(BEGIN + timedelta(weeks=week), error) for week, error in enumerate(errors)]


def make_history(**changes: object) -> History:
    empty: dict[str, object] = {name: [] for name in ("refused", "served", "realized", "drifts", "failing")}
    return History(**{"target": "MEDV", "tested": weekly(50), "least_squares": weekly(40), **empty, **changes})  # type: ignore[arg-type]


def draw(history: History) -> tuple[str, dict[str, list[float]]]:
    """Draw on axes, and return their scale and the heights of what is drawn by its label."""
    axes = Figure().add_subplot()
    draw_points(axes, history)
    lines = {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in axes.lines}
    return axes.get_yscale(), lines


def test_only_what_there_is_stands_in_the_chart() -> None:
    assert draw(make_history()) == ("linear", {"least squares": [40**0.5], "test error": [50**0.5]})


def test_all_that_happened_stands_in_the_chart() -> None:
    history = make_history(
        tested=weekly(50, 45),
        refused=weekly(60),
        served=weekly(50, 45),
        realized=weekly(70),
        drifts=[BEGIN],
        failing=[BEGIN, BEGIN],
    )
    assert draw(history)[1] == {
        "least squares": [40**0.5],
        "champion": [50**0.5, 45**0.5, 45**0.5],  # the last one serves on
        "realized error": [70**0.5],
        "test error": [50**0.5, 45**0.5],
        "refused": [60**0.5],
        "drift alarm": [1.07],
        "performance alarm": [1.03, 1.03],
    }


def test_least_squares_of_different_versions_are_not_connected() -> None:
    axes = Figure().add_subplot()
    draw_points(axes, make_history(tested=weekly(50, 9), least_squares=weekly(40, 7)))
    (floor,) = [line for line in axes.lines if line.get_label() == "least squares"]
    assert floor.get_linestyle() == "None"


def test_versions_made_soon_after_each_other_fill_the_axis() -> None:
    axes = Figure().add_subplot()
    points = [(BEGIN, 50.0), (BEGIN + timedelta(seconds=40), 45.0)]
    draw_points(axes, make_history(tested=points, least_squares=points, served=points))
    first, last = axes.get_xlim()
    assert (last - first) * 86_400 < 1.2 * 40


def test_a_champion_of_this_moment_is_drawn_for_a_minute() -> None:
    axes = Figure().add_subplot()
    draw_points(axes, make_history(served=weekly(50)))
    (champion,) = [line for line in axes.lines if line.get_label() == "champion"]
    assert np.ptp(np.asarray(champion.get_xdata())) == np.timedelta64(1, "m")


def test_a_champion_serves_until_the_next_one_does() -> None:
    axes = Figure().add_subplot()
    draw_points(axes, make_history(served=weekly(50, 45)))
    (champion,) = [line for line in axes.lines if line.get_label() == "champion"]
    assert champion.get_drawstyle() == "steps-post"


@pytest.mark.parametrize(
    ("errors", "scale"), [((1, 29**2), "linear"), ((1, 31**2), "log"), ((0, 31**2), "linear"), ((0,), "linear")]
)
def test_errors_that_lie_far_apart_are_drawn_by_their_decades(errors: tuple[float, ...], scale: str) -> None:
    assert draw(make_history(tested=weekly(*errors), least_squares=weekly(*errors)))[0] == scale


@pytest.mark.parametrize(("weeks", "minutes"), [(0, 10), (2, 2 * 7 * 24 * 60 * 1.1)])
def test_the_axis_of_time_shows_ten_minutes_at_least(weeks: int, minutes: float) -> None:
    axes = Figure().add_subplot()
    draw_points(axes, make_history(tested=weekly(*[50.0] * (weeks + 1))))
    first, last = axes.get_xlim()
    assert (last - first) * 24 * 60 == pytest.approx(minutes)
    made = np.datetime64(BEGIN.replace(tzinfo=None), "us").astype(float) / 86_400e6
    assert (first + last) / 2 == pytest.approx(made + weeks * 7 / 2, abs=1e-6)


@pytest.mark.parametrize("count", [1, 3, 300])
def test_the_picture_is_small_whatever_it_shows(tmp_path: Path, count: int) -> None:
    errors = [50 + week % 7 for week in range(count)]
    history = make_history(
        tested=weekly(*errors),
        least_squares=weekly(*([40.0] * count)),
        served=weekly(*errors),
        drifts=[BEGIN],
        target="price\n$of 住宅 " * 20,
    )
    draw_history(history, tmp_path / "history.png")
    with Image.open(tmp_path / "history.png") as picture:
        assert picture.size == (800, 550)
    assert (tmp_path / "history.png").stat().st_size < 40_000
