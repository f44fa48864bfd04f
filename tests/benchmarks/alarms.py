"""How often alarms are false, and how soon they are raised: `python -m tests.benchmarks.alarms [YEARS] [SEED] [WORD]`.

Years of daily files are drawn with nothing wrong, and alarms are looked for after each day, as the flows do. Then
something goes wrong on the first day, or after 60 days without. A word chooses the settings with it in their names.
Many years are looked at together by the product's own functions, which take arrays of any number of years.
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from linear_neuron.tasks.dataset.profile import BINS, DECILES, describe_errors
from linear_neuron.tasks.dataset.rows import Floats
from linear_neuron.tasks.monitoring import check_performance as performance
from linear_neuron.tasks.monitoring import drift, extrapolated
from linear_neuron.tasks.monitoring.performance import DayErrors, Expected, Performance, score_errors
from linear_neuron.tasks.monitoring.sequential import BUDGET, NORMAL, Days, list_windows, score_ratio, spend
from linear_neuron.tasks.training.metrics import interval_half_widths

START = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = 50  # years that are looked at together
TOLERANCE = 0.01
Integers = NDArray[np.int64]
Draw = Callable[[np.random.Generator, Integers], Floats]
Rows = int | tuple[int, int]  # of a day, or their least and greatest number


def draw_normal(rng: np.random.Generator, rows: Integers) -> Floats:
    """Draw the errors of days with some rows each, one day after the other."""
    return np.asarray(rng.normal(size=rows.sum()))


def draw_lognormal(rng: np.random.Generator, rows: Integers) -> Floats:
    """Draw errors of either sign with heavy tails."""
    return np.asarray(rng.lognormal(size=rows.sum()) * rng.choice([-1.0, 1.0], rows.sum()))


def draw_clustered(rng: np.random.Generator, rows: Integers, share: float = 0.05) -> Floats:
    """Draw normal errors of which a share of the variance is common to the day."""
    common = np.repeat(rng.normal(size=len(rows)), rows)
    return np.asarray(np.sqrt(1 - share) * rng.normal(size=rows.sum()) + np.sqrt(share) * common)


def draw_alike(rng: np.random.Generator, rows: Integers) -> Floats:
    """Draw normal errors of which 30% of the variance are common to the day."""
    return draw_clustered(rng, rows, 0.3)


class Errors(NamedTuple):
    """A setting of errors."""

    draw: Draw
    rows: Rows = 100
    tested: int = 200
    ratio: float = 1.0  # of the MSE to that of the test rows, once something is wrong
    quiet: int = 0  # days before that


class Inputs(NamedTuple):
    """A setting of features."""

    features: int = 20
    rows: Rows = 100
    trained: int = 560
    day_effect: float = 0.0  # share of the variance that is common to the rows of a day
    shift: float = 0.0  # of the first feature, in standard deviations, once something is wrong
    quiet: int = 0  # days before that


def count_rows(rng: np.random.Generator, rows: Rows, days: int) -> Integers:
    """Draw how many rows each day has."""
    return np.full(days, rows) if isinstance(rows, int) else rng.integers(rows[0], rows[1] + 1, days)


def expect(tested: int) -> Performance:
    """Make the performance of a version that is expected by some test rows."""
    nothing = dict.fromkeys(("mse", "mae", "bias", "fourth"), 0.0)
    expected = Expected(mse=1.0, test_rows=tested, validation_rows=tested)
    return Performance(
        version="v", batch="v-a", predicted_at=START, interval=90, matched=0, coverage=None, mean_mse=None,
        expected=expected, **nothing,
    )  # fmt: skip


def draw_errors(rng: np.random.Generator, setting: Errors, days: int) -> tuple[Integers, Floats, Integers]:
    """Draw a life of a version: rows, score and rows in the interval of each day. Test rows are of days of ten."""
    apart = np.full(setting.tested // 10, 10)
    scale = describe_errors(setting.draw(rng, apart))
    half = interval_half_widths(setting.draw(rng, apart), np.zeros(setting.tested, np.float32))["90"] or np.inf
    rows = count_rows(rng, setting.rows, days)
    errors = setting.draw(rng, rows)
    errors[rows[: setting.quiet].sum() :] *= np.sqrt(setting.ratio)
    first = np.cumsum(rows) - rows
    scores = np.add.reduceat(score_errors(errors, scale, setting.tested), first)
    return rows, scores, np.add.reduceat((np.abs(errors) <= half).astype(int), first)


def find_error_days(rows: Floats, scores: Floats, tested: int) -> Integers:
    """Find the day, from 1, of the first alarm about errors in each life; 0 if there is none.

    Args:
        rows: Of each day, of shape (days, lives).
        scores: Their sums, of the same shape.
        tested: Test rows.
    """
    first, days = np.zeros(rows.shape[1], int), Days(rows, scores)
    for day in range(1, len(rows) + 1):
        budget = BUDGET * performance.SHARES["error.high"]
        for _, ratio, chance in performance.compare_scores(days.until(day), tested, budget, day):
            first[(first == 0) & (ratio > 1 + TOLERANCE) & ~chance] = day
    return first


def list_candidates(rows: Floats, sums: Floats, limit: float) -> list[Integers]:
    """List for each life the days, from 1, on which the share of rows in a window is large enough for an alarm."""
    days, found = Days(rows, sums), np.zeros(rows.shape, bool)
    for day in range(1, len(rows) + 1):
        seen = days.until(day)
        for window in list_windows(day, alone=False):
            found[day - 1] |= seen.sums(window) >= limit * seen.rows(window)
    return [np.flatnonzero(life) + 1 for life in found.T]


def find_coverage_day(life: list[DayErrors], days: Integers, tested: int) -> int:
    """Find the first of some days on which there is an alarm about coverage in a life; 0 if there is none."""
    total = expect(tested)
    for day in days.tolist():
        level = spend(BUDGET * performance.SHARES["coverage.low"], day, len(list_windows(day)))
        if performance.find_low_coverage(performance.Watched(total, life[:day]), level)[0]:
            return int(day)
    return 0


def find_coverage_days(rows: Integers, inside: Integers, tested: int) -> list[int]:
    """Find the day of the first alarm about coverage in each life, of arrays of shape (days, lives); 0 without."""
    candidates = list_candidates(rows.astype(float), (rows - inside).astype(float), performance.MISSES * 0.1)
    lives = [
        [DayErrors(rows=a, score=None, inside=b) for a, b in zip(*it, strict=True)]
        for it in zip(rows.T.tolist(), inside.T.tolist(), strict=True)
    ]
    return [find_coverage_day(life, days, tested) for life, days in zip(lives, candidates, strict=True)]


def draw_inputs(rng: np.random.Generator, setting: Inputs, days: int) -> tuple[Floats, Floats, Integers, Floats]:
    """Draw a life of a version: counts of its days and of its training rows by bin, rows, and rows out of range."""
    rows = count_rows(rng, setting.rows, days)
    day, out = np.repeat(np.arange(days), rows), np.zeros(rows.sum(), bool)
    counts, known = np.zeros((days, setting.features, BINS)), np.zeros((setting.features, BINS))
    for column in range(setting.features):
        train = rng.normal(size=setting.trained)
        x = draw_clustered(rng, rows, setting.day_effect)
        if column == 0:
            x[rows[: setting.quiet].sum() :] += setting.shift
        low, *edges, high = np.quantile(train, DECILES)
        counts[:, column] = np.bincount(day * BINS + np.searchsorted(edges, x), minlength=days * BINS).reshape(-1, BINS)
        known[column] = np.bincount(np.searchsorted(edges, train), minlength=BINS)
        out |= (x < low) | (x > high)
    return counts, known, rows, np.bincount(day[out], minlength=days).astype(float)


def find_drift_days(counts: Floats, known: Floats, tests: int) -> Integers:
    """Find the day, from 1, of the first alarm about bins in each life; 0 if there is none.

    Args:
        counts: Of shape (days, lives, columns, BINS).
        known: Those of the training rows, of shape (lives, columns, BINS).
        tests: What a look splits its budget among, for each window.
    """
    first, used, days = np.zeros(len(known), int), np.ones_like(known), Days(counts.sum(-1), counts)
    for day in range(1, len(counts) + 1):
        level = spend(BUDGET * drift.SHARES["days"], day, len(list_windows(day)) * tests)
        for _, _, changed in drift.compare_windows(days.until(day), known, used, level, 1):
            first[(first == 0) & changed.any(-1)] = day
    return first


def find_outside_days(rows: Floats, outside: Floats, setting: Inputs, tests: int) -> list[int]:
    """Find the day of the first alarm about rows out of range in each life, of shape (days, lives); 0 without."""
    found, limit = [], extrapolated.ALARMING_SHARE + 2 * setting.features / (setting.trained + 1)
    for life, days in enumerate(list_candidates(rows, outside, limit)):
        found.append(0)
        for day in days.tolist():
            level = spend(BUDGET * drift.SHARES["days"], day, len(list_windows(day)) * tests)
            seen = rows[:day, life], outside[:day, life]
            if extrapolated.compare_outside(*seen, setting.trained, setting.features, level):
                found[-1] = day
                break
    return found


def find_days(rng: np.random.Generator, setting: Errors | Inputs, lives: int, days: int) -> Integers:
    """Find the day of the first alarm in some lives, 0 if there is none; those of coverage only if nothing is wrong."""
    if isinstance(setting, Errors):
        rows, scores, inside = map(np.array, zip(*(draw_errors(rng, setting, days) for _ in range(lives)), strict=True))
        first = find_error_days(rows.T.astype(float), scores.T, setting.tested)
        more = find_coverage_days(rows.T, inside.T, setting.tested) if setting.ratio == 1 else [0] * lives
    else:
        tests = 2 * setting.features + 2  # as the product: bins and nulls of each, the prediction, rows out of range
        drawn = zip(*(draw_inputs(rng, setting, days) for _ in range(lives)), strict=True)
        counts, known, rows, outside = map(np.array, drawn)
        first = find_drift_days(counts.swapaxes(0, 1), known, tests)
        more = find_outside_days(rows.T.astype(float), outside.T, setting, tests)
    both = np.array([first, more])
    return np.asarray(np.where((both > 0).all(axis=0), both.min(axis=0), both.max(axis=0)))


QUIET: dict[str, Errors | Inputs] = {
    "errors, normal": Errors(draw_normal),
    "errors, lognormal": Errors(draw_lognormal),
    "errors, clustered 5%": Errors(draw_clustered),
    "errors, normal, 5 to 20 rows a day": Errors(draw_normal, rows=(5, 20)),
    "errors, lognormal, 5 to 20 rows a day": Errors(draw_lognormal, rows=(5, 20)),
    "errors, clustered 5%, 5 to 20 rows a day": Errors(draw_clustered, rows=(5, 20)),
    "errors, clustered 5%, 1,000 test rows": Errors(draw_clustered, tested=1000),
    "20 features": Inputs(),
    "20 features, clustered 5%": Inputs(day_effect=0.05),
    "20 features, 5 to 20 rows a day": Inputs(rows=(5, 20)),
    "1 feature, clustered 5%": Inputs(features=1, day_effect=0.05),
    "beyond the claim: errors, clustered 30%": Errors(draw_alike),
    "beyond the claim: 20 features, clustered 30%": Inputs(day_effect=0.3),
    "beyond the claim: 5 features, clustered 30%": Inputs(features=5, day_effect=0.3),
}
WRONG: dict[str, tuple[Errors | Inputs, int]] = {
    **{
        f"MSE ratio {ratio}, {tested:,} test rows": (Errors(draw_normal, tested=tested, ratio=ratio), days)
        for ratio, days in ((2.0, 5), (1.5, 20))
        for tested in (200, 500, 1000, 2000)
    },
    "MSE ratio 2, 500 test rows, after 60 days": (Errors(draw_normal, tested=500, ratio=2, quiet=60), 5),
    "shift in 1 feature, clustered 5%": (Inputs(features=1, day_effect=0.05, shift=1), 5),
    "shift in 1 of 20 features, clustered 5%": (Inputs(day_effect=0.05, shift=1), 5),
    "shift in 1 of 20 features, no day effect": (Inputs(shift=1), 5),
    "shift in 1 feature, clustered 5%, after 60 days": (Inputs(features=1, day_effect=0.05, shift=1, quiet=60), 5),
}


def find_all_days(setting: Errors | Inputs, lives: int, seed: int, days: int) -> Integers:
    """Find the day of the first alarm in each life, looking at as many together as memory allows."""
    rng = np.random.default_rng(seed)
    parts = [find_days(rng, setting, min(BATCH, lives - start), days) for start in range(0, lives, BATCH)]
    return np.concatenate(parts)


def count_false(setting: Errors | Inputs, years: int, seed: int, days: int = 365) -> int:
    """Count the years with an alarm although nothing is wrong."""
    return int(np.count_nonzero(find_all_days(setting, years, seed, days)))


def measure_power(setting: Errors | Inputs, days: int, times: int, seed: int) -> float:
    """Measure how often an alarm is raised within some days after something went wrong, and not before."""
    return float(np.mean(find_all_days(setting, times, seed, setting.quiet + days) > setting.quiet))


def bound_power(ratio: float, days: int, tested: int, seed: int, rows: int = 100, lives: int = 100_000) -> float:
    """Measure what the best test could find: the F test of MSEs of normal errors, that looks on the last day alone.

    No test that does not know the scale is more powerful at the same probability of a false alarm.
    """
    rng = np.random.default_rng(seed)
    realized = ratio * rng.chisquare(rows * days, lives) / (rows * days)
    scores = score_ratio(realized / (rng.chisquare(tested, lives) / tested), rows * days, tested)
    return float(np.mean(scores > NORMAL.inv_cdf(1 - BUDGET * performance.SHARES["error.high"])))


def bound_share(found: int, of: int) -> str:
    """Compute the 95% interval of a share: Wilson, "Probable inference", JASA 22 (1927)."""
    z = NORMAL.inv_cdf(0.975)
    middle, half = found + z**2 / 2, z * (found * (of - found) / of + z**2 / 4) ** 0.5
    return f"{max(middle - half, 0) / (of + z**2):.2%} to {(middle + half) / (of + z**2):.2%}"


def main() -> None:
    """Print the share of false years in each setting, and of changes that are found in time."""
    years, seed = (*map(int, sys.argv[1:3]), *(2000, 1)[len(sys.argv) - 1 :])
    word = "".join(sys.argv[3:])
    began = datetime.now(UTC)
    _say(f"{years} champion-years of 365 daily files in each setting, seed {seed}; as many changes; 95% intervals")
    for name, setting in ((name, setting) for name, setting in QUIET.items() if word in name):
        false = count_false(setting, years, seed)
        _say(f"false in {false:>4} of {years} years ({false / years:.2%}; {bound_share(false, years)})  {name}")
    for name, (changed, days) in ((name, setting) for name, setting in WRONG.items() if word in name):
        found = measure_power(changed, days, years, seed)
        best = ""
        if isinstance(changed, Errors) and not changed.quiet:
            best = f"; at best {bound_power(changed.ratio, days, changed.tested, seed):.1%}"
        between = bound_share(round(found * years), years)
        _say(f"found in {found:.1%} ({between}{best}) within {days} days of 100 rows  {name}")
    _say(f"took {(datetime.now(UTC) - began) / timedelta(seconds=1):.0f} s")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
