"""Find the rows of a key in a file, and copy the file without them; all other bytes of a CSV file stay as they are."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.tables.cleaning import read_key
from linear_neuron.tasks.tables.inputs import SEPARATORS, InputFile
from linear_neuron.tasks.tables.read import read_file
from linear_neuron.tasks.tables.rejects import LINE, TEXT
from linear_neuron.tasks.tables.spec import KEY

Find = Callable[[pl.DataFrame], pl.Series]  # says of some rows which are of the key


class Range(NamedTuple):
    """A row of a file: the numbers of its first line and of the first after it; of Parquet, of rows."""

    first: int
    after: int | None  # None for the last row


def spell(texts: list[str]) -> list[str]:
    """Write keys in the one form in which they are compared."""
    return pl.DataFrame({KEY: texts}, schema={KEY: TEXT}).select(read_key(KEY, TEXT))[KEY].to_list()


def find_rows(path: Path, names: list[str], find: Find) -> list[Range]:
    """Find rows by some columns of a file; none where it lacks one of them."""
    found: list[Range] = []
    try:
        for raw in read_file(InputFile(path=str(path), name=""), names, lambda _: None, {}):
            lines, chosen = raw.rows[LINE].to_list(), find(raw.rows).arg_true().to_list()
            if found and found[-1].after is None and lines:
                found[-1] = Range(found[-1].first, lines[0])
            ends: list[int | None] = [*lines[1:], None]
            found += [Range(lines[index], ends[index]) for index in chosen]
    except UserError:
        return []
    return found


def find_by_key(column: str, keys: set[str]) -> Find:
    """Return what finds rows by a column of keys."""
    return lambda rows: rows.select(read_key(column, rows.schema[column]).is_in(keys))[column]


def find_rejects(keys: set[str]) -> Find:
    """Return what finds rejects: any field of the raw text may be the key, since a broken line has no columns."""

    def is_found(value: str | None, raw: str | None) -> bool:
        texts = [value or "", raw or "", *(raw or "").split('"')]  # Rows of Parquet are shown as JSON.
        for mark in SEPARATORS:
            texts += [text for line in csv.reader([raw or ""], delimiter=mark) for text in line]
        return bool(keys.intersection(spell(texts)))

    return lambda rows: pl.Series(list(map(is_found, rows["value"], rows["raw"])), dtype=pl.Boolean)


def copy_without(source: Path, target: Path, rows: list[Range]) -> None:
    """Copy a file without some rows."""
    if source.suffix == ".parquet":
        from linear_neuron.tasks.tables.parquet import copy_parquet_without  # It imports PyArrow.

        copy_parquet_without(source, target, [row.first for row in rows])
        return
    left = iter([*rows, Range(0, 0)])
    row = next(left)
    with source.open("rb") as file, target.open("wb") as output:
        for number, line in enumerate(file, start=1):
            if row.after is not None and row.after and number >= row.after:
                row = next(left)
            if not (row.first and number >= row.first):
                output.write(line)
