"""Rows of recorded actuals: Parquet files beside the index, each named by its digest."""

import io
from functools import cache
from typing import Any

import polars as pl

from linear_neuron.tasks.errors import DamagedError
from linear_neuron.tasks.monitoring.actual_values import ACTUAL
from linear_neuron.tasks.monitoring.performance import BATCH, LABELS, Entry
from linear_neuron.tasks.registry.actuals_index import FOLDER
from linear_neuron.tasks.steps import get_logger
from linear_neuron.tasks.storage.store import Store, digest
from linear_neuron.tasks.tables.spec import KEY, KNOWN

EMPTY = pl.DataFrame(schema={KEY: pl.String, ACTUAL: pl.Float64, KNOWN: pl.Int64, BATCH: pl.String})


def read_rows(store: Store, entry: Entry) -> pl.DataFrame:
    """Read the rows of an entry: KEY, ACTUAL, KNOWN, the batch (null where none matched) and its prediction.

    Raises:
        DamagedError: the file is missing or has other bytes than were written.
    """
    for name, facts in entry.files.items():
        if name.endswith(".parquet"):
            data = store.read_checked(store.root / FOLDER / name, facts.get("sha256", ""))
            rows = pl.read_parquet(io.BytesIO(data))
            return rows if LABELS in rows.columns else rows.with_columns(pl.lit(None, pl.String).alias(LABELS))
    return EMPTY


def try_rows(store: Store, entry: Entry) -> pl.DataFrame | None:
    """Read the rows of an entry; None where they are damaged, which is logged."""
    try:
        return read_rows(store, entry)
    except DamagedError as error:
        _warn(f"{error} Give {entry.source} again to replace it; until then its figures stay.")
        return None


@cache
def _warn(message: str) -> None:
    """Warn once in a run."""
    get_logger().warning(message)


def write_rows(store: Store, rows: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Write rows as a file; return its name, sha256 and bytes."""
    buffer = io.BytesIO()
    rows.write_parquet(buffer)
    return write_file(store, buffer.getvalue(), ".parquet")


def write_file(store: Store, data: bytes, suffix: str) -> dict[str, dict[str, Any]]:
    """Write a file of actuals; return its name, sha256 and bytes. A folder that has its name is damage, and removed."""
    sha256 = digest(data)
    path = store.root / FOLDER / f"{sha256}{suffix}"
    if store.local and path.is_dir():
        store.remove(path)
    store.write(path, data)
    return {path.name: {"sha256": sha256, "bytes": len(data)}}
