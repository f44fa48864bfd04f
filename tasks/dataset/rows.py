"""The rows of a dataset, as they travel from the source to the fit."""

from __future__ import annotations

import hashlib
import json
import mmap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linear_neuron.tasks.dataset.raw_columns import MISSING_LABEL, Labels, RawColumns, to_range
from linear_neuron.tasks.model import Kind, Link
from linear_neuron.tasks.tables.spec import TIME

if TYPE_CHECKING:
    from linear_neuron.tasks.features.design import Design
    from linear_neuron.tasks.features.entries import Entries

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]
Predictions = NDArray[np.float32]  # one a row, in target units
RANGE_ROWS = 1 << 16


def cut_rows(count: int) -> list[slice]:
    """Cut a count of rows into ranges, so that a table that is mapped from a file is never copied whole."""
    return [slice(start, min(start + RANGE_ROWS, count)) for start in range(0, count, RANGE_ROWS)]


def release_pages(values: NDArray[Any]) -> None:
    """Give back the memory of an array that is mapped from a file; what is used again is read from the file again."""
    base: Any = values
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)


def read_ranges(values: NDArray[Any]) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Read an array that may be mapped from a file, a range of rows at a time, without keeping its pages in memory."""
    for part in cut_rows(len(values)):
        yield part, values[part]
        release_pages(values)


def copy_column(column: Floats) -> Floats:
    """Copy a column of an array that may be mapped from a file, without keeping the array's pages in memory."""
    copied = np.empty(len(column))
    for part, values in read_ranges(column):
        copied[part] = values
    return copied


@dataclass(frozen=True)
class Column:
    """A column, with what people must know to read its numbers."""

    name: str
    meaning: str  # such as: median price
    unit: str = ""  # such as: $K
    examples: tuple[float, ...] = ()  # values that people like to see a prediction for

    def __str__(self) -> str:
        return f"{self.meaning} [{self.unit}]" if self.unit else self.meaning


@dataclass(frozen=True)
class Origin:
    """Where the bytes of a dataset came from, and which they are."""

    sha256: str
    source: str  # cache, network or package; of a user's own table what was asked for
    remarks: tuple[str, ...] = ()  # what went wrong with the sources tried before
    details: dict[str, Any] = field(default_factory=dict)  # of a user's own table: rows, input, time, connection


@dataclass(frozen=True)
class Snapshot:
    """All rows of a dataset; the store keeps their bytes by digest.

    A published dataset has its rows in the order of its file; the split shuffles them. A user's own table is sorted by
    time, or else by hash; the split cuts it in this order.
    """

    name: str  # for people, such as: Boston housing
    origin: Origin
    columns: tuple[Column, ...]
    values: Floats  # shape (n, columns)
    seed: int | None  # of the shuffle, where there is one
    train_share: float  # share of the rows that are not test rows
    times: NDArray[np.int64] | None = None  # microseconds since 1970, rising
    hashes: Hashes | None = None  # rising, where there are no times
    hashed: str = ""  # what was hashed: the key as it is or in its shortest form, or all columns
    path: Path | None = None  # the file with the rows, where another process can read them
    rejects: bytes = b""  # CSV of the rows that were left out
    labels: dict[str, Labels] = field(default_factory=dict)  # the columns of labels
    time_columns: dict[str, NDArray[np.int64]] = field(default_factory=dict)  # those of times that terms may read

    @property
    def rule(self) -> str:
        """What decides in which part a row is; under another rule a model may be tested on rows it has learned from."""
        if self.seed is not None:
            return "shuffle"
        return f"hash of {self.hashed}" if self.times is None else f"time in {self.origin.details.get('time', '')}"

    def read_raw(self, target: str) -> RawColumns:
        """Return the columns that terms can read: all but the target."""
        numbers = {column.name: self.values[:, index] for index, column in enumerate(self.columns)}
        return RawColumns({name: numbers[name] for name in numbers if name != target}, self.labels, self.time_columns)


def pick_columns(values: Floats, indices: list[int]) -> Floats:
    """Pick columns of an array of shape (n, columns). Neighboring columns, as in a big table, are not copied."""
    if indices and indices == list(range(indices[0], indices[0] + len(indices))):
        return values[:, indices[0] : indices[0] + len(indices)]
    return values[:, indices]


@dataclass(frozen=True)
class Rows:
    """Some rows of a dataset: `x` has the shape (n, columns), `y` and `number` have the shape (n,)."""

    x: Floats
    y: Floats
    number: NDArray[np.int64]  # index of the row in the snapshot
    time: NDArray[np.int64] | None = None  # microseconds since 1970, where the dataset has times

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Recall:
    """What another process needs to split the rows of a snapshot by itself, so that they need not be sent there."""

    path: Path  # of the snapshot
    target: str
    features: list[str]
    validation_split: float


@dataclass(frozen=True)
class Split:
    """The rows of a dataset in three parts: the fit sees `train`, watches `validation` and never sees `test`."""

    columns: tuple[Column, ...]  # of the dataset, without the target
    target: Column
    names: list[str]  # of the features, which are some of the columns
    rows: dict[str, Rows]  # train, validation and test, with all columns
    rule: str = "shuffle"  # which decides in which part a row is
    recall: Recall | None = None
    whole: Rows | None = None  # all rows of a user's own table in its order, with all columns
    raw: RawColumns | None = None  # what terms read, of all rows of the snapshot
    entries: Entries | None = None  # what is learned from, where that is more than columns of numbers
    link: Link = "identity"  # log: the logarithm of the target is learned
    terms: Design | None = None  # how the columns were made of the entries, where they are made
    left_out: dict[str, str] = field(default_factory=dict)  # term that adds nothing to the others -> why

    @property
    def kinds(self) -> dict[str, Kind]:
        """The columns of the dataset without the target, and what they hold."""
        return self.raw.kinds if self.raw else {column.name: "number" for column in self.columns}

    def has(self, names: Iterable[str]) -> bool:
        """Return whether the dataset has all these columns, none of which is the target."""
        return self.kinds.keys() >= set(names)

    def learn(self, rows: Rows) -> Rows:
        """Return rows with the target as it is learned: its logarithm, where the link is log."""
        return replace(rows, y=np.log(rows.y)) if self.link == "log" else rows

    def design(self, part: str, names: Sequence[str]) -> Rows:
        """Return the rows of a part, with `x` of shape (n, names): the named columns in this order."""
        return self.pick(self.rows[part], names)

    def pick(self, rows: Rows, names: Sequence[str]) -> Rows:
        """Return rows that have all columns with the named ones alone."""
        known = [column.name for column in self.columns]
        return replace(rows, x=pick_columns(rows.x, [known.index(name) for name in names]))

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns of the features, in their order."""
        known = {column.name: column for column in self.columns}
        return tuple(known[name] for name in self.names)

    @property
    def parts(self) -> dict[str, Rows]:
        """The three parts with their features, by name."""
        return {part: self.design(part, self.names) for part in self.rows}

    @property
    def train(self) -> Rows:
        """The rows to fit, with their features."""
        return self.design("train", self.names)

    @property
    def validation(self) -> Rows:
        """The rows to watch during the fit, with their features."""
        return self.design("validation", self.names)

    @property
    def test(self) -> Rows:
        """The rows that no fit has seen, with their features."""
        return self.design("test", self.names)


HASH = "\0hash"  # a name that no column of a table has
SUFFIX = ".npy"
MAX_HEADER = 1 << 22  # bytes of names; NumPy must be allowed to read more than 10,000
TRAIN_SHARE = 0.8
Records = NDArray[Any]


def record_type(
    numbers: list[str], timed: bool, categories: Sequence[str] = (), times: Sequence[str] = ()
) -> np.dtype[Any]:
    """Return the type of a record with columns of numbers, codes of labels, and times; the names are distinct."""
    integers = [(name, "<i8") for name in (*categories, *times, *([TIME] if timed else []))]
    return np.dtype([*((name, "<f8") for name in numbers), *integers, (HASH, "<u8")])


def open_records(path: Path, origin: Origin) -> Snapshot:
    """Open a snapshot, whose last column of numbers is the target; its rows stay on the disk until they are used."""
    records, levels = load_records(path)
    kind = records.dtype
    names = [name for name in kind.names if kind[name] == np.float64]
    integers = [name for name in kind.names if kind[name] == np.int64 and name != TIME]
    values = records.view("<f8").reshape(len(records), kind.itemsize // 8)[:, : len(names)]
    key = origin.details.get("key")
    hashed = [name for name in kind.names if name not in (TIME, HASH, *origin.details.get("by", []))]
    return Snapshot(
        name=f"query on {origin.details['connection']}" if "connection" in origin.details else origin.source,
        origin=origin,
        columns=tuple(Column(name, name) for name in names),
        values=values,
        seed=None,
        train_share=TRAIN_SHARE,
        times=records[TIME] if TIME in kind.names else None,
        hashes=records[HASH],
        hashed=f"{key}{' in its shortest form' * origin.details.get('respelled', False)}" if key else ", ".join(hashed),
        path=path,
        labels={name: Labels(records[name], tuple(texts)) for name, texts in (levels or {}).items()},
        time_columns={name: records[name] for name in integers if name not in (levels or {})},
    )


def load_records(path: Path) -> tuple[Any, dict[str, list[str]] | None]:
    """Map the records of a snapshot from its file; return also the levels of its labels, None if all are numbers."""
    records = np.load(path, mmap_mode="r", max_header_size=MAX_HEADER)
    kind = records.dtype
    typed = any(kind[name] == np.int64 and name != TIME for name in kind.names)
    return records, _read_levels(path, records.offset + records.nbytes) if typed else None


def copy_records(source: Path, target: Path, index: NDArray[np.int64]) -> None:
    """Copy some records of a snapshot, by their indices, as a snapshot of their own without the levels of no record."""
    records, levels = load_records(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Names beyond Latin-1 need a format that NumPy before 1.17 can't read.
        copied = np.lib.format.open_memmap(target, "w+", records.dtype, (len(index),))
    for part in cut_rows(len(index)):
        copied[part] = records[to_range(index[part])]
    for name, texts in (levels or {}).items():
        used, codes = np.unique(copied[name], return_inverse=True)
        known = used[used != MISSING_LABEL]
        copied[name] = codes - (len(used) - len(known))  # The missing one, which is -1, is the first of those used.
        texts[:] = [texts[code] for code in known.tolist()]
    copied.flush()
    if levels is not None:
        with target.open("ab") as file:
            file.write(write_levels(levels))


def write_levels(levels: dict[str, list[str]]) -> bytes:
    """Write what follows the records of a snapshot with labels or times: column of labels -> its sorted levels."""
    return json.dumps({"levels": levels}, ensure_ascii=False, separators=(",", ":")).encode()


def _read_levels(path: Path, start: int) -> dict[str, list[str]]:
    with path.open("rb") as file:
        file.seek(start)
        found: dict[str, list[str]] = json.loads(file.read())["levels"]
        return found


def hash_keys(keys: Iterable[str]) -> Hashes:
    """Hash the texts of keys to 64 bits each."""
    digests = (hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys)
    return np.frombuffer(b"".join(digests), "<u8")


def hash_rows(records: Records, labels: dict[str, Hashes] | None = None, without: Sequence[str] = ()) -> Hashes:
    """Hash the values of each record to 64 bits; the two zeros that a float has must have been made one.

    Some columns may be left out. Of labels their own hashes are taken, column by column, since their codes change with
    the rows beside them.
    """
    hashed, known = np.zeros(len(records), np.uint64), labels or {}
    for name in (name for name in records.dtype.names or () if name not in (HASH, *without)):
        hashed = mix(hashed ^ (known[name] if name in known else records[name].view(np.uint64)))
    return hashed


def mix(words: Hashes) -> Hashes:
    """Spread every bit over all 64.

    Source: the finalizer of SplitMix64 ("Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
    """
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
