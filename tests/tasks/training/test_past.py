"""How much of the past to learn from is decided by the rows, and only where forgetting beats chance."""

from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from linear_neuron.tasks.dataset.moments import measure_moments
from linear_neuron.tasks.dataset.rows import Rows
from linear_neuron.tasks.training.past import (
    ALL,
    DAY,
    Choice,
    Past,
    choose_past,
    cut_periods,
    decide_past,
    describe_choice,
    find_unit,
    measure_periods,
    read_past,
    roll_forward,
    start_periods,
)


def at(*days: str) -> NDArray[np.int64]:
    return np.array(days, "datetime64[us]").astype(np.int64)


def make_rows(months: int, change: float, seed: int = 0, count: int = 60) -> Rows:
    """Make rows whose slope changes by so much each month, evenly spread from 2024 on."""
    rng = np.random.default_rng(seed)
    month = np.repeat(np.arange(months), count)
    start = np.datetime64("2024-01").astype("datetime64[M]") + month
    time = start.astype("datetime64[us]").astype(np.int64) + np.tile(np.sort(rng.integers(0, 28, count)), months) * DAY
    x = rng.uniform(-1, 1, (len(month), 1))
    return Rows(x, (2 + change * month) * x[:, 0] + rng.normal(0, 0.5, len(month)), np.arange(len(month)), time)


def decide(wanted: str, parts: list[Rows]) -> Choice:
    times = [part.time for part in parts if part.time is not None]
    unit = find_unit(times) if times else ""
    return decide_past(wanted, measure_periods(["x", "y"], parts, unit) if unit else None)


@pytest.mark.parametrize(
    ("text", "past"),
    [("all", ALL), ("90d", Past(window=90)), ("half-life:30d", Past(half_life=30))],
)
def test_a_past_is_read_and_written_alike(text: str, past: Past) -> None:
    assert read_past(text) == past
    assert str(past) == text


def test_a_window_counts_back_from_the_newest_row() -> None:
    time = at("2024-01-01", "2024-03-02", "2024-03-03", "2024-04-01")
    rows = Rows(np.arange(4.0)[:, None], np.arange(4.0), np.arange(4), time)
    assert Past(window=30).select(rows).y.tolist() == [2, 3]
    assert Past(window=1000).select(rows).y.tolist() == [0, 1, 2, 3]
    assert ALL.select(rows) is rows
    assert Past(window=30).weigh(rows) is None


def test_a_half_life_halves_the_weight_of_a_row() -> None:
    time = at("2024-01-01", "2024-01-31", "2024-03-01")
    rows = Rows(np.zeros((3, 1)), np.zeros(3), np.arange(3), time)
    weights = Past(half_life=30).weigh(rows)
    assert weights is not None
    assert weights.tolist() == [0.25, 0.5, 1]
    assert Past(half_life=30).select(rows).y.tolist() == [0, 0, 0]
    assert len(Past(half_life=3).select(rows)) == 1, "what counts less than a thousandth is left out"
    assert len(Past(half_life=30).select(rows, 1)) == 1


def test_periods_are_calendar_months_weeks_or_days() -> None:
    times = at("1969-12-31", "2023-12-31T23:59:59", "2024-01-01", "2024-01-07T23:00", "2024-01-08")
    names = {
        unit: [(str(start_periods(np.array([number]), unit)[0]), first, last) for number, first, last in found]
        for unit, found in ((unit, cut_periods(times, unit)) for unit in ("month", "week", "day"))
    }
    assert names["month"] == [("1969-12-01", 0, 1), ("2023-12-01", 1, 2), ("2024-01-01", 2, 5)]
    assert names["week"] == [("1969-12-29", 0, 1), ("2023-12-25", 1, 2), ("2024-01-01", 2, 4), ("2024-01-08", 4, 5)]
    assert [day for day, _, _ in names["day"]] == ["1969-12-31", "2023-12-31", "2024-01-01", "2024-01-07", "2024-01-08"]


def test_the_longest_unit_with_enough_periods_is_taken() -> None:
    day = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    units = [find_unit([day + np.arange(0, days * DAY, DAY // 2)]) for days in (4, 8, 60, 240)]
    assert units == ["", "day", "week", "month"]


def test_an_error_one_period_ahead_is_that_of_a_fit_to_the_rows_before() -> None:
    rows = make_rows(8, 0.3)
    periods = measure_periods(["x", "y"], [rows], "month")
    errors = roll_forward(periods)
    assert errors.shape == (5, 9)
    assert rows.time is not None
    numbers = rows.time.astype("datetime64[us]").astype("datetime64[M]").astype(int)
    known, following = numbers < numbers[0] + 6, numbers == numbers[0] + 6
    age = numbers[0] + 5 - numbers[known]
    for column, weights in ((0, np.ones(len(age))), (1, 1.0 * (age < 3)), (5, 0.5**age), (6, 0.5 ** (age / 3))):
        model = measure_moments(["x", "y"], rows.x[known], rows.y[known], weights.astype(float)).solve()
        left = rows.y[following] - rows.x[following] @ model.weights - model.bias
        assert errors[3, column] == pytest.approx(np.mean(left**2), rel=1e-9)


def test_a_world_that_changes_is_learned_from_its_newest_rows() -> None:
    choice = decide("auto", [make_rows(20, 0.3)])
    assert choice.past == Past(half_life=30)
    assert choice.unit == "month"
    assert len(choice.starts) == 17
    assert choice.starts[0] == "2024-04-01"
    assert "it predicts the next month best" in choice.reason
    assert "by chance one of 8 pasts would look as good in 0% of cases" in choice.reason
    assert str(choice.trials[0].past) == "all"


@pytest.mark.parametrize("seed", range(5))
def test_a_world_that_stays_is_learned_from_all_rows(seed: int) -> None:
    choice = decide("auto", [make_rows(20, 0.0, seed)])
    assert choice.past == ALL
    assert choice.reason == "none of 8 shorter pasts predicts the next month better than chance, over 17 months"


@pytest.mark.slow
def test_a_past_is_chosen_without_need_as_often_as_the_level_allows() -> None:
    """The level is 20%; where nothing changes a shorter past is worse, which makes it rarer."""
    rng = np.random.default_rng(1)
    chosen = 0
    for _ in range(80):
        x, error = rng.normal(size=(12, 40, 1)), rng.standard_t(3, size=(12, 40))
        time = np.arange(12 * 40) * (30 * DAY // 40)
        rows = Rows(x.reshape(-1, 1), (x[:, :, 0] + error).ravel(), np.arange(480), time)
        chosen += decide("auto", [rows]).past != ALL
    assert chosen <= 16


def test_parts_are_compared_as_one_table() -> None:
    rows = make_rows(12, 0.3)
    assert rows.time is not None
    parts = [Rows(rows.x[p], rows.y[p], rows.number[p], rows.time[p]) for p in (slice(0, 403), slice(403, None))]
    names = ["x", "y"]
    together, apart = (measure_periods(names, some, "month") for some in ([rows], parts))
    assert together.numbers == apart.numbers
    assert np.allclose(roll_forward(together), roll_forward(apart), rtol=1e-9)


def test_months_without_rows_pass_all_the_same() -> None:
    rows = make_rows(24, 0.3)
    assert rows.time is not None
    kept = np.flatnonzero(
        ~np.isin(rows.time.astype("datetime64[us]").astype("datetime64[M]").astype(int) % 12, [3, 4, 5, 6])
    )
    some = Rows(rows.x[kept], rows.y[kept], rows.number[kept], rows.time[kept])
    choice = decide("auto", [some])
    assert str(choice.past) == "half-life:30d"
    assert "91d" not in [str(trial.past) for trial in choice.trials], "after the gap it has no rows"


def test_too_few_periods_or_no_times_take_all_rows() -> None:
    rows = make_rows(1, 0.0)
    assert rows.time is not None
    short = Rows(rows.x[:9], rows.y[:9], rows.number[:9], rows.time[:9] % (3 * DAY) + rows.time[0])
    untimed = Rows(rows.x, rows.y, rows.number)
    for some in (short, untimed):
        choice = decide("auto", [some])
        assert (choice.past, choice.reason) == (ALL, "there are no times, or fewer than 7 days to compare")
    assert decide("90d", [untimed]).past == Past(window=90)


def test_a_choice_is_kept_as_plain_numbers() -> None:
    choice = choose_past(measure_periods(["x", "y"], [make_rows(10, 0.3)], "month"))
    kept = describe_choice(choice)
    assert kept["past"] == "half-life:30d"
    trials = kept["trials"]
    assert isinstance(trials, list)
    assert [trial["past"] for trial in trials] == [str(trial.past) for trial in choice.trials]
    assert len(trials[0]["by_period"]) == len(choice.starts) == 7
