"""The rows of a dataset, as they travel from the source to the fit."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]
Predictions = NDArray[np.float32]  # one a row, in target units
RANGE_ROWS = 1 << 16


def cut_rows(count: int) -> list[slice]:
    """Cut so many rows into ranges, so that a table that is mapped from a file is never copied whole."""
    return [slice(start, min(start + RANGE_ROWS, count)) for start in range(0, count, RANGE_ROWS)]


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

    A published dataset has its rows in the order of its file, and they are shuffled before they are dealt out. A user's
    own table has them in the order in which they are dealt out: that of their times, or else of their hashes.
    """

    name: str  # for people, such as: Boston housing
    origin: Origin
    columns: tuple[Column, ...]
    values: Floats  # shape (n, columns)
    seed: int | None  # of the shuffle, where there is one
    train_share: float  # share of the rows that are not test rows
    times: NDArray[np.int64] | None = None  # microseconds since 1970, rising
    hashes: Hashes | None = None  # rising, where there are no times
    hashed: str = ""  # what was hashed: the key, or all columns
    path: Path | None = None  # the file with the rows, where another process can read them
    rejects: bytes = b""  # CSV of the rows that were left out

    @property
    def rule(self) -> str:
        """What decides in which part a row is; under another rule a model may be tested on rows it has learned from."""
        if self.seed is not None:
            return "shuffle"
        return f"hash of {self.hashed}" if self.times is None else f"time in {self.origin.details.get('time', '')}"


@dataclass(frozen=True)
class Rows:
    """Some rows of a dataset: `x` has the shape (n, features), `y` and `number` have the shape (n,)."""

    x: Floats
    y: Floats
    number: NDArray[np.int64]  # the row's place in the snapshot, from 0
    time: NDArray[np.int64] | None = None  # microseconds since 1970, where the dataset has times

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Recall:
    """How another process makes a split again, without its rows being sent there."""

    path: Path  # of the snapshot
    target: str
    features: tuple[str, ...]
    validation_split: float


@dataclass(frozen=True)
class Split:
    """The rows of a dataset, dealt out: the fit sees `train`, watches `validation` and never sees `test`."""

    features: tuple[Column, ...]  # the columns of x
    target: Column
    train: Rows
    validation: Rows
    test: Rows
    rule: str = "shuffle"  # by which the rows were dealt out
    recall: Recall | None = None

    @property
    def names(self) -> list[str]:
        """The names of the features."""
        return [column.name for column in self.features]

    @property
    def parts(self) -> dict[str, Rows]:
        """The three parts by their names."""
        return {"train": self.train, "validation": self.validation, "test": self.test}
