"""Training as people see it: progress, and a line in the log now and then."""

from pathlib import Path

from tasks.dataset.rows import Split
from tasks.parameters import Training
from tasks.progress import progress
from tasks.steps import get_logger, task
from tasks.training.process import take_trainer
from tasks.training.results import TrainingResult


@task("Train the neuron")
def train(split: Split, training: Training, folder: Path) -> TrainingResult:
    """Train in a process of its own and save `model.keras` into the folder."""
    with progress(f"Training, {training.epochs} epochs", training.epochs) as advance:

        def on_epoch(epoch: int, loss: float, val_loss: float | None) -> None:
            losses = f"loss {loss:.4f}" + ("" if val_loss is None else f", val_loss {val_loss:.4f}")
            advance(1, losses)
            if epoch % 10 == 0 or epoch in (1, training.epochs):
                get_logger().info("Epoch %d of %d: %s", epoch, training.epochs, losses)

        return take_trainer().train(split, training, folder / "model.keras", on_epoch)
