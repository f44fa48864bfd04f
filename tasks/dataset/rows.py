"""The rows of a dataset, as they travel from the source to the fit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Predictions = NDArray[np.float32]  # one a row, in target units


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
    source: str  # cache, network or package
    remarks: tuple[str, ...] = ()  # what went wrong with the sources tried before


@dataclass(frozen=True)
class Snapshot:
    """All rows of a dataset as its source had them; the store keeps their bytes by digest."""

    name: str  # for people, such as: Boston housing
    origin: Origin
    columns: tuple[Column, ...]
    values: Floats  # shape (n, columns), in the order of the source
    seed: int  # of the shuffle before the test rows are cut off
    train_share: float  # share of the rows that are not test rows


@dataclass(frozen=True)
class Rows:
    """Some rows of a dataset: `x` has the shape (n, features), `y` and `number` have the shape (n,)."""

    x: Floats
    y: Floats
    number: NDArray[np.int64]  # the row's place in the source, from 0

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Split:
    """The rows of a dataset, dealt out: the fit sees `train`, watches `validation` and never sees `test`."""

    features: tuple[Column, ...]  # the columns of x
    target: Column
    train: Rows
    validation: Rows
    test: Rows

    @property
    def names(self) -> list[str]:
        """The names of the features."""
        return [column.name for column in self.features]

    @property
    def parts(self) -> dict[str, Rows]:
        """The three parts by their names."""
        return {"train": self.train, "validation": self.validation, "test": self.test}
