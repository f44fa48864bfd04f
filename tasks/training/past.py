"""How much of the past a model learns from: all of it, a window of days, or all of it with a half-life.

Forgetting helps where the world changes and costs where it does not, so the rows decide. A small fixed grid of windows
and half-lives is compared by rolling-origin evaluation: at the start of each period a model of the rows before it
predicts the rows of the period. One of the grid is chosen only where it beats `all` by more than chance, with the
number of those looked at taken into account.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from linear_neuron.tasks.dataset.moments import Moments, find_origin, measure_moments, merge_moments
from linear_neuron.tasks.dataset.rows import Floats, Rows
from linear_neuron.tasks.text import distinguish
from linear_neuron.tasks.training.constraints import FREE, Constraints

Times = NDArray[np.int64]  # microseconds since 1970
DAY = 86_400_000_000  # microseconds
UNITS = {"month": 30.4375, "week": 7.0, "day": 1.0}  # period: its days; the first that gives enough periods is taken
WINDOWS = (3, 6, 12, 24)  # periods
HALF_LIVES = (1, 3, 6, 12)  # periods
FIRST = 3  # periods before the first that is predicted
LEAST = 4  # periods that are predicted, at least
LEVEL = 0.2  # chance of forgetting without need; that costs little, and learning from a stale past costs much
EXACT = 12  # periods up to which all sign flips are tried
FADED = 10  # half-lives after which a row counts less than a thousandth, and is left out
FLIPS = 4096  # sign flips that are drawn for more of them


@dataclass(frozen=True)
class Past:
    """How rows count by their age: all alike, those of a window alone, or less with every half-life."""

    window: int = 0  # days before the newest row
    half_life: int = 0  # days

    def __str__(self) -> str:
        if self.window:
            return f"{self.window}d"
        return f"half-life:{self.half_life}d" if self.half_life else "all"

    def select(self, rows: Rows, half_lives: int = FADED) -> Rows:
        """Return the rows that count, of rows that are sorted by time: those of the window, or of some half-lives."""
        days = self.window or half_lives * self.half_life
        if not days or rows.time is None or not len(rows):
            return rows
        first = int(np.searchsorted(rows.time, rows.time[-1] - days * DAY, side="right"))
        return Rows(rows.x[first:], rows.y[first:], rows.number[first:], rows.time[first:])

    def weigh(self, rows: Rows) -> Floats | None:
        """Return the weights of rows by their age before the newest; None where all count alike."""
        if not self.half_life or rows.time is None:
            return None
        return np.asarray(0.5 ** ((rows.time[-1] - rows.time) / (self.half_life * DAY)))


ALL = Past()


def read_past(text: str) -> Past:
    """Read what `--training.past` accepts beside `auto`, such as `all`, `90d` or `half-life:30d`."""
    name, _, rest = text.partition(":")
    if name == "half-life":
        return Past(half_life=int(rest.removesuffix("d")))
    return Past(window=int(name.removesuffix("d"))) if name != "all" else ALL


@dataclass(frozen=True)
class Periods:
    """Rows as moments by calendar month, week or day; a period without rows is missing."""

    unit: str
    numbers: tuple[int, ...]  # rising; of two neighbours in the calendar they differ by 1
    moments: tuple[Moments, ...]


@dataclass(frozen=True)
class Trial:
    """One past of the grid, and its errors."""

    past: Past
    mse: float  # mean over the periods
    better: float  # share of sign flips in which the best of the grid beats `all` as clearly; 1 for `all`
    by_period: tuple[float, ...]  # mean squared error in each period


@dataclass(frozen=True)
class Choice:
    """The past that was chosen, from what, and why."""

    past: Past
    reason: str
    unit: str = ""  # of the periods
    starts: tuple[str, ...] = ()  # day on which each predicted period began
    trials: tuple[Trial, ...] = ()  # `all` first


def number_period(time: int, unit: str) -> int:
    """Number the calendar month, week (from Monday) or day of a time in microseconds since 1970."""
    stamp = np.datetime64(time, "us")
    if unit == "week":
        return (int(stamp.astype("datetime64[D]").astype(int)) + 3) // 7  # 1970 began on a Thursday.
    return int(stamp.astype(f"datetime64[{'M' if unit == 'month' else 'D'}]").astype(int))


def start_periods(numbers: NDArray[np.int64], unit: str) -> NDArray[np.datetime64]:
    """Find the days on which periods begin."""
    if unit == "week":
        return (7 * numbers - 3).astype("datetime64[D]")
    return numbers.astype("datetime64[M]" if unit == "month" else "datetime64[D]").astype("datetime64[D]")


def cut_periods(times: Times, unit: str) -> list[tuple[int, int, int]]:
    """Cut sorted times into periods; return for each that has rows its number, first row and the row after its last."""
    numbers = np.arange(number_period(int(times[0]), unit), number_period(int(times[-1]), unit) + 1)
    starts = start_periods(numbers[1:], unit).astype("datetime64[us]").astype(np.int64)
    edges = [0, *np.searchsorted(times, starts).tolist(), len(times)]
    cuts = zip(numbers.tolist(), edges, edges[1:], strict=False)
    return [(number, first, last) for number, first, last in cuts if last > first]


def find_unit(parts: Sequence[Times]) -> str:
    """Find the longest unit of which the times, sorted part after part, have enough periods; empty where none has."""
    for unit in UNITS:
        if len({number for times in parts for number, _, _ in cut_periods(times, unit)}) >= FIRST + LEAST:
            return unit
    return ""


def measure_periods(names: Sequence[str], parts: Sequence[Rows], unit: str) -> Periods:
    """Measure the moments of each period of rows with times, sorted part after part."""
    origin = find_origin(parts[0].x, parts[0].y)
    found: dict[int, list[Moments]] = {}
    for part in parts:
        for number, first, last in cut_periods(cast(Times, part.time), unit):
            moments = measure_moments(names, part.x[first:last], part.y[first:last], origin=origin)
            found.setdefault(number, []).append(moments)
    return Periods(unit, tuple(found), tuple(merge_moments(same) for same in found.values()))


def list_grid(unit: str) -> list[Past]:
    """List what is compared: `all`, windows, and half-lives, in days."""
    days = UNITS[unit]
    windows = [Past(window=round(count * days)) for count in WINDOWS]
    return [ALL, *windows, *(Past(half_life=round(count * days)) for count in HALF_LIVES)]


def choose_past(periods: Periods, constraints: Constraints = FREE) -> Choice:
    """Choose how much of the past to learn from, by the errors of the next period.

    The chance is that of a permutation test with the max statistic: were a past of the grid no better than `all`, each
    period's difference would be as likely of the other sign, so signs are flipped at random, for all of the grid
    together, and the greatest statistic of each flip is compared with those found. So the number of pasts looked at
    needs no other correction, and few periods or errors of heavy tails no assumption. Of those that pass, that of the
    least mean error is taken.

    Source: "Resampling-Based Multiple Testing" (Wiley, 1993), section 2.3, for the max statistic.
    """
    grid = list_grid(periods.unit)
    errors = roll_forward(periods, constraints)
    starts = tuple(map(str, start_periods(np.array(periods.numbers[FIRST:]), periods.unit)))
    if len(errors) < LEAST:
        return Choice(ALL, f"{len(errors)} periods can be compared, and {LEAST} are needed", periods.unit)
    usable: NDArray[np.bool_] = np.asarray(np.isfinite(errors).all(axis=0))
    chances = np.ones(len(grid))
    others = np.flatnonzero(usable)[1:]
    chances[others] = find_chances(errors[:, [0]] - errors[:, others])
    means = np.where(usable, errors.mean(axis=0), np.inf)
    trials = tuple(
        Trial(past, float(mean), float(chance), tuple(column.tolist()))
        for past, mean, chance, column, fits in zip(grid, means, chances, errors.T, usable, strict=True)
        if fits
    )
    best = int(np.where(chances <= LEVEL, means, np.inf).argmin()) if (chances <= LEVEL).any() else 0
    counted = f"{len(errors)} {periods.unit}s"
    if not best:
        reason = f"none of {len(trials) - 1} shorter pasts predicts the next {periods.unit} better than chance, over"
        return Choice(ALL, f"{reason} {counted}", periods.unit, starts, trials)
    shown = distinguish(*np.sqrt(means[[best, 0]]).tolist())
    reason = (
        f"it predicts the next {periods.unit} best, RMSE {shown[0]} against {shown[1]} of all rows, over {counted}; "
        f"by chance one of {len(trials) - 1} pasts would look as good in {chances[best]:.0%} of cases"
    )
    return Choice(grid[best], reason, periods.unit, starts, trials)


def roll_forward(periods: Periods, constraints: Constraints = FREE) -> Floats:
    """Compute the mean squared errors one period ahead, shape (predicted periods, pasts of the grid).

    Infinite where a past has no row before a period.
    """
    total, fading = periods.moments[0], [periods.moments[0]] * len(HALF_LIVES)
    errors = []
    for index in range(1, len(periods.moments)):
        passed, following = periods.numbers[index] - periods.numbers[index - 1], periods.moments[index]
        if index >= FIRST:
            known = [total, *(_merge_window(periods, index, count) for count in WINDOWS), *fading]
            errors.append([_measure_next(moments, following, constraints) for moments in known])
        total = merge_moments([total, following])
        kept = [moments.scale(0.5 ** (passed / count)) for moments, count in zip(fading, HALF_LIVES, strict=True)]
        fading = [merge_moments([moments, following]) for moments in kept]
    return np.array(errors).reshape(-1, 1 + len(WINDOWS) + len(HALF_LIVES))


def _measure_next(known: Moments | None, following: Moments, constraints: Constraints) -> float:
    return following.measure_mse(constraints.solve(known)) if known else np.inf


def _merge_window(periods: Periods, index: int, count: int) -> Moments | None:
    """Merge the periods of a window before a period, given by its index; None where none of them has rows."""
    first = periods.numbers[index] - count
    known = zip(periods.numbers[:index], periods.moments, strict=False)
    window = [moments for number, moments in known if number >= first]
    return merge_moments(window) if window else None


def find_chances(gains: Floats) -> Floats:
    """Compute for each column in which share of sign flips the greatest statistic is at least its own."""
    count = len(gains)
    norms = np.sqrt(np.sum(gains**2, axis=0))
    scaled = gains / np.where(norms > 0, norms, np.inf)
    if count <= EXACT:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=count)))
    else:
        signs = np.vstack([np.ones(count), np.random.default_rng(0).choice((1.0, -1.0), (FLIPS - 1, count))])
    greatest = np.sort((signs @ scaled).max(axis=1))
    below = np.searchsorted(greatest, scaled.sum(axis=0) - 1e-9)
    return np.asarray(1 - below / len(signs))


def describe_choice(choice: Choice) -> dict[str, object]:
    """Return a choice as `model.json` keeps it."""
    return {
        "past": str(choice.past),
        "reason": choice.reason,
        "unit": choice.unit,
        "starts": list(choice.starts),
        "trials": [
            {
                "past": str(trial.past),
                "mse": trial.mse,
                "chance": trial.better,
                "by_period": list(trial.by_period),
            }
            for trial in choice.trials
        ],
    }


def decide_past(wanted: str, periods: Periods | None, constraints: Constraints = FREE) -> Choice:
    """Decide how much of the past to learn from.

    Args:
        wanted: what `--training.past` says.
        periods: of the train and the validation rows, since test rows are never used to choose; None where there are
            no times, or too few periods.
        constraints: that the fits which are compared keep to, as the one that is chosen will.
    """
    if wanted != "auto":
        return Choice(read_past(wanted), "--training.past asked for it")
    if periods is None:
        return Choice(ALL, f"there are no times, or fewer than {FIRST + LEAST} days to compare")
    return choose_past(periods, constraints)
