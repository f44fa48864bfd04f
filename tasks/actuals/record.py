"""Record actuals: their rows with what was predicted for them, and how good that was, by one write of the index."""

import io
from typing import Any

import numpy as np
import polars as pl

from tasks.actuals.match import NUMBERS, Matches, Source
from tasks.actuals.performance import FOLDER, Entry, Index, Performance, Promise
from tasks.actuals.truths import ACTUAL, Truths
from tasks.dataset.cleaning import KEY, KNOWN
from tasks.errors import UserError
from tasks.parameters import Actuals
from tasks.registry.versions import read_version
from tasks.storage.files import describe_file
from tasks.storage.store import Store, digest

BATCH = "batch"
EMPTY = pl.DataFrame(schema={KEY: pl.String, ACTUAL: pl.Float64, KNOWN: pl.Int64, BATCH: pl.String})


def get_settings(actuals: Actuals) -> dict[str, Any]:
    """Return the parameters that decide what a file of actuals says."""
    return actuals.model_dump(include={"key", "target", "known_at"})


def read_rows(store: Store, entry: Entry) -> pl.DataFrame:
    """Read the rows of an entry: KEY, ACTUAL, KNOWN, the batch (null where none matched) and what that predicted."""
    names = [name for name in entry.files if name.endswith(".parquet")]
    data = store.read(store.root / FOLDER / names[0]) if names else None
    return EMPTY if data is None else pl.read_parquet(io.BytesIO(data))


def merge_truths(store: Store, truths: list[Truths], index: Index, settings: dict[str, Any]) -> pl.DataFrame:
    """Put the rows of all files in one table; of a key in several, the last file's row counts.

    A truth is dated back to when an earlier file told of its key, since what is predicted after that is no prediction.
    """
    parts = [file.table.with_columns(pl.lit(number).alias("file")) for number, file in enumerate(truths)]
    table = pl.concat(parts).unique(KEY, keep="last", maintain_order=True)
    for entry in index.entries:
        if entry.settings == settings and not entry.error:
            before = read_rows(store, entry).select(KEY, pl.col(KNOWN).alias("before"))
            table = table.join(before, on=KEY, how="left", maintain_order="left")
            table = table.with_columns(pl.min_horizontal(KNOWN, "before").alias(KNOWN)).drop("before")
    return table


def combine_rows(truths: pl.DataFrame, matches: Matches) -> pl.DataFrame:
    """Put truths and predictions side by side."""
    names = [*(source.name for source in matches.batches), None]  # -1 is the last one.
    numbers = pl.DataFrame(matches.numbers, schema=list(NUMBERS)).fill_nan(None)
    batch = pl.Series(BATCH, [names[place] for place in matches.batch.tolist()], pl.String)
    return truths.with_columns(batch, *numbers.get_columns(), pl.Series("early", matches.early))


def start_performance(store: Store, source: Source, target: str) -> Performance:
    """Say of a batch which version made it and what that promised, with nothing measured yet."""
    try:
        model = read_version(store, source.version)
        metrics = model.metrics
        promise = Promise(
            mse=metrics["test"]["neuron"]["mse"],
            test_rows=metrics["test"]["rows"],
            mean=model.contract.get(target, {}).get("mean"),
            validation_rows=metrics.get("validation", {}).get("rows", 0),
        )
    except UserError:  # Retention has removed it, or it is damaged, which `verify` tells.
        promise = Promise()
    return Performance(
        version=source.version,
        batch=source.name,
        predicted_at=source.predicted_at,
        interval=source.interval,
        matched=0,
        **dict.fromkeys(("mse", "mae", "bias", "fourth"), 0.0),
        coverage=None,
        mean_mse=None,
        promise=promise,
    )


def measure(rows: pl.DataFrame, known: dict[str, Performance]) -> list[Performance]:
    """Measure each batch's predictions; `known` says of each batch which version made it and what that promised."""
    results = []
    for (name,), table in rows.filter(pl.col(BATCH).is_not_null()).group_by(BATCH, maintain_order=True):
        actual, predicted, low, high = (table[column].cast(pl.Float64).to_numpy() for column in (ACTUAL, *NUMBERS))
        errors, before = predicted - actual, known[str(name)]
        mean, inside = before.promise.mean, (low <= actual) & (actual <= high)
        figures = {
            "matched": len(table),
            "mse": float(np.mean(errors**2)),
            "mae": float(np.mean(np.abs(errors))),
            "bias": float(np.mean(errors)),
            "fourth": float(np.mean(errors**4)),
            "coverage": None if np.isnan(low).any() else float(np.mean(inside)),
            "mean_mse": None if mean is None else float(np.mean((actual - mean) ** 2)),
        }
        results.append(before.model_copy(update=figures))
    return results


def make_entry(store: Store, file: Truths, rows: pl.DataFrame, known: dict[str, Performance], entry: Entry) -> Entry:
    """Write the rows of a file and its rejects into the store, and complete what the index says of it."""
    unmatched = rows[BATCH].is_null()
    files = write_rows(store, rows.drop("file", "early"))
    if file.rejects:
        name = f"{digest(file.rejects)}.rejects.csv"
        store.write(store.root / FOLDER / name, file.rejects)
        files[name] = {"sha256": digest(file.rejects), "bytes": len(file.rejects)}
    changes = {
        "rows": file.rows,
        "rejected": file.rejected,
        "replaced": len(file.table) - len(rows),
        "unmatched": int(unmatched.sum()),
        "early": int((unmatched & rows["early"]).sum()),
        "files": files,
        "results": measure(rows, known),
    }
    return entry.model_copy(update=changes)


def write_rows(store: Store, rows: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Write rows as a file that is named by its digest; return its name, sha256 and bytes."""
    buffer = io.BytesIO()
    rows.write_parquet(buffer)
    name = f"{digest(buffer.getvalue())}.parquet"
    store.write(store.root / FOLDER / name, buffer.getvalue())
    return {name: describe_file(store.root / FOLDER / name)}


def leave_out(store: Store, entry: Entry, later: pl.DataFrame) -> Entry:
    """Leave out of an entry the keys that a later file, with these rows, says anew."""
    rows = read_rows(store, entry)
    left = rows.join(later, on=KEY, how="anti", maintain_order="left")
    if len(left) == len(rows):
        return entry
    files = {name: facts for name, facts in entry.files.items() if not name.endswith(".parquet")}
    changes = {
        "replaced": entry.replaced + len(rows) - len(left),
        "unmatched": int(left[BATCH].is_null().sum()),
        "early": min(entry.early, int(left[BATCH].is_null().sum())),
        "files": files | write_rows(store, left),
        "results": measure(left, {result.batch: result for result in entry.results}),
    }
    return entry.model_copy(update=changes)
