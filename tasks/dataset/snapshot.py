"""Keep a user's own table in the store: cleaned, put in order, and named by the digest of its bytes.

The same rows give the same bytes whatever they came from, since they stand in the order of their times and hashes.
"""

import atexit
import math
import os
import shutil
import warnings
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from upath import UPath

from tasks.dataset.cleaning import KEY, clean_rows, columns_of, hash_keys, hash_rows, mix
from tasks.dataset.download import dataset_file
from tasks.dataset.reading import Piece, Source, find_source
from tasks.dataset.records import HASH, SUFFIX, TIME, Records, open_records, record_type
from tasks.dataset.rows import Origin, Snapshot, cut_rows
from tasks.dataset.split import check_roles
from tasks.errors import UserError
from tasks.parameters import Dataset
from tasks.progress import progress
from tasks.storage.files import digest_file, make_temporary
from tasks.storage.store import Store
from tasks.tables.contract import LINE, TEXT
from tasks.tables.csv import write_chunks

REMEMBERED = ("connection", "key", "time", "as_of", "bounds")  # settings that the lineage has
REJECTS_HEADER = b"file,line,column,value,reason,raw\n"
NEEDED = 2.5  # bytes of memory for each byte of a record: copies in float32, predictions, and what a step adds up
SHOWN = 60  # characters of a bad value that an error shows
SCALE = 2.0**64  # hashes lie below it


class Rejects:
    """The rows that can't be learned from: how many, and which, as long as they are allowed."""

    def __init__(self, allowed: int) -> None:
        self.allowed, self.count, self.rows = allowed, 0, 0
        self.first, self.lines = "", [REJECTS_HEADER]
        self.empty: Counter[str] = Counter()  # column -> rows in which it has no value

    def add(self, piece: Piece, bad: pl.DataFrame) -> None:
        """Count the rejects of a piece."""
        self.rows += piece.rows.height + (0 if piece.broken is None else piece.broken.height)
        if not bad.height:
            return
        if not self.first:
            line, column, value, reason, _ = bad.row(0)
            value = value if len(value) <= SHOWN else f"{value[:SHOWN]}..."
            where = f", column {column}: {value!r} is rejected as {reason}" if column else f" is rejected: {reason}"
            self.first = f"{piece.place}, line {line}{where}"
        self.count += bad.height
        self.empty.update(bad.filter(pl.col("reason") == "empty")["column"].to_list())
        if self.count <= self.allowed:
            self.lines += write_chunks(bad.select(pl.lit(piece.place).alias("file"), pl.all()))

    @property
    def data(self) -> bytes:
        """The rejects as CSV, where there are any."""
        return b"".join(self.lines) if self.count else b""

    def check(self) -> None:
        """Refuse a table with more bad rows than are allowed, or without a good one.

        Raises:
            UserError: names the first.
        """
        if self.rows == 0:
            raise UserError("The table has no rows; there is nothing to learn from.")
        if self.count == self.rows:
            raise UserError(f"{self.first}; none of {self.rows:,} rows can be learned from. Mend them.")
        if self.count > self.allowed:
            raise UserError(
                f"{self.first}; {self.count:,} of {self.rows:,} rows can't be learned from. Mend them, or leave them "
                f"out by --dataset.max-bad-rows {self.count}."
            )


def take_snapshot(store: Store, dataset: Dataset) -> Snapshot:
    """Read a user's table, and keep its rows in the store.

    Raises:
        UserError: it can't be read, has more bad rows than are allowed, no good one, or a key twice.
    """
    _check_settings(dataset)
    read_at, source = datetime.now(UTC), find_source(dataset, columns_of(dataset))
    folder = make_temporary("snapshot-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rejects = _read_records(source, dataset, folder / "records")
    missing = {name: count / rejects.rows for name, count in sorted(rejects.empty.items())}
    records = np.memmap(folder / "records", _record_type(dataset), mode="r")
    check_size(len(records), records.dtype, read_memory())
    _check_age(records, dataset)
    if dataset.key:
        _check_keys(records, source, dataset)
    sorted_by = [records[HASH], records[TIME]] if dataset.time else [records[HASH]]
    _write_records(folder / "snapshot", records, np.lexsort(sorted_by))
    sha256 = digest_file(folder / "snapshot")
    details: dict[str, Any] = {"rows": len(records), "input": source.describe(), "read_at": read_at.isoformat()}
    details |= {"missing": missing} if missing else {}
    details |= {name: value for name in REMEMBERED if (value := getattr(dataset, name))}
    path = _keep(store, folder / "snapshot", dataset_file(store, sha256, SUFFIX))
    (folder / "records").unlink()
    return replace(open_records(path, Origin(sha256, dataset.source, details=details)), rejects=rejects.data)


def _check_settings(dataset: Dataset) -> None:
    check_roles(dataset)
    if unnamed := [name for name in columns_of(dataset) if not name or "\0" in name]:
        raise UserError(f"A column to learn from can't be called {unnamed[0]!r}; give it a name in the table.")
    if dataset.as_of and not (dataset.time or dataset.known_at):
        raise UserError("--dataset.as-of needs --dataset.time or --dataset.known-at, the column with the times.")
    if dataset.max_age_days and not dataset.time:
        raise UserError("--dataset.max-age-days needs --dataset.time, the column with the times.")


def _record_type(dataset: Dataset) -> np.dtype[Any]:
    return record_type([*dataset.features, dataset.target], timed=bool(dataset.time))


def _read_records(source: Source, dataset: Dataset, path: Path) -> Rejects:
    """Read the table into a file of records, in the order of the source.

    Raises:
        UserError: there are too many rejects, or no record.
    """
    rejects, kind = Rejects(dataset.max_bad_rows), _record_type(dataset)
    with path.open("wb") as file, progress(f"Reading {dataset.source[:60]}", source.size) as advance:
        for piece in source.read(advance):
            table, bad = clean_rows(piece, dataset)
            rejects.add(piece, bad)
            _make_records(table, dataset, kind).tofile(file)
    rejects.check()
    if not path.stat().st_size:
        raise UserError("No row is left to learn from after --dataset.as-of or --dataset.sample.")
    return rejects


def _make_records(table: pl.DataFrame, dataset: Dataset, kind: np.dtype[Any]) -> Records:
    """Make the records of some rows, or of the sample of them that the dataset asks for."""
    records = np.empty(table.height, kind)
    for name in kind.names or ():
        if name != HASH:
            records[name] = table[name].to_numpy() + 0  # This makes one of the two zeros that a float has.
    records[HASH] = hash_keys(table[KEY]) if dataset.key else hash_rows(records)
    if dataset.sample == 1:
        return records
    return records[mix(records[HASH]) < dataset.sample * SCALE]  # Mixed anew, since the split goes by the hash itself.


def _write_records(path: Path, records: Records, order: Any) -> None:
    """Write the records in order, a range at a time, after the header of NumPy's format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Names beyond Latin-1 need a format that NumPy before 1.17 can't read.
        np.lib.format.open_memmap(path, "w+", records.dtype, order.shape).flush()
    with path.open("r+b") as file:
        file.seek(-records.nbytes, os.SEEK_END)
        for part in cut_rows(len(order)):
            records[order[part]].tofile(file)


def _keep(store: Store, path: Path, place: UPath) -> Path:
    """Move the file to its place in the store, and return where this machine can read it."""
    if not place.exists():
        with store.writing(place) as scratch:
            shutil.copyfile(path, scratch)
    if not store.local:
        return path
    path.unlink()
    return Path(place.path)


def read_memory() -> int:
    """Return how many bytes of memory this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_size(rows: int, kind: np.dtype[Any], memory: int) -> None:
    """Refuse a table that is too big to be learned from in so many bytes of memory.

    Raises:
        UserError: says how much of it would fit.
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
        UserError: says how old.
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


def _check_keys(records: Records, source: Source, dataset: Dataset) -> None:
    """Refuse a key that names two rows; only then is the table read again, to tell which.

    Raises:
        UserError: names the key and both places.
    """
    hashes = np.sort(records[HASH])
    twice = hashes[1:][hashes[1:] == hashes[:-1]]
    if not len(twice):
        return
    places = []
    for piece in source.read(lambda *_: None):
        keys = piece.rows.select(LINE, key=pl.col(dataset.key).cast(TEXT).str.strip_chars().fill_null(""))
        found = keys.filter(pl.Series(hash_keys(keys["key"]) == twice[0]))
        places += [(key, f"{piece.place}, line {line}") for line, key in found.iter_rows()]
    if len(places) < 2:
        raise UserError(f"{dataset.source} changed while it was being read; try again when it is complete.")
    names = " and ".join(place for _, place in places[:2])
    raise UserError(
        f"{dataset.key} {places[0][0]!r} is the key of two rows, {names}; leave one of them"
        + (f" ({len(twice) - 1:,} more rows have a key that was there before)." if len(twice) > 1 else ".")
    )
