"""Backtest: the steps, what was known at each, and how good its model is on the rows that came after."""

import shutil
from calendar import monthrange
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from linear_neuron.tasks.dataset.design_matrix import encode, encode_rows, predict, predict_rows
from linear_neuron.tasks.dataset.raw_columns import RawColumns
from linear_neuron.tasks.dataset.rows import (
    SUFFIX,
    Origin,
    Predictions,
    Rows,
    Snapshot,
    Split,
    copy_records,
    load_records,
    open_records,
    pick_columns,
)
from linear_neuron.tasks.dataset.slices import Slice, cut_slices, measure_slices
from linear_neuron.tasks.dataset.split import leave_out_dependent, split_table
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import IntervalBins, LinearModel
from linear_neuron.tasks.parameters import Dataset, ExampleInputs, Period, Training
from linear_neuron.tasks.registry.fingerprint import fingerprint
from linear_neuron.tasks.registry.versions import find_version, read_version
from linear_neuron.tasks.steps import get_logger, task
from linear_neuron.tasks.storage.files import digest_file, make_scratch
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.tables.spec import TIME
from linear_neuron.tasks.text import number, plural
from linear_neuron.tasks.training.calibration import calibrate
from linear_neuron.tasks.training.fit_data import FitData
from linear_neuron.tasks.training.interval import find_inside
from linear_neuron.tasks.training.metrics import MODELS, fit_least_squares, interval_half_widths, measure_models
from linear_neuron.tasks.training.results import Fitted

if TYPE_CHECKING:
    from linear_neuron.tasks.features.design import Design

MONTHS = {"month": 1, "quarter": 3}


@dataclass(frozen=True)
class Step:
    """A step of a backtest: the model of the first day is measured on the rows from that day on and before the end."""

    start: date
    end: date
    rows: Rows  # that happened from the start on and before the end
    names: list[str]  # of the columns of x, which are numbers
    raw: RawColumns | None = None  # of all rows of the table


@dataclass(frozen=True)
class Plan:
    """The steps of a backtest, of which some may have no rows, and where the rows came from."""

    name: str  # of the table
    origin: Origin
    steps: tuple[Step, ...]
    path: Path  # of the snapshot of all rows


@dataclass(frozen=True)
class KnownRows:
    """What was known on the first day of a step, split into train, validation and test rows."""

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
    """Return the day after a number of steps: the last day of a month that is too short for the day of the start."""
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
    """Read the whole table, and assign the rows of the period to its steps.

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
    return Plan(snapshot.name, snapshot.origin, steps, cast(Path, snapshot.path))


def _cut_step(snapshot: Snapshot, dataset: Dataset, start: date, end: date) -> Step:
    times = cast("NDArray[np.int64]", snapshot.times)
    first, last = np.searchsorted(times, [to_microseconds(start), to_microseconds(end)])
    part, names = slice(first, last), [column.name for column in snapshot.columns[:-1]]
    rows = Rows(snapshot.values[part, : len(names)], snapshot.values[part, len(names)], np.arange(first, last))
    return Step(start, end, rows, names, snapshot.read_raw(snapshot.columns[-1].name))


@task("Read what was known", retries=2, retry_delay_seconds=5, timeout_seconds=3600)
def take_known_rows(plan: Plan, dataset: Dataset, training: Training, step: Step) -> KnownRows:
    """Read and split what `--dataset.as-of` the first day of the step reads.

    Rows that become known when they happen are cut from the snapshot of all, and not read from the table again.

    Raises:
        UserError: there was too little to learn from; names the day.
    """
    try:
        snapshot = _take(dataset, step.start) if dataset.known_at else _cut_snapshot(plan, step.start)
        split, _ = leave_out_dependent(encode(split_table(snapshot, dataset, training.validation_split)))
    except UserError as error:
        raise UserError(f"As of {step.start}: {error}") from None
    get_logger().info("As of %s: %s known", step.start, plural(len(snapshot.values), "row"))
    return KnownRows(snapshot.origin.sha256, split, cast(Path, snapshot.path).parents[1])


def _cut_snapshot(plan: Plan, day: date) -> Snapshot:
    """Write the snapshot of the rows that happened before a day: the bytes that a retrain as of that day would keep."""
    folder = make_scratch("backtest-")
    path = folder / "datasets" / f"known{SUFFIX}"
    path.parent.mkdir()
    records, _ = load_records(plan.path)
    copy_records(plan.path, path, np.arange(int(np.searchsorted(records[TIME], to_microseconds(day)))))
    return open_records(path, replace(plan.origin, sha256=digest_file(path)))


def _take(dataset: Dataset, day: date | None) -> Snapshot:
    """Read the table in a scratch folder, so that the store does not fill with what the table itself still has."""
    from linear_neuron.tasks.dataset.snapshot import take_snapshot  # Polars takes a tenth of a second to import.

    folder = make_scratch("backtest-")
    known = {"as_of": day.isoformat() if day else "", "max_age_days": 0}
    return take_snapshot(Store(str(folder)), dataset.model_copy(update=known))


PERCENT = 90  # of the rows that the interval should hold


@dataclass(frozen=True)
class StepModel:
    """The model of a step: the one that would have served, and its interval."""

    model: LinearModel
    version: str  # of the store that has this model; empty where it was trained for the backtest
    bins: IntervalBins | None = None  # None where the interval has one width
    half_width: float | None = None  # that width; None where there are bins, or too few rows


@dataclass(frozen=True)
class StepResult:
    """A model, and how wrong it was on the rows of its step."""

    step: Step
    sha256: str  # of the rows known when it was trained
    known: int  # how many those are
    fitted: int  # on how many of them it was fitted
    trained: StepModel
    weights: dict[str, float]  # by name; of a category what each level contributes; a curve has none
    errors: dict[str, dict[str, float | None]]  # what `measure_models` says of the rows of the step
    coverage: float | None  # share of these rows within the 90% interval
    predicted: Predictions  # for these rows
    inside: NDArray[np.bool_] | None  # whether each is within the 90% interval; None where there is none
    terms: "Design | None"  # what it is a model of, where that is more than columns of numbers

    @property
    def model(self) -> LinearModel:
        """The model as numbers."""
        return self.trained.model

    @property
    def version(self) -> str:
        """The version of the store that has this model; empty where it was trained for the backtest."""
        return self.trained.version


@task("Look for a model of the same rows")
def recall_model(known: KnownRows, dataset: Dataset, training: Training, results: list[StepResult]) -> StepModel | None:
    """Find the model that was trained on these rows: by the step before, or for a version in the store."""
    for result in results[-1:]:
        if result.sha256 == known.sha256:
            get_logger().info("No row became known since %s, so its model is used again", result.step.start)
            return result.trained
    store = Store()
    name = find_version(store, fingerprint(known.sha256, dataset, training, ExampleInputs()))
    if name is None:
        return None
    get_logger().info("%s was trained on these rows, so its model is used", name)
    version = read_version(store, name)
    return StepModel(version.linear_model, name, version.interval_bins, version.intervals[str(PERCENT)])


def choose_served(data: FitData, fitted: Fitted) -> StepModel:
    """Take the model that would serve, and calibrate its interval."""
    candidate, validation, test = fitted.candidate.linear_model, data.split.validation, data.split.test
    predicted = {
        name: predict(data.split, candidate, rows) for name, rows in (("validation", validation), ("test", test))
    }
    bins = None if data.served is None else calibrate(data, predicted)[1]["bins"]
    width = None if bins else interval_half_widths(validation.y, predicted["validation"])[str(PERCENT)]
    return StepModel(fitted.served.linear_model, "", bins, width)


@task("Measure on the rows after")
def measure_step(step: Step, known: KnownRows, data: FitData, trained: StepModel) -> StepResult:
    """Measure the errors of the neuron, the mean predictor and least squares of that day; remove the day's rows."""
    design = known.split.terms
    if design is None:
        names = [step.names.index(name) for name in known.split.names]
        rows = replace(step.rows, x=pick_columns(step.rows.x, names))
        predicted = trained.model.predict(rows.x)
    else:
        raw, terms = cast(RawColumns, step.raw), design.decode(trained.model)
        rows = replace(step.rows, x=encode_rows(raw, step.rows.number, design))
        predicted = predict_rows(raw, rows, terms, trained.model.base, design.kinds, trained.model.link)
    moments = data.served_moments or data.parts.get("train")
    fitted = data.split.train if data.served is None else data.served
    least_squares = data.solve(moments) if moments else fit_least_squares(fitted)
    errors = measure_models(rows, predicted, float(fitted.y.mean()), least_squares)
    inside = None
    if trained.bins is not None:
        inside = find_inside(trained.bins, rows.y, predicted, PERCENT)
    elif trained.half_width is not None:
        inside = np.asarray(np.abs(rows.y - predicted) <= trained.half_width)
    coverage = None if inside is None else float(inside.mean())
    counts = sum(map(len, known.split.rows.values())), len(fitted)
    shutil.rmtree(known.folder)
    said = ", ".join(f"{name} {number(errors[name]['rmse'])}" for name in MODELS)
    get_logger().info("From %s to %s, %d rows, RMSE: %s", step.start, step.end, len(rows), said)
    weights = name_weights(known.split, trained.model)
    return StepResult(step, known.sha256, *counts, trained, weights, errors, coverage, predicted, inside, design)


def name_weights(split: Split, model: LinearModel) -> dict[str, float]:
    """Name the weights of a model: of a term with levels each, and in brackets what rare and missing ones have."""
    if split.terms is None:
        return dict(zip(split.names, model.weights, strict=True))
    found: dict[str, float] = {}
    for term in split.terms.decode(model):
        if term.kind == "number":
            found[term.name] = term.weight
        if term.label:
            found |= {f"{term.name}={level}": value for level, value in term.levels.items() if value != term.other}
            found[f"{term.name} (other)"] = term.other
        if term.missing is not None:
            found[f"{term.name} (missing)"] = term.missing
    return found


def slice_steps(results: list[StepResult]) -> list[Slice]:
    """Measure the slices of the rows of all steps."""
    steps, last = [result.step.rows for result in results], results[-1]
    number, actual = (np.concatenate([getattr(rows, name) for rows in steps]) for name in ("number", "y"))
    predicted = np.concatenate([result.predicted for result in results])
    parts = [result.inside for result in results if result.inside is not None]
    inside = np.concatenate(parts) if len(parts) == len(results) else None
    rows = Rows(np.empty((len(actual), 0)), actual, number)
    return measure_slices(cut_slices(last.step.raw, last.terms, rows, predicted), actual, predicted, inside)


def total_errors(results: list[StepResult], error: str = "mse") -> dict[str, float]:
    """Compute each model's mean squared error, or `mae`, over the rows of all steps."""
    sizes = [len(result.step.rows) for result in results]
    return {
        name: float(np.average([result.errors[name][error] or 0.0 for result in results], weights=sizes))
        for name in MODELS
    }
