"""The rows of a query, streamed from SQLite, PostgreSQL or a DuckDB file, none of which can be written to here."""

import os
import re
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
from sqlalchemy import create_engine, make_url
from sqlalchemy.engine import Engine
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.steps import is_recorded
from linear_neuron.tasks.storage.store import locate
from linear_neuron.tasks.tables.columns import spell_out_far_times
from linear_neuron.tasks.tables.rejects import PolarsPanic

PREFIX = "sql:"
BATCH_ROWS = 50_000  # rows that are fetched at a time
WAITING = 60  # seconds for another program that writes to a file of SQLite
TEXT_ONLY = re.compile(r"U?HUGEINT|BIGNUM|VARINT|UNION|BIT\b|TIME WITH TIME ZONE|VARIANT")  # types of DuckDB
SQL_FILE = re.compile(r"\S+\.sql", re.IGNORECASE)
NO_CODE = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*.*?\*/""", re.DOTALL)


def read_text(source: str) -> str:
    """Return the text of a query that is given as `sql:SELECT ...` or as `sql:FILE.sql`.

    Raises:
        UserError: the file can't be read, or there is not one statement alone.
    """
    text = source.removeprefix(PREFIX).strip()
    if SQL_FILE.fullmatch(text):
        path = locate(text)
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"The query in {path} can't be read: {getattr(error, 'strerror', None) or error}."
            ) from None
    code = NO_CODE.sub(" ", text).strip().rstrip(";")
    if not code.strip():
        raise UserError("The query is empty; give a SELECT after sql:, or a file with one.")
    if ";" in code:
        raise UserError("The query has more than one statement; leave one SELECT.")
    return text


def find_address(connection: str) -> str:
    """Look up the address of a connection by its name: in the environment, then in a Prefect Secret block.

    Raises:
        UserError: it is in neither.
    """
    if not connection:
        raise UserError(
            "A query, and a table to load into, needs the name of its database; give --connection, or "
            "--dataset.connection to retrain."
        )
    variable = f"LINEAR_NEURON_CONNECTION_{connection.upper().replace('-', '_')}"
    if address := os.environ.get(variable):
        return address
    if is_recorded():
        from prefect.blocks.system import Secret

        try:
            return str(Secret.load(connection.lower().replace("_", "-")).get())  # type: ignore[union-attr]
        except ValueError:
            pass  # There is no such block.
    raise UserError(
        f"There is no address for the connection {connection}; set {variable}, such as sqlite:///sales.db or "
        f"postgresql://user:password@host/database, or keep it in a Prefect Secret block named {connection.lower()}."
    )


def read_query(text: str, connection: str) -> Iterator[pl.DataFrame]:
    """Run a query in a read-only transaction, and yield its rows, some at a time; at least one table, if of no rows.

    Raises:
        UserError: there is no such database, or the query fails. No address is shown, since it may have a password.
    """
    address = find_address(connection)
    try:
        if address.startswith("duckdb:///"):
            yield from _read_duckdb(text, address.removeprefix("duckdb:///"), connection)
        else:
            yield from _read_rows(text, connect(address, connection, read_only=True), connection)
    except SQLAlchemyError as error:
        raise refuse(f"The query on {connection}", error, address) from None


def _read_rows(text: str, engine: Engine, connection: str) -> Iterator[pl.DataFrame]:
    """Yield the rows of what SQLAlchemy runs."""
    options = {"stream_results": True, "no_parameters": True}  # Without the latter a % would ask for a parameter.
    if engine.dialect.name == "postgresql":
        options["postgresql_readonly"] = True  # A file of SQLite was opened for reading alone.
    with engine.connect().execution_options(**options) as session, session.exec_driver_sql(text) as result:
        if not result.returns_rows:
            raise UserError(f"The query on {connection} returns no rows; it must be a SELECT.")
        names = list(result.keys())
        _check_distinct(names, connection)
        yield _tabulate(names, [])
        for rows in result.partitions(BATCH_ROWS):
            yield _tabulate(names, rows)


def _check_distinct(names: list[str], connection: str) -> None:
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"The query on {connection} has the column {min(twice)!r} twice; name it another way.")


def _tabulate(names: list[str], rows: Any) -> pl.DataFrame:
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return pl.DataFrame([_make_column(name, values) for name, values in zip(names, columns, strict=True)])


def _make_column(name: str, values: tuple[Any, ...]) -> pl.Series:
    """Make a column of one type that holds every value as it is; of text where there is none."""
    kinds = {type(value) for value in values if value is not None}
    # Polars makes 1.0 of the integer 1 beside a real number, and 1.50 of the decimal 1.5 beside 1.25.
    mixed = kinds in ({int, float}, {bool, int}) or (
        kinds == {Decimal} and len({one.as_tuple().exponent for one in values if one is not None}) > 1
    )
    if not mixed:
        try:
            column = pl.Series(name, values, strict=True)
            if column.dtype != pl.Object and column.null_count() == sum(value is None for value in values):
                return column
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError, PolarsPanic):
            pass
    return pl.Series(name, [None if value is None else _spell(value) for value in values], pl.String)


def _spell(value: Any) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def connect(address: str, connection: str, *, read_only: bool) -> Engine:
    """Make the engine for an address of SQLite or PostgreSQL, whose file or session may be one that is only read.

    Raises:
        UserError: it is the address of something else, or its file or its driver is not there.
    """
    try:
        url = make_url(address)
        if url.get_backend_name() == "sqlite":
            return _connect_sqlite(url.database or "", connection, read_only)
        if url.get_backend_name() not in ("postgresql", "postgres") or address.partition("?")[0].count("@") > 1:
            raise ArgumentError
        url = url.set(drivername="postgresql+psycopg")
        return create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 20})
    except (ArgumentError, ValueError):  # What SQLAlchemy says of it may have parts of the password.
        begins = "sqlite:///, postgresql:// or duckdb:///" if read_only else "sqlite:/// or postgresql://"
        raise UserError(
            f"The address of the connection {connection} is none that can be used; it must begin with {begins}, and an "
            "@ in its password must be written as %40."
        ) from None
    except ImportError:
        raise UserError(
            f"The connection {connection} needs one package more: pip install 'linear-neuron[postgres]'."
        ) from None


def _connect_sqlite(name: str, connection: str, read_only: bool) -> Engine:
    path = Path(locate(name).path)
    if not path.is_file():  # SQLite would make an empty one.
        raise UserError(f"There is no database at {path}, where the connection {connection} leads.")
    uri = f"file:{quote(str(path))}?mode={'ro' if read_only else 'rw'}"

    def open_file() -> sqlite3.Connection:
        session = sqlite3.connect(uri, uri=True, timeout=WAITING)
        session.set_authorizer(lambda action, *_: action == sqlite3.SQLITE_ATTACH)  # That could make another file.
        return session

    return create_engine("sqlite://", poolclass=NullPool, creator=open_file)


def _read_duckdb(text: str, name: str, connection: str) -> Iterator[pl.DataFrame]:
    """Yield the rows of a query on a DuckDB file, all at once."""
    try:
        import duckdb
    except ImportError:
        raise UserError(
            f"The connection {connection} needs one package more: pip install 'linear-neuron[duckdb]'."
        ) from None
    try:
        with duckdb.connect(locate(name).path, read_only=True) as session:
            if any(one.type != duckdb.StatementType.SELECT for one in session.extract_statements(text)):
                raise UserError(f"The query on {connection} returns no rows; it must be a SELECT.")  # COPY makes files.
            relation = session.sql(text)
            _check_distinct(relation.columns, connection)
            for column, kind in zip(relation.columns, relation.types, strict=True):
                if "INTERVAL" in str(kind):  # Polars ends its thread over one.
                    raise UserError(
                        f"The query on {connection} has {column!r}, which holds {kind}; leave it out, or cast it."
                    )
            chosen = (
                _choose_text(column, str(kind)) for column, kind in zip(relation.columns, relation.types, strict=True)
            )
            rows = pl.DataFrame(relation.project(", ".join(chosen)))
            yield rows.with_columns(spell_out_far_times(column) for column in rows)
    except (duckdb.Error, pl.exceptions.PolarsError, PolarsPanic) as error:
        raise refuse(f"The query on {connection}", error, "") from None


def _choose_text(column: str, kind: str) -> str:
    """Write a column for DuckDB's SELECT: as text where Polars has no such type."""
    quoted = '"' + column.replace('"', '""') + '"'
    return f"CAST({quoted} AS VARCHAR) AS {quoted}" if TEXT_ONLY.match(kind) else quoted


def refuse(what: str, error: Exception, address: str) -> UserError:
    """Say why something failed, in the first line of what the database says, without the address or its password."""
    error = getattr(error, "orig", None) or error
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    try:
        secret = make_url(address).password
    except (ArgumentError, ValueError):
        secret = None
    for hidden in filter(None, (address, str(secret) if secret else "")):
        reason = reason.replace(hidden, "***")
    return UserError(f"{what} failed: {reason}.".replace("..", "."))
