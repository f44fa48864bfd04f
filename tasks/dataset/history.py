"""A user's own table as it was known on days gone by, for a backtest."""

import atexit
import shutil
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tasks.dataset.contract import check_rows
from tasks.dataset.rows import Origin, Rows, Snapshot, Split
from tasks.dataset.split import pick_columns, select_features, split_rows
from tasks.errors import UserError
from tasks.parameters import Dataset, Period, Training
from tasks.steps import get_logger, task
from tasks.storage.files import make_temporary
from tasks.storage.store import Store
from tasks.tables.inputs import plural

MONTHS = {"month": 1, "quarter": 3}


@dataclass(frozen=True)
class Step:
    """A step of a backtest: the model of the first day is measured on the rows from that day on and before the end."""

    start: date
    end: date
    rows: Rows  # that happened from the start on and before the end


@dataclass(frozen=True)
class Plan:
    """The steps of a backtest, of which some may have no rows, and where the rows came from."""

    name: str  # of the table
    origin: Origin
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class KnownRows:
    """What was known on the first day of a step, dealt out."""

    sha256: str
    split: Split
    folder: Path  # with the snapshot, to be removed when the step is done


def cut_days(period: Period) -> list[tuple[date, date]]:
    """Cut a period into steps, the last of which may be a shorter one."""
    days: list[tuple[date, date]] = []
    start = period.from_
    while start < period.to:
        following = _advance(period, len(days) + 1)
        days.append((start, min(following, period.to)))
        start = following
    return days


def _advance(period: Period, steps: int) -> date:
    """Return the day after so many steps: in a month without the day of the start, the month's last."""
    if period.every == "week":
        return period.from_ + timedelta(weeks=steps)
    years, month = divmod(period.from_.month - 1 + steps * MONTHS[period.every], 12)
    year = period.from_.year + years
    return date(year, month + 1, min(period.from_.day, monthrange(year, month + 1)[1]))


def to_microseconds(day: date) -> int:
    """Return when a day begins in UTC, in microseconds since 1970."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000


@task("Plan the steps", retries=2, retry_delay_seconds=5, timeout_seconds=3600)
def plan_steps(dataset: Dataset, period: Period) -> Plan:
    """Read the whole table, and deal the rows of the period out to its steps.

    Raises:
        UserError: the table has no times, or no row before the period or in it.
    """
    if not dataset.is_own:
        raise UserError("The tutorial's dataset has no times to go by: name a table of your own by --dataset.source.")
    if not dataset.time:
        raise UserError("A backtest needs --dataset.time, the column that says when a row happened.")
    if dataset.as_of:
        raise UserError("A backtest goes through the days by itself: leave --dataset.as-of out.")
    snapshot = _take(dataset, None)
    times = cast("NDArray[np.int64]", snapshot.times)
    oldest, newest = (datetime.fromtimestamp(int(time) / 1e6, UTC).date() for time in times[[0, -1]])
    if oldest >= period.from_:
        raise UserError(
            f"There is nothing to learn from before {period.from_}: the oldest row of {snapshot.name} is of {oldest}; "
            "let the backtest begin later."
        )
    steps = tuple(_cut_step(snapshot, dataset, *days) for days in cut_days(period))
    if not any(len(step.rows) for step in steps):
        raise UserError(
            f"{snapshot.name} has no row from {period.from_} on and before {period.to}, but from {oldest} to {newest}."
        )
    for step in steps:
        if not len(step.rows):
            get_logger().warning("From %s to %s there are no rows; this step is passed over", step.start, step.end)
    return Plan(snapshot.name, snapshot.origin, steps)


def _cut_step(snapshot: Snapshot, dataset: Dataset, start: date, end: date) -> Step:
    times = cast("NDArray[np.int64]", snapshot.times)
    first, last = np.searchsorted(times, [to_microseconds(start), to_microseconds(end)])
    part, features = slice(first, last), len(dataset.features)
    x = pick_columns(snapshot.values[part], list(range(features)))
    return Step(start, end, Rows(x, snapshot.values[part, features], np.arange(first, last)))


@task("Read what was known", retries=2, retry_delay_seconds=5, timeout_seconds=3600)
def take_known_rows(dataset: Dataset, training: Training, step: Step) -> KnownRows:
    """Read the table as `--dataset.as-of` the first day of the step does, and deal its rows out.

    Raises:
        UserError: there was too little to learn from; names the day.
    """
    try:
        snapshot = _take(dataset, step.start)
        split = select_features(split_rows(snapshot, dataset.target, training.validation_split), dataset.features)
        check_rows(split)
    except UserError as error:
        raise UserError(f"As of {step.start}: {error}") from None
    get_logger().info("As of %s: %s known", step.start, plural(len(snapshot.values), "row"))
    return KnownRows(snapshot.origin.sha256, split, cast(Path, snapshot.path).parents[1])


def _take(dataset: Dataset, day: date | None) -> Snapshot:
    """Read the table in a scratch folder, so that the store does not fill with what the table itself still has."""
    from tasks.dataset.snapshot import take_snapshot  # Polars takes a tenth of a second to import.

    folder = make_temporary("backtest-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    known = {"as_of": day.isoformat() if day else "", "max_age_days": 0}
    return take_snapshot(Store(str(folder)), dataset.model_copy(update=known))
