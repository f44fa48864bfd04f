"""Drift: whether values are still distributed as the training rows were, by the population stability index (PSI)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALARMING = 0.2  # the usual limit: "Credit Risk Scorecards" (Wiley, 2006), chapter 9
# Quantiles 0.999 of the chi-square distribution with 1 to 9 degrees of freedom: NIST/SEMATECH e-Handbook of
# Statistical Methods, section 1.3.6.7.4.
CHI_SQUARE = (10.828, 13.816, 16.266, 18.467, 20.515, 22.458, 24.322, 26.125, 27.877)


@dataclass(frozen=True)
class Drift:
    """How a column differs from the training rows."""

    column: str
    psi: float
    floor: float  # PSI that chance alone exceeds once in a thousand times
    nulls: float  # share of the rows
    known_nulls: float  # the same when the model was trained
    drifted: bool


def count_bins(values: NDArray[Any], deciles: list[float]) -> list[int]:
    """Count values in the ten bins that the inner ones of eleven deciles divide, each with its upper edge.

    Values and edges are compared as float32, as a model reads them.
    """
    values = np.asarray(values, np.float32)
    below = [int(np.count_nonzero(values <= np.float32(edge))) for edge in deciles[1:-1]]
    return [high - low for low, high in zip([0, *below], [*below, len(values)], strict=True)]


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


def measure(counts: list[int], known: list[int]) -> tuple[float, float]:
    """Compute the PSI of counts against those of the training rows, and what it exceeds by chance once in a thousand.

    Half a row is added to each bin, so that none is empty. Source of the second: "Statistical properties of
    the population stability index", Journal of Risk Model Validation 14(4), 2020.
    """
    if len(counts) < 2:
        return 0.0, 0.0
    now, then = np.array(counts) + 0.5, np.array(known) + 0.5
    now_shares, then_shares = now / now.sum(), then / then.sum()
    psi = float(np.sum((now_shares - then_shares) * np.log(now_shares / then_shares)))
    return psi, CHI_SQUARE[len(counts) - 2] * (1 / sum(counts) + 1 / sum(known))


def compare_column(column: str, known: dict[str, Any], counts: list[int], nulls: int) -> Drift | None:
    """Compare a column with what is known of its training rows.

    It has drifted if the PSI of its bins, or that of its nulls, is alarming and above what chance explains.

    Args:
        column: its name.
        known: what `describe_column` says of the training rows; older versions do not know the counts.
        counts: of its values, in the ten bins.
        nulls: rows without a value.

    Returns:
        None where there is nothing to compare.
    """
    if not sum(counts) or not (reference := known.get("counts")):
        return None
    rows, trained, share = sum(counts) + nulls, sum(reference), known["nulls"]
    missing = round(share * trained)
    psi, floor = measure(*merge_bins(counts, reference))
    null_psi, null_floor = measure([rows - nulls, nulls], [trained - missing, missing])
    drifted = (psi >= ALARMING and psi > floor) or (null_psi >= ALARMING and null_psi > null_floor)
    return Drift(column, psi, floor, nulls / rows, share, drifted)
