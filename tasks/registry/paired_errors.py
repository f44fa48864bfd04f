"""Two models' squared errors on the same rows: how certain it is which is the better one, and what these rows show.

Candidates are compared on test rows. After a change of the world that comparison lags: both candidates were fitted
before it, and so the test rows say nothing of what the served models have learned since. Then the challenger is
measured as it would have served: each of the last periods is predicted by a model of the periods before it. These
errors are compared with those of the model that serves, on rows that are newer than all that it has learned from.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from linear_neuron.tasks.dataset.design_matrix import predict_by
from linear_neuron.tasks.dataset.rows import Floats, Predictions, Rows, Split
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.text import distinguish

RESAMPLES = 2000
FEW, MANY = 2, 5000  # rows: fewer prove nothing, and more are not resampled
PROVEN = 0.99  # certainty from which a challenger counts as better
SERVED_ROWS = 20  # rows newer than all that the champion has learned from, at least
SEEN = NormalDist().inv_cdf(0.95) + NormalDist().inv_cdf(0.8)  # standard errors that are seen in 80% of cases, at 5%


@dataclass(frozen=True)
class RolledErrors:
    """What models of the periods before each of the last periods predict for its rows."""

    index: NDArray[np.int64]  # of each row among all rows of the split
    predicted: Predictions
    errors: Floats  # actual minus predicted
    weights: Floats  # how much each row counts for the interval


@dataclass(frozen=True)
class ServedComparison:
    """The challenger's rolled errors beside those of the champion as it serves."""

    promote: bool
    reason: str
    figures: dict[str, float | None]


def find_unknown_rows(champion: ModelVersion, split: Split) -> NDArray[np.bool_]:
    """Find the test rows that the champion has not learned from, shape (test rows,).

    If the rows were split by another rule than the champion's, it may know all of them.
    """
    times = split.rows["test"].time
    unknown = np.ones(len(split.rows["test"]), bool)
    if champion.dataset.get("rule", "shuffle") != split.rule:
        return ~unknown
    return unknown if times is None else times >= champion.dataset["until"]


def measure_certainty(challenger_errors: Floats, champion_errors: Floats) -> tuple[float, str]:
    """Compute by a paired bootstrap in which share of resamples the challenger has the lower mean error, and of what.

    A tie counts half. Of many rows the resamples' means are normally distributed, and none need be drawn.

    Source: "An Introduction to the Bootstrap" (Chapman & Hall, 1993), chapter 16.
    """
    gain = champion_errors - challenger_errors
    if len(gain) > MANY:
        error = float(gain.std()) / math.sqrt(len(gain))
        z = float(gain.mean()) / error if error else 0.0
        return NormalDist().cdf(z), "all resamples of these rows, by the normal approximation"
    rng = np.random.default_rng(0)
    means = np.array([gain[rng.integers(len(gain), size=len(gain))].mean() for _ in range(RESAMPLES)])
    return float(np.mean(means > 0) + np.mean(means == 0) / 2), f"{RESAMPLES} resamples of these rows"


def find_detectable(challenger_errors: Floats, champion_errors: Floats) -> float | None:
    """Compute the least difference, as a share of the champion's error, that these rows show in 80% of cases.

    That is for a one-sided test at 5% of the mean of the paired differences. Source: "Statistical Power Analysis for
    the Behavioral Sciences" (2nd edition, Erlbaum, 1988), chapter 2.
    """
    known, spread = float(np.mean(champion_errors)), float(np.std(champion_errors - challenger_errors))
    return SEEN * spread / math.sqrt(len(champion_errors)) / known if known else None


def compare_served(
    rolled: RolledErrors, champion: ModelVersion, split: Split, min_certainty: float
) -> ServedComparison | None:
    """Compare the challenger's rolled errors with those of the champion's served model, on rows new to both.

    The rows of a period share what is common to the period, so the certainty is that of these rows, and not of further
    periods. None where the rows are few, or what the champion has learned from is not known.
    """
    rows = split.whole
    if rows is None or (since := _find_learned(champion, split)) is None or rows.time is None:
        return None
    new = rows.time[rolled.index] > since
    if np.count_nonzero(new) < SERVED_ROWS:
        return None
    errors, known = _square(rolled, champion, split, rows, new)
    if len(errors) < SERVED_ROWS:
        return None
    certainty, method = measure_certainty(errors, known)
    shown = distinguish(float(errors.mean()) ** 0.5, float(known.mean()) ** 0.5)
    reason = (
        f"on {len(errors):,} rows newer than all that the served model of {champion.version} has learned from, models "
        f"of the periods before each period have the RMSE {shown[0]} against its {shown[1]}, and were better in "
        f"{certainty:.0%} of {method}"
    )
    figures: dict[str, float | None] = {
        "rolled_mse": float(errors.mean()),
        "served_mse": float(known.mean()),
        "served_certainty": certainty,
        "served_rows": float(len(errors)),
    }
    return ServedComparison(certainty >= max(PROVEN, min_certainty), reason, figures)


def _find_learned(champion: ModelVersion, split: Split) -> int | None:
    """Find the time of the newest row that the model that serves has learned from; None where it is not known."""
    if champion.dataset.get("rule") != split.rule or champion.learned is None or champion.learned.newest is None:
        return None
    return round(champion.learned.newest.timestamp() * 1_000_000)


def _square(
    rolled: RolledErrors, champion: ModelVersion, split: Split, rows: Rows, new: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Square the rolled errors and the champion's of the new rows that it can predict."""
    index = rolled.index[new]
    chosen = Rows(rows.x[index], rows.y[index], rows.number[index])
    predicted = predict_by(champion, split, chosen, candidate=False)
    usable = ~np.isnan(predicted)
    known = (predicted - chosen.y)[usable] ** 2
    return rolled.errors[new][usable] ** 2, np.asarray(known, np.float64)
