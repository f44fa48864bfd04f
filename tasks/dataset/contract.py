"""What a dataset must be to learn from it, and what is remembered of it for the data that comes later."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.dataset.drift import count_bins
from tasks.dataset.rows import Floats, Split, cut_rows
from tasks.errors import UserError

SAME = 1 - 1e-12  # of a squared correlation: two columns that differ by rounding errors alone
MIN_TEST = 2
DECILES = np.linspace(0, 1, 11)


def check_rows(split: Split) -> None:
    """Make sure that there is something to learn.

    Raises:
        UserError: too few rows in a part, a column that does not vary, a target that is a feature in other units, or
            two features that are one.
    """
    least = len(split.features) + 2
    if len(split.train) < least or len(split.test) < MIN_TEST:
        counts = ", ".join(f"{len(rows):,} to {verb}" for verb, rows in _name_parts(split))
        raise UserError(
            f"There are too few rows: {counts}; at least {least} are needed to learn from and {MIN_TEST} to test on; "
            "collect more."
        )
    names = [*split.names, split.target.name]
    squares = correlate(split)
    for place, name in enumerate(names):
        if np.isnan(squares[place, place]):
            raise UserError(
                f"{name} has one value in all rows to learn from; leave it out, or wait for rows that vary."
            )
    for place, name in enumerate(split.names):
        if squares[place, -1] > SAME:
            raise UserError(
                f"{split.target.name} is {name} in other units: nothing is left to learn, and the feature may not be "
                "known when the target is not; leave it out."
            )
        for other in range(place):
            if squares[place, other] > SAME:
                raise UserError(f"{split.names[other]} and {name} say the same in other units; leave one of them out.")


def _name_parts(split: Split) -> list[tuple[str, Any]]:
    return [("learn from", split.train), ("validate", split.validation), ("test on", split.test)]


def correlate(split: Split) -> Floats:
    """Compute the squared correlations of features and target over the train rows, shape (features + 1, features + 1).

    NaN stands where a column does not vary.
    """
    rows = split.train
    first = np.append(rows.x[0], rows.y[0])  # Taken off, since a large mean would cost the digits of a small spread.
    total, products = np.zeros(len(first)), np.zeros((len(first), len(first)))
    for part in cut_rows(len(rows)):
        shifted = np.column_stack([rows.x[part], rows.y[part]]) - first
        total += shifted.sum(axis=0)
        products += shifted.T @ shifted
    covariance = products - np.outer(total, total) / len(rows)
    spread = np.diag(covariance)
    spread = np.where(spread > 1e-12 * np.diag(products), spread, np.nan)
    return covariance**2 / np.outer(spread, spread)


def learn_contract(split: Split, missing: dict[str, float]) -> dict[str, Any]:
    """Describe each column of the train rows, for what comes later to be compared with.

    For each that is what `describe_column` says.
    """
    columns = {name: split.train.x[:, place] for place, name in enumerate(split.names)}
    columns[split.target.name] = split.train.y
    return {name: describe_column(column, missing.get(name, 0.0)) for name, column in columns.items()}


def describe_column(values: NDArray[np.floating[Any]], nulls: float = 0.0) -> dict[str, Any]:
    """Describe some values: type, least, greatest and mean, the share of missing ones, and ten quantile bins."""
    deciles = np.quantile(values, DECILES).tolist()
    return {
        "type": "float64",
        "low": float(values.min()),
        "high": float(values.max()),
        "mean": float(values.mean(dtype=np.float64)),
        "nulls": nulls,
        "deciles": deciles,
        "counts": count_bins(values, deciles),
    }
