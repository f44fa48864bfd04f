"""On which errors the served model's interval is calibrated, and what it covers.

The served model is fitted on all rows, so none is left that it has not seen. With times, each of the last periods is
predicted by a model of the rows before it, with the same past: these are errors one period ahead, like those that the
served model will make, and the newest count most. Where they lean to one side, since models lag behind a change, that
may end with the next period, so the interval also holds what they are without this bias. Without times they are the
candidate's errors on the validation and test rows.
"""

from typing import Any, cast

import numpy as np

from linear_neuron.tasks.dataset.moments import Moments, merge_moments
from linear_neuron.tasks.dataset.rows import Floats, Predictions, Rows, copy_column, release_pages
from linear_neuron.tasks.model import IntervalBins
from linear_neuron.tasks.registry.paired_errors import RolledErrors
from linear_neuron.tasks.text import plural
from linear_neuron.tasks.training.fit_data import FitData
from linear_neuron.tasks.training.interval import BIN_ROWS, calibrate_bins, measure_bin_coverage, widen
from linear_neuron.tasks.training.past import FIRST, UNITS, Past, Periods, Times, cut_periods

PERIODS = 8  # that are predicted
HALF_LIFE = 1.0  # periods after which an error counts half
BIASED = 0.1  # share of the mean squared error from which a bias is taken into account
MOST_ROWS = 200_000  # errors that are sorted: more would move no quantile that is read


def calibrate(data: FitData, predicted: dict[str, Predictions]) -> tuple[IntervalBins, dict[str, Any]]:
    """Calibrate the interval by level, and measure what the candidate's covers.

    Args:
        data: what both models were fitted on.
        predicted: by the candidate, for validation and test rows.

    Returns:
        The candidate's interval by level, and the fields of an evaluation: `bins`, `calibrated`, `coverage`,
        `coverage_deciles` and `rolled`.
    """
    validation, test, whole = data.split.validation, data.split.test, cast(Rows, data.split.whole)
    floor = 0.0 if float(copy_column(whole.y).min()) >= 0 else None
    part = thin_out(len(validation))
    own = calibrate_bins(predicted["validation"][part], validation.y[part] - predicted["validation"][part], floor=floor)
    coverage, deciles = measure_bin_coverage(own, test.y, predicted["test"])
    release_pages(whole.x)
    found = roll_errors(data)
    if found is not None and len(found.errors) >= BIN_ROWS:
        values, errors, weights = found.predicted, found.errors, cast(Floats | None, found.weights)
        calibrated = (
            f"{plural(len(errors), 'error')} one {cast(Periods, data.periods).unit} ahead, the newest counting most"
        )
    else:
        values = np.concatenate([predicted["validation"], predicted["test"]])
        errors, weights = np.concatenate([validation.y, test.y]) - values, None
        part = thin_out(len(values))
        values, errors = values[part], errors[part]
        calibrated = f"{plural(len(errors), 'error')} of the candidate on validation and test rows"
    bins = calibrate_bins(values, errors, weights, floor)
    if weights is not None and found is not None and (unbiased := remove_bias(found)) is not None:
        bins = widen(bins, calibrate_bins(values, unbiased, weights, floor))
    if None in bins.lower["90"]:  # Of few errors all are needed.
        bins = calibrate_bins(values, errors, None, floor)
        calibrated = calibrated.removesuffix(", the newest counting most")
    return own, {
        "bins": bins,
        "calibrated": calibrated,
        "coverage": coverage,
        "coverage_deciles": tuple(deciles),
        "rolled": found,
    }


def thin_out(count: int) -> slice:
    """Take evenly spaced rows of a count of them, at most `MOST_ROWS`."""
    return slice(None, None, max(1, -(-count // MOST_ROWS)))


def roll_errors(data: FitData) -> RolledErrors | None:
    """Predict each of the last periods by a model of the periods before it; the newest errors count most."""
    if data.periods is None or data.split.whole is None:
        return None
    periods, rows = data.periods, data.split.pick(data.split.whole, data.split.names)
    step = thin_out(len(rows)).step
    found: list[RolledErrors] = []
    for number, first, last in cut_periods(cast(Times, rows.time), periods.unit)[-PERIODS:]:
        known = merge_past(periods, number, data.past)
        if periods.numbers.index(number) < FIRST or known is None:
            continue
        x, y = rows.x[first:last:step], rows.y[first:last:step]
        # Computed in float64, as the served model predicts.
        line = data.solve(known)
        predicted = line.respond(line.compute(x)).astype(np.float32)
        weight = 0.5 ** ((periods.numbers[-1] - number) / HALF_LIFE)
        index = np.arange(first, last, step)
        found.append(RolledErrors(index, predicted, y - predicted, np.full(len(y), weight)))
    if not found:
        return None
    names = ("index", "predicted", "errors", "weights")
    return RolledErrors(*(np.concatenate([getattr(part, name) for part in found]) for name in names))


def remove_bias(found: RolledErrors) -> Floats | None:
    """Return rolled errors without their bias, a line through the newest of them over what was predicted.

    None where the bias is small beside the scatter.
    """
    line = np.column_stack([np.ones(len(found.errors)), found.predicted - found.predicted.mean()])
    roots = np.sqrt(found.weights)
    bias, *_ = np.linalg.lstsq(line * roots[:, None], found.errors * roots, rcond=None)
    unbiased = found.errors - line @ bias
    newest = found.weights == found.weights.max()  # A bias that has ended by then is over.
    left = float(np.sum(unbiased[newest] ** 2)) / (float(np.sum(found.errors[newest] ** 2)) or 1.0)
    return np.asarray(unbiased) if left < 1 - BIASED else None


def merge_past(periods: Periods, number: int, past: Past) -> Moments | None:
    """Merge the periods before a period, each with the weight that its age has in a past; None where none counts."""
    days, kept = UNITS[periods.unit], []
    newest = max((known for known in periods.numbers if known < number), default=number)
    for known, moments in zip(periods.numbers, periods.moments, strict=True):
        age = (number - 1 - known) * days
        if known < number and (not past.window or age < past.window - days / 2):
            faded = (newest - known) * days  # Only ratios count, and by `age` all weights would be 0 after a long gap.
            kept.append(moments.scale(0.5 ** (faded / past.half_life)) if past.half_life else moments)
    return merge_moments(kept) if kept else None
