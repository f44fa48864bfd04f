"""Rows of a table as numbers, keys and times, and the rows that cannot be used, each with the reason."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import reduce
from operator import and_
from typing import NamedTuple

import polars as pl

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.tables.columns import check_texts, check_types
from linear_neuron.tasks.tables.csv import write_chunks
from linear_neuron.tasks.tables.decimals import DecimalMarks
from linear_neuron.tasks.tables.rejects import (
    BLANKS,
    F32,
    LINE,
    NO_REJECTS,
    TEXT,
    Marks,
    Reason,
    explain_numbers,
    explain_rejects,
    is_empty,
    read_number,
)
from linear_neuron.tasks.tables.spec import KEY, KNOWN, RESPELLED, TIME, TableSpec
from linear_neuron.tasks.text import end_sentence

FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")
ZONED = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z", "%Y-%m-%d %H:%M%#z")
MICROSECONDS = pl.Datetime("us")
YEARS = (-30_610_224_000_000_000, 253_402_300_799_999_999)  # from the year 1000 to 9999, in microseconds since 1970
FOUR_DIGITS = r"^\d{4}(-|$)"  # how a year begins a time: 01-06-23 may be read in three ways
REJECTS_HEADER = b"file,line,column,value,reason,raw\n"
WHOLE = r"^(-?\d+)\.0+$"  # a whole number with decimals
SHOWN = 60  # characters of a rejected value that an error shows


class RawRows(NamedTuple):
    """Some rows of a table, as the source has them."""

    source: str  # the file, or the query, as errors name it
    rows: pl.DataFrame  # LINE and the needed columns
    broken: pl.DataFrame | None  # lines that are no records, as rejects
    raw: pl.Expr  # of a row, its text
    decimals: DecimalMarks = DecimalMarks()  # of its file

    @property
    def height(self) -> int:
        """How many rows these are, with the broken ones."""
        return self.rows.height + (0 if self.broken is None else self.broken.height)


class CheckedRows(NamedTuple):
    """The rows that can be used, and those that cannot."""

    valid: pl.DataFrame  # LINE; numbers as float64; labels and KEY as text; times in microseconds since 1970
    rejects: pl.DataFrame  # line, column, value, reason, raw


class Rejects:
    """The rejects of a whole table: how many, the first, and up to a limit all of them as CSV."""

    def __init__(self, kept: int) -> None:
        self.kept, self.count, self.rows = kept, 0, 0
        self.first, self.lines = "", [REJECTS_HEADER]
        self.reasons: Counter[tuple[str, str]] = Counter()  # column and reason -> rows

    def add(self, source: str, bad: pl.DataFrame, rows: int) -> None:
        """Count the rejects among some rows of a source."""
        self.rows += rows
        if not bad.height:
            return
        if not self.first:
            line, column, value, reason, _ = bad.row(0)
            value = value if len(value) <= SHOWN else f"{value[:SHOWN]}..."
            where = f", column {column}: {value!r} is rejected as {reason}" if column else f" is rejected: {reason}"
            self.first = f"{source}, line {line}{where}"
        self.count += bad.height
        found = bad.group_by("column", "reason", maintain_order=True).len()
        self.reasons.update({(column, reason): count for column, reason, count in found.iter_rows()})
        if self.count <= self.kept:
            self.lines += write_chunks(bad.select(pl.lit(source).alias("file"), pl.all()))

    @property
    def empty(self) -> dict[str, int]:
        """Column -> rows in which it has no value."""
        return {column: count for (column, reason), count in self.reasons.items() if reason == "empty"}

    @property
    def data(self) -> bytes:
        """The rejects as CSV, where there are any."""
        return b"".join(self.lines) if self.count else b""


def read_time(name: str, dtype: pl.DataType) -> pl.Expr:
    """Read a column as microseconds since 1970 in UTC; null where it is no time of the years 1000 to 9999.

    Times may be those of the source's own types, or ISO 8601 text: a year, a month, a day, or a time of a day with or
    without a zone. Without one, UTC is meant. A year has four digits.
    """
    if isinstance(dtype, pl.Datetime):
        column = (
            pl.col(name).dt.convert_time_zone("UTC").dt.replace_time_zone(None) if dtype.time_zone else pl.col(name)
        )
        return column.cast(MICROSECONDS).cast(pl.Int64)
    if dtype == pl.Date:
        return pl.col(name).cast(MICROSECONDS).cast(pl.Int64)
    text = pl.col(name).cast(TEXT).str.strip_chars()
    text = pl.when(text.str.contains(FOUR_DIGITS)).then(text)
    day = text + pl.when(text.str.len_chars() == 4).then(pl.lit("-01-01")).when(text.str.len_chars() == 7).then(
        pl.lit("-01")
    ).otherwise(pl.lit(""))
    zoned = [
        text.str.replace("Z$", "+00:00").str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False)
        for form in ZONED
    ]
    return pl.coalesce(
        day.str.to_datetime("%Y-%m-%d", time_unit="us", strict=False),
        *(text.str.to_datetime(form, time_unit="us", strict=False) for form in FORMATS),
        *(time.dt.replace_time_zone(None) for time in zoned),
    ).cast(pl.Int64)


def read_key(name: str, dtype: pl.DataType) -> pl.Expr:
    """Read a column of keys as text in one form, so that the same key is the same text in every table.

    Whole numbers have no decimals (5.0 is 5), composed and decomposed letters are one (Unicode's form NFC), and blanks
    around a key are left out. A null or NaN is the empty text, which is no key.
    """
    text = spell_key(name)
    if dtype in (pl.Float32, pl.Float64):
        number = pl.col(name)
        whole = (number == number.floor()) & (number.abs() < 2.0**63)
        text = pl.when(whole).then(number.cast(pl.Int64, strict=False).cast(TEXT)).when(number.is_not_nan()).then(text)
    text = text.str.strip_chars()
    text = pl.when(text.str.len_bytes() != text.str.len_chars()).then(text.str.normalize("NFC")).otherwise(text)
    text = pl.when(text.str.ends_with("0")).then(text.str.replace(WHOLE, "$1").replace("-0", "0")).otherwise(text)
    return text.fill_null("")


def read_label(name: str, dtype: pl.DataType) -> pl.Expr:
    """Read a column as labels: its text without the blanks around it, and null where nothing is left.

    Whole numbers of a type with decimals have none (5.0 is 5); numbers in text stay as they are written.
    """
    column = pl.col(name)
    if dtype == TEXT or dtype in (pl.Categorical, pl.Enum):
        text = column.cast(TEXT).str.strip_chars(BLANKS)
        return pl.when(text != "").then(text)
    return spell_number(column) if dtype.is_float() else _drop_decimals(column.cast(TEXT), dtype)


def spell_number(number: pl.Expr) -> pl.Expr:
    """Write floats as labels: whole ones without decimals, null for a missing one."""
    whole = (number == number.floor()) & (number.abs() < 2.0**63)
    text = pl.when(whole).then(number.cast(pl.Int64, strict=False).cast(TEXT)).otherwise(number.cast(TEXT))
    return pl.when(number.is_not_nan()).then(text)


def _drop_decimals(text: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    return text.str.replace(WHOLE, "$1") if dtype.is_decimal() else text


def spell_key(name: str) -> pl.Expr:
    """Read a column of keys as text, as it is written."""
    return pl.col(name).cast(TEXT)


def clean_rows(raw: RawRows, spec: TableSpec) -> CheckedRows:
    """Check some rows: which can be used, and which cannot and why.

    Rows that happened, or became known, on the day `as_of` or later are in neither.

    Raises:
        UserError: a column's type is none that can be read.
    """
    schema = raw.rows.schema
    marks = _find_marks(raw, spec) if raw.rows.height else {}
    parts = [_read_numbers(schema, spec, marks), _read_labels(schema, spec), *_read_times(schema, spec)]
    if spec.key:
        parts.append(_read_keys(schema, spec))
    taken, fine = [one for part in parts for one in part[0]], [one for part in parts for one in part[1]]
    reasons = [reason for part in parts for reason in part[2]]
    good = reduce(and_, fine)
    valid = raw.rows.lazy().filter(good).select(pl.col(LINE), *taken).collect()
    rejects = [explain_rejects(raw.rows.filter(~good), reasons, raw.raw)]
    if spec.terms:
        valid, undefined = _check_terms(valid, raw, spec.terms)
        rejects.append(undefined)
    if raw.broken is not None and raw.broken.height:
        rejects.append(raw.broken)
    return CheckedRows(_take_known(valid, spec), pl.concat(rejects).sort("line") if len(rejects) > 1 else rejects[0])


# Expressions of the columns as they are used, of whether the values of a row can be, and why one cannot.
Part = tuple[list[pl.Expr], list[pl.Expr], list[Reason]]


def _read_numbers(schema: pl.Schema, spec: TableSpec, marks: Marks) -> Part:
    """Read the columns of numbers, and those that have bounds."""
    names, bounds = spec.checked, spec.bounds
    values = {name: read_number(name, strip=schema[name] == TEXT, marks=marks.get(name, "")) for name in names}
    fine = [_is_number(values[name], name, schema[name], filled=name in spec.filled) for name in names]
    fine += [values[name].is_between(*ends).fill_null(value=name in spec.filled) for name, ends in bounds.items()]
    reasons = explain_numbers(schema, {name: bounds.get(name) for name in names}, marks, spec.filled)
    numbers = {name: values[name].fill_nan(None) if name in spec.filled else values[name] for name in spec.numbers}
    return [value.alias(name) for name, value in numbers.items()], fine, reasons


def _read_labels(schema: pl.Schema, spec: TableSpec) -> Part:
    """Read the columns of labels."""
    labels = {name: read_label(name, schema[name]) for name in spec.categories}
    required = {name: label for name, label in labels.items() if name not in spec.filled}
    return (
        [label.alias(name) for name, label in labels.items()],
        [label.is_not_null() for label in required.values()],
        [explain_null(name, label, "empty") for name, label in required.items()],
    )


def _read_times(schema: pl.Schema, spec: TableSpec) -> Iterator[Part]:
    """Read the columns of times, and those that say when a row happened and became known."""
    for name in spec.times:
        time, filled = read_time(name, schema[name]), name in spec.filled
        inside = time.is_between(*YEARS).fill_null(value=False)
        fine = inside | is_empty(name, schema[name]) if filled else inside
        yield [time.alias(name)], [fine], [explain_time(name, time, YEARS[1], filled=filled)]
    for alias, name in ((TIME, spec.time), (KNOWN, spec.known_at)):
        if name:
            time = read_time(name, schema[name])
            latest = YEARS[1] if spec.latest is None else spec.latest
            fine = time.is_between(YEARS[0], latest).fill_null(value=False)
            yield [time.alias(alias)], [fine], [explain_time(name, time, latest)]


def _read_keys(schema: pl.Schema, spec: TableSpec) -> Part:
    """Read the key."""
    key = read_key(spec.key, schema[spec.key])
    respelled = key != spell_key(spec.key).str.strip_chars()
    reason = explain_null(spec.key, pl.when(key != "").then(key), "empty")
    return [key.alias(KEY), respelled.alias(RESPELLED)], [key != ""], [reason]


def _is_number(value: pl.Expr, name: str, dtype: pl.DataType, *, filled: bool) -> pl.Expr:
    """Say whether a value is a finite float32, or is missing where that may be."""
    finite = value.cast(F32).is_finite().fill_null(value=False)
    return finite | is_empty(name, dtype) | value.is_nan().fill_null(value=False) if filled else finite


def _check_terms(valid: pl.DataFrame, raw: RawRows, terms: dict[str, pl.Expr]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Part the rows in which every term has a value from the others, and return these as rejects."""
    flags = {text: f"\0term {index}" for index, text in enumerate(terms)}
    values = valid.select(pl.col(LINE), *(terms[text].is_not_null().alias(flag) for text, flag in flags.items()))
    defined = values.select(pl.all_horizontal(pl.exclude(LINE))).to_series()
    if defined.all():
        return valid, NO_REJECTS
    bad = raw.rows.join(values.filter(~defined), on=LINE, how="inner", maintain_order="left")
    reasons: list[Reason] = [
        (text, pl.lit(""), pl.when(~pl.col(flag)).then(pl.lit("no finite value"))) for text, flag in flags.items()
    ]
    return valid.filter(defined), explain_rejects(bad, reasons, raw.raw)


def _find_marks(raw: RawRows, spec: TableSpec) -> dict[str, str]:
    """Check the types of the columns, and find the decimal marks of those of text.

    Raises:
        UserError: a column's type is none that can be read, or its decimal mark is not certain.
    """
    try:
        check_types(raw.rows.schema, spec.checked)
        named = filter(None, [spec.time, spec.known_at, spec.key])
        check_texts(raw.rows.schema, [*named, *spec.categories, *spec.times])
    except UserError as error:
        raise UserError(f"{end_sentence(f'{raw.source}: {error}')} {spec.advice}") from None
    try:
        return raw.decimals.find(raw.rows, spec.checked)
    except UserError as error:
        raise UserError(end_sentence(f"{raw.source}: {error}")) from None


def explain_time(name: str, time: pl.Expr, latest: int, *, filled: bool = False) -> Reason:
    """Say why a time in microseconds is rejected: it is none, of no year that is allowed, or later than the latest."""
    column, text, empty = explain_null(name, pl.when(time.is_between(*YEARS)).then(time), "not a time")
    if filled:
        empty = pl.when(empty != "empty").then(empty)
    return column, text, pl.coalesce(empty, pl.when(time > latest).then(pl.lit("in the future")))


def explain_null(name: str, value: pl.Expr, reason: str) -> Reason:
    """Say that a value is empty, or has the reason where it is null."""
    text = pl.col(name).cast(TEXT).fill_null("")
    empty = pl.when(text.str.strip_chars() == "").then(pl.lit("empty")).otherwise(pl.lit(reason))
    return name, text, pl.when(value.is_null()).then(empty)


def _take_known(table: pl.DataFrame, spec: TableSpec) -> pl.DataFrame:
    """Take the rows that had happened, or were known, before the day `as_of`."""
    if spec.as_of:
        before = int(datetime.fromisoformat(spec.as_of).replace(tzinfo=UTC).timestamp() * 1_000_000)
        table = table.filter(pl.col(KNOWN if spec.known_at else TIME) < before)
    return table
