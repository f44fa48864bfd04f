"""What training and evaluation leave."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tasks.dataset.rows import Floats, Predictions
from tasks.model import LinearModel
from tasks.parameters import Training

OnEpoch = Callable[[int, float, float | None], None]  # epoch from 1, loss, val_loss


@dataclass(frozen=True)
class TrainingResult:
    """The neuron as numbers, and how it got there."""

    training: Training  # the recipe
    linear_model: LinearModel  # float32 values
    loss: tuple[float, ...]  # mean squared error over the training rows, one an epoch
    val_loss: tuple[float, ...]  # the same over the validation rows; empty without them
    summary: str  # Keras's own description of the architecture
    remarks: tuple[str, ...] = ()  # sentences on what keeps it from the optimum, where the recipe promises that


@dataclass(frozen=True)
class Evaluation:
    """What the neuron predicts, and how good that is beside the mean predictor and least squares."""

    result: TrainingResult  # which is evaluated
    least_squares: LinearModel  # ordinary least squares on the train rows
    predicted: dict[str, Predictions]  # for the train, validation and test rows, and for the examples
    examples: Floats  # inputs that people like to see a prediction for, shape (n, features)
    metrics: dict[str, Any]  # the content of metrics.json
    intervals: dict[str, float | None]  # percent -> half width of the prediction interval, in target units
    coverage: float | None  # share of the test rows within the 90% interval
