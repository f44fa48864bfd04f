"""Read actuals: a key, the value that turned out to be true, and when that became known."""

from dataclasses import dataclass

import polars as pl

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Actuals
from linear_neuron.tasks.tables.cleaning import Rejects
from linear_neuron.tasks.tables.read import read_rows
from linear_neuron.tasks.tables.rejects import LINE
from linear_neuron.tasks.tables.spec import KEY, KNOWN, TIME, TableSpec
from linear_neuron.tasks.tables.sql import PREFIX

ACTUAL = "actual"
KEPT_REJECTS = 1 << 62  # all of them
MAX_REJECTS = 0.5  # share of a file's rows; with more of them it is not the file that it was taken for


@dataclass(frozen=True)
class ActualValues:
    """The rows of one file or query, and those that were rejected."""

    source: str
    table: pl.DataFrame  # KEY as text, each once; ACTUAL as float64; KNOWN in microseconds since 1970, null for now
    rows: int  # with the rejected ones
    rejected: int
    rejects: bytes  # as CSV: file, line, column, value, reason, raw


def read_actual_values(source: str, actuals: Actuals) -> ActualValues:
    """Read one file or query.

    Raises:
        UserError: it can't be read, lacks a column, or more than half of it can't be used.
    """
    connection = actuals.connection if source.startswith(PREFIX) else ""
    spec = TableSpec(
        source, [actuals.target], connection, key=actuals.key, time=actuals.known_at, decimal=actuals.decimal
    )
    if len(spec.columns) < 2:
        raise UserError(f"The key and the target are both {actuals.key!r}; name the column of the actual value.")
    rows = read_rows(spec, kept=KEPT_REJECTS)
    tables, rejects = list(rows), rows.rejects
    table = pl.concat(tables) if tables else pl.DataFrame()
    if not rejects.rows:
        raise UserError(f"{source} has no rows; there is nothing to learn from it.")
    table = _drop_doubled(table, rejects, actuals, source)
    if rejects.count > MAX_REJECTS * rejects.rows:
        raise UserError(
            f"{rejects.first}; {rejects.count:,} of {rejects.rows:,} rows can't be used. Fix them, or name other "
            "columns by --key and --target."
        )
    known = pl.col(TIME) if actuals.known_at else pl.lit(None, pl.Int64)
    table = table.select(KEY, pl.col(actuals.target).alias(ACTUAL), known.alias(KNOWN))
    return ActualValues(source, table, rejects.rows, rejects.count, rejects.data)


def _drop_doubled(table: pl.DataFrame, rejects: Rejects, actuals: Actuals, source: str) -> pl.DataFrame:
    """Reject each key that has several values, since nobody knows which of them is true; rows alike count as one."""
    table = table.unique([KEY, actuals.target], keep="first", maintain_order=True)
    doubled = pl.col(KEY).is_duplicated()
    bad = table.filter(doubled).select(
        pl.col(LINE).alias("line"),
        pl.lit(actuals.key).alias("column"),
        pl.col(KEY).alias("value"),
        pl.lit("key with several values").alias("reason"),
        pl.lit("").alias("raw"),
    )
    rejects.add(source, bad, rows=0)  # They are counted among the rows already.
    return table.filter(~doubled)
