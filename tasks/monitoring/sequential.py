"""Sequential tests: tell a change from chance when a champion is looked at again and again.

What is watched comes in days (units of rows that share whatever a day has in common). Every look compares the last 1,
2, 4, ... days, and all of them, with what the version knew when it was made. Two things must hold for an alarm: the
difference is large, and chance explains it with less than the error that this look may spend.

*Spending*: after k looks the share k / (k + HALF_SPENT) of the budget is spent, and what a look spends is split among
its windows and columns. So all looks of a champion's life spend the budget, and a year's looks no more than that.
Source: alpha spending, Lan and DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 70 (1983).

*All days against test rows*: the error of the test rows is the same at each look, so it need not be paid for again. The
ratio of all days to the test rows gains information as a sum of independent parts does, and one boundary for all looks
holds: that of O'Brien and Fleming, "A multiple testing procedure for clinical trials", Biometrics 35 (1979).

*Day effect*: rows of a day are alike. The variance between days is estimated from the days seen so far, those inside
and those before the window apart, so that a change does not hide itself. With few days the estimate is drawn towards
a prior of PRIOR_DAYS days: an assumption, which nothing but more days can replace.
"""

import math
from copy import copy
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from linear_neuron.tasks.dataset.rows import Floats

BUDGET = 0.01  # probability of a false alarm of any kind in a champion's year
HALF_SPENT = 10  # looks that half of a budget is spent on
FIRST_DAYS = 8  # how certain a day effect is at first, in days
SKEW = 4  # times a day effect counts for the last days: a few days are far above the others, and the worst are chosen
PRIOR_DAYS = 20  # what the assumed day effect counts for, in days
TAIL_ROWS = 100_000  # rows that an exact tail is computed with at most; of more, as many are taken in proportion
NORMAL = NormalDist()


def list_windows(days: int, *, alone: bool = True) -> list[int]:
    """List the windows of a look: the last 1, 2, 4, ... days, and all; the last day `alone`, unless it is all."""
    doubled = [1 << power for power in range(0 if alone else 1, days.bit_length()) if 1 << power < days]
    return [*doubled, days] if days else []


def spend(budget: float, look: int, tests: int) -> float:
    """Return the probability that each of the tests of a look, counted from 1, may be wrong with."""
    return budget * HALF_SPENT / ((look + HALF_SPENT - 1) * (look + HALF_SPENT)) / max(tests, 1)


def bound_score(budget: float, rows: Floats, tested: int) -> Floats:
    """Compute the normal score that a ratio of all days to the test rows exceeds at no look, but for a probability.

    Args:
        budget: That probability, over all looks.
        rows: What the days count for, in rows that do not share a day effect.
        tested: Test rows.
    """
    return np.asarray(NORMAL.inv_cdf(1 - budget / 2) * np.sqrt(1 + tested / rows))


def chi_square_quantile(freedom: Floats | float, tail: float) -> Floats:
    """Approximate the value that a chi-square variable exceeds with the probability `tail`.

    Source: Wilson and Hilferty, "The distribution of chi-square", PNAS 17 (1931).
    """
    spread = 2 / (9 * np.asarray(freedom, float))
    return np.asarray(freedom * np.maximum(1 - spread + NORMAL.inv_cdf(1 - tail) * np.sqrt(spread), 0) ** 3)


def t_square_quantile(freedom: float, tail: float) -> float:
    """Approximate the value that the square of Student's t exceeds with the probability `tail`.

    Source: Wallace, "Bounds on normal approximations to Student's and the chi-square distributions", Annals of
    Mathematical Statistics 30 (1959).
    """
    z = NORMAL.inv_cdf(1 - tail / 2) * (8 * freedom + 3) / (8 * freedom + 1)
    return freedom * math.expm1(min(z**2 / freedom, 700))


def score_ratio(ratio: Floats | float, freedom: Floats | float, freedom_below: float) -> Floats:
    """Approximate the normal score of a ratio: the quantile of a normal variable at the probability of an F variable.

    Source: Paulson, "An approximate normalization of the analysis of variance distribution", Annals of Mathematical
    Statistics 13 (1942).
    """
    a, b, root = 2 / (9 * np.asarray(freedom)), 2 / (9 * freedom_below), np.cbrt(ratio)
    return np.asarray((root * (1 - b) - (1 - a)) / np.sqrt(b * root**2 + a))


def tail_of_share(inside: int, rows: int, a: float, b: float) -> float:
    """Compute how probable it is that no more than `inside` of some rows are inside a range or an interval.

    The range is made of other rows, so the share that it should hold is itself a draw: a beta distribution with the
    parameters `a` and `b`. The plain binomial would call a range wrong that was only made of few rows.

    Source: "A Gentle Introduction to Conformal Prediction" (Foundations and Trends in Machine Learning, 2023), 3.2.
    """
    k = np.arange(inside)
    # The ratio of each probability to the one before it; the first one in closed form.
    ratios = np.log(rows - k) - np.log(k + 1) + np.log(k + a) - np.log(rows - k - 1 + b)
    first = math.lgamma(rows + b) - math.lgamma(rows + a + b) + math.lgamma(a + b) - math.lgamma(b)
    return float(np.exp(first + np.concatenate([[0.0], np.cumsum(ratios)])).sum())


class Days:
    """Sums over days, so that every window is a difference of two of them.

    Args:
        rows: Rows of each day, shape (days,) or (days, columns).
        sums: What is added up over them, shape (days, ...) with the days first.
    """

    def __init__(self, rows: Floats, sums: Floats) -> None:
        kept = np.maximum(rows, 1).reshape(rows.shape + (1,) * (sums.ndim - rows.ndim))
        self.count = len(rows)
        self._rows, self._squares = _cumulate(rows), _cumulate(rows**2)
        self._sums, self._ratios = _cumulate(sums), _cumulate(sums**2 / kept)

    def until(self, day: int) -> "Days":
        """Return the first days alone."""
        days = copy(self)
        days.count = day
        for name in ("_rows", "_squares", "_sums", "_ratios"):
            setattr(days, name, getattr(self, name)[: day + 1])
        return days

    def rows(self, window: int) -> Floats:
        """Return the rows of the last days."""
        return np.asarray(self._rows[-1] - self._rows[-1 - window])

    def sums(self, window: int) -> Floats:
        """Return the sums of the last days."""
        return np.asarray(self._sums[-1] - self._sums[-1 - window])

    def concentration(self, window: int) -> Floats:
        """Return which share of a day's variance is left in the mean of a window: 1 / days, if all are equal."""
        return np.asarray((self._squares[-1] - self._squares[-1 - window]) / np.maximum(self.rows(window), 1) ** 2)

    def spread(self, window: int) -> tuple[Floats, Floats, Floats, int]:
        """Measure how the days differ from the mean of those in the window, and of those before it.

        Returns:
            The sums of rows times squared differences in the window and before it; what a day effect of variance 1
            adds to both; degrees of freedom.
        """
        inside, weight = self._differ(-1 - window, -1)
        if window == self.count:
            return inside, np.zeros_like(inside), weight, window - 1
        outside, more = self._differ(0, -1 - window)
        return inside, outside, weight + more, self.count - 2

    def _differ(self, start: int, stop: int) -> tuple[Floats, Floats]:
        rows = np.maximum(self._rows[stop] - self._rows[start], 1)
        sums = self._sums[stop] - self._sums[start]
        wide = rows.reshape(rows.shape + (1,) * (sums.ndim - rows.ndim))
        total = self._ratios[stop] - self._ratios[start] - sums**2 / wide
        return total, rows - (self._squares[stop] - self._squares[start]) / rows


def _cumulate(values: Floats) -> Floats:
    return np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0, dtype=float)])


def estimate_day_effect(
    total: Floats,
    expected: Floats | float,
    weight: Floats,
    freedom: int,
    prior: Floats | float,
    sure: int = PRIOR_DAYS,
) -> tuple[Floats, int]:
    """Estimate the variance between days by moments, drawn towards a prior, and its degrees of freedom.

    Args:
        total: Sum of rows times squared differences between days.
        expected: The same where days differ by chance alone, for one degree of freedom.
        weight: What a day effect of variance 1 adds to the total.
        freedom: Days less the means that were taken off.
        prior: The variance that is assumed.
        sure: The days that it counts for.
    """
    seen = np.maximum(total - expected * freedom, 0) / np.where(weight > 0, weight, np.inf)
    return (sure * prior + freedom * seen) / (sure + freedom), sure + freedom


def count_alike(days: Days, window: int, prior: float) -> int:
    """Count the independent rows that say as much of a share as those of the last days, which share a day effect.

    Args:
        days: Rows with a property, of shape (days,).
        window: How many days.
        prior: Correlation between the rows of a day that is assumed until days have been seen.
    """
    rows = float(days.rows(window))
    usual = float(days.sums(days.count)) / max(float(days.rows(days.count)), 1)
    inside, outside, weight, seen = days.spread(window)
    differing = (inside + outside) / (usual * (1 - usual) or 1)
    effect, _ = estimate_day_effect(differing, 1.0, weight, seen, prior, FIRST_DAYS)
    alike = min(float(effect) * (1 if window == days.count else SKEW), 1.0)
    kept = rows / (1 + max(rows * float(days.concentration(window)) - 1, 0) * alike)
    return max(1, round(min(kept, TAIL_ROWS)))


def estimate_effects(
    total: Floats, expected: Floats | float, weight: Floats, freedom: int, typical: NDArray[np.bool_], prior: float
) -> tuple[Floats, int]:
    """Estimate the variance between days of each column, drawn towards that of all columns; also its certainty.

    Where days differ much, all columns together show it on the second day. Nothing shows it on the first one, so the
    prior is uncertain until then.

    Args:
        total: Sum of rows times squared differences between days, of shape (..., columns).
        expected: The same where days differ by chance alone, for one degree of freedom.
        weight: What a day effect of variance 1 adds to the total.
        freedom: Days less the means that were taken off.
        typical: Which columns show what is usual; those with missing values mostly do not.
        prior: The least variance that is taken for that of all columns.

    Returns:
        Variances, of shape (..., columns), and their degrees of freedom.
    """
    seen = np.where(typical, (total - expected * freedom) / np.where(weight > 0, weight, np.inf), 0).sum(-1)
    columns = np.maximum(typical.sum(-1), 1)
    usual = (PRIOR_DAYS * prior + freedom * seen) / (PRIOR_DAYS + freedom * columns)
    usual = np.maximum(usual, prior)[..., None]
    effect, certainty = estimate_day_effect(total, expected, weight, freedom, usual)
    return effect, certainty - PRIOR_DAYS + min(PRIOR_DAYS, FIRST_DAYS + freedom * int(columns.max()))
