"""The small typed values that the tasks hand to each other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.model import Line

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


@dataclass(frozen=True)
class Trained:
    """What training leaves: the neuron as numbers, and how it got there."""

    line: Line  # float32 values
    loss: tuple[float, ...]  # mean squared error over the training rows, one an epoch
    val_loss: tuple[float, ...]  # the same over the validation rows; empty without them
    summary: str  # Keras's own description of the architecture


@dataclass(frozen=True)
class Evaluation:
    """How good the neuron is, beside two things it can't argue with."""

    metrics: dict[str, Any]  # the content of metrics.json
    closed_form: Line  # ordinary least squares on the train rows
    intervals: dict[str, float | None]  # percent -> half width of the prediction interval, in target units
    coverage: float | None  # share of the test rows within the 90% interval


@dataclass(frozen=True)
class Draft:
    """A version that is being made, or, where nothing has changed, the one that is there already."""

    version: str
    place: str  # the folder or URL of the version
    folder: Path  # the local folder that it is built in
    fingerprint: str  # digest of all that decides the outcome
    unchanged: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether a challenger should serve, and why."""

    promote: bool
    reason: str
    figures: dict[str, float | None]
    champion: str | None  # whom it was compared with
