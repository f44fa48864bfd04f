"""The columns of a dataset as they were read: numbers, labels and times, of which terms make design columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linear_neuron.tasks.model import Kind

if TYPE_CHECKING:
    import polars as pl

Integers = NDArray[np.int64]
MISSING_LABEL, MISSING_TIME = -1, np.iinfo(np.int64).min
BLOCK_ROWS = 1 << 16  # rows that are read at once, so that a table that is mapped from a file is never copied whole


@dataclass(frozen=True)
class Labels:
    """A column of labels."""

    codes: Integers  # shape (n,): index of each row's label in `levels`, -1 where it is missing
    levels: tuple[str, ...]  # sorted


@dataclass(frozen=True)
class RawColumns:
    """All columns that terms can read, of all rows of a snapshot in its order. None is the target."""

    numbers: dict[str, NDArray[np.float64]]  # NaN where one is missing
    labels: dict[str, Labels] = field(default_factory=dict)
    times: dict[str, Integers] = field(default_factory=dict)  # microseconds since 1970; the least integer where missing

    @property
    def kinds(self) -> dict[str, Kind]:
        """The names of the columns, and what they hold."""
        kinds: dict[str, Kind] = dict.fromkeys(self.numbers, "number")
        return kinds | dict.fromkeys(self.labels, "category") | dict.fromkeys(self.times, "time")

    def read(self, rows: slice | Integers, names: Sequence[str]) -> pl.DataFrame:
        """Return some columns of some rows: numbers as float64, labels as text, times as integers; null where missing.

        Args:
            rows: a range, or the indices of the rows.
            names: of the columns.
        """
        import polars as pl  # It takes a tenth of a second, which a training process need not wait for.

        return pl.DataFrame([self._read(name, rows) for name in names])

    def _read(self, name: str, rows: slice | Integers) -> pl.Series:
        import polars as pl

        if name in self.numbers:
            return pl.Series(name, np.ascontiguousarray(self.numbers[name][rows]), nan_to_null=True)
        if name in self.times:
            times = pl.Series(name, np.ascontiguousarray(self.times[name][rows]))
            return times.set(times == MISSING_TIME, None)
        column = self.labels[name]
        codes = np.where(column.codes[rows] == MISSING_LABEL, len(column.levels), column.codes[rows])
        return pl.Series(name, [*column.levels, None], pl.String).gather(codes).alias(name)

    def read_blocks(self, rows: Integers, names: Sequence[str]) -> Iterator[tuple[slice, pl.DataFrame]]:
        """Return the named columns of rows, by their indices, a block at a time, each with its range of the rows."""
        for start in range(0, len(rows), BLOCK_ROWS):
            part = slice(start, min(start + BLOCK_ROWS, len(rows)))
            yield part, self.read(to_range(rows[part]), names)


def to_range(rows: Integers) -> slice | Any:
    """Return rising neighbors as a range, which is read without a search."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first == len(rows) - 1 and (np.diff(rows) == 1).all():
        return slice(first, last + 1)
    return rows
