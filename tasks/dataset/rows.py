"""The rows of a dataset, as they travel from the source to the fit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Download:
    """A verified dataset file."""

    path: str  # a local file
    sha256: str
    source: str  # cache, network or package
    remarks: tuple[str, ...] = ()  # what went wrong with the sources tried before


@dataclass(frozen=True)
class Rows:
    """Some rows of a dataset: `x` has the shape (n, features), `y` and `number` have the shape (n,)."""

    x: Floats
    y: Floats
    number: NDArray[np.int64]  # the row's place in the original file, from 0

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Split:
    """The rows of a dataset, dealt out: the fit sees `train`, watches `validation` and never sees `test`."""

    features: tuple[str, ...]  # names of the columns of x
    target: str
    train: Rows
    validation: Rows
    test: Rows
