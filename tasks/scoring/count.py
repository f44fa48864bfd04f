"""What is counted of some predicted rows, in numbers that can be added up over blocks, files and machines."""

import operator
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.dataset.drift import count_bins
from tasks.model import Histogram, ModelVersion
from tasks.scoring.manifest import BatchRun

NULLS = ["empty", "not a number", "NaN"]  # the reasons for which a value counts as missing
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


def count_all_bins(model: ModelVersion, predictions: Floats, hidden: dict[str, Any]) -> dict[str, Any]:
    """Count features and predictions in the ten bins of the training rows, as far as the version knows them."""
    known = {place: model.contract.get(name, {}).get("deciles") for place, name in enumerate(model.features)}
    bins = {model.features[place]: count_bins(hidden[f"x{place}"], edges) for place, edges in known.items() if edges}
    edges = model.predictions.get("deciles")
    return {"bins": bins, "prediction_bins": count_bins(predictions, edges) if edges else []}


def count_nulls(model: ModelVersion, names: list[str], rejects: Any) -> dict[str, int]:
    """Count the rejects by the feature that is no number in them; `names` are the columns of the features."""
    if not rejects.height:
        return {}
    reasons = rejects["reason"]
    missing = rejects["column"].filter(reduce(operator.or_, (reasons == null for null in NULLS))).value_counts()
    by_column = dict(missing.iter_rows())
    pairs = zip(model.features, names, strict=True)
    return {feature: by_column[name] for feature, name in pairs if name in by_column}


def count_predicted(batch_run: BatchRun, predictions: Floats, hidden: dict[str, Any]) -> dict[str, Any]:
    """Count what the summary says of some predictions.

    Args:
        batch_run: the batch.
        predictions: of shape (n,).
        hidden: what else was computed for these rows; `shadow` is what the shadow predicts, and `x0` and so on are the
            values of the features.
    """
    counts: dict[str, Any] = {"histogram": fill_histogram(batch_run.model.targets, predictions)}
    counts |= count_all_bins(batch_run.model, predictions, hidden)
    places = enumerate(batch_run.model.features if len(predictions) else [])
    counts["sums"] = {name: float(hidden[f"x{place}"].sum(dtype=np.float64)) for place, name in places}
    if "shadow" in hidden:
        counts |= count_shadow(batch_run, predictions, hidden["shadow"])
    return counts
