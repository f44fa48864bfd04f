"""Read a table, some rows at a time, from files or from a query."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import NamedTuple

import polars as pl

from linear_neuron.tasks.errors import StoreError, UserError
from linear_neuron.tasks.parameters.base import hide_signatures
from linear_neuron.tasks.progress import progress
from linear_neuron.tasks.storage.files import map_in_order
from linear_neuron.tasks.storage.store import digest, locate
from linear_neuron.tasks.tables.cleaning import RawRows, Rejects, clean_rows
from linear_neuron.tasks.tables.columns import check_names, require_columns
from linear_neuron.tasks.tables.csv import Block, Header, cut_blocks, parse_block, read_header
from linear_neuron.tasks.tables.decimals import DecimalMarks
from linear_neuron.tasks.tables.inputs import InputFile, list_files
from linear_neuron.tasks.tables.rejects import LINE, RAW, PolarsPanic, show_as_json
from linear_neuron.tasks.tables.spec import Decimal, TableSpec
from linear_neuron.tasks.tables.sql import PREFIX, read_query, read_text
from linear_neuron.tasks.tables.stream import OnRead, open_input
from linear_neuron.tasks.text import end_sentence

THREADS = 3  # blocks of CSV that are read at a time


class Source(NamedTuple):
    """Where a table comes from, and how to read it from its start."""

    read: Callable[[OnRead], Iterator[RawRows]]
    size: int | None  # bytes that there are to read, where that is known
    describe: Callable[[], str]  # what it was when it was read: sha256 of the files, or the text of the query


class TableRows:
    """The valid rows of a table, some at a time as they are iterated over, and the rejects met so far."""

    def __init__(self, spec: TableSpec, kept: int) -> None:
        self.spec, self.source, self.rejects = spec, find_source(spec), Rejects(kept)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Yield LINE; the numbers as float64; TIME and KNOWN in microseconds since 1970; KEY as text, RESPELLED."""
        name = self.spec.source[:60] if self.source.size is None else PurePosixPath(self.spec.source).name
        with progress(f"Reading {name}", self.source.size) as advance:
            for raw in self.source.read(advance):
                checked = clean_rows(raw, self.spec)
                self.rejects.add(raw.source, checked.rejects, raw.height)
                yield checked.valid


def read_rows(spec: TableSpec, kept: int = 0) -> TableRows:
    """Read a table as checked rows.

    Args:
        spec: the table, and what is needed of it.
        kept: number of rejects up to which they are kept as CSV; above it they are only counted.

    Raises:
        UserError: there is no such file, or the query is none; and, while it is read, what is wrong with it.
    """
    return TableRows(spec, kept)


def find_source(spec: TableSpec, *, every: bool = False) -> Source:
    """Find the files or the query, to read the needed columns of, or every one.

    Raises:
        UserError: there is no such file, or the query is none.
    """
    names, decimal = None if every else spec.columns, spec.decimal
    if spec.source.startswith(PREFIX):
        text = read_text(spec.source)
        return Source(lambda _: _read_query(text, spec.connection, names, decimal), None, lambda: text)
    if spec.connection:
        raise UserError("--dataset.connection is for a query; give it as --dataset.source sql:FILE.sql.")
    _, files = list_files(spec.source)
    if not files:
        raise UserError(f"There is no table in {spec.source}; put CSV or Parquet files there.")
    files = sorted(files, key=lambda file: file.path)
    digests: dict[str, str] = {}
    return Source(
        lambda on_read: (rows for file in files for rows in read_file(file, names, on_read, digests, decimal)),
        sum(file.size for file in files),
        lambda: digest("".join(f"{sha256} {path}\n" for path, sha256 in sorted(digests.items())).encode()),
    )


def _read_query(text: str, connection: str, wanted: list[str] | None, decimal: Decimal) -> Iterator[RawRows]:
    line = 1
    for rows in read_query(text, connection):
        names = rows.columns if wanted is None else wanted
        try:
            require_columns(rows.columns, names)
        except UserError as error:
            raise UserError(f"The query on {connection}: {end_sentence(' '.join(str(error).split()))}") from None
        chosen, raw = _number(rows.select(names), line), show_as_json(rows.schema, names)
        yield RawRows(f"The query on {connection}", chosen, None, raw, DecimalMarks(decimal))
        line += rows.height


def _number(rows: pl.DataFrame, first: int) -> pl.DataFrame:
    return rows.with_row_index(LINE, first).with_columns(pl.col(LINE).cast(pl.Int64))


def read_file(
    file: InputFile, names: list[str] | None, on_read: OnRead, digests: dict[str, str], decimal: Decimal = "auto"
) -> Iterator[RawRows]:
    """Read the named columns of a file, or all of them. Errors name the file.

    The sha256 of the file is noted in `digests` once all of it is read.
    """
    with file_errors(file.path):
        if file.error:
            raise UserError(file.error)
        before = _describe_state(file)
        read = _read_parquet if file.kind == "parquet" else _read_csv
        digests[file.path] = yield from read(file, names, on_read, decimal)
        if _describe_state(file) != before:
            raise UserError("it changed while it was being read; try again when it is complete")


@contextmanager
def file_errors(path: str) -> Iterator[None]:
    """Name the file in the error of whatever is wrong with it.

    Raises:
        UserError: instead of any other error that a file may cause.
    """
    try:
        yield
    except StoreError:
        raise
    except (UserError, OSError, EOFError, pl.exceptions.PolarsError, PolarsPanic) as error:
        raise UserError(
            f"{path} can't be read: {end_sentence(' '.join(hide_signatures(str(error)).split()))}"
        ) from None


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
            from linear_neuron.tasks.tables.parquet import open_parquet_input

            with open_parquet_input(file.path) as (table, _):
                return table.names
        with open_input(file.path) as (stream, _):
            return read_header(stream, file.separators).columns


def read_columns(source: str, connection: str) -> list[str]:
    """Read the names of the columns of a table: those of its first file, or of its query.

    Raises:
        UserError: there is no such file, or the query is none, or it can't be read.
    """
    if source.startswith(PREFIX):
        rows = read_query(read_text(source), connection)
        return next(rows).columns
    _, files = list_files(source)
    return read_names(min(files, key=lambda file: file.path)) if files else []


def _describe_state(file: InputFile) -> tuple[object, ...]:
    """Describe what changes with a file; behind http that may be nothing."""
    info = locate(file.path).fs.info(locate(file.path).path)
    return tuple(info.get(key) for key in ("size", "mtime", "ino", "ETag"))


def _read_csv(
    file: InputFile, names: list[str] | None, on_read: OnRead, decimal: Decimal
) -> Generator[RawRows, None, str]:
    with open_input(file.path, on_read=on_read) as (stream, hashing):
        header = read_header(stream, file.separators)
        _, columns, separator = header
        names = _check(columns, names)
        decimals = find_decimals(file, decimal, header, names)

        def parse(block: Block) -> RawRows:
            rows, broken = parse_block(block, columns, names)
            return RawRows(file.path, rows, broken, pl.col(RAW), decimals)

        yield from map_in_order(parse, cut_blocks(stream, 2, separator), THREADS)
        return hashing.finish()


def find_decimals(file: InputFile, decimal: Decimal, header: Header, names: list[str]) -> DecimalMarks:
    """Begin to find the decimal marks of a CSV file, in columns with these names."""

    def read_again() -> Iterator[pl.DataFrame]:
        with open_input(file.path) as (stream, _):
            read_header(stream, file.separators)
            for block in cut_blocks(stream, 2, header.separator):
                yield parse_block(block, header.columns, names)[0]

    return DecimalMarks(decimal, by_points=header.separator == ",", read_again=read_again)


def _read_parquet(
    file: InputFile, names: list[str] | None, on_read: OnRead, decimal: Decimal
) -> Generator[RawRows, None, str]:
    from linear_neuron.tasks.tables.parquet import open_parquet_input

    with open_parquet_input(file.path, on_read) as (table, hashing):
        labels = [] if names else table.labels  # Who asks for every column asks what each of them is.
        names = _check(table.names, names)
        for rows in table.read(names):
            chosen = rows.select(names).with_columns(pl.col(labels).cast(pl.Categorical))
            yield RawRows(file.path, chosen, None, show_as_json(chosen.schema, names), DecimalMarks(decimal))
        return hashing.finish()
