"""What training and evaluation leave."""

from dataclasses import dataclass
from typing import Any

from tasks.model import LinearModel


@dataclass(frozen=True)
class TrainingResult:
    """What training leaves: the neuron as numbers, and how it got there."""

    linear_model: LinearModel  # float32 values
    loss: tuple[float, ...]  # mean squared error over the training rows, one an epoch
    val_loss: tuple[float, ...]  # the same over the validation rows; empty without them
    summary: str  # Keras's own description of the architecture


@dataclass(frozen=True)
class Evaluation:
    """How good the neuron is, beside two things it can't argue with."""

    metrics: dict[str, Any]  # the content of metrics.json
    least_squares: LinearModel  # ordinary least squares on the train rows
    intervals: dict[str, float | None]  # percent -> half width of the prediction interval, in target units
    coverage: float | None  # share of the test rows within the 90% interval
