"""Profile the training rows: the statistics of each column that later data is compared with."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linear_neuron.tasks.dataset.raw_columns import MISSING_LABEL, MISSING_TIME, Integers, Labels, RawColumns
from linear_neuron.tasks.dataset.rows import Rows, copy_column

if TYPE_CHECKING:
    import polars as pl

BINS = 10  # of a column
DECILES, PERCENTILES = np.linspace(0, 1, 11), np.linspace(0, 1, 101)


def make_profile(rows: Rows, names: Sequence[str], missing: dict[str, float]) -> dict[str, Any]:
    """Describe the features and the target of the rows that a model has learned from, each as `describe_column` does.

    Args:
        rows: the rows.
        names: of the features and the target.
        missing: column -> share of the table's rows without a value.
    """
    columns = zip(names, [*rows.x.T, rows.y], strict=True)
    return {name: describe_column(copy_column(column), missing.get(name, 0.0)) for name, column in columns}


def profile_raw(
    raw: RawColumns, number: Integers, names: Sequence[str], missing: dict[str, float], min_level_rows: int
) -> dict[str, Any]:
    """Describe columns of rows that a model has learned from; of labels the levels that have enough rows, counted.

    Args:
        raw: the columns.
        number: indices of the rows.
        names: of the columns.
        missing: column -> share of the table's rows that were rejected for lack of a value.
        min_level_rows: below which a level is counted among the others.
    """
    found: dict[str, Any] = {}
    for name in names:
        if name in raw.labels:
            found[name] = _describe_labels(raw.labels[name], number, min_level_rows)
        elif name in raw.times:
            times = raw.times[name][number]
            known = times[times != MISSING_TIME]
            found[name] = {"type": "time", "nulls": 1 - len(known) / len(times)}
            found[name] |= {"low": int(known.min()), "high": int(known.max())} if len(known) else {}
        else:
            values = raw.numbers[name][number]
            known_values = values[~np.isnan(values)]
            nulls = missing.get(name, 0.0) + 1 - len(known_values) / len(values)
            found[name] = (
                describe_column(known_values, nulls) if len(known_values) else {"type": "float64", "nulls": nulls}
            )
    return found


def _describe_labels(labels: Labels, number: Integers, min_level_rows: int) -> dict[str, Any]:
    codes = labels.codes[number]
    counts = np.bincount(codes[codes != MISSING_LABEL], minlength=len(labels.levels)).tolist()
    levels = {level: rows for level, rows in zip(labels.levels, counts, strict=True) if rows >= min_level_rows}
    return {
        "type": "category",
        "levels": levels,
        "other": sum(counts) - sum(levels.values()),
        "nulls": float(np.mean(codes == MISSING_LABEL)),
    }


def describe_column(values: NDArray[np.floating[Any]], nulls: float = 0.0) -> dict[str, Any]:
    """Describe some values: type, least, greatest and mean, the share of missing ones, and ten quantile bins."""
    deciles = _divide_ties(np.quantile(values, DECILES).tolist())
    return {
        "type": "float64",
        "low": float(values.min()),
        "high": float(values.max()),
        "mean": float(values.mean(dtype=np.float64)),
        "nulls": nulls,
        "deciles": deciles,
        "counts": count_bins(values, deciles),
    }


def describe_errors(errors: NDArray[np.floating[Any]]) -> list[float]:
    """Describe errors by the quantiles of their absolute values, at 0, 1, ..., 100 percent; none without errors."""
    return np.quantile(np.abs(errors), PERCENTILES).tolist() if len(errors) else []


def _divide_ties(deciles: list[float]) -> list[float]:
    """Where inner deciles are equal, move the first just below, so that a frequent value has a bin of its own.

    Otherwise the values below it would share its bin, and a flag that is 1 in 95% of the rows could turn to 0 unseen.
    """
    divided = list(deciles)
    for index in range(1, 9):
        if deciles[index - 1] < deciles[index] == deciles[index + 1]:
            divided[index] = float(np.nextafter(np.float32(deciles[index]), np.float32(-np.inf)))
    return divided


def count_bins(values: NDArray[Any], deciles: list[float]) -> list[int]:
    """Count values in the ten bins that the inner ones of eleven deciles divide, each with its upper edge.

    Values and edges are compared as float32, as a model reads them.
    """
    values = np.asarray(values, np.float32)
    below = [int(np.count_nonzero(values <= np.float32(edge))) for edge in deciles[1:-1]]
    return [high - low for low, high in zip([0, *below], [*below, len(values)], strict=True)]


def count_levels(labels: "pl.Series", levels: Sequence[str]) -> list[int]:
    """Count labels by these levels, all others last; missing ones are not counted."""
    found = dict(labels.drop_nulls().value_counts().iter_rows())
    counts = [int(found.pop(level, 0)) for level in levels]
    return [*counts, sum(found.values())]


def find_reference(known: dict[str, Any]) -> list[int]:
    """Find the training rows in each bin; of a category the most frequent levels are bins, and the others share one."""
    if known.get("type") != "category":
        return list(known.get("counts", []))
    return group_by_frequency(known, [*known["levels"].values(), known["other"]])


def group_by_frequency(known: dict[str, Any], counts: list[int]) -> list[int]:
    """Put the counts of levels, others last, in the bins of a category; those of a number are in bins already."""
    if known.get("type") != "category" or not counts:
        return counts
    levels = list(known["levels"].values())
    frequent = sorted(range(len(levels)), key=lambda index: -levels[index])[: BINS - 1]
    return [*(counts[index] for index in frequent), sum(counts) - sum(counts[index] for index in frequent)]


def merge_bins(counts: list[int], known: list[int]) -> tuple[list[int], list[int]]:
    """Merge every bin without a training row, as those of a discrete column, into the next one, or the last."""
    merged: list[list[int]] = []
    waiting = 0
    for count, reference in zip(counts, known, strict=True):
        waiting += count
        if reference:
            merged.append([waiting, reference])
            waiting = 0
    merged[-1][0] += waiting
    return [count for count, _ in merged], [reference for _, reference in merged]
