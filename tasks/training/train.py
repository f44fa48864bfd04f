"""Training as people see it: a bar in the terminal, a progress artifact in the UI, a line in the log now and then."""

import time
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tasks.dataset.rows import Split
from tasks.parameters import Training
from tasks.registry.versions import NewVersion
from tasks.steps import get_logger, task
from tasks.training.process import take_trainer
from tasks.training.results import TrainingResult


@task("Train the neuron")
def train(split: Split, training: Training, draft: NewVersion) -> TrainingResult:
    """Trains with a progress bar in the terminal and a progress artifact in the UI, and saves `model.keras`."""
    logger = get_logger()
    message = f"Training, {training.epochs} epochs"
    artifact = cast(UUID, create_progress_artifact(0.0, key="training-progress", description=message))
    terminal = Console(stderr=True)  # Standard output is for the result.
    columns = (TextColumn("Training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[loss]}"))
    bar = Progress(*columns, TimeRemainingColumn(), console=terminal, disable=not terminal.is_terminal)
    with bar:
        line = bar.add_task("", total=training.epochs, loss="")
        shown = time.monotonic()

        def on_epoch(epoch: int, loss: float, val_loss: float | None) -> None:
            nonlocal shown
            text = f"loss {loss:.4f}" + ("" if val_loss is None else f", val_loss {val_loss:.4f}")
            bar.update(line, completed=epoch, loss=text)
            if epoch % 10 == 0 or epoch in (1, training.epochs):
                logger.info("Epoch %d of %d: %s", epoch, training.epochs, text)
            if time.monotonic() - shown > 1:  # An update is a request; more than one a second shows nobody more.
                shown = time.monotonic()
                update_progress_artifact(artifact, 100 * epoch / training.epochs)

        trained = take_trainer().train(split, training, draft.folder / "model.keras", on_epoch)
    update_progress_artifact(artifact, 100.0)
    return trained
