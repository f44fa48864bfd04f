"""The days of a backtest, and what was known on each."""

from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.dataset.history import cut_days, plan_steps
from tasks.errors import UserError
from tasks.parameters import Dataset, Period


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
def test_what_can_not_be_gone_through_is_one_sentence(
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
