"""Keep a user's own table in the store: cleaned, put in order, and named by the digest of its bytes.

The same rows give the same bytes whatever they came from, since they are sorted by time and hash.
"""

import math
import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from upath import UPath

from linear_neuron.tasks.dataset.boston import dataset_file
from linear_neuron.tasks.dataset.level_codes import LevelBlock, LevelCoder
from linear_neuron.tasks.dataset.raw_columns import MISSING_TIME
from linear_neuron.tasks.dataset.rows import (
    HASH,
    SUFFIX,
    Hashes,
    Origin,
    Records,
    Snapshot,
    cut_rows,
    hash_keys,
    hash_rows,
    mix,
    open_records,
    record_type,
    release_pages,
    write_levels,
)
from linear_neuron.tasks.dataset.split import find_entries
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.auto import describe_source
from linear_neuron.tasks.features.entries import need_columns, parse_target
from linear_neuron.tasks.features.fitted import express_terms, express_value
from linear_neuron.tasks.parameters import Dataset
from linear_neuron.tasks.steps import get_logger
from linear_neuron.tasks.storage.files import digest_file, make_scratch, user_errors
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.tables.cleaning import Rejects, read_key
from linear_neuron.tasks.tables.read import TableRows, find_source, read_columns, read_rows
from linear_neuron.tasks.tables.rejects import LINE
from linear_neuron.tasks.tables.spec import KEY, RESPELLED, TIME, TableSpec

REMEMBERED = ("connection", "key", "time", "as_of", "bounds")  # settings that the lineage has
NEEDED = 2.5  # bytes of memory for each byte of a record: copies in float32, predictions, and what a step adds up
KEPT_REJECTS = 1_000_000  # rejects up to which rejects.csv lists them
SCALE = 2.0**64  # hashes lie below it


def take_snapshot(store: Store, dataset: Dataset) -> Snapshot:
    """Read a user's table, and keep its rows in the store.

    Raises:
        UserError: it can't be read, has more bad rows than are allowed, no good one, or a key twice.
    """
    spec = describe_table(dataset)
    _check_settings(dataset, spec)
    read_at, rows = datetime.now(UTC), read_rows(spec, kept=KEPT_REJECTS)
    folder = make_scratch("snapshot-")
    coders = {name: LevelCoder(name) for name in spec.categories}
    respelled = _read_records(rows, dataset, coders, folder / "records")
    rejects = rows.rejects
    missing = {name: count / rejects.rows for name, count in sorted(rejects.empty.items())}
    records = np.memmap(folder / "records", _record_type(spec), mode="r")
    check_size(len(records), records.dtype, read_memory())
    _check_age(records, dataset)
    if dataset.key:
        _check_keys(records, rows.spec)
    sorted_by = [np.ascontiguousarray(records[name]) for name in (HASH, *([TIME] if dataset.time else []))]
    release_pages(records)
    order = np.lexsort(sorted_by) if dataset.time else np.argsort(sorted_by[0])  # Rows of one hash are alike.
    del sorted_by
    _write_records(folder / "snapshot", records, order, coders, typed=bool(coders or spec.times))
    sha256 = digest_file(folder / "snapshot")
    details: dict[str, Any] = {"rows": len(records), "input": rows.source.describe(), "read_at": read_at.isoformat()}
    details |= {"missing": missing} if missing else {}
    details |= {"by": list(spec.unlearned)} if spec.unlearned else {}
    details |= {"respelled": True} if respelled else {}
    details |= {"decimal": dataset.decimal} if dataset.decimal != "auto" else {}
    details |= {name: value for name in REMEMBERED if (value := getattr(dataset, name))}
    path = _keep(store, folder / "snapshot", sha256)
    (folder / "records").unlink()
    return replace(open_records(path, Origin(sha256, dataset.source, details=details)), rejects=rejects.data)


def describe_table(dataset: Dataset) -> TableSpec:
    """Describe the table to learn from; its last number is the target.

    Raises:
        UserError: a feature or category can't be understood, or there is no such table.
    """
    unclear = need_columns([*dataset.entries, dataset.target])
    columns = read_columns(dataset.source, dataset.connection) if unclear else []
    entries, target = find_entries(dataset, columns), parse_target(dataset.target, columns)
    kinds = entries.kinds
    by_kind = {kind: [name for name in kinds if kinds[name] == kind] for kind in ("number", "category", "time")}
    never_filled = {target.column, dataset.key, dataset.time}
    if odd := [name for name in dataset.by if kinds.get(name, "category") != "category" or name == target.column]:
        raise UserError(f"--dataset.by {odd[0]!r} is read as a number or a time; name a column of labels.")
    unlearned = tuple(name for name in dict.fromkeys(dataset.by) if name not in kinds)
    learned = {} if target.link == "identity" else {dataset.target: express_value(target.node)}
    return replace(
        describe_source(dataset),
        numbers=[*by_kind["number"], target.column],
        advice="Leave this column out, or name it in --dataset.categories if it holds labels.",
        categories=[*by_kind["category"], *unlearned],
        unlearned=unlearned,
        times=by_kind["time"],
        filled=frozenset([*(kinds.keys() - never_filled if dataset.missing == "fill" else []), *unlearned]),
        terms=({} if dataset.missing == "fill" else express_terms(entries)) | learned,
    )


def _check_settings(dataset: Dataset, spec: TableSpec) -> None:
    if unnamed := [name for name in (*spec.numbers, *spec.columns) if not name or "\0" in name]:
        raise UserError(f"A column to learn from can't be called {unnamed[0]!r}; give it a name in the table.")
    if dataset.as_of and not (dataset.time or dataset.known_at):
        raise UserError("--dataset.as-of needs --dataset.time or --dataset.known-at, the column with the times.")
    if dataset.max_age_days and not dataset.time:
        raise UserError("--dataset.max-age-days needs --dataset.time, the column with the times.")


def _record_type(spec: TableSpec) -> np.dtype[Any]:
    return record_type(spec.numbers, timed=bool(spec.time), categories=spec.categories, times=spec.times)


def _read_records(rows: TableRows, dataset: Dataset, coders: dict[str, LevelCoder], path: Path) -> bool:
    """Read the table into a file of records, in the order of the source.

    Returns whether a key is written in another form than its hash is made from.

    Raises:
        UserError: there are too many rejects, or no record.
    """
    kind, respelled = _record_type(rows.spec), False
    with path.open("wb") as file:
        for valid in rows:
            _make_records(valid, dataset, coders, kind, rows.spec.unlearned).tofile(file)
            respelled = respelled or bool(dataset.key and valid[RESPELLED].any())
    _check_rejects(rows.rejects, rows.spec, dataset)
    if not path.stat().st_size:
        raise UserError("No row is left to learn from after --dataset.as-of or --dataset.sample.")
    return respelled


def _check_rejects(rejects: Rejects, spec: TableSpec, dataset: Dataset) -> None:
    """Refuse a table with more rejects than are allowed, or without a valid row.

    Raises:
        UserError: names the first.
    """
    if rejects.rows == 0:
        raise UserError("The table has no rows; there is nothing to learn from.")
    if rejects.count == rejects.rows:
        advice = _advise(rejects, spec) or "Fix them."
        raise UserError(f"{rejects.first}; none of {rejects.rows:,} rows can be learned from. {advice}")
    if rejects.count > max(dataset.max_bad_rows, dataset.max_rejects * rejects.rows):
        share = math.ceil(rejects.count / rejects.rows * 10_000) / 10_000
        raise UserError(
            f"{rejects.first}; {rejects.count:,} of {rejects.rows:,} rows can't be learned from. Fix them, or leave "
            f"them out by --dataset.max-rejects {share:g}. {_advise(rejects, spec)}".rstrip()
        )


def _advise(rejects: Rejects, spec: TableSpec) -> str:
    """Name the way out of what most rejects have in common; empty where it is not known."""
    (column, reason), count = rejects.reasons.most_common(1)[0]
    read = column in (*spec.numbers[:-1], *spec.categories, *spec.times) and column not in (spec.key, spec.time)
    if reason == "not a number" and read and count > rejects.rows / 2:
        return f"If {column} holds labels, name it in --dataset.categories instead of --dataset.features."
    if reason == "not a time":
        return f"Write times in {column} as ISO 8601, such as 2026-11-23 or 2026-11-23T06:00Z."
    if reason == "in the future":
        return f"If {column} may be in the future, allow that by --dataset.allow-future."
    if reason == "no finite value":
        return f"Learn from rows without {column} too by --dataset.missing fill, or change the expression."
    if reason == "empty" and read:
        return f"If {column} is often empty, learn from such rows too by --dataset.missing fill, or leave it out."
    return ""


def _make_records(
    table: pl.DataFrame,
    dataset: Dataset,
    coders: dict[str, LevelCoder],
    kind: np.dtype[Any],
    unlearned: Sequence[str],
) -> Records:
    """Make the records of some rows, or of the sample of them that the dataset asks for.

    Columns that nothing is learned from do not count for the hash, so that they change no split.
    """
    records = np.empty(table.height, kind)
    blocks = {name: LevelBlock(table[name]) for name in coders}
    for name in (name for name in kind.names or () if name not in (HASH, *coders)):
        if kind[name] == np.int64:
            records[name] = table[name].fill_null(MISSING_TIME).to_numpy()
        else:
            records[name] = table[name].to_numpy() + 0  # This makes one of the two zeros that a float has,
            records[name][np.isnan(records[name])] = np.nan  # and this one of its many NaNs.
    labels = {name: block.hashes for name, block in blocks.items()}
    records[HASH] = hash_keys(table[KEY]) if dataset.key else hash_rows(records, labels, unlearned)
    # Mixed again, since the split uses the hash itself.
    chosen = slice(None) if dataset.sample == 1 else mix(records[HASH]) < dataset.sample * SCALE
    records = records[chosen]
    for name, block in blocks.items():
        records[name] = coders[name].code(block, chosen)
    return records


def _write_records(path: Path, records: Records, order: Any, coders: dict[str, LevelCoder], *, typed: bool) -> None:
    """Write the records in order, a range at a time, after the header of NumPy's format, and then the levels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Names beyond Latin-1 need a format that NumPy before 1.17 can't read.
        np.lib.format.open_memmap(path, "w+", records.dtype, order.shape).flush()
    with path.open("r+b") as file:
        file.seek(-records.nbytes, os.SEEK_END)
        for part in cut_rows(len(order)):
            chosen = records[order[part]]
            for name, coder in coders.items():
                chosen[name] = coder.ranks[chosen[name]]
            chosen.tofile(file)
        if typed:
            file.write(write_levels({name: coder.levels for name, coder in coders.items()}))


def _keep(store: Store, path: Path, sha256: str) -> Path:
    """Move the file into the store, unless it is there intact, and return where this machine can read it."""
    kept = dataset_file(store, sha256, SUFFIX)
    if not _is_intact(kept, sha256):
        with store.writing(kept) as scratch:
            shutil.copyfile(path, scratch)
    if not store.local:
        return path
    path.unlink()
    return Path(kept.path)


def _is_intact(kept: UPath, sha256: str) -> bool:
    """Return whether the store has a file with this digest; a damaged one is logged."""
    with user_errors(kept):
        if not kept.exists():
            return False
        intact = digest_file(kept) == sha256
    if not intact:
        get_logger().warning("%s was damaged, and is replaced by the same rows read again", kept)
    return intact


def read_memory() -> int:
    """Return how many bytes of memory this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_size(rows: int, kind: np.dtype[Any], memory: int) -> None:
    """Refuse a table that is too big to learn from with this much memory, in bytes.

    Raises:
        UserError: names the share of the rows that fits.
    """
    needed = rows * kind.itemsize * NEEDED
    if needed > memory:
        share = math.floor(100 * memory / needed) / 100
        raise UserError(
            f"The table has {rows:,} rows, which need {needed / 1e9:,.0f} GB of memory, and this machine has "
            f"{memory / 1e9:,.0f} GB; learn from a share of them by --dataset.sample {max(share, 0.001):g}."
        )


def _check_age(records: Records, dataset: Dataset) -> None:
    """Refuse a table whose newest row is too old.

    Raises:
        UserError: names its age.
    """
    if not dataset.max_age_days:
        return
    newest = datetime.fromtimestamp(int(records[TIME].max()) / 1e6, UTC)
    age = datetime.now(UTC) - newest
    if age.days > dataset.max_age_days:
        raise UserError(
            f"The newest {dataset.time} in {dataset.source} is {newest:%Y-%m-%d %H:%M}, {age.days} days ago, and "
            f"--dataset.max-age-days allows {dataset.max_age_days}; find out why no newer rows came."
        )


def _check_keys(records: Records, spec: TableSpec) -> None:
    """Refuse a key that names two rows; only then is the table read again, to find both.

    Raises:
        UserError: names the key and both rows.
    """
    hashes = np.sort(records[HASH])
    twice = hashes[1:][hashes[1:] == hashes[:-1]]
    if not len(twice):
        return
    found = [(key, row) for _, key, row in find_keys(spec, twice[:1])]
    if len(found) < 2:
        raise UserError(f"{spec.source} changed while it was being read; try again when it is complete.")
    rows = " and ".join(row for _, row in found[:2])
    raise UserError(
        f"{spec.key} {found[0][0]!r} is the key of two rows, {rows}; leave one of them"
        + (f" ({len(twice) - 1:,} more rows have a key that was there before)." if len(twice) > 1 else ".")
    )


def find_keys(spec: TableSpec, hashes: Hashes) -> list[tuple[int, str, str]]:
    """Read the table again for rows with these hashes of their keys: hash, key, and the row's file and line."""
    found: list[tuple[int, str, str]] = []
    for raw in find_source(spec).read(lambda *_: None):
        keys = raw.rows.select(LINE, read_key(spec.key, raw.rows.schema[spec.key]).alias(KEY))
        hashed = hash_keys(keys[KEY])
        rows = np.flatnonzero(np.isin(hashed, hashes))
        for index, (line, key) in zip(rows, keys[rows].iter_rows(), strict=True):
            found.append((int(hashed[index]), key, f"{raw.source}, line {line}"))
    return found
