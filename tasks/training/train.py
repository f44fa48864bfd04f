"""Training as people see it: progress, and a line in the log now and then."""

import logging
import math
import time
from dataclasses import replace
from pathlib import Path

from linear_neuron.tasks.dataset.rows import Split
from linear_neuron.tasks.parameters import Training
from linear_neuron.tasks.progress import progress
from linear_neuron.tasks.steps import get_logger, task
from linear_neuron.tasks.training.fit_data import FitData, condense
from linear_neuron.tasks.training.results import Fitted, TrainingResult
from linear_neuron.tasks.training.training_process import (
    Trainer,
    cool_down,
    is_kept,
    put_back,
    take_trainer,
    warm_up,
)

LINES = 10  # epochs that are logged at most, beside the first and the last
PATIENCE = 10  # seconds without news from a training; a quicker one logs its first and its last epoch


def _digits(loss: float) -> str:
    return f"{loss:.4f}" if loss >= 0.001 else f"{loss:.4g}"


@task("Prepare training")
def prepare(needed: bool = True) -> None:
    """Start the process that will train; where it is not needed, end it if it was started already."""
    if needed:
        warm_up()
    else:
        cool_down()


@task("Train the neuron")
def train(data: FitData, training: Training, folder: Path, keep: bool = False) -> Fitted:
    """Train the candidate and the served model in a process of its own; save the latter as `model.keras`.

    The recipe converged needs the rows' moments alone, so its process never sees the rows. With `keep` the process
    waits for the next training, which then need not start Keras again.
    """
    trainer, refitted, keep = take_trainer(), data.served_moments is not None, is_kept(keep)
    split = data.split
    if data.parts:
        split = condense(split, data.constraints.apply(data.parts["train"]), data.parts.get("validation"))
    path = folder / "model.keras"
    lean = replace(split, raw=None, whole=None, entries=None, terms=None)  # what a process needs that is sent the rows
    candidate = _settle(data, _watch(trainer, lean, training, None if refitted else path, last=not (refitted or keep)))
    if data.served_moments is None:
        if keep:
            put_back(trainer)
        return Fitted(candidate, candidate)
    whole = condense(data.split, data.constraints.apply(data.served_moments), None)
    served = trainer.train(whole, training, path, lambda *_: None, last=not keep)
    if keep:
        put_back(trainer)
    served = _settle(data, served)
    get_logger().info("Fitted again on all rows of the chosen past: %s to learn from", f"{data.served_moments.rows:,}")
    fitted = Fitted(candidate, served)
    for remark in fitted.served_remarks:
        get_logger().warning(remark)
    return fitted


def _settle(data: FitData, result: TrainingResult) -> TrainingResult:
    """Center the model of the columns of a design so that its base is that of the terms, and give it the link."""
    line = replace(result.linear_model, link=data.split.link)
    if data.split.terms is not None:
        line = data.split.terms.settle(line, data.split.train.x.mean(axis=0))
    return replace(result, linear_model=line)


def _watch(trainer: Trainer, split: Split, training: Training, path: Path | None, *, last: bool) -> TrainingResult:
    """Train, and show how far it is."""
    step, epochs, since = max(1, training.epochs // LINES), training.epochs, math.inf
    with progress(f"Training, {epochs} epochs", epochs) as advance:

        def on_epoch(epoch: int, loss: float, val_loss: float | None) -> None:
            nonlocal since
            since = min(since, time.monotonic())
            losses = f"loss {_digits(loss)}" + ("" if val_loss is None else f", val_loss {_digits(val_loss)}")
            advance(1, losses)
            if epoch in (1, epochs) or epoch % step == 0:
                slow = time.monotonic() - since > PATIENCE
                level = logging.INFO if epoch in (1, epochs) or slow else logging.DEBUG
                get_logger().log(level, "Epoch %d of %d: %s", epoch, epochs, losses)

        result = trainer.train(split, training, path, on_epoch, last=last)
        advance(epochs - len(result.loss), f"loss {_digits(result.loss[-1])}")
    if len(result.loss) < epochs:
        get_logger().info("At the optimum after epoch %d: loss %s", len(result.loss), _digits(result.loss[-1]))
    for remark in result.remarks:
        get_logger().warning(remark)
    return result
