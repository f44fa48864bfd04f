"""Parquet files: opened, read some rows at a time, and written in bounded memory."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from tasks.errors import UserError
from tasks.storage.files import TEMPORARY
from tasks.storage.store import is_local, locate
from tasks.tables.contract import LINE
from tasks.tables.stream import HashingReader, OnRead, open_input

PolarsPanic = pl.exceptions.PanicException  # a fault of the engine over what is in a file; it is no Exception
BATCH_ROWS, BATCH_CELLS, BATCH_BYTES = 250_000, 2_000_000, 8 << 20  # of a Parquet file that are read at a time
DECODED_CELLS = 6_000_000  # of a row group that are decoded at a time, however wide it is or well it was packed
COLUMNS = 32  # of a row group that are read at a time, since all bytes of a column in it are read at once
ROW_GROUP, GROUP_CELLS = 500_000, 6_000_000  # rows of Parquet that are compressed together; fewer of many columns


@contextmanager
def open_parquet_input(
    path: str, on_read: OnRead = lambda _: None
) -> Iterator[tuple[pl.LazyFrame, dict[str, pl.DataType], HashingReader]]:
    """Open a user's Parquet file: its table, the types of its columns, and the reader that hashes its bytes.

    One behind a URL is first copied to the disk.

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
        yield *open_parquet(location.path), hashing


def open_parquet(path: str) -> tuple[pl.LazyFrame, dict[str, pl.DataType]]:
    """Open a Parquet file on a disk: its table, and the types of its columns.

    Raises:
        UserError: it is something else.
    """
    table = pl.scan_parquet(path, glob=False)
    try:
        return table, dict(table.collect_schema())
    except pl.exceptions.PolarsError:
        raise UserError("this is not a Parquet file, whatever its name says") from None


def read_rows(table: pl.LazyFrame, start: int, stop: int | None, row_bytes: float = 0) -> Iterator[pl.DataFrame]:
    """Read a range of a table's rows, numbered from 1, some at a time: fewer where they are wide or their texts long.

    Of a row group so many rows are decoded as `DECODED_CELLS` says. The bytes of a column in it are read as a whole.
    """
    names = table.collect_schema().names()
    at_once = max(1, min(BATCH_ROWS, BATCH_CELLS // len(names), int(BATCH_BYTES / max(1.0, row_bytes))))
    decoded = max(1, DECODED_CELLS // len(names) // at_once) * at_once
    end = count_rows(table) if stop is None else stop
    for first in range(start, end, decoded):
        rows = table.slice(first, min(decoded, end - first))
        if len(names) > COLUMNS:
            yield from _decode(rows, names).with_row_index(LINE, first + 1).iter_slices(at_once)
        else:
            yield from rows.with_row_index(LINE, first + 1).collect_batches(chunk_size=at_once, maintain_order=True)


def _decode(rows: pl.LazyFrame, names: list[str]) -> pl.DataFrame:
    """Decode rows of a wide table, some columns after the other."""
    groups = [names[place : place + COLUMNS] for place in range(0, len(names), COLUMNS)]
    return pl.concat([rows.select(group).collect() for group in groups], how="horizontal")


def count_rows(table: pl.LazyFrame) -> int:
    """Count the rows of a Parquet file."""
    return int(table.select(pl.len()).collect().item())


def write_parquet(
    path: Path, schema: dict[str, pl.DataType], tables: Iterator[pl.DataFrame], metadata: dict[str, str]
) -> None:
    """Write tables as one Parquet file with some metadata, in bounded memory."""
    table = register_io_source(lambda *_: tables, schema=schema)
    _sink(table, path, metadata)


def join_parquet(path: Path, pieces: list[Path], metadata: dict[str, str]) -> None:
    """Join files into the one Parquet file that `write_parquet` would have made of them, to the byte."""
    _sink(pl.scan_parquet(pieces, glob=False), path, metadata)


def _sink(table: pl.LazyFrame, path: Path, metadata: dict[str, str]) -> None:
    rows = max(1, min(ROW_GROUP, GROUP_CELLS // len(table.collect_schema())))
    table.sink_parquet(path, row_group_size=rows, metadata=metadata)
