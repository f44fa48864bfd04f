"""Prediction intervals by level: each range of predictions has its own lower and upper error.

An interval of one width is right on average and wrong for nearly every row where the errors grow with the prediction.
So the errors of rows that the model had not seen are put into bins by their prediction, and each bin has two quantiles
of its signed errors. The outer bins are smaller, since errors change most where predictions are rare. Newer rows may
count more. The interval covers what it says if new rows are like the calibration rows.

Source: split conformal prediction within groups ("Mondrian"): "Algorithmic Learning in a Random World" (Springer,
2005), section 4.5; weights of rows: "Conformal Prediction Beyond Exchangeability", Annals of Statistics 51 (2023).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from linear_neuron.tasks.dataset.rows import Floats, Predictions
from linear_neuron.tasks.model import IntervalBins

PERCENTS = range(50, 100)
ROUNDING = 1e-12  # relative
BIN_ROWS = 50  # calibration rows of a bin, at least
SHARES = ((0.15, 0.4, 0.6, 0.85), (0.2, 0.5, 0.8), (0.3, 0.7), (0.5,))
"""Where predictions are divided, as shares of their number: the first division with enough rows in each bin."""


def calibrate_bins(
    predicted: Predictions, errors: Floats, weights: Floats | None = None, floor: float | None = None
) -> IntervalBins:
    """Calibrate the interval's bins on rows that the model had not seen.

    Args:
        predicted: shape (n,).
        errors: actual minus predicted, shape (n,).
        weights: how much each row counts, shape (n,); all alike without.
        floor: the least lower bound, 0 where the target is never negative.
    """
    weights = np.ones(len(errors)) if weights is None else weights / weights.max()
    edges = find_edges(predicted, weights)
    index = np.searchsorted(np.array(edges, np.float32), predicted, side="right")
    pooled = _find_tails(errors, weights)
    tails = [_find_tails(errors[index == number], weights[index == number]) for number in range(len(edges) + 1)]
    lower, upper = (
        {
            str(percent): [found if (found := tail[side][row]) is not None else pooled[side][row] for tail in tails]
            for row, percent in enumerate(PERCENTS)
        }
        for side in (0, 1)
    )
    rows = [count_effective(weights[index == number]) for number in range(len(edges) + 1)]
    squares, sums = (np.bincount(index, part, len(edges) + 1) for part in (weights * errors**2, weights))
    mse = (squares / sums).tolist() if len(errors) else []
    return IntervalBins(edges=edges, lower=lower, upper=upper, floor=floor, rows=rows, mse=mse)


def count_effective(weights: Floats) -> float:
    """Count rows by their weights, the heaviest as one: a quantile is known as well as by this number of rows."""
    return float(weights.sum() / weights.max()) if len(weights) else 0.0


def find_edges(predicted: Predictions, weights: Floats | None = None) -> list[float]:
    """Find what divides predictions into at most five bins of at least 50 rows each: rising, none for one bin.

    Rows count by their weights, the heaviest as one.
    """
    if not len(predicted):
        return []
    order = np.argsort(predicted, kind="stable")
    ordered = np.asarray(predicted, np.float32)[order]
    counts = np.cumsum(np.ones(len(order)) if weights is None else weights[order] / weights.max())
    for shares in SHARES:
        cuts = np.unique(ordered[[int(np.searchsorted(counts, counts[-1] * share, "right")) for share in shares]])
        cuts = cuts[cuts > ordered[0]]
        sizes = np.diff([0, *counts[np.searchsorted(ordered, cuts) - 1], counts[-1]])
        if sizes.min() >= BIN_ROWS:
            return [float(cut) for cut in cuts]
    return []


def _find_tails(errors: Floats, weights: Floats) -> tuple[list[float | None], list[float | None]]:
    """Find the lower and upper errors by percent of coverage, half of the rest in each tail.

    A new row's error may be any, so a quantile beyond the rows is None. A new row counts like the mean row of a sum of
    weights, and a quantile may lie between two rows, so that on average it covers what is asked for. Conformal
    prediction takes the next row up, and the heaviest weight: that covers more, in small bins too much.
    """
    if not len(errors):
        return [None] * len(PERCENTS), [None] * len(PERCENTS)
    order = np.argsort(errors, kind="stable")
    ordered, new = errors[order], float(np.sum(weights**2) / weights.sum())
    shares = np.array([(100 + percent) / 200 for percent in PERCENTS])
    lower = _find_quantiles(-ordered[::-1], weights[order][::-1], shares, new)
    return [None if value is None else -value for value in lower], _find_quantiles(ordered, weights[order], shares, new)


def _find_quantiles(values: Floats, weights: Floats, shares: Floats, new: float) -> list[float | None]:
    """Find for each share of all weight, that of a new row included, the value below which it lies; values rise."""
    sums = np.cumsum(weights)
    ranks = shares * (sums[-1] + new)
    found: list[float | None] = []
    for rank, row in zip(ranks.tolist(), np.searchsorted(sums, ranks * (1 - ROUNDING)).tolist(), strict=True):
        if row == len(values):
            found.append(None)
        elif sums[row] <= rank * (1 + ROUNDING):  # A rounding error must not move a rank that is a row's.
            found.append(float(values[row]))
        else:
            found.append(float(np.interp(rank, sums, values)))
    return found


def widen(one: IntervalBins, other: IntervalBins) -> IntervalBins:
    """Return bins that hold what either of two holds; both have the same edges. None where one of them has none."""

    def join(mine: list[float | None], theirs: list[float | None], pick: Any) -> list[float | None]:
        return [None if a is None or b is None else pick(a, b) for a, b in zip(mine, theirs, strict=True)]

    lower = {percent: join(errors, other.lower[percent], min) for percent, errors in one.lower.items()}
    upper = {percent: join(errors, other.upper[percent], max) for percent, errors in one.upper.items()}
    return one.model_copy(update={"lower": lower, "upper": upper})


def bound(bins: IntervalBins, predicted: NDArray[np.floating[Any]], percent: int) -> tuple[Predictions, Predictions]:
    """Return the lower and upper bounds of predictions; NaN where there were too few rows for that percent."""
    values = np.asarray(predicted, np.float32)
    index = np.searchsorted(np.array(bins.edges, np.float32), values, side="right")
    sides = (
        np.array([np.nan if error is None else error for error in side[str(percent)]], np.float32)
        for side in (bins.lower, bins.upper)
    )
    low, high = (values + side[index] for side in sides)
    if bins.floor is not None:
        low, high = np.maximum(low, np.float32(bins.floor)), np.maximum(high, np.float32(bins.floor))
    return low, high


def find_inside(
    bins: IntervalBins, actual: Floats, predicted: Predictions, percent: int = 90
) -> NDArray[np.bool_] | None:
    """Find the rows that lie within their interval; None without rows, or without an interval."""
    if not len(actual) or None in (*bins.lower[str(percent)], *bins.upper[str(percent)]):
        return None
    low, high = bound(bins, predicted, percent)
    return np.asarray((actual >= low) & (actual <= high))


def measure_bin_coverage(
    bins: IntervalBins, actual: Floats, predicted: Predictions, percent: int = 90
) -> tuple[float | None, list[float | None]]:
    """Compute the share of rows within their interval: of all rows, and by decile of their predictions, lowest first.

    None without rows, or without an interval.
    """
    inside = find_inside(bins, actual, predicted, percent)
    if inside is None:
        return None, [None] * 10
    deciles = np.array_split(inside[np.argsort(predicted, kind="stable")], 10)
    return float(inside.mean()), [float(decile.mean()) if len(decile) else None for decile in deciles]
