"""Training as people see it: progress, and a line in the log now and then."""

import logging
import math
import time
from pathlib import Path

from tasks.dataset.rows import Split
from tasks.parameters import Training
from tasks.progress import progress
from tasks.steps import get_logger, task
from tasks.training.process import take_trainer
from tasks.training.results import TrainingResult

LINES = 10  # epochs that are logged at most, beside the first and the last
PATIENCE = 10  # seconds without news from a training; a quicker one logs its first and its last epoch


def _digits(loss: float) -> str:
    return f"{loss:.4f}" if loss >= 0.001 else f"{loss:.4g}"


@task("Train the neuron")
def train(split: Split, training: Training, folder: Path) -> TrainingResult:
    """Train in a process of its own and save `model.keras` into the folder."""
    step, last, since = max(1, training.epochs // LINES), training.epochs, math.inf
    with progress(f"Training, {last} epochs", last) as advance:

        def on_epoch(epoch: int, loss: float, val_loss: float | None) -> None:
            nonlocal since
            since = min(since, time.monotonic())
            losses = f"loss {_digits(loss)}" + ("" if val_loss is None else f", val_loss {_digits(val_loss)}")
            advance(1, losses)
            if epoch in (1, last) or epoch % step == 0:
                slow = time.monotonic() - since > PATIENCE
                level = logging.INFO if epoch in (1, last) or slow else logging.DEBUG
                get_logger().log(level, "Epoch %d of %d: %s", epoch, last, losses)

        result = take_trainer().train(split, training, folder / "model.keras", on_epoch)
        advance(last - len(result.loss), f"loss {_digits(result.loss[-1])}")
    if len(result.loss) < last:
        get_logger().info("At the optimum after epoch %d: loss %s", len(result.loss), _digits(result.loss[-1]))
    for remark in result.remarks:
        get_logger().warning(remark)
    return result
