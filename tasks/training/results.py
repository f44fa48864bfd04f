"""What training and evaluation leave."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from linear_neuron.tasks.dataset.rows import Predictions
from linear_neuron.tasks.errors import WorkError
from linear_neuron.tasks.model import IntervalBins, LinearModel
from linear_neuron.tasks.parameters import Training
from linear_neuron.tasks.registry.paired_errors import RolledErrors
from linear_neuron.tasks.training.fit_data import FitData

OnEpoch = Callable[[int, float, float | None], None]  # epoch from 1, loss, val_loss


@dataclass(frozen=True)
class TrainingResult:
    """The neuron as numbers, and how it got there."""

    training: Training  # the recipe
    linear_model: LinearModel  # float32 values
    loss: tuple[float, ...]  # mean squared error over the training rows and the ridge, one an epoch
    val_loss: tuple[float, ...]  # the same over the validation rows; empty without them
    summary: str  # Keras's own description of the architecture
    remarks: tuple[str, ...] = ()  # sentences on what keeps it from the optimum, where the recipe promises that


@dataclass(frozen=True)
class Fitted:
    """What training leaves: the candidate, and the model that serves, which is the candidate where none is refitted."""

    candidate: TrainingResult  # fitted on the train rows, so the validation and test rows can measure it
    served: TrainingResult  # the same recipe, fitted on all rows of the chosen past

    @property
    def served_remarks(self) -> list[str]:
        """What keeps the model that serves from the optimum, as far as the candidate's remarks do not say it."""
        return [
            f"Of the model that serves: {text}" for text in self.served.remarks if text not in self.candidate.remarks
        ]


@dataclass(frozen=True)
class Evaluation:
    """What the candidate predicts, and how good that is beside the mean predictor and least squares."""

    result: TrainingResult  # of the candidate, which is evaluated
    least_squares: LinearModel  # least squares on the train rows, under the same constraints
    predicted: dict[str, Predictions]  # for the train, validation and test rows; for the examples by the served model
    examples: NDArray[Any]  # inputs that people like to see a prediction for, shape (n, features); of terms (n, 1)
    metrics: dict[str, Any]  # the content of metrics.json
    intervals: dict[str, float | None]  # percent -> half width of the prediction interval, in target units
    coverage: float | None  # share of the test rows within the candidate's 90% interval
    data: FitData  # what both models were fitted on
    coverage_deciles: tuple[float | None, ...] = ()  # the same by decile of the prediction, lowest first
    served: TrainingResult | None = None  # None where the candidate serves
    bins: IntervalBins | None = None  # the served model's interval by level; None where one width serves all levels
    calibrated: str = ""  # on which rows' errors
    served_remarks: tuple[str, ...] = ()  # what keeps the served model from the optimum, beside the candidate's remarks
    example_names: tuple[str, ...] = ()  # of terms: what the examples are values of
    rolled: RolledErrors | None = None  # errors one period ahead, of models that learn like the served one


class Watch:
    """Collects the losses, and raises where there is nothing left to wait for."""

    def __init__(self, on_epoch: OnEpoch, time_limit: int, unit: float = 1.0) -> None:
        self.loss: list[float] = []
        self.val_loss: list[float] = []
        self._on_epoch = on_epoch
        self._time_limit = time_limit
        self._unit = unit  # of the losses that are seen, in the square of the target's
        self._deadline = time.monotonic() + time_limit

    def see(self, epoch: int, logs: dict[str, float]) -> None:
        """Look at the losses of an epoch, counted from 0.

        Raises:
            UserError: a loss became NaN or infinite, or the time limit passed.
        """
        loss, *rest = (self._unit * logs[name] for name in ("loss", "val_loss") if name in logs)
        val_loss = rest[0] if rest else None
        if not all(map(math.isfinite, (loss, *rest))):
            raise WorkError(
                f"The loss became {loss} (validation {val_loss}) at epoch {epoch + 1}, so nothing is published. "
                "Lower the learning rate, or look for extreme values in the features."
            )
        if time.monotonic() > self._deadline:
            raise WorkError(
                f"Training passed its limit of {self._time_limit} s at epoch {epoch + 1}, so nothing is published. "
                "Raise --training.time-limit or lower the epochs."
            )
        self.loss.append(loss)
        self.val_loss.extend(rest)
        self._on_epoch(epoch + 1, loss, val_loss)
