"""Watch a training: report each epoch, and end a training that has failed or takes too long."""

import math
import time

from tasks.errors import WorkError
from tasks.training.results import OnEpoch


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
