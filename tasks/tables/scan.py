"""Scan a table once, and say what each of its columns holds: numbers, times, labels, or nothing that can be used."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from operator import and_
from pathlib import PurePosixPath
from typing import NamedTuple

import polars as pl

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.progress import progress
from linear_neuron.tasks.tables.cleaning import FOUR_DIGITS, YEARS, RawRows, read_time
from linear_neuron.tasks.tables.columns import PATTERN, check_types, describe_type, require_columns
from linear_neuron.tasks.tables.read import find_source
from linear_neuron.tasks.tables.rejects import BLANKS, F32, LINE, RAW, TEXT, read_number
from linear_neuron.tasks.tables.spec import TableSpec
from linear_neuron.tasks.text import end_sentence

MOST_LEVELS = 20_000  # different texts of a column that are counted; a column with more has no levels to learn from
NUMBER_LIKE = r"^[+-]?[0-9.,]+([eE][+-]?[0-9]+)?$"  # a text that is a number by some decimal mark
LEADING_ZERO = r"^[+-]?0[0-9]"  # a code such as 02134, from which a number would take the zero
COUNT = "\0count"  # a name that no column of a table has
DAY = 86_400_000_000  # microseconds
PARTS = ("month", "weekday", "hour")  # of times


@dataclass
class ColumnFacts:
    """What a column holds, as far as its table was read. Cells are missing, numbers, times, or any other text."""

    name: str
    cells: int = 0
    missing: int = 0
    missing_beside: int = 0  # in the rows that can't be learned from for want of a target, which may be predicted
    numbers: int = 0
    nans: int = 0  # texts such as NaN, which are missing where all others are numbers
    times: int = 0
    unusable: str = ""  # the type, where it is none that can be read
    labels: bool = False  # whether the source has it as booleans or as levels
    coded: bool = False  # whether a number has zeros before it, as codes do
    whole: bool = True  # whether all numbers are whole
    repeats: bool = False  # whether a value is there twice, within rows that were read at once
    least: float = float("inf")
    greatest: float = float("-inf")
    first: int = 2**63 - 1  # times, in microseconds since 1970
    last: int = -(2**63)
    parts: dict[str, Counter[int]] = field(default_factory=lambda: {part: Counter() for part in PARTS})
    levels: Counter[str] | None = field(default_factory=Counter)  # text -> rows; None: there are too many
    example: str = ""  # a text that is neither a number nor a time

    @property
    def present(self) -> int:
        """How many cells have a value."""
        return self.cells - self.missing

    @property
    def holds(self) -> str:
        """What all cells with a value are: numbers, times or labels; empty where there is none."""
        if self.unusable or not self.present:
            return ""
        if self.numbers and self.numbers + self.nans == self.present and not self.coded and not self.labels:
            return "numbers"
        return "times" if self.times == self.present else "labels"

    @property
    def empty(self) -> int:
        """How many cells have no value as it is used."""
        return self.missing + (self.nans if self.holds == "numbers" else 0)

    @property
    def days(self) -> int:
        """The days from the first to the last time."""
        return (self.last - self.first) // DAY if self.times else 0


class TableScan(NamedTuple):
    """What was found in a table."""

    columns: list[ColumnFacts]  # in the table's order
    rows: int  # that can be learned from: with the needed numbers, before the day `as_of`
    height: int  # of the whole table


def scan_table(spec: TableSpec, find_needed: Callable[[Sequence[str]], list[str]]) -> TableScan:
    """Read every column of a table once, in bounded memory. Rows that can't be learned from do not count.

    Args:
        spec: the table.
        find_needed: finds among the names of the columns those that must be numbers for a row to count.

    Raises:
        UserError: the table can't be read, or lacks a column that `spec` names.
    """
    source, columns, rows, height = find_source(spec, every=True), dict[str, ColumnFacts](), 0, 0
    name = spec.source[:60] if source.size is None else PurePosixPath(spec.source).name
    with progress(f"Looking at {name}", source.size) as advance:
        for raw in source.read(advance):
            taken, beside = _take_rows(raw, spec, find_needed)
            rows, height = rows + taken.height, height + raw.height
            for column in taken.get_columns():
                if column.name not in (LINE, RAW):
                    facts = columns.setdefault(column.name, ColumnFacts(column.name))
                    _add(facts, column, raw)
                    facts.missing_beside += _count_missing(beside[column.name])
    return TableScan(list(columns.values()), rows, height)


def _count_missing(cells: pl.Series) -> int:
    return len(cells) - len(_strip(cells) if cells.dtype == TEXT else cells.drop_nulls())


def _take_rows(
    raw: RawRows, spec: TableSpec, find_needed: Callable[[Sequence[str]], list[str]]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Take the rows that were known in time: those whose needed numbers are there, and the others.

    Raises:
        UserError: a column is missing, or its decimal mark is not certain.
    """
    rows = raw.rows
    names = [name for name in rows.columns if name not in (LINE, RAW)]
    try:
        require_columns(names, spec.columns)
        needed = find_needed(names)
        check_types(rows.schema, needed)
        marks = raw.decimals.find(rows, needed) if rows.height else {}
    except UserError as error:
        raise UserError(f"{raw.source}: {end_sentence(str(error))}") from None
    if spec.as_of and (name := spec.known_at or spec.time):
        before = int(datetime.fromisoformat(spec.as_of).replace(tzinfo=UTC).timestamp() * 1_000_000)
        rows = rows.filter(read_time(name, rows.schema[name]) < before)
    if spec.latest is not None and spec.time:
        rows = rows.filter((read_time(spec.time, rows.schema[spec.time]) <= spec.latest).fill_null(value=True))
    fine = [
        read_number(name, strip=rows.schema[name] == TEXT, marks=marks.get(name, "")).is_finite() for name in needed
    ]
    known = reduce(and_, fine, pl.lit(value=True)).fill_null(value=False)
    return rows.filter(known), rows.filter(~known)


def _add(facts: ColumnFacts, column: pl.Series, raw: RawRows) -> None:
    """Add some rows of a column to what is known of it."""
    dtype = column.dtype
    facts.cells += len(column)
    if PATTERN.fullmatch(column.name) or not column.name or "\0" in column.name:
        facts.unusable = "values under a name that can't be used"
    elif dtype.is_numeric():
        values = column.cast(pl.Float64).drop_nulls().drop_nans()
        facts.missing += len(column) - len(values)
        _add_numbers(facts, values, None)
    elif isinstance(dtype, pl.Datetime) or dtype in (pl.Date, pl.Boolean, pl.Enum, pl.Categorical, TEXT, pl.Null):
        facts.labels = facts.labels or dtype in (pl.Boolean, pl.Enum, pl.Categorical)
        is_time = dtype == pl.Date or isinstance(dtype, pl.Datetime)
        values = column.drop_nulls() if is_time else _strip(column.cast(TEXT))
        facts.missing += len(column) - len(values)
        if len(values):
            _add_distinct(facts, values, raw)
    else:
        facts.unusable = describe_type(dtype)


def _strip(texts: pl.Series) -> pl.Series:
    """Leave out the blanks around texts, and what is empty then."""
    stripped = texts.str.strip_chars(BLANKS)
    return stripped.filter((stripped != "").fill_null(value=False))


def _add_distinct(facts: ColumnFacts, values: pl.Series, raw: RawRows) -> None:
    """Add texts or times, each different one once with its count, as long as it may pay to count them."""
    if facts.levels is None:
        distinct, counts = values, pl.repeat(1, len(values), dtype=pl.UInt32, eager=True)
    else:
        distinct, counts = values.value_counts(name=COUNT).get_columns()
        facts.repeats = facts.repeats or len(distinct) < len(values)
    if values.dtype != TEXT:
        _add_times(facts, distinct, counts)
        return
    if facts.levels is not None:
        facts.levels.update(dict(zip(distinct, counts, strict=True)))
        facts.levels = facts.levels if len(facts.levels) <= MOST_LEVELS else None
    if not facts.labels:
        _add_texts(facts, distinct, counts, raw)


def _add_texts(facts: ColumnFacts, texts: pl.Series, counts: pl.Series, raw: RawRows) -> None:
    """Add texts, which may be numbers by the decimal mark of their file, or times.

    Raises:
        UserError: all may be numbers, and the decimal mark is not certain.
    """
    marks = ""
    if texts.str.contains(NUMBER_LIKE).all():
        try:
            marks = raw.decimals.find(texts.to_frame(), [facts.name]).get(facts.name, "")
        except UserError as error:
            raise UserError(f"{raw.source}: {end_sentence(str(error))}") from None
    values = texts.to_frame().select(read_number(facts.name, strip=True, marks=marks)).to_series()
    spelled = values.is_finite().fill_null(value=False)
    if spelled.any():
        facts.coded = facts.coded or bool(texts.str.contains(LEADING_ZERO).any())
        _add_numbers(facts, values.filter(spelled), counts.filter(spelled))
    nan = values.is_nan().fill_null(value=False)
    facts.nans += int(counts.filter(nan).sum())
    rest = ~(spelled | nan)
    if rest.any():
        others = texts.filter(rest)
        facts.example = min(filter(None, [facts.example, str(others.min())]))
        if not facts.numbers and others.head(1).str.contains(FOUR_DIGITS).all():
            _add_times(facts, others, counts.filter(rest))


def _add_numbers(facts: ColumnFacts, values: pl.Series, counts: pl.Series | None) -> None:
    """Add numbers; what is beyond float32 is none."""
    finite = values.cast(F32).is_finite()
    values = values.filter(finite)
    facts.numbers += len(values) if counts is None else int(counts.filter(finite).sum())
    if len(values):
        facts.least = min(facts.least, float(values.min()))  # type: ignore[arg-type]
        facts.greatest = max(facts.greatest, float(values.max()))  # type: ignore[arg-type]
        facts.whole = facts.whole and bool((values == values.floor()).all())
        facts.repeats = facts.repeats or values.n_unique() < len(values)


def _add_times(facts: ColumnFacts, column: pl.Series, counts: pl.Series) -> None:
    """Add times, of a type of times or as text."""
    times = column.to_frame().select(read_time(column.name, column.dtype)).to_series()
    inside = times.is_between(*YEARS).fill_null(value=False)
    counts, times = counts.filter(inside), times.filter(inside)
    facts.times += int(counts.sum())
    if not len(times):
        return
    facts.first = min(facts.first, int(times.min()))  # type: ignore[arg-type]
    facts.last = max(facts.last, int(times.max()))  # type: ignore[arg-type]
    moments = times.cast(pl.Datetime("us"))
    for part in PARTS:
        frame = pl.DataFrame([getattr(moments.dt, part)().alias(part), counts.alias(COUNT)])
        facts.parts[part].update(dict(frame.group_by(part).agg(pl.col(COUNT).sum()).iter_rows()))
