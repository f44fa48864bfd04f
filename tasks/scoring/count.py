"""What is counted of some predicted rows, in numbers that can be added up over blocks, files and machines."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.model import Histogram
from tasks.scoring.manifest import BatchRun

Floats = NDArray[np.float32]


def fill_histogram(targets: Histogram, predictions: Floats) -> list[int]:
    """Count predictions in the even bins of the training targets, and below and above them."""
    edges = targets.edges
    step = (edges[-1] - edges[0]) / (len(edges) - 1)
    near = np.clip(predictions, edges[0] - step, edges[-1])
    places = np.clip(np.floor((near - edges[0]) / step) + 1, 0, len(edges)).astype(np.int16)
    counts: list[int] = np.bincount(places, minlength=len(edges) + 1).tolist()
    return counts


def count_shadow(batch_run: BatchRun, predictions: Floats, shadow: Floats) -> dict[str, int]:
    """Count the predictions that the shadow moves by more than half the interval, and those that it lacks, as NaN.

    Where the model has no interval, none counts as moved.
    """
    half = batch_run.model.intervals[str(batch_run.batch.interval)]
    moved = 0 if half is None else np.count_nonzero(np.abs(shadow - predictions) > np.float32(half))
    return {"shadow_moved": int(moved), "shadow_missing": int(np.count_nonzero(np.isnan(shadow)))}


def count_predicted(batch_run: BatchRun, predictions: Floats, hidden: dict[str, Any]) -> dict[str, Any]:
    """Count what the summary says of some predictions.

    Args:
        batch_run: the batch.
        predictions: of shape (n,).
        hidden: what else was computed for these rows; `shadow` is what the shadow predicts.
    """
    counts: dict[str, Any] = {"histogram": fill_histogram(batch_run.model.targets, predictions)}
    if "shadow" in hidden:
        counts |= count_shadow(batch_run, predictions, hidden["shadow"])
    return counts
