"""Rows of a user's own table as numbers, and those that can't be learned from, with the reason."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import reduce
from operator import and_

import numpy as np
import polars as pl

from tasks.dataset.reading import Piece
from tasks.dataset.records import HASH, TIME, Records
from tasks.dataset.rows import Hashes
from tasks.errors import UserError
from tasks.parameters import Dataset
from tasks.tables.contract import (
    F32,
    TEXT,
    Reason,
    check_texts,
    check_types,
    explain_numbers,
    explain_rejects,
    read_number,
)

KNOWN, KEY = "\0known", "\0key"  # names that no column of a table has
FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")
ZONED = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z")
MICROSECONDS = pl.Datetime("us")
YEARS = (-62_135_596_800_000_000, 253_402_300_799_999_999)  # from the year 1 to 9999, in microseconds since 1970


def columns_of(dataset: Dataset) -> list[str]:
    """List the columns that are read of a table, each once."""
    more = [dataset.time, dataset.key, dataset.known_at, *dataset.limits]
    return list(dict.fromkeys([*dataset.features, dataset.target, *filter(None, more)]))


def read_time(name: str, dtype: pl.DataType) -> pl.Expr:
    """Read a column as microseconds since 1970 in UTC; null where it is no time of the years 1 to 9999.

    Times may be those of the source's own types, or ISO 8601 text: a year, a month, a day, or a time of a day with or
    without a zone. Without one, UTC is meant.
    """
    if isinstance(dtype, pl.Datetime):
        column = (
            pl.col(name).dt.convert_time_zone("UTC").dt.replace_time_zone(None) if dtype.time_zone else pl.col(name)
        )
        return column.cast(MICROSECONDS).cast(pl.Int64)
    if dtype == pl.Date:
        return pl.col(name).cast(MICROSECONDS).cast(pl.Int64)
    text = pl.col(name).cast(TEXT).str.strip_chars()
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


def clean_rows(piece: Piece, dataset: Dataset, keep: Sequence[str] = ()) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split a piece into rows to learn from and rejects.

    The former have the columns to keep as they are, the features and the target in float64, the time in microseconds,
    the key as text, and of these whatever the dataset has. Rows of the day `as_of`, or later, are in neither.
    """
    schema, numbers = piece.rows.schema, [*dataset.features, dataset.target]
    names = list(dict.fromkeys([*numbers, *dataset.limits]))
    if piece.rows.height:
        try:
            check_types(schema, names)
            check_texts(schema, [*filter(None, [dataset.time, dataset.known_at, dataset.key])])
        except UserError as error:
            raise UserError(f"{piece.place}: {error}.") from None
    comma, limits = piece.decimal_comma, dataset.limits
    values = {name: read_number(name, strip=schema[name] == TEXT, decimal_comma=comma) for name in names}
    fine = [values[name].cast(F32).is_finite().fill_null(value=False) for name in names]
    fine += [values[name].is_between(*ends).fill_null(value=False) for name, ends in limits.items()]
    reasons = explain_numbers(schema, {name: limits.get(name) for name in names}, decimal_comma=comma)
    kept = [*map(pl.col, keep), *(values[name].alias(name) for name in numbers)]
    for alias, name in ((TIME, dataset.time), (KNOWN, dataset.known_at)):
        if name:
            time = read_time(name, schema[name])
            time = pl.when(time.is_between(*YEARS)).then(time)
            fine.append(time.is_not_null())
            reasons.append(_explain_null(name, time, "not a time"))
            kept.append(time.alias(alias))
    if dataset.key:
        key = pl.col(dataset.key).cast(TEXT).str.strip_chars()
        fine.append((key != "").fill_null(value=False))
        reasons.append(_explain_null(dataset.key, pl.when(key != "").then(key), "empty"))
        kept.append(key.alias(KEY))
    good = reduce(and_, fine)
    table = piece.rows.lazy().filter(good).select(kept).collect()
    bad = explain_rejects(piece.rows.filter(~good), reasons, piece.raw)
    if piece.broken is not None and piece.broken.height:
        bad = pl.concat([bad, piece.broken]).sort("line")
    return _take_known(table, dataset), bad


def _explain_null(name: str, value: pl.Expr, reason: str) -> Reason:
    text = pl.col(name).cast(TEXT).fill_null("")
    empty = pl.when(text.str.strip_chars() == "").then(pl.lit("empty")).otherwise(pl.lit(reason))
    return name, text, pl.when(value.is_null()).then(empty)


def _take_known(table: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    """Take the rows that had happened, or were known, before the day `as_of`."""
    if dataset.as_of:
        before = int(datetime.fromisoformat(dataset.as_of).replace(tzinfo=UTC).timestamp() * 1_000_000)
        table = table.filter(pl.col(KNOWN if dataset.known_at else TIME) < before)
    return table.drop(KNOWN, strict=False)


def hash_keys(keys: pl.Series) -> Hashes:
    """Hash the texts of keys to 64 bits each."""
    digests = (hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys)
    return np.frombuffer(b"".join(digests), "<u8")


def hash_rows(records: Records) -> Hashes:
    """Hash all values of each record to 64 bits; the two zeros that a float has must have been made one."""
    hashed = np.zeros(len(records), np.uint64)
    for name in (name for name in records.dtype.names or () if name != HASH):
        hashed = mix(hashed ^ records[name].view(np.uint64))
    return hashed


def mix(words: Hashes) -> Hashes:
    """Spread every bit over all 64.

    Source: the finalizer of SplitMix64 ("Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
    """
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
