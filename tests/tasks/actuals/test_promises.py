"""A promise is called broken when chance does not explain what became of it, and hardly ever otherwise."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from tasks.actuals.performance import Entry, Performance, Promise, combine
from tasks.actuals.promises import check_promises, find_high_error, find_low_coverage, tail_of_coverage
from tasks.registry.alarms import read_alarms
from tasks.storage.store import Store

PROMISE = Promise(mse=4.0, test_rows=200, mean=0.0, validation_rows=200)
DAY = datetime(2026, 11, 1, tzinfo=UTC)


def a_result(**changes: Any) -> Performance:
    figures: dict[str, Any] = {"mse": 4.0, "mae": 1.6, "bias": 0.0, "fourth": 48.0, "coverage": 0.9, "mean_mse": 9.0}
    facts = {"version": "v1", "batch": "v1-a", "predicted_at": DAY, "interval": 90, "matched": 400, "promise": PROMISE}
    return Performance(**{**facts, **figures, **changes})


@pytest.mark.parametrize(
    ("inside", "rows", "percent", "validation", "tail"),
    [
        (0, 1, 50, 1, 0.5),  # one validation row: the truth is as likely on either side of it
        (1, 1, 50, 1, 1.0),
        (0, 2, 50, 1, 1 / 3),  # of the three places among two truths
        (90, 100, 90, 10**9, 0.548709),  # of so many rows it is the binomial: SciPy's binom.cdf(90, 100, 0.9)
        (80, 100, 90, 10**9, 0.001979),
    ],
)
def test_tails_are_those_of_the_distribution(
    inside: int, rows: int, percent: int, validation: int, tail: float
) -> None:
    assert tail_of_coverage(inside, rows, percent, validation) == pytest.approx(tail, abs=2e-6)


def test_a_right_interval_is_hardly_ever_called_wrong() -> None:
    rng, rows, validation, alarms = np.random.default_rng(7), 1000, 60, 0
    for _ in range(2000):
        half = np.sort(np.abs(rng.normal(size=validation)))[int(np.ceil((validation + 1) * 0.9)) - 1]
        inside = float(np.mean(np.abs(rng.normal(size=rows)) <= half))
        promise = Promise(validation_rows=validation)
        alarms += bool(find_low_coverage(a_result(coverage=inside, matched=rows, promise=promise)))
    assert alarms <= 10, "0.1% of 2,000 is 2"


@pytest.mark.parametrize(("coverage", "wrong"), [(0.90, False), (0.85, False), (0.78, True), (0.5, True)])
def test_low_coverage_is_told(coverage: float, wrong: bool) -> None:
    assert bool(find_low_coverage(a_result(coverage=coverage))) == wrong


def test_without_interval_or_rows_nothing_is_told() -> None:
    assert not find_low_coverage(a_result(coverage=None))
    assert not find_low_coverage(a_result(coverage=0.1, promise=Promise()))
    assert not find_high_error(a_result(mse=99.0, promise=Promise()), 0.01)


@pytest.mark.parametrize(
    ("mse", "tolerance", "wrong"),
    [(4.0, 0.01, False), (5.85, 0.01, False), (5.95, 0.01, True), (7.0, 0.01, True), (7.0, 1.0, False)],
)  # 5.90 is 4 * 1.01 * exp(3.09 * sqrt(2 / 400 + 2 / 200)).
def test_a_high_error_is_told(mse: float, tolerance: float, wrong: bool) -> None:
    assert bool(find_high_error(a_result(mse=mse, fourth=3 * mse**2), tolerance)) == wrong


def test_errors_that_are_all_alike_leave_nothing_to_chance() -> None:
    assert find_high_error(a_result(mse=4.2, fourth=4.2**2), 0.01)


def test_a_version_is_judged_by_all_its_batches_at_once(store: Store) -> None:
    few, many = a_result(batch="v1-a", matched=10, coverage=0.0), a_result(batch="v1-b", matched=10_000, coverage=0.95)
    entry = Entry(source="a.csv", input="", settings={}, recorded_at=DAY, results=[few, many])
    check_promises.fn([entry], 0.01)
    assert read_alarms(store) == []
    check_promises.fn([entry.model_copy(update={"results": [few]})], 0.01)
    assert [alarm["action"] for alarm in read_alarms(store)] == ["coverage.low"]


def test_a_perfect_prediction_breaks_no_promise() -> None:
    assert not find_high_error(a_result(mse=0.0, fourth=0.0), 0.01)


def test_a_right_model_is_hardly_ever_called_wrong() -> None:
    rng, alarms = np.random.default_rng(3), 0
    for _ in range(2000):
        tested, errors = rng.normal(size=100) ** 2, rng.normal(size=300)
        promise = Promise(mse=float(tested.mean()), test_rows=100)
        result = a_result(mse=float(np.mean(errors**2)), fourth=float(np.mean(errors**4)), promise=promise)
        alarms += bool(find_high_error(result, 0.01))
    assert alarms <= 8, "0.1% of 2,000 is 2, and the spread of few squared errors is not well known"


def test_results_add_up_by_their_rows() -> None:
    first = a_result(matched=100, mse=1.0, mean_mse=None)
    second = a_result(matched=300, mse=5.0, batch="v1-b", predicted_at=DAY.replace(day=2))
    (total,) = combine([second, first], by_batch=False)
    assert (total.matched, total.mse, total.mean_mse, total.batch) == (400, 4.0, None, "v1-b")
    assert [result.batch for result in combine([second, first], by_batch=True)] == ["v1-a", "v1-b"]
