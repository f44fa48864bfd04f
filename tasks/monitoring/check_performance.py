"""Check realized against expected performance, and raise alarms that count their looks: see `sequential.py`.

Squared errors of heavy tails say little, since a few rows decide their mean. So each error is compared with the
absolute errors of the test rows: one that is above a share `u` of them has the score of a normal error that is above
that share of normal ones, squared. As long as nothing has changed, scores are nearly chi-square variables with one
degree of freedom, whatever the distribution of the errors; the mean of normal errors' scores is the ratio of the MSEs.
Source: normal scores for scale, Klotz, "Nonparametric tests for scale", Annals of Mathematical Statistics 33 (1962).
"""

import json
import math
from collections.abc import Iterator
from itertools import groupby
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linear_neuron.tasks.dataset.rows import Floats
from linear_neuron.tasks.monitoring.performance import DayErrors, Performance, combine, load_index
from linear_neuron.tasks.monitoring.sequential import (
    BUDGET,
    NORMAL,
    SKEW,
    Days,
    bound_score,
    count_alike,
    estimate_day_effect,
    list_windows,
    score_ratio,
    spend,
    tail_of_share,
)
from linear_neuron.tasks.registry.alarms import Round, count_look, open_round, raise_alarm
from linear_neuron.tasks.steps import task
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.text import number, plural

SHARES = {"error.high": 0.4, "coverage.low": 0.1}  # of BUDGET; drift has the other half
SHARE_OF_ALL_DAYS = 0.75  # of what errors may spend, for the bound of all days; the windows of each look have the rest
MIN_ROWS = 20  # of a window: of fewer, chance is not known well enough
MIN_SQUARED_ROWS = 100  # the same for squared errors
MISSES = 1.25  # times as many values beyond the interval as expected are large enough for an alarm
SCORE_VARIANCE = 2.0  # of a chi-square variable with one degree of freedom
DAY_EFFECT_OF_SCORE = 0.005  # variance of a day's mean score, if 5% of that of normal errors are common to a day
DAY_EFFECT_OF_SHARE = 0.01  # the same of a share of rows, as a correlation between the rows of a day


class Watched(NamedTuple):
    """What is known of a version on the days that count."""

    total: Performance  # of all its actuals
    days: list[DayErrors]  # oldest first


@task("Compare with the expected performance")
def check_performance(tolerance: float) -> None:
    """Raise an alarm for each version that does worse on actuals than on its test rows.

    Every run checks all that is recorded, so that no alarm is lost with a run that was killed before it.

    Args:
        tolerance: How much higher the errors must be than those of the test rows, as a share of them.
    """
    store = Store()
    results = [result for entry in load_index(store)[0].entries for result in entry.results]
    by_interval = combine(results, by_batch=False)  # of a version and an interval
    for _, totals in groupby(by_interval, lambda total: total.version):
        _check(store, "coverage.low", list(totals), 0)
    alike = [result.model_copy(update={"interval": 0}) for result in results]
    for total in combine(alike, by_batch=False):  # of a version, since errors do not depend on the interval
        _check(store, "error.high", [total], tolerance)


def _check(
    store: Store, alarm: Literal["error.high", "coverage.low"], totals: list[Performance], tolerance: float
) -> None:
    """Look at the days of a version, and raise the alarm if it does worse than expected and than chance explains.

    Its intervals of several percents share the budget, so a look at all of them is one look.
    """
    version = totals[0].version
    if (opened := open_round(store, alarm, version)) is None:
        return
    watched = [Watched(total, days) for total in totals if (days := list_days(total, opened))]
    if not watched:
        return
    seen = {"rows", "score", "inside"}
    data = json.dumps([[day.model_dump(mode="json", include=seen) for day in one.days] for one in watched]).encode()
    look = count_look(store, alarm, version, data)
    budget = BUDGET * SHARES[alarm]
    for one in watched:
        if alarm == "coverage.low":
            tests = sum(len(list_windows(len(one.days))) for one in watched)
            reason, figures = find_low_coverage(one, spend(budget, look, tests))
        else:
            reason, figures = find_high_error(one, tolerance, budget, look)
        if reason:
            reason += f" By chance alone this alarm is raised in at most {budget:.1%} of a champion's years."
            raise_alarm(store, alarm, version, reason, opened.key, figures=figures)
            return


def list_days(total: Performance, opened: Round) -> list[DayErrors]:
    """List the days of a version that count: those after the last alarm of this kind."""
    since = opened.since.date().isoformat() if opened.since else ""
    return [total.days[day] for day in sorted(total.days) if day > since]


def find_low_coverage(watched: Watched, level: float) -> tuple[str, dict[str, float]]:
    """Describe an interval that holds fewer actual values than expected and than chance explains; empty if it does not.

    The interval is made of rows that the model had not seen, so its coverage is itself a draw.
    """
    total, days = watched.total, [day for day in watched.days if day.inside is not None]
    made_of = round(total.expected.interval_rows or total.expected.validation_rows)
    if not made_of or not days:
        return "", {}
    rank = min(math.ceil((made_of + 1) * total.interval / 100), made_of)
    sums = Days(np.array([float(day.rows) for day in days]), np.array([float(day.inside or 0) for day in days]))
    for window in reversed(list_windows(len(days), alone=False)):
        rows, inside = float(sums.rows(window)), float(sums.sums(window))
        share = inside / rows
        if rows < MIN_ROWS or 1 - share < MISSES * (1 - total.interval / 100):
            continue
        kept = count_alike(sums, window, DAY_EFFECT_OF_SHARE)
        if tail_of_share(round(kept * share), kept, float(rank), float(made_of + 1 - rank)) < level:
            known = f"{plural(round(rows), 'actual')} of the last {plural(window, 'day')}"
            text = (
                f"The {total.interval}% interval of {total.version} holds {share:.1%} of {known}, which chance does "
                "not explain."
            )
            return text, {"coverage": share}
    return "", {}


def find_high_error(watched: Watched, tolerance: float, budget: float, look: int) -> tuple[str, dict[str, float]]:
    """Describe errors that are higher than those of the test rows and than chance explains; empty if they are not.

    A version without the errors of its test rows, as older ones are, is compared by its squared errors instead.
    """
    total = watched.total
    tested, expected = total.expected.test_rows, total.expected.mse
    if not tested or expected is None:
        return "", {}
    if any(day.score is None for day in watched.days):
        return _find_high_squares(watched, tolerance, budget)
    rows = np.array([float(day.rows) for day in watched.days])
    days = Days(rows, np.array([day.score or 0.0 for day in watched.days]))
    for window, times, chance in compare_scores(days, tested, budget, look):
        ratio = float(times)
        if ratio > 1 + tolerance and not chance:
            known = f"{plural(round(float(days.rows(window))), 'actual')} of the last {plural(window, 'day')}"
            text = (
                f"The errors of {total.version} on {known} are larger than those on its test rows, which chance does "
                f"not explain: by their ranks {ratio:.2f} times in MSE. On all its actuals the RMSE is "
                f"{number(total.rmse)}; on its test rows it is {number(expected**0.5)}."
            )
            return text, {"mse": total.mse, "ratio": ratio}
    return "", {}


def compare_scores(
    days: Days, tested: int, budget: float, look: int
) -> Iterator[tuple[int, Floats, NDArray[np.bool_]]]:
    """Compare the mean score of all days, and then of the last ones but not of one alone, with the test rows.

    Args:
        days: Scores, of shape (days,) or of several versions, (days, versions).
        tested: Test rows.
        budget: Probability of a false alarm by all looks.
        look: The number of this one, from 1.

    Yields:
        Window; ratio of the MSEs that the scores show; whether chance explains it.
    """
    windows = list_windows(days.count, alone=False)
    level = spend(budget * (1 - SHARE_OF_ALL_DAYS), look, len(windows))
    for window in reversed(windows):
        rows, before = np.maximum(days.rows(window), 1), max(days.count - window - 1, 0)
        ratio = days.sums(window) / rows
        inside, outside, weight, seen = days.spread(window)
        # Scores that are larger also differ more; this is no day effect.
        usual = SCORE_VARIANCE * (np.maximum(ratio, 1) ** 2 * (window - 1) + before) / max(seen, 1)
        day, _ = estimate_day_effect(inside + outside, usual, weight, seen, DAY_EFFECT_OF_SCORE)
        kept = SCORE_VARIANCE / (SCORE_VARIANCE / rows + SKEW * day * days.concentration(window))
        chance = score_ratio(ratio, kept, tested) <= NORMAL.inv_cdf(1 - level)
        if window == days.count:
            kept = SCORE_VARIANCE / (SCORE_VARIANCE / rows + day * days.concentration(window))
            chance &= score_ratio(ratio, kept, tested) <= bound_score(budget * SHARE_OF_ALL_DAYS, kept, tested)
        yield window, ratio, chance | (rows < MIN_ROWS)


def _find_high_squares(watched: Watched, tolerance: float, budget: float) -> tuple[str, dict[str, float]]:
    """Compare the mean squared errors of all days and of the test rows, whose spread is taken to be the same."""
    expected, tested = watched.total.expected.mse or 0.0, watched.total.expected.test_rows
    matched = sum(day.rows for day in watched.days)
    if matched < MIN_SQUARED_ROWS:
        return "", {}
    mse = math.fsum(day.squares or 0.0 for day in watched.days) / matched
    if mse <= expected * (1 + tolerance):
        return "", {}
    spread = max(SCORE_VARIANCE, math.fsum(day.fourths or 0.0 for day in watched.days) / matched / mse**2 - 1)
    score = score_ratio(mse / expected, 2 * matched / spread, 2 * tested / spread) if expected else np.inf
    if score <= bound_score(budget, np.asarray(matched), tested):
        return "", {}
    text = (
        f"The RMSE of {watched.total.version} is {number(mse**0.5)} on {matched:,} actuals; on its test rows it is "
        f"{number(expected**0.5)}, and chance does not explain the difference."
    )
    return text, {"mse": mse}
