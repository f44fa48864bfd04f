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


@task("Train the neuron")
def train(split: Split, training: Training, folder: Path) -> TrainingResult:
    """Train in a process of its own and save `model.keras` into the folder."""
    step, last, since = max(1, training.epochs // LINES), training.epochs, math.inf
    with progress(f"Training, {last} epochs", last) as advance:

        def on_epoch(epoch: int, loss: float, val_loss: float | None) -> None:
            nonlocal since
            since = min(since, time.monotonic())
            losses = f"loss {loss:.4f}" + ("" if val_loss is None else f", val_loss {val_loss:.4f}")
            advance(1, losses)
            if epoch in (1, last) or epoch % step == 0:
                slow = time.monotonic() - since > PATIENCE
                level = logging.INFO if epoch in (1, last) or slow else logging.DEBUG
                get_logger().log(level, "Epoch %d of %d: %s", epoch, last, losses)

        result = take_trainer().train(split, training, folder / "model.keras", on_epoch)
        advance(last - len(result.loss), f"loss {result.loss[-1]:.4f}")
    if len(result.loss) < last:
        get_logger().info("At the optimum after epoch %d: loss %.4f", len(result.loss), result.loss[-1])
    for remark in result.remarks:
        get_logger().warning(remark)
    return result
