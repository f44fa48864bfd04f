"""A user's own table, read as a stream of pieces from files or from a query."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import polars as pl

from tasks.errors import StoreError, UserError
from tasks.parameters import Dataset
from tasks.storage.files import map_in_order
from tasks.storage.store import digest, locate
from tasks.tables.contract import LINE, RAW, check_names, require_columns, show_as_json
from tasks.tables.csv import Block, cut_blocks, parse_block, read_header
from tasks.tables.inputs import InputFile, list_files
from tasks.tables.parquet import PolarsPanic, open_parquet_input, read_rows
from tasks.tables.sql import PREFIX, read_query, read_text
from tasks.tables.stream import OnRead, open_input

THREADS = 3  # blocks of CSV that are read at a time


class Piece(NamedTuple):
    """Some rows of a table, as the source has them."""

    place: str  # the file, or the query, as errors name it
    rows: pl.DataFrame  # LINE and the needed columns
    broken: pl.DataFrame | None  # lines that are no records, as rejects
    raw: pl.Expr  # of a row, its text
    decimal_comma: bool = False  # whether 6,5 is a number


class Source(NamedTuple):
    """Where a table comes from, and how to read it from its start."""

    read: Callable[[OnRead], Iterator[Piece]]
    size: int | None  # bytes that there are to read, where that is known
    describe: Callable[[], str]  # what it was when it was read: sha256 of the files, or the text of the query


def find_source(dataset: Dataset, names: list[str]) -> Source:
    """Find the files or the query, of which the named columns are needed.

    Raises:
        UserError: there is no such file, or the query is none.
    """
    if dataset.source.startswith(PREFIX):
        text = read_text(dataset.source)
        return Source(lambda _: _read_query(text, dataset.connection, names), None, lambda: text)
    if dataset.connection:
        raise UserError("--dataset.connection is for a query; give it as --dataset.source sql:FILE.sql.")
    _, files = list_files(dataset.source)
    if not files:
        raise UserError(f"There is no table in {dataset.source}; put CSV or Parquet files there.")
    files = sorted(files, key=lambda file: file.path)
    digests: dict[str, str] = {}
    return Source(
        lambda on_read: (piece for file in files for piece in read_file(file, names, on_read, digests)),
        sum(file.size for file in files),
        lambda: digest("".join(f"{sha256} {path}\n" for path, sha256 in sorted(digests.items())).encode()),
    )


def _read_query(text: str, connection: str, names: list[str]) -> Iterator[Piece]:
    line = 1
    for rows in read_query(text, connection):
        try:
            require_columns(rows.columns, names)
        except UserError as error:
            raise UserError(f"The query on {connection}: {end_sentence(str(error))}") from None
        yield Piece(
            f"The query on {connection}", _number(rows.select(names), line), None, show_as_json(rows.schema, names)
        )
        line += rows.height


def _number(rows: pl.DataFrame, first: int) -> pl.DataFrame:
    return rows.with_row_index(LINE, first).with_columns(pl.col(LINE).cast(pl.Int64))


def read_file(file: InputFile, names: list[str] | None, on_read: OnRead, digests: dict[str, str]) -> Iterator[Piece]:
    """Read the named columns of a file, or all of them; what is wrong with it is said with its name.

    The sha256 of the file is noted in `digests` once all of it is read.
    """
    with file_errors(file.path):
        if file.error:
            raise UserError(file.error)
        before = _describe_state(file)
        read = _read_parquet if file.kind == "parquet" else _read_csv
        digests[file.path] = yield from read(file, names, on_read)
        if _describe_state(file) != before:
            raise UserError("it changed while it was being read; try again when it is complete")


@contextmanager
def file_errors(path: str) -> Iterator[None]:
    """Name the file in the error of whatever is wrong with it.

    Raises:
        UserError: in the place of any other error that a file may cause.
    """
    try:
        yield
    except StoreError:
        raise
    except (UserError, OSError, EOFError, pl.exceptions.PolarsError, PolarsPanic) as error:
        raise UserError(f"{path} can't be read: {end_sentence(str(error))}") from None


def end_sentence(text: str) -> str:
    """Put a text on one line, with a full stop at its end unless it asks something."""
    text = " ".join(text.split()).rstrip(".")
    return text if text.endswith("?") else f"{text}."


def _check(columns: list[str], names: list[str] | None) -> list[str]:
    """Return the columns to read, all of which are there."""
    if names is None:
        require_columns(columns, columns)
        return columns
    require_columns(columns, names)
    check_names(names)
    return names


def read_names(file: InputFile) -> list[str]:
    """Read the names of a file's columns.

    Raises:
        UserError: it can't be read.
    """
    with file_errors(file.path):
        if file.error:
            raise UserError(file.error)
        if file.kind == "parquet":
            with open_parquet_input(file.path) as (_, schema, _):
                return list(schema)
        with open_input(file.path) as (stream, _):
            return read_header(stream, file.separators).columns


def _describe_state(file: InputFile) -> tuple[object, ...]:
    """Describe what changes with a file; behind http that may be nothing."""
    info = locate(file.path).fs.info(locate(file.path).path)
    return tuple(info.get(key) for key in ("size", "mtime", "ino", "ETag"))


def _read_csv(file: InputFile, names: list[str] | None, on_read: OnRead) -> Generator[Piece, None, str]:
    with open_input(file.path, on_read=on_read) as (stream, hashing):
        _, columns, separator = read_header(stream, file.separators)
        names = _check(columns, names)

        def parse(block: Block) -> Piece:
            rows, broken = parse_block(block, columns, names)
            return Piece(file.path, rows, broken, pl.col(RAW), separator != ",")

        yield from map_in_order(parse, cut_blocks(stream, 2, separator), THREADS)
        return hashing.finish()


def _read_parquet(file: InputFile, names: list[str] | None, on_read: OnRead) -> Generator[Piece, None, str]:
    with open_parquet_input(file.path, on_read) as (table, schema, hashing):
        names = _check(list(schema), names)
        for rows in read_rows(table if names == list(schema) else table.select(names), 0, None):
            yield Piece(file.path, rows, None, show_as_json(schema, names))
        return hashing.finish()
