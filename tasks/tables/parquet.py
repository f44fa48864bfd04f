"""Read Parquet files some rows at a time, and write them in bounded memory.

PyArrow reads and writes, since Polars changes what it does not know: types (UUID, fixed length, date64, time32, ordered
categories, zones), and the metadata of files and columns. On 5,000,000 rows of three columns it takes the same time.
Polars sees only the columns that are needed, so whatever others hold passes through as it is.

This file is imported where there is Parquet, since PyArrow takes 0.1 seconds and 60 MB.
"""

import base64
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.storage.files import TEMPORARY
from linear_neuron.tasks.storage.store import is_local, locate
from linear_neuron.tasks.tables.columns import spell_out_far_times
from linear_neuron.tasks.tables.rejects import LINE, TEXT, show_as_json
from linear_neuron.tasks.tables.stream import HashingReader, OnRead, open_input

BATCH_ROWS, BATCH_CELLS, BATCH_BYTES = 250_000, 2_000_000, 8 << 20  # of a Parquet file that are read at a time
ROW_GROUP, GROUP_CELLS = 500_000, 6_000_000  # rows of Parquet that are compressed together; fewer of many columns
BUFFER = 1 << 20  # bytes of a column that are read at a time, so that a large row group is never held as a whole
MAGIC, ENCRYPTED = b"PAR1", b"PARE"  # the last bytes of a file


class ParquetRows(NamedTuple):
    """Some rows of a Parquet file, with all columns that were asked for, as they are in the file."""

    first: int  # number of the first row, from 1
    table: pa.Table

    def select(self, names: list[str]) -> pl.DataFrame:
        """Return LINE and some columns for Polars."""
        columns = [to_series(name, self.table.column(name)) for name in dict.fromkeys(names)]
        return pl.DataFrame(
            [pl.int_range(self.first, self.first + self.table.num_rows, eager=True).alias(LINE), *columns]
        )


class ParquetTable:
    """An open Parquet file on a disk."""

    def __init__(self, path: str) -> None:
        """Open a file.

        Raises:
            UserError: it is something else, damaged or encrypted.
        """
        with Path(path).open("rb") as file:
            file.seek(-min(4, Path(path).stat().st_size), 2)
            end = file.read()
        if end == ENCRYPTED:
            raise UserError("this Parquet file is encrypted; give it decrypted")
        if end != MAGIC:
            raise UserError("this is not a Parquet file, whatever its name says")
        with arrow_errors(), _wide_integers(path):
            self.file = pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False, page_checksum_verification=True)
            self.schema: pa.Schema = self.file.schema_arrow
            self.rows = int(self.file.metadata.num_rows)

    @property
    def names(self) -> list[str]:
        """The names of the columns; one may be there twice."""
        return list(self.schema.names)

    @property
    def labels(self) -> list[str]:
        """The names of the columns that have texts as a dictionary, as categories do."""
        kinds = zip(self.names, self.schema.types, strict=True)
        return [name for name, kind in kinds if pa.types.is_dictionary(kind) and _simplify(kind) == pa.string()]

    def describe_types(self, names: list[str]) -> dict[str, pl.DataType]:
        """Return the types that columns, each of which is there once, have for Polars."""
        types = {name: self.schema.field(name).type for name in names}
        return {name: to_series(name, pa.chunked_array([], dtype)).dtype for name, dtype in types.items()}

    def check_csv(self) -> None:
        """Make sure that every column can be written as CSV.

        Raises:
            UserError: names the first that has no text.
        """
        for name, dtype in zip(self.names, self.schema.types, strict=True):
            simple = _simplify(dtype)
            bare = pa.types.is_binary(simple) or pa.types.is_large_binary(simple) or pa.types.is_binary_view(simple)
            if dtype != pa.uuid() and (bare or pa.types.is_nested(simple) or pa.types.is_duration(simple)):
                raise UserError(f"column {name!r} holds {dtype}, for which CSV has no text; ask for --format parquet")

    @cached_property
    def _leaves(self) -> list[range]:
        """The columns as Parquet counts them, in which every leaf of a nested column is one."""
        ends, leaves = 0, []
        for field in self.schema:
            leaves.append(range(ends, ends := ends + _count_leaves(field.type)))
        return leaves

    def read(
        self, names: list[str] | None = None, start: int = 0, stop: int | None = None, row_bytes: float = 0
    ) -> Iterator[ParquetRows]:
        """Read a range of rows, some at a time: fewer where they are wide or their texts long.

        Args:
            names: of the columns; None are all.
            start: rows before the range.
            stop: rows up to its end; None is that of the file.
            row_bytes: of a row, as it is stored.
        """
        wanted = set(self.names if names is None else names)
        indices = [index for index, name in enumerate(self.names) if name in wanted]
        at_once = max(1, min(BATCH_ROWS, BATCH_CELLS // max(1, len(indices)), int(BATCH_BYTES / max(1.0, row_bytes))))
        groups, before = self._find_groups(start, self.rows if stop is None else stop)
        left, skipped = (self.rows if stop is None else stop) - start, start - before
        leaves = [leaf for index in indices for leaf in self._leaves[index]]
        with arrow_errors():
            # ParquetFile.iter_batches takes names, and confuses `a.b` with a part of `a`.
            for batch in self.file.reader.iter_batches(at_once, row_groups=groups, column_indices=leaves):
                rows = pa.Table.from_batches([batch]).slice(skipped)
                skipped = max(0, skipped - batch.num_rows)
                if rows.num_rows and left > 0:
                    rows = rows.slice(0, left)
                    yield ParquetRows(start + 1, rows)
                    start, left = start + rows.num_rows, left - rows.num_rows

    def _find_groups(self, start: int, stop: int) -> tuple[list[int], int]:
        """Find the row groups that have some rows, and how many rows are before these groups."""
        groups, before, end = [], 0, 0
        for index in range(self.file.num_row_groups):
            first, end = end, end + self.file.metadata.row_group(index).num_rows
            if first < stop and end > start:
                groups.append(index)
            elif not groups:
                before = end
        return groups, before


@contextmanager
def open_parquet_input(path: str, on_read: OnRead = lambda _: None) -> Iterator[tuple[ParquetTable, HashingReader]]:
    """Open a user's Parquet file, and the reader that hashes its bytes. One behind a URL is first copied to the disk.

    Raises:
        UserError: it is something else, or changed meanwhile; or what `open_input` raises.
    """
    with (
        open_input(path, on_read=on_read) as (stream, hashing),
        tempfile.NamedTemporaryFile(prefix=TEMPORARY, suffix=".parquet") as copy,
    ):
        location = locate(path)
        if not is_local(location):
            shutil.copyfileobj(stream, copy)
            copy.flush()
            location = locate(copy.name)
        table = ParquetTable(location.path)
        with table.file:
            yield table, hashing


@contextmanager
def arrow_errors() -> Iterator[None]:
    """Turn what Arrow says of a file into one sentence.

    Raises:
        UserError: in the place of an error that is the file's own.
    """
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # The disk's own.
            raise
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"it can't be read as Parquet ({reason}); write it again, or give it as CSV") from error


@contextmanager
def _wide_integers(path: str) -> Iterator[None]:
    """Name the columns of 128-bit integers, which Polars writes in a way that Arrow can't open the file at all.

    Raises:
        UserError: instead of Arrow's error where there are such columns.
    """
    try:
        yield
    except pa.ArrowNotImplementedError:
        types = pl.read_parquet_schema(path)
        if wide := [name for name, dtype in types.items() if dtype in (pl.Int128, pl.UInt128)]:
            raise UserError(
                f"column {wide[0]!r} holds integers of 128 bits, with which Arrow can't open the file; write it as "
                "Decimal(38, 0) or Int64, or give the file as CSV"
            ) from None
        raise


def _count_leaves(dtype: pa.DataType) -> int:
    """Count the columns that Parquet makes of a column."""
    if isinstance(dtype, pa.BaseExtensionType):
        return _count_leaves(dtype.storage_type)
    if not pa.types.is_nested(dtype):
        return 1
    return sum(_count_leaves(dtype.field(index).type) for index in range(dtype.num_fields))


def count_rows(path: str) -> int:
    """Count the rows of a Parquet file on a disk."""
    return ParquetTable(path).rows


# What is needed of a table, for Polars.


def to_series(name: str, column: pa.ChunkedArray) -> pl.Series:
    """Make a column for Polars; what that does not know becomes text, and a time in a zone becomes one in UTC."""
    if column.type == pa.uuid():
        return pl.Series(name, [value.as_py() and str(value.as_py()) for value in column], TEXT)
    plain = column.cast(_simplify(column.type)) if _simplify(column.type) != column.type else column
    series = pl.Series(name, pl.from_arrow(plain))
    return spell_out_far_times(series)


def _simplify(dtype: pa.DataType) -> pa.DataType:
    """Return the type that Polars knows, whose values are the same."""
    if isinstance(dtype, pa.BaseExtensionType):
        return _simplify(dtype.storage_type)
    if pa.types.is_dictionary(dtype):
        return _simplify(dtype.value_type)
    if pa.types.is_timestamp(dtype) and dtype.tz is not None:
        return pa.timestamp(dtype.unit, "UTC")
    if pa.types.is_decimal256(dtype):
        return pa.string()
    if pa.types.is_date64(dtype):
        return pa.date32()
    if pa.types.is_fixed_size_binary(dtype):
        return pa.binary()
    return dtype


def to_frame(table: pa.Table) -> pl.DataFrame:
    """Make a frame of all columns for text; they are called by their positions, since one name may be there twice."""
    return pl.DataFrame([to_series(str(index), column) for index, column in enumerate(table.columns)])


def show_rows(table: pa.Table) -> pl.Series:
    """Show each row as JSON, bytes in it as base64; of columns with one name the first."""
    columns: dict[str, pl.Series] = {}
    for name, column in zip(table.schema.names, table.columns, strict=True):
        if name not in columns:
            nested = pa.types.is_nested(_simplify(column.type))
            texts = pl.Series(name, [_show(value) for value in column], TEXT) if nested else to_series(name, column)
            columns[name] = texts
    frame = pl.DataFrame(list(columns.values()))
    return frame.select(show_as_json(frame.schema, frame.columns)).to_series()


def _show(value: pa.Scalar) -> str | None:
    """Show a nested value as JSON, which Polars can't if there are bytes in it."""
    with suppress(ValueError, OverflowError):  # A time in it may have no text.
        return json.dumps(value.as_py(), default=_show_odd) if value.is_valid else None
    return str(value.type)


def _show_odd(value: object) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


# Writing.


def take_rows(table: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    """Take some rows, which are in order."""
    return pa.table([_take(column, rows) for column in table.columns], schema=table.schema)


def _take(column: pa.ChunkedArray, rows: NDArray[np.int64]) -> pa.ChunkedArray:
    try:
        return column.take(pa.array(rows))
    except pa.ArrowNotImplementedError:  # Arrow does not take from views.
        runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
        parts = [chunk for run in runs if len(run) for chunk in column.slice(run[0], len(run)).chunks]
        return pa.chunked_array(parts, column.type)


def to_arrow(table: pl.DataFrame) -> pa.Table:
    """Make an Arrow table of a frame, with types that any reader of Parquet knows."""
    return table.to_arrow(compat_level=pl.CompatLevel.oldest())


def describe_schema(types: dict[str, Any]) -> pa.Schema:
    """Return the Arrow schema of a frame with these types."""
    return to_arrow(pl.DataFrame(schema=types)).schema


def add_columns(table: pa.Table, added: pl.DataFrame) -> pa.Table:
    """Add columns to a table, which keeps its own as they are."""
    more = to_arrow(added)
    for field in more.schema:
        table = table.append_column(field, more.column(field.name))
    return table


def extend_schema(schema: pa.Schema, added: dict[str, Any]) -> pa.Schema:
    """Return the schema of a table with added columns."""
    return pa.schema([*schema, *describe_schema(added)], metadata=schema.metadata)


def write_parquet(path: Path, schema: pa.Schema, tables: Iterable[pa.Table], metadata: dict[str, str]) -> None:
    """Write tables as one Parquet file, with some metadata besides its own, in bounded memory."""
    known = schema.metadata or {}
    schema = schema.with_metadata(known | {name.encode(): text.encode() for name, text in metadata.items()})
    rows = max(1, min(ROW_GROUP, GROUP_CELLS // max(1, len(schema))))
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=3, write_page_checksum=True) as writer:
        for group in _regroup(tables, rows):
            writer.write_table(group.replace_schema_metadata(schema.metadata), row_group_size=rows)


def _regroup(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Cut and join tables to `rows` rows each, with the rest in the last one, so that cuts before do not show."""
    held, count = list[pa.Table](), 0
    for table in tables:
        while table.num_rows:
            part, table = table.slice(0, rows - count), table.slice(rows - count)
            held.append(part)
            count += part.num_rows
            if count == rows:
                yield pa.concat_tables(held).combine_chunks()
                held, count = [], 0
    if held:
        yield pa.concat_tables(held).combine_chunks()


def join_parquet(path: Path, parts: list[Path], metadata: dict[str, str]) -> None:
    """Join files into the one Parquet file that `write_parquet` would have made of them."""
    schema = ParquetTable(str(parts[0])).schema
    write_parquet(path, schema, (rows.table for part in parts for rows in ParquetTable(str(part)).read()), metadata)


def copy_parquet_without(source: Path, target: Path, rows: list[int]) -> None:
    """Copy a Parquet file, metadata and all, without the rows of some numbers, from 1."""
    table = ParquetTable(str(source))
    dropped = np.array(rows)
    with table.file:
        numbered = ((np.arange(part.first, part.first + part.table.num_rows), part.table) for part in table.read())
        kept = (part.filter(pa.array(~np.isin(numbers, dropped))) for numbers, part in numbered)
        write_parquet(target, table.schema, kept, {})
