"""Whether the actuals keep what the test rows promised, by more than chance explains."""

import math

import numpy as np

from tasks.actuals.performance import Entry, Performance, combine
from tasks.registry.alarms import raise_alarm
from tasks.steps import task
from tasks.storage.store import Store

CHANCE = 0.001  # of a false alarm, each time that actuals are recorded
DEVIATIONS = 3.09  # standard deviations that the upper CHANCE of a normal distribution lies above its mean


def tail_of_coverage(inside: int, rows: int, percent: int, validation_rows: int) -> float:
    """Compute how probable it is that no more than `inside` of `rows` truths lie in an interval that is right.

    The interval is made of validation rows, so its coverage is itself a draw: a beta distribution. The plain binomial,
    which takes it for exactly `percent`, would call an interval wrong that only had few of these rows.

    Source: "A Gentle Introduction to Conformal Prediction" (Foundations and Trends in Machine Learning, 2023), 3.2.
    """
    rank = min(math.ceil((validation_rows + 1) * percent / 100), validation_rows)
    a, b = float(rank), float(validation_rows + 1 - rank)
    k = np.arange(inside)
    # The ratio of each probability to the one before it; the first one in closed form.
    ratios = np.log(rows - k) - np.log(k + 1) + np.log(k + a) - np.log(rows - k - 1 + b)
    first = math.lgamma(rows + b) - math.lgamma(rows + a + b) + math.lgamma(a + b) - math.lgamma(b)
    return float(np.exp(first + np.concatenate([[0.0], np.cumsum(ratios)])).sum())


def find_low_coverage(result: Performance) -> str:
    """Say that the interval holds fewer truths than chance explains; empty where it does not."""
    if result.coverage is None or not result.promise.validation_rows:
        return ""
    inside = round(result.coverage * result.matched)
    if tail_of_coverage(inside, result.matched, result.interval, result.promise.validation_rows) >= CHANCE:
        return ""
    return (
        f"The {result.interval}% interval of {result.version} holds {result.coverage:.1%} of {result.matched:,} "
        "actuals, which chance does not explain."
    )


def find_high_error(result: Performance, tolerance: float) -> str:
    """Say that the error is above the promise by more than tolerance and chance explain; empty where it is not."""
    promised = result.promise.mse
    if promised is None or not result.promise.test_rows:
        return ""
    if result.mse <= promised * (1 + tolerance):
        return ""
    # Logarithms of mean squares are nearly normal, even of few rows. The squared errors of the test rows are taken to
    # spread as these do, in proportion to their mean.
    spread = max(0.0, result.fourth / result.mse**2 - 1)
    noise = math.sqrt(spread * (1 / result.matched + 1 / result.promise.test_rows))
    if promised and math.log(result.mse / promised / (1 + tolerance)) <= DEVIATIONS * noise:
        return ""
    return (
        f"The mean squared error of {result.version} is {result.mse:.2f} on {result.matched:,} actuals; its test rows "
        f"promised {promised:.2f}, and chance does not explain the difference."
    )


@task("Compare with the promises")
def check_promises(entries: list[Entry], tolerance: float) -> None:
    """Raise an alarm for each version that was worse on the newly recorded actuals than its test rows promised."""
    store = Store()
    for result in combine([result for entry in entries for result in entry.results], by_batch=False):
        if reason := find_low_coverage(result):
            raise_alarm(store, "coverage.low", result.version, reason, figures={"coverage": result.coverage})
        if reason := find_high_error(result, tolerance):
            raise_alarm(store, "error.high", result.version, reason, figures={"mse": result.mse})
