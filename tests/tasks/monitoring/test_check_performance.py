"""Alarms about performance are raised when chance does not explain it, and in few champion-years otherwise."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from linear_neuron.tasks.monitoring.check_performance import (
    SHARES,
    Watched,
    check_performance,
    find_high_error,
    find_low_coverage,
)
from linear_neuron.tasks.monitoring.performance import (
    DayErrors,
    Entry,
    Expected,
    Index,
    Performance,
    load_index,
    swap_index,
)
from linear_neuron.tasks.monitoring.sequential import BUDGET, spend
from linear_neuron.tasks.registry.alarms import LOOKS, read_alarms
from linear_neuron.tasks.registry.audit_log import ALARMS
from linear_neuron.tasks.storage.store import Store
from tests.benchmarks.alarms import (
    Errors,
    count_false,
    draw_clustered,
    draw_errors,
    draw_lognormal,
    draw_normal,
    find_error_days,
    measure_power,
)

EXPECTED = Expected(mse=4.0, test_rows=200, mean=0.0, validation_rows=200)
DAY = datetime(2026, 11, 1, tzinfo=UTC)
LEVEL = 0.001


def a_result(days: list[DayErrors] | None = None, **changes: Any) -> Performance:
    figures: dict[str, Any] = {"mse": 4.0, "mae": 1.6, "bias": 0.0, "fourth": 48.0, "coverage": 0.9, "mean_mse": 9.0}
    facts = {"version": "v1", "batch": "v1-a", "predicted_at": DAY, "interval": 90, "matched": 400}
    known = {f"{DAY + timedelta(days=number):%Y-%m-%d}": day for number, day in enumerate(days or [])}
    return Performance(**{"expected": EXPECTED, "days": known, **facts, **figures, **changes})


def watch(*days: DayErrors, **changes: Any) -> Watched:
    return Watched(a_result(list(days), **changes), list(days))


def day(rows: int, ratio: float = 1.0, coverage: float = 0.9) -> DayErrors:
    return DayErrors(rows=rows, score=rows * ratio, inside=round(rows * coverage))


def keep(store: Store, *results: Performance) -> None:
    """Record results as those of one file."""
    entry = Entry(source="a.csv", input="", settings={"target": "y"}, recorded_at=DAY, results=list(results))
    assert swap_index(store, load_index(store)[1], Index(entries=[entry]))


@pytest.mark.parametrize(("coverage", "wrong"), [(0.90, False), (0.85, False), (0.78, True), (0.5, True)])
def test_low_coverage_is_found(coverage: float, wrong: bool) -> None:
    days = [day(100, coverage=coverage)] * 4
    assert bool(find_low_coverage(watch(*days), LEVEL)[0]) == wrong


@pytest.mark.parametrize(("ratio", "wrong"), [(1.0, False), (1.2, False), (2.0, True), (3.0, True)])
def test_high_errors_are_found(ratio: float, wrong: bool) -> None:
    assert bool(find_high_error(watch(*[day(100, ratio)] * 4), 0.01, LEVEL, 1)[0]) == wrong


def test_errors_within_the_tolerance_are_no_alarm() -> None:
    assert find_high_error(watch(*[day(100, 2.0)] * 4), 0.9, LEVEL, 1)[0]
    assert not find_high_error(watch(*[day(100, 2.0)] * 4), 1.1, LEVEL, 1)[0]


def test_without_interval_or_rows_nothing_is_found() -> None:
    lost = DayErrors(rows=400, score=4000.0, inside=None)
    assert not find_low_coverage(watch(lost), LEVEL)[0]
    assert not find_low_coverage(watch(day(400, coverage=0.1), expected=Expected()), LEVEL)[0]
    assert not find_high_error(watch(day(400, 9.0), expected=Expected()), 0.01, LEVEL, 1)[0]


@pytest.mark.parametrize(
    ("matched", "mse", "wrong"), [(400, 4.0, False), (400, 5.0, False), (400, 7.0, True), (99, 70.0, False)]
)
def test_an_older_version_is_compared_by_squared_errors(matched: int, mse: float, wrong: bool) -> None:
    sums = {"squares": mse * matched, "fourths": 3 * mse**2 * matched}
    old = DayErrors(rows=matched, score=None, inside=None, **sums)
    found, _ = find_high_error(watch(old, matched=matched, mse=mse, fourth=3 * mse**2), 0.01, LEVEL, 1)
    assert bool(found) == wrong


def test_perfect_predictions_raise_no_alarm() -> None:
    assert not find_high_error(watch(day(400, 0.0), mse=0.0, fourth=0.0), 0.01, LEVEL, 1)[0]
    old = DayErrors(rows=400, score=None, inside=None)
    assert not find_high_error(watch(old, mse=0.0, fourth=0.0), 0.01, LEVEL, 1)[0]


def test_an_alarm_is_about_all_batches_of_a_version(store: Store) -> None:
    many = a_result([day(10_000, coverage=0.95)], batch="v1-b", matched=10_000)
    keep(store, a_result([day(30, coverage=0.0)], matched=30), many)
    check_performance.fn(0.01)
    assert read_alarms(store) == []
    keep(store, a_result([day(30, coverage=0.0)], matched=30))
    check_performance.fn(0.01)
    (alarm,) = read_alarms(store)
    assert alarm["action"] == "coverage.low"
    assert alarm["reason"].endswith("By chance alone this alarm is raised in at most 0.1% of a champion's years.")


def test_the_same_data_is_one_look(store: Store) -> None:
    keep(store, a_result([day(100)]))
    for _ in range(3):
        check_performance.fn(0.01)
    before = store.read(store.root / LOOKS)
    assert before is not None
    assert before.count(b'"count": 1') == 2
    keep(store, a_result([day(100), day(100)]))
    check_performance.fn(0.01)
    after = store.read(store.root / LOOKS)
    assert after is not None
    assert after.count(b'"count": 2') == 2


def test_intervals_of_two_percents_share_one_budget(store: Store) -> None:
    """What is an alarm of one interval alone, by a small margin, is none where a second one is looked at too."""
    level = spend(BUDGET * SHARES["coverage.low"], 1, 1)
    covers = [number / 1000 for number in range(900, 600, -1)]
    low = next(day(1000, coverage=share) for share in covers if is_low(day(1000, coverage=share), level))
    assert not is_low(low, level / 2)
    keep(store, a_result([low]), a_result([day(1000, coverage=0.99)], interval=95))
    check_performance.fn(0.01)
    assert read_alarms(store) == []
    looks = store.read(store.root / LOOKS) or b""
    assert looks.count(b"coverage.low") == 1, "a look at both is one look"
    keep(store, a_result([low], version="v2"))
    check_performance.fn(0.01)
    assert [alarm["action"] for alarm in read_alarms(store)] == ["coverage.low"]


def is_low(errors: DayErrors, level: float) -> bool:
    return bool(find_low_coverage(watch(errors), level)[0])


def test_an_interval_by_level_counts_its_own_rows() -> None:
    few = EXPECTED.model_copy(update={"interval_rows": 50.0})
    days = [day(100, coverage=0.78)] * 4
    assert find_low_coverage(watch(*days), LEVEL)[0]
    assert not find_low_coverage(watch(*days, expected=few), LEVEL)[0]


def test_a_lasting_problem_is_raised_again_after_a_month(store: Store) -> None:
    long_ago = [day(100, 4.0)] * 3
    keep(store, a_result(long_ago))
    check_performance.fn(0.01)
    assert [alarm["action"] for alarm in read_alarms(store)] == ["error.high"]
    later = a_result(days=None).model_copy(update={"days": {"2999-01-01": day(100, 4.0)}})
    keep(store, a_result(long_ago), later)
    check_performance.fn(0.01)
    assert len(read_alarms(store)) == 1, "it is still new"
    path = store.root / ALARMS
    data = store.read(path)
    assert data
    at = read_alarms(store)[0]["at"].encode()
    store.write(path, data.replace(at, (datetime.now(UTC) - timedelta(days=31)).isoformat().encode()))
    check_performance.fn(0.01)
    assert [alarm["action"] for alarm in read_alarms(store)] == ["error.high"] * 2


@pytest.mark.parametrize("mse", [9.0, 4.0])
def test_old_errors_of_an_older_version_raise_no_second_alarm(store: Store, mse: float) -> None:
    """Rows from before an alarm do not count again, whatever release recorded them."""
    old = a_result(matched=400, mse=9.0, fourth=243.0, predicted_at=DAY - timedelta(days=90))
    keep(store, old)
    check_performance.fn(0.01)
    assert [alarm["action"] for alarm in read_alarms(store)] == ["error.high"]
    data, at = store.read(store.root / ALARMS), read_alarms(store)[0]["at"].encode()
    assert data
    store.write(store.root / ALARMS, data.replace(at, (datetime.now(UTC) - timedelta(days=31)).isoformat().encode()))
    new = DayErrors(rows=200, score=None, inside=None, squares=200 * mse, fourths=200 * 3 * mse**2)
    later = a_result(batch="v1-b", matched=200, mse=mse, fourth=3 * mse**2).model_copy(
        update={"days": {"2999-01-01": new}}
    )
    keep(store, old, later)
    check_performance.fn(0.01)
    assert len(read_alarms(store)) == (2 if mse == 9.0 else 1)


@pytest.mark.parametrize(
    "data", [b"null", b"[", b"[" * 100_000, b'{"error.high v1": 3}', b'{"x": {"count": 1e400, "last": ""}}', b""]
)
def test_damaged_looks_are_counted_again(data: bytes, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    keep(store, a_result([day(100, 4.0)]))
    store.write(store.root / LOOKS, data)
    check_performance.fn(0.01)
    assert [alarm["action"] for alarm in read_alarms(store)] == ["error.high"]
    assert "looks.json is damaged, so looks are counted from 1 again" in caplog.text


@pytest.mark.parametrize(
    "setting",
    [
        Errors(draw_normal),
        Errors(draw_lognormal),
        Errors(draw_clustered),
        Errors(draw_normal, rows=(5, 20)),
        Errors(draw_lognormal, rows=(5, 20)),
        Errors(draw_normal, rows=1),
        Errors(draw_normal, rows=300, tested=60),
    ],
    ids=["normal", "lognormal", "clustered", "normal, few rows", "lognormal, few rows", "one row", "few tested"],
)
def test_a_month_without_change_raises_no_alarm(setting: Errors) -> None:
    assert count_false(setting, years=30, seed=3, days=30) <= 1


def test_a_doubled_error_is_found_in_five_batches() -> None:
    assert measure_power(Errors(draw_normal, tested=500, ratio=2), days=5, times=60, seed=4) >= 0.9


def test_half_as_much_again_is_found_in_twenty_batches() -> None:
    assert measure_power(Errors(draw_normal, tested=500, ratio=1.5), days=20, times=60, seed=4) >= 0.9


def test_many_lives_are_looked_at_as_one_by_one() -> None:
    """The benchmark's arrays of lives raise the alarms of the product, on the same days."""
    rng, setting = np.random.default_rng(2), Errors(draw_normal, ratio=1.7)
    lives = [draw_errors(rng, setting, 12) for _ in range(8)]
    rows, scores = np.array([it[0] for it in lives], float).T, np.array([it[1] for it in lives]).T
    budget, alone = BUDGET * SHARES["error.high"], []
    for of_days, sums, _ in lives:
        days = [DayErrors(rows=int(a), score=b, inside=None) for a, b in zip(of_days, sums, strict=True)]
        found = [bool(find_high_error(watch(*days[:day]), 0.01, budget, day)[0]) for day in range(1, 13)]
        alone.append(found.index(True) + 1 if any(found) else 0)
    assert find_error_days(rows, scores, 200).tolist() == alone
    assert len({*alone}) > 2


def test_a_large_error_is_found_on_the_first_day() -> None:
    many = EXPECTED.model_copy(update={"test_rows": 100_000})
    assert find_high_error(watch(day(200, 3.0), expected=many), 0.01, 0.004, 1)[0]
