"""The days of a backtest, and what was known on each."""

from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from linear_neuron.tasks.dataset.snapshot import take_snapshot
from linear_neuron.tasks.dataset.split import split_rows
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Dataset, Period, Training
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.training.backtest import cut_days, plan_steps, take_known_rows


def a_period(start: str, end: str, every: str = "month") -> Period:
    return Period.model_validate({"from": start, "to": end, "every": every})


def starts(period: Period) -> list[str]:
    return [str(start) for start, _ in cut_days(period)]


def a_table(path: Path, *days: str) -> Dataset:
    file = path / "sales.csv"
    file.write_text(
        "sold_on,area,price\n" + "".join(f"{day},{place},{place * place}\n" for place, day in enumerate(days))
    )
    return Dataset(source=str(file), features=["area"], target="price", time="sold_on")


def test_a_step_ends_where_the_next_begins_and_the_last_at_the_end() -> None:
    assert cut_days(a_period("2026-01-01", "2026-03-15")) == [
        (date(2026, 1, 1), date(2026, 2, 1)),
        (date(2026, 2, 1), date(2026, 3, 1)),
        (date(2026, 3, 1), date(2026, 3, 15)),
    ]


def test_steps_are_weeks_months_or_quarters() -> None:
    assert starts(a_period("2025-12-25", "2026-01-09", "week")) == ["2025-12-25", "2026-01-01", "2026-01-08"]
    assert starts(a_period("2025-11-15", "2026-02-01", "month")) == ["2025-11-15", "2025-12-15", "2026-01-15"]
    assert starts(a_period("2025-05-01", "2026-03-01", "quarter")) == [
        "2025-05-01",
        "2025-08-01",
        "2025-11-01",
        "2026-02-01",
    ]


def test_the_last_of_a_month_stays_the_last() -> None:
    assert starts(a_period("2024-01-31", "2024-05-01")) == ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]


def test_a_row_is_of_the_step_in_which_it_happened(tmp_path: Path) -> None:
    table = a_table(tmp_path, "2025-12-31T23:59:59", "2026-01-01", "2026-01-31T23:59:59", "2026-03-01", "2026-03-02")
    steps = plan_steps.fn(table, a_period("2026-01-01", "2026-03-02")).steps
    assert [step.rows.y.tolist() for step in steps] == [[1, 4], [], [9]]
    assert [step.rows.x.tolist() for step in steps] == [[[1], [2]], [], [[3]]]


@pytest.mark.parametrize(
    ("changes", "start", "sentence"),
    [
        ({"source": "boston"}, "2026-01-01", "The tutorial's dataset has no times to go by: name a table of your own"),
        ({"time": ""}, "2026-01-01", "A backtest needs --dataset.time, the column that says when a row happened."),
        (
            {"as_of": "2026-01-01"},
            "2026-01-01",
            "A backtest goes through the days by itself: leave --dataset.as-of out.",
        ),
        ({}, "2024-05-06", "There is nothing to learn from before 2024-05-06: the oldest row of .* is of 2024-05-06; "),
        ({}, "2025-01-01", "has no row from 2025-01-01 on and before 2027-01-01, but from 2024-05-06 to 2024-06-07."),
        ({"time": "area"}, "2026-01-01", "none of 2 rows can be learned from"),
    ],
    ids=["Boston", "no time column", "as of", "nothing before", "nothing after", "not a time"],
)
def test_impossible_backtest_is_refused_in_one_sentence(
    tmp_path: Path, changes: dict[str, str], start: str, sentence: str
) -> None:
    table = a_table(tmp_path, "2024-05-06", "2024-06-07").model_copy(update=changes)
    with pytest.raises(UserError, match=sentence) as caught:
        plan_steps.fn(table, a_period(start, "2027-01-01"))
    assert "\n" not in str(caught.value)


def test_an_end_that_is_not_after_the_start_is_refused() -> None:
    for end in ("2026-01-01", "2025-12-31"):
        with pytest.raises(ValidationError, match="is not after the day of the first training; name a later one"):
            a_period("2026-01-01", end)


def test_known_rows_are_those_of_a_snapshot_as_of_the_day(tmp_path: Path) -> None:
    """They are cut from the snapshot of all, with the digest that reading the table as of the day gives."""
    days = [f"2026-{month:02}-{day:02}" for month in (3, 1, 2) for day in range(1, 29)]
    table = a_table(tmp_path, *days).model_copy(update={"features": ["größe", "area"]})
    lines = Path(table.source).read_text().splitlines()
    added = [f"{line},{number * 7 % 11}" for number, line in enumerate(lines[1:])]
    Path(table.source).write_text("\n".join([f"{lines[0]},größe", *added]) + "\n")
    plan = plan_steps.fn(table, a_period("2026-02-01", "2026-04-01"))
    training = Training().resolve(own_table=True)
    digests = []
    for step in plan.steps:
        known = take_known_rows.fn(plan, table, training, step)
        store = Store(str(tmp_path / f"{step.start}"))
        read = take_snapshot(store, table.model_copy(update={"as_of": step.start.isoformat()}))
        assert known.sha256 == read.origin.sha256
        assert known.split.rule == split_rows(read, "price", table.features, 0.3).rule
        digests.append(known.sha256)
    assert len(set(digests)) == 2
