"""Realized performance: what the store keeps of how good predictions were, by file of actuals, batch and version."""

import json
import math
from collections.abc import Iterable
from datetime import datetime
from itertools import groupby
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from linear_neuron.tasks.dataset.rows import Floats
from linear_neuron.tasks.dataset.slices import (
    PREDICTION,
    Groups,
    Slice,
    add_slices,
    group_labels,
    group_numbers,
    group_times,
    measure_slices,
)
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.monitoring.actual_values import ACTUAL
from linear_neuron.tasks.monitoring.match import NUMBERS, Source
from linear_neuron.tasks.registry.actuals_index import load_entries, make_error, swap_entries
from linear_neuron.tasks.registry.versions import read_version
from linear_neuron.tasks.storage.store import Store, Tagged
from linear_neuron.tasks.tables.spec import KNOWN

BATCH = "batch"
LABELS = "labels"  # of a matched row, as JSON: column -> text
MOST = 0.9987  # share that the greatest test error counts for: errors spread evenly from 0.99 have the mean score there


class Expected(BaseModel):
    """Expected performance: a version's figures from its training; None where the version is gone or has none."""

    model_config = ConfigDict(frozen=True)

    mse: float | None = None  # on its test rows
    test_rows: int = 0
    mean: float | None = None  # of the targets of its fitted rows: what the mean predictor always says
    validation_rows: int = 0  # of which its interval was made, where that has one width
    interval_rows: float | None = None  # the same of an interval by level, of all its bins


class DayErrors(BaseModel):
    """The errors on the actual values that became known on one day (UTC)."""

    model_config = ConfigDict(frozen=True)

    rows: int
    score: float | None  # sum of the rows' scores; None where the version has no errors of its test rows
    inside: int | None  # rows in the interval; None where the predictions have none
    squares: float | None = None  # sum of the squared errors; older entries have none
    fourths: float | None = None  # sum of their fourth powers


class Performance(BaseModel):
    """The errors of a version's predictions in one batch, in target units, beside the expected ones."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, serialize_by_alias=True)

    version: str
    batch: str
    predicted_at: datetime
    interval: int  # percent of the actual values that it should hold
    matched: int  # predictions whose actual value is known
    mse: float
    mae: float
    bias: float  # mean of prediction minus actual value
    fourth: float  # mean of the errors' fourth power, by which the uncertainty of `mse` is known
    coverage: float | None  # share of the actual values in the interval; None where the predictions have none
    expected_mse: float | None = None  # of these rows, by level of their predictions; None where that is not known
    mean_mse: float | None  # of always predicting the mean of the fitted rows; None where the version does not say it
    days: dict[str, DayErrors] = {}  # day on which the values became known -> errors; older entries have none
    slices: list[Slice] = []  # of these rows by label, by level of the prediction and by month; older entries have none
    expected: Expected = Field(alias="promise")  # files and --json have kept its first name

    @property
    def rmse(self) -> float:
        """The root of the mean squared error, in target units."""
        return math.sqrt(self.mse)


class Entry(BaseModel):
    """A file of actuals as it was recorded."""

    source: str  # path, URL or query
    by: list[str] = []  # further columns of the predictions by which its rows are cut
    input: str  # the digest of the file, or the text of the query
    settings: dict[str, Any]  # key, target and known_at, as they were given
    recorded_at: datetime
    error: str = ""  # why nothing of it could be used
    rows: int = 0
    rejected: int = 0  # of the rows
    unmatched: int = 0  # of the others: no finished batch holds the key
    searched: str = ""  # digest of the list of prediction files in which its keys were looked up last
    searched_at: datetime | None = None  # when that was, if it was after they were recorded
    early: int = 0  # of the unmatched: such a key was predicted only after its value was known
    replaced: int = 0  # rows that a later file replaced
    files: dict[str, dict[str, Any]] = {}  # name in the folder -> sha256 and bytes
    results: list[Performance] = []

    @property
    def identity(self) -> tuple[str, Any]:
        """What a file replaces when it is recorded again."""
        return self.source, self.settings.get("target", "")

    @property
    def matched(self) -> int:
        """Rows whose prediction is known."""
        return sum(result.matched for result in self.results)


class Index(BaseModel):
    """The content of `actuals/index.json`: which files of actuals count. Replacing it is what records a file."""

    entries: list[Entry] = []

    def names(self) -> set[str]:
        """List every file in the folder that an entry refers to."""
        return {name for entry in self.entries for name in entry.files}


def load_index(store: Store) -> tuple[Index, Tagged]:
    """Read the index together with what is needed to replace it.

    Raises:
        DamagedError: it is damaged, or missing although files of actual values are there.
    """
    entries, tagged = load_entries(store)
    try:
        return Index.model_validate({"entries": entries}), tagged
    except ValidationError:
        raise make_error(store) from None


def swap_index(store: Store, expected: Tagged, index: Index) -> bool:
    """Replace the index, unless another run has done so since it was loaded."""
    return swap_entries(store, expected, index.model_dump(mode="json")["entries"])


def start_performance(store: Store, source: Source, target: str) -> Performance:
    """Describe a batch by its version and the expected performance, with nothing measured yet."""
    try:
        model = read_version(store, source.version)
        metrics = model.metrics
        expected = Expected(
            mse=metrics["test"]["neuron"]["mse"],
            test_rows=metrics["test"]["rows"],
            mean=model.contract.get(target, {}).get("mean"),
            validation_rows=metrics.get("validation", {}).get("rows", 0),
            interval_rows=sum(model.interval_bins.rows) or None if model.interval_bins else None,
        )
    except UserError:  # Retention has removed it, or it is damaged, which `verify` reports.
        expected = Expected()
    return Performance(
        version=source.version,
        batch=source.name,
        predicted_at=source.predicted_at,
        interval=source.interval,
        matched=0,
        **dict.fromkeys(("mse", "mae", "bias", "fourth"), 0.0),
        coverage=None,
        mean_mse=None,
        expected=expected,
    )


def measure(store: Store, rows: pl.DataFrame, known: dict[str, Performance]) -> list[Performance]:
    """Measure the predictions of each batch.

    Args:
        store: Where the versions are, with the errors of their test rows.
        rows: ACTUAL, KNOWN, BATCH and NUMBERS; those without a batch are left out.
        known: Batch -> its version and expected performance.
    """
    results = []
    for (name,), table in rows.filter(pl.col(BATCH).is_not_null()).group_by(BATCH, maintain_order=True):
        actual, predicted, low, high = (table[column].cast(pl.Float64).to_numpy() for column in (ACTUAL, *NUMBERS))
        errors, before = predicted - actual, known[str(name)]
        mean, inside = before.expected.mean, (low <= actual) & (actual <= high)
        figures = {
            "matched": len(table),
            "mse": float(np.mean(errors**2)),
            "mae": float(np.mean(np.abs(errors))),
            "bias": float(np.mean(errors)),
            "fourth": float(np.mean(errors**4)),
            "expected_mse": _expect(store, before.version, predicted),
            "coverage": None if np.isnan(low).any() else float(np.mean(inside)),
            "mean_mse": None if mean is None else float(np.mean((actual - mean) ** 2)),
        }
        days = measure_days(table[KNOWN], errors, inside, _read_scale(store, before), before.expected.test_rows)
        if figures["coverage"] is None:
            days = {day: it.model_copy(update={"inside": None}) for day, it in days.items()}
        held = None if figures["coverage"] is None else inside
        slices = measure_slices(cut_actuals(store, before.version, table, predicted), actual, predicted, held)
        results.append(before.model_copy(update=figures | {"days": days, "slices": slices}))
    return results


def cut_actuals(store: Store, version: str, table: pl.DataFrame, predicted: Floats) -> list[Groups]:
    """Cut matched rows by their labels, by decile of the version's predictions, and by the month that they are known.

    Older rows have no labels.
    """
    groups = [group_times(table[KNOWN].to_numpy(), "month")]
    if deciles := (read_field(store, version, "predictions") or {}).get("deciles"):
        groups.append(group_numbers(PREDICTION, predicted, sorted(set(deciles[1:-1]))))
    if LABELS not in table.columns or not (texts := table[LABELS].drop_nulls().unique(maintain_order=True).to_list()):
        return groups
    read = {text: json.loads(text) for text in texts}
    for name in dict.fromkeys(name for labels in read.values() for name in labels):
        found = [labels.get(name) for labels in read.values()]
        labels = table[LABELS].replace_strict(list(read), found, default=None, return_dtype=pl.String)
        groups.append(group_labels(name, labels))
    return groups


def read_field(store: Store, version: str, field: str) -> Any:
    """Return a field of a version; None where that is gone or damaged."""
    try:
        return getattr(read_version(store, version), field)
    except UserError:
        return None


def _expect(store: Store, version: str, predicted: Floats) -> float | None:
    """Return the mean squared error that predictions are expected to have, by their level."""
    bins = read_field(store, version, "interval_bins")
    total = bins.sum_squares(predicted) if bins else None
    return None if total is None else total / len(predicted)


def measure_days(
    known: pl.Series, errors: Floats, inside: NDArray[np.bool_], scale: list[float], tested: int
) -> dict[str, DayErrors]:
    """Add up scores, and the rows in the interval, by the day on which the values became known.

    Args:
        known: Microseconds since 1970.
        errors: Prediction minus actual value.
        inside: Whether the value is in the interval.
        scale: What `score_errors` compares the errors with; none if it is empty.
        tested: Test rows that it is made of.
    """
    scores = score_errors(errors, scale, tested)
    days = known.cast(pl.Datetime("us")).dt.date().cast(pl.String).alias("day")
    table = pl.DataFrame({"day": days, "score": scores, "inside": inside, "squares": errors**2, "fourths": errors**4})
    sums = table.group_by("day", maintain_order=True).agg(pl.len().alias("rows"), pl.exclude("day").sum())
    return {
        row.pop("day"): DayErrors.model_validate(row | ({} if scale else {"score": None}))
        for row in sums.iter_rows(named=True)
    }


def score_errors(errors: Floats, scale: list[float], tested: int) -> Floats:
    """Score errors by the absolute errors of test rows: see `check_performance.py`.

    Args:
        errors: In target units.
        scale: The quantiles of the test rows' absolute errors at equal steps from 0 to 1; without any, scores are 0.
        tested: How many test rows there are; beyond the greatest error of few, more is possible.
    """
    if not scale:
        return np.zeros(len(errors))
    # A quantile of few rows is exceeded more often than its name says.
    shares = np.minimum((np.linspace(0, 1, len(scale)) * (tested - 1) + 1) / (tested + 1), MOST)
    squares = np.array([NormalDist().inv_cdf((1 + share) / 2) ** 2 for share in shares])
    values, tied = np.unique(scale, return_inverse=True)  # what many test rows share has their mean score
    scores = np.bincount(tied, squares) / np.bincount(tied)
    beyond = NormalDist().inv_cdf(
        (1 + min(1 - 1 / (2 * (tested + 1)), MOST)) / 2
    )  # the middle of what is above all of them
    return np.asarray(np.interp(np.abs(errors), values, np.sqrt(scores), right=beyond) ** 2)


def _read_scale(store: Store, result: Performance) -> list[float]:
    return read_field(store, result.version, "test_errors") or []


def read_performance(store: Store) -> list[Performance]:
    """Read the realized performance of each batch by all actuals so far, in the order of the predictions."""
    results = [result for entry in load_index(store)[0].entries for result in entry.results]
    return sorted(combine(results, by_batch=True), key=lambda result: (result.predicted_at, result.batch))


def combine(results: Iterable[Performance], *, by_batch: bool) -> list[Performance]:
    """Add up the results of each version and interval, or of each batch too; of several batches the newest is named."""

    def key(result: Performance) -> tuple[Any, ...]:
        return result.version, result.interval, result.batch if by_batch else ""

    groups = groupby(sorted(results, key=key), key)
    return [_add_up(list(group)) for _, group in groups]


def _add_slices(results: list[Performance]) -> list[Slice]:
    return add_slices(one for result in results for one in result.slices)


def _add_up(results: list[Performance]) -> Performance:
    matched = sum(result.matched for result in results)

    def mean(name: str) -> float | None:
        values = [(getattr(result, name), result.matched) for result in results]
        if any(value is None for value, _ in values):
            return None
        return math.fsum(value * rows for value, rows in values) / matched

    means = {name: mean(name) for name in ("mse", "mae", "bias", "fourth", "coverage", "expected_mse", "mean_mse")}
    days: dict[str, DayErrors] = {}
    for result in results:
        for day, errors in _list_days(result).items():
            days[day] = _add_days(days[day], errors) if day in days else errors
    newest = max(results, key=lambda result: result.predicted_at)
    slices = _add_slices(results)
    return newest.model_copy(update={"matched": matched, "days": days, "slices": slices, **means})


def _list_days(result: Performance) -> dict[str, DayErrors]:
    """List the days of a result. Those of older releases have no squares, and share the mean of all its rows.

    A result without days is taken as that of the day of its predictions.
    """
    days = result.days
    if not days:
        inside = None if result.coverage is None else round(result.coverage * result.matched)
        days = {result.predicted_at.date().isoformat(): DayErrors(rows=result.matched, score=None, inside=inside)}
    return {
        day: errors
        if errors.squares is not None
        else errors.model_copy(update={"squares": result.mse * errors.rows, "fourths": result.fourth * errors.rows})
        for day, errors in days.items()
    }


def _add_days(one: DayErrors, other: DayErrors) -> DayErrors:
    score = None if one.score is None or other.score is None else one.score + other.score
    inside = None if one.inside is None or other.inside is None else one.inside + other.inside
    squares, fourths = ((one.squares or 0) + (other.squares or 0), (one.fourths or 0) + (other.fourths or 0))
    return DayErrors(rows=one.rows + other.rows, score=score, inside=inside, squares=squares, fourths=fourths)
