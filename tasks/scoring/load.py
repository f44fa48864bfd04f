"""Load the predictions of a batch into a table of a database."""

import zlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Float,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    delete,
    inspect,
)
from sqlalchemy.exc import SQLAlchemyError

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.progress import progress
from linear_neuron.tasks.scoring.manifest import BatchRun, FileResult, Manifest
from linear_neuron.tasks.steps import get_logger, task
from linear_neuron.tasks.tables.columns import name_kind
from linear_neuron.tasks.tables.inputs import InputFile
from linear_neuron.tasks.tables.read import read_file
from linear_neuron.tasks.tables.sql import connect, find_address, refuse
from linear_neuron.tasks.text import plural

OWN = ("batch", "model_version")  # columns that every table has beside those of the prediction files
NEWER = {"input_name": Text, "predicted_at": DateTime(timezone=True)}  # the same; older versions made tables without
NAMES = 500  # inputs whose rows are deleted by one statement
Types = dict[str, Any]  # column -> its type in the database


@task("Load the predictions", retries=2, retry_delay_seconds=10, timeout_seconds=3600)
def load_predictions(manifest: Manifest, batch_run: BatchRun) -> None:
    """Load the predictions of the inputs that the run was asked for, in place of those that the table has of them.

    That is one transaction, so that readers see the rows of before or those of now. The table has the columns of the
    prediction files: numbers of a query or of Parquet as numbers, the added ones in their types, others as text; and
    `batch`, `model_version`, `input_name` and `predicted_at`.

    Raises:
        UserError: the table has other columns, or the database refuses.
    """
    batch = batch_run.batch
    if not batch.into:
        return
    address = find_address(batch.connection)
    try:
        with connect(address, batch.connection, read_only=False).begin() as session:
            count = _replace(session, manifest, batch_run)
    except SQLAlchemyError as error:
        raise refuse(f"Loading into {batch.into} of {batch.connection}", error, address) from None
    get_logger().info("Loaded %s into %s of %s", plural(count, "prediction"), batch.into, batch.connection)


def _replace(session: Connection, manifest: Manifest, batch_run: BatchRun) -> int:
    """Replace the rows of the inputs, and return how many there are now.

    No other run may load into the table until this one has ended: two would both make it, or both add the rows of one
    batch.

    A table without `input_name` cannot tell inputs apart, so all rows of the batch are replaced by all there are.
    """
    name, count = batch_run.batch.into, 0
    _lock(session, name)
    known = _read_types(session, name)
    results = manifest.inputs if known and "input_name" not in known else manifest.of_last_run().inputs
    if known:
        _delete(session, _make_table(name, known), manifest.batch, [result.source.name for result in results])
    with progress(f"Loading into {name}", sum(result.predicted for result in results)) as advance:
        for result in results:
            own: dict[str, Any] = {
                "batch": manifest.batch,
                "model_version": manifest.version,
                "input_name": result.source.name,
            }
            own["predicted_at"] = result.predicted_at or manifest.created_at
            for rows, types in _read_rows(result, batch_run):
                _check_columns(session, types, batch_run, known)
                known = known or _create_table(session, name, types)
                fitted = [_fit(row | own, known, session.dialect.name) for row in rows]
                session.execute(_make_table(name, known).insert(), fitted)
                count += len(rows)
                advance(len(rows))
    return count


def _lock(session: Connection, name: str) -> None:
    """Wait for other runs that load into a table, which need not be there yet; the end of the transaction unlocks it.

    A table of PostgreSQL has the same lock with and without its schema, and SQLite has one for all tables.
    """
    if session.dialect.name == "postgresql":
        key = zlib.crc32(name.rpartition(".")[2].encode())
        session.exec_driver_sql(f"select pg_advisory_xact_lock({key})")
    else:
        session.exec_driver_sql("begin immediate")


def _read_types(session: Connection, name: str) -> Types:
    """Read the columns of the table, if it is there.

    Raises:
        UserError: it has none that says which batch a row is of.
    """
    schema, _, table = name.rpartition(".")
    if not inspect(session).has_table(table, schema=schema or None):
        return {}
    types = {column["name"]: column["type"] for column in inspect(session).get_columns(table, schema=schema or None)}
    _check_known(name, OWN, types)
    return types


def _check_known(name: str, wanted: tuple[str, ...] | list[str], known: Types) -> None:
    if missing := [column for column in wanted if column not in known]:
        raise UserError(f"The table {name} has no column {missing[0]!r}; add it, or name another table by --into.")


def _make_table(name: str, types: Types) -> Table:
    schema, _, table = name.rpartition(".")
    return Table(table, MetaData(), *(Column(column, kind) for column, kind in types.items()), schema=schema or None)


def _create_table(session: Connection, name: str, types: Types) -> Types:
    types = dict.fromkeys(OWN, Text) | NEWER | types
    _make_table(name, types).create(session)
    return types


def _delete(session: Connection, table: Table, batch: str, inputs: list[str]) -> None:
    """Delete the rows of inputs, or of the whole batch where the table does not name them.

    No other program may change the rows until this one has ended, whether or not it knows of `_lock`.
    """
    if session.dialect.name == "postgresql":
        name = session.dialect.identifier_preparer.format_table(table)
        session.exec_driver_sql(f"lock table {name} in share row exclusive mode")
    rows = delete(table).where(table.c.batch == batch)
    if "input_name" not in table.c:
        session.execute(rows)
        return
    for start in range(0, len(inputs), NAMES):
        session.execute(rows.where(table.c.input_name.in_(inputs[start : start + NAMES])))


def _check_columns(session: Connection, types: Types, batch_run: BatchRun, known: Types) -> None:
    """Check that the table can take the columns of a prediction file.

    Raises:
        UserError: names one that it cannot.
    """
    longest, added = session.dialect.max_identifier_length, batch_run.added
    if odd := [column for column in types if not column or len(column.encode()) > longest]:
        raise UserError(f"No column of a table of this database can be called {odd[0]!r}; rename it in the inputs.")
    own = [column for column in (*OWN, *NEWER) if column in known or not known]
    if clash := [column for column in own if column in types and column not in added]:
        raise UserError(f"The predictions have a column {clash[0]!r}, which the table uses itself; rename it.")
    if known:
        _check_known(batch_run.batch.into, list(types), known)


def _read_rows(result: FileResult, batch_run: BatchRun) -> Iterator[tuple[list[dict[str, Any]], Types]]:
    """Read the prediction files of an input, some rows at a time, with the types of their columns."""
    for name in result.predictions:
        for raw in read_file(InputFile(path=f"{batch_run.location}/{name}", name=""), None, lambda _: None, {}):
            kinds = _name_kinds(raw.rows.schema, result, batch_run)
            if rows := [
                {name: _convert(row[name], kind) for name, kind in kinds.items()} for row in raw.rows.to_dicts()
            ]:
                yield rows, {name: KINDS[kind] for name, kind in kinds.items()}


def _name_kinds(schema: Any, result: FileResult, batch_run: BatchRun) -> dict[str, str]:
    """Name what the columns of a prediction file hold; what CSV has as text may have been a number in a database."""
    kinds = {name: name_kind(dtype) for name, dtype in schema.items() if not name.startswith("\0")}
    added = {name: name_kind(dtype) for name, dtype in batch_run.added.items()}
    return {name: added.get(name, result.source.types.get(name, kind)) for name, kind in kinds.items()}


# What a column holds -> its type in a database.
KINDS: dict[str, Any] = {
    "integer": BigInteger,
    "decimal": Numeric().with_variant(Float(53), "sqlite"),
    "float": Float(53),
    "boolean": Boolean,
    "text": Text,
    "": Text,  # a column without any value
}


def _convert(value: Any, kind: str) -> Any:
    """Convert a value of a prediction file; those of CSV are texts."""
    if kind == "boolean":
        return None if value is None else value in (True, "true")
    if value is None or (value == "" and kind != "text"):
        return None
    convert = {"integer": int, "decimal": Decimal, "float": float}.get(kind, str)
    return convert(value)


def _fit(row: dict[str, Any], known: Types, dialect: str) -> dict[str, Any]:
    """Leave out what the table has no column for, and write numbers as text where it has text of an older version."""
    fitted = {name: value for name, value in row.items() if name in known}
    for name, value in fitted.items():
        kind = known[name]
        if isinstance(kind, String) or kind is Text:
            fitted[name] = value if value is None else str(value)
        elif isinstance(value, Decimal) and dialect == "sqlite":  # It has no decimals.
            fitted[name] = float(value)
    return fitted
