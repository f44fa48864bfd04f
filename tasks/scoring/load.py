"""The predictions of a batch, loaded into a table of a database."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Boolean, Column, Connection, Float, MetaData, Table, Text, delete, inspect
from sqlalchemy.exc import SQLAlchemyError

from tasks.dataset.reading import read_file
from tasks.errors import UserError
from tasks.progress import progress
from tasks.scoring.columns import list_added
from tasks.scoring.manifest import BatchRun, Manifest, is_predictions
from tasks.steps import get_logger, task
from tasks.tables.contract import F32, TEXT
from tasks.tables.inputs import InputFile, plural
from tasks.tables.sql import connect, find_address, refuse

OWN = ("batch", "model_version")


@task("Load the predictions", retries=2, retry_delay_seconds=10, timeout_seconds=3600)
def load_predictions(manifest: Manifest, batch_run: BatchRun) -> None:
    """Load every prediction of a batch into its table, in the place of those that the table has of this batch.

    That is one transaction, so that readers see the rows of before or those of now. The table has the columns of the
    prediction files, as text, the added ones in their types, and `batch` and `model_version`.

    Raises:
        UserError: the table has other columns, or the database refuses.
    """
    batch = batch_run.batch
    if not batch.into:
        return
    address = find_address(batch.connection)
    names = [name for name in manifest.files if is_predictions(name)]
    try:
        with connect(address, batch.connection, read_only=False).begin() as session:
            count = _replace(session, manifest, names, batch_run)
    except SQLAlchemyError as error:
        raise refuse(f"Loading into {batch.into} of {batch.connection}", error, address) from None
    get_logger().info("Loaded %s into %s of %s", plural(count, "prediction"), batch.into, batch.connection)


def _replace(session: Connection, manifest: Manifest, names: list[str], batch_run: BatchRun) -> int:
    """Replace the rows of the batch, and return how many there are now."""
    count, added = 0, list_added(batch_run)
    with progress(f"Loading into {batch_run.batch.into}", manifest.total.predicted) as advance:
        for name in names:
            table = None
            for rows in filter(None, _read_predictions(f"{batch_run.location}/{name}", added)):
                if table is None:  # The files may have other columns each.
                    table = _open_table(session, batch_run.batch.into, list(rows[0]), added)
                    if not count:
                        _keep_others_out(session, table)
                        session.execute(delete(table).where(table.c.batch == manifest.batch))
                own = {"batch": manifest.batch, "model_version": manifest.version}
                session.execute(table.insert(), [row | own for row in rows])
                count += len(rows)
                advance(len(rows))
    if not count and inspect(session).has_table(batch_run.batch.into):
        stale = Table(batch_run.batch.into, MetaData(), Column("batch", Text))
        session.execute(delete(stale).where(stale.c.batch == manifest.batch))
    return count


def _keep_others_out(session: Connection, table: Table) -> None:
    """Let no other run load until this one has ended: two of one batch would both add its rows.

    SQLite has one that writes at a time anyway.
    """
    if session.dialect.name == "postgresql":
        name = session.dialect.identifier_preparer.format_table(table)
        session.exec_driver_sql(f"lock table {name} in share row exclusive mode")


def _read_predictions(path: str, added: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Read a prediction file, some rows at a time; numbers are those of the file, and the rest is text."""
    for piece in read_file(InputFile(path=path, name=""), None, lambda _: None, {}):
        rows = piece.rows.to_dicts()
        for row in rows:
            for name, value in row.items():
                row[name] = _convert(value, added.get(name, TEXT))
        yield [{name: value for name, value in row.items() if not name.startswith("\0")} for row in rows]


def _convert(value: Any, dtype: Any) -> Any:
    if dtype == F32:
        return float(value)
    if dtype != TEXT:
        return value in (True, "true")
    return value if value is None else str(value)


def _open_table(session: Connection, name: str, columns: list[str], added: dict[str, Any]) -> Table:
    """Make the table if it is not there, and make sure that it has the columns.

    Raises:
        UserError: names a column that it lacks.
    """
    known_types: dict[Any, Any] = {F32: Float(53), TEXT: Text}
    types = dict.fromkeys(columns, Text) | {name: known_types.get(dtype, Boolean) for name, dtype in added.items()}
    longest = session.dialect.max_identifier_length
    if odd := [column for column in columns if not column or len(column.encode()) > longest]:
        raise UserError(f"No column of a table of this database can be called {odd[0]!r}; rename it in the inputs.")
    if clash := [column for column in OWN if column in columns and column not in added]:
        raise UserError(f"The predictions have a column {clash[0]!r}, which the table uses itself; rename it.")
    wanted = list(dict.fromkeys([*OWN, *types]))
    table = Table(name, MetaData(), *(Column(column, types.get(column, Text)) for column in wanted))
    if not inspect(session).has_table(name):
        table.create(session)
        return table
    known = {column["name"] for column in inspect(session).get_columns(name)}
    if missing := [column for column in wanted if column not in known]:
        raise UserError(f"The table {name} has no column {missing[0]!r}; add it, or name another table by --into.")
    return table
