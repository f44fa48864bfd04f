"""Drift of what a batch predicted."""

from tasks.dataset.drift import Drift
from tasks.model import ModelVersion
from tasks.registry.drift import find_drift, warn_of_drift
from tasks.scoring.manifest import BatchRun, Manifest
from tasks.steps import task
from tasks.storage.store import Store


def find_batch_drift(manifest: Manifest, model: ModelVersion) -> list[Drift]:
    """Compare all that the last run was asked for with the rows that the model was trained on."""
    total = manifest.of_last_run().total
    return find_drift(model, total.bins, total.nulls, total.prediction_bins)


@task("Look for drift")
def watch_batch(manifest: Manifest, batch_run: BatchRun) -> None:
    """Raise an alarm where the champion is asked about other rows than it was trained on."""
    warn_of_drift(Store(), manifest.version, find_batch_drift(manifest, batch_run.model))
