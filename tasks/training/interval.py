"""The prediction interval: how wide it is, and how often it holds."""

import numpy as np

from tasks.dataset.rows import Floats, Predictions


def interval_half_widths(actual: Floats, predicted: Predictions) -> dict[str, float | None]:
    """Compute split-conformal half widths of the prediction interval, by percent of coverage from 50 to 99.

    The half width for a coverage p is the ceil((n + 1) p)-th smallest of the n absolute residuals of rows that were
    not fitted; it is None where n is too small for that. Source: "Distribution-Free Predictive Inference for
    Regression", Journal of the American Statistical Association 113 (2018), section 2.
    """
    count, residuals = len(actual), np.sort(np.abs(actual - predicted))
    ranks = {percent: -(-(count + 1) * percent // 100) for percent in range(50, 100)}  # ceiling division
    return {str(p): float(residuals[rank - 1]) if rank <= count else None for p, rank in ranks.items()}


def measure_coverage(actual: Floats, predicted: Predictions, half_width: float | None) -> float | None:
    """Compute the share of rows whose target lies within the half width of its prediction, if there are any."""
    if half_width is None or not len(actual):
        return None
    return float(np.mean(np.abs(actual - predicted) <= half_width))
