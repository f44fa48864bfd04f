"""Read actuals: a key, the value that turned out to be true, and when that became known."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

import polars as pl

from tasks.dataset.cleaning import KEY, KNOWN, clean_rows
from tasks.dataset.reading import Piece, find_source
from tasks.dataset.records import TIME
from tasks.dataset.snapshot import Rejects
from tasks.errors import UserError
from tasks.parameters import Actuals, Dataset
from tasks.progress import progress
from tasks.tables.contract import LINE
from tasks.tables.sql import PREFIX

ACTUAL = "actual"
MAX_REJECTS = 0.5  # share of a file's rows; with more of them it is not the file that it was taken for


@dataclass(frozen=True)
class Truths:
    """The rows of one file or query, and those that were rejected."""

    source: str
    table: pl.DataFrame  # KEY as text, each once; ACTUAL as float64; KNOWN in microseconds since 1970
    rows: int  # with the rejected ones
    rejected: int
    rejects: bytes  # as CSV: file, line, column, value, reason, raw


def read_truths(source: str, actuals: Actuals) -> Truths:
    """Read one file or query.

    Raises:
        UserError: it can't be read, lacks a column, or more than half of it can't be used.
    """
    wanted = Dataset().model_copy(
        update={
            "source": source,
            "connection": actuals.connection if source.startswith(PREFIX) else "",
            "features": [],
            "target": actuals.target,
            "key": actuals.key,
            "time": actuals.known_at,
        }
    )
    names = list(dict.fromkeys(filter(None, [actuals.key, actuals.target, actuals.known_at])))
    if len(names) < 2:
        raise UserError(f"The key and the target are both {actuals.key!r}; name the column of the true value.")
    found, rejects, tables = find_source(wanted, names), Rejects(allowed=1 << 62), []
    with progress(f"Reading {PurePosixPath(source).name}", found.size) as advance:
        for piece in found.read(advance):
            good, bad = clean_rows(piece, wanted, keep=[LINE])
            rejects.add(piece, bad)
            tables.append(good)
    table = pl.concat(tables) if tables else pl.DataFrame()
    if not rejects.rows:
        raise UserError(f"{source} has no rows; there is nothing to learn from it.")
    table = _drop_doubled(table, Piece(source, table, None, pl.lit("")), rejects, actuals)
    if rejects.count > MAX_REJECTS * rejects.rows:
        raise UserError(
            f"{rejects.first}; {rejects.count:,} of {rejects.rows:,} rows can't be used. Mend them, or name other "
            "columns by --key and --target."
        )
    now = int(datetime.now(UTC).timestamp() * 1_000_000)
    known = pl.col(TIME) if actuals.known_at else pl.lit(now, pl.Int64)
    table = table.select(KEY, pl.col(actuals.target).alias(ACTUAL), known.alias(KNOWN))
    return Truths(source, table, rejects.rows, rejects.count, rejects.data)


def _drop_doubled(table: pl.DataFrame, piece: Piece, rejects: Rejects, actuals: Actuals) -> pl.DataFrame:
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
    rejects.add(Piece(piece.place, bad.clear(), None, piece.raw), bad)
    return table.filter(~doubled)
