"""Natural cubic splines: smooth curves of one column, cubic between knots and straight beyond the outer ones.

A spline with k degrees of freedom has k + 1 knots and k design columns. Column j is the curve that is 1 at knot j and 0
at all others, the first knot included; so a column's weight is the height of the curve at its knot above the first.

Source: "Generalized Additive Models" (2nd edition, CRC Press, 2017), section 5.3.1, for the curve through its values at
the knots; "Regression Modeling Strategies" (2nd edition, Springer, 2015), section 2.4.6, for knots at quantiles.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.text import plural

Floats = NDArray[np.float64]
OUTER = 0.001  # share of the values beyond each outer knot: there a single wrong value moves a line and bends no curve
LEAST = 3  # knots: with two the curve is a straight line
NEAR = 1e-12  # share of the knots' range, below which two of them are one: a curve between them is rounding error


def find_knots(values: Floats, degrees: int, entry: str) -> Floats:
    """Find the knots of a spline at quantiles of the values, evenly spaced in rank; they rise.

    Where values tie, so that quantiles do, they are those of the different values. There are fewer knots than
    `degrees + 1` where there are fewer different values.

    Args:
        values: shape (n,), NaN where missing.
        degrees: of freedom, 2 or more.
        entry: the spline as it is written, such as `spline(area, 4)`, for the error.

    Raises:
        UserError: there are fewer than three different values.
    """
    known = values[~np.isnan(values)]
    shares = np.linspace(OUTER, 1 - OUTER, degrees + 1)
    knots = _merge(_find_quantiles(known, shares))
    if len(knots) <= degrees:
        known = np.unique(known)
        knots = _merge(_find_quantiles(known, shares) if len(known) > degrees else known)
    if len(knots) < LEAST:
        raise UserError(
            f"{entry} needs at least {LEAST} different values in the rows to learn from, and there are "
            f"{len(knots)}: take the column itself, or make it a category."
        )
    return knots


def explain_knots(entry: str, knots: Sequence[float], degrees: int) -> str:
    """Explain why a spline has fewer degrees of freedom than were asked for; empty where it has all."""
    found = len(knots) - 1
    if found >= degrees:
        return ""
    return f"{entry} has {found} degrees of freedom: its column has {plural(len(knots), 'different value')}."


def to_polynomials(knots: Sequence[float], weights: Sequence[float], level: float = 0.0) -> list[list[float]]:
    """Write a spline as polynomials.

    Args:
        knots: rising, at least three.
        weights: of the design columns, one a knot but the first.
        level: height at the first knot, which is added everywhere.

    Returns:
        For each interval, of which there is one more than there are knots, the coefficients a0 to a3 of `t`: the value
        less the interval's left knot, or less the first knot for values below it. The first and the last are linear.
    """
    at, heights = np.array(knots, np.float64), level + np.array([0.0, *weights])
    steps, slopes = np.diff(at), np.diff(heights) / np.diff(at)
    curvatures = np.zeros(len(at))  # second derivatives at the knots: 0 at the outer ones
    inner = np.diag(2 * (steps[:-1] + steps[1:])) + np.diag(steps[1:-1], 1) + np.diag(steps[1:-1], -1)
    curvatures[1:-1] = np.linalg.solve(inner, 6 * np.diff(slopes))
    left, right = curvatures[:-1], curvatures[1:]
    cubics = np.column_stack(
        [heights[:-1], slopes - steps * (2 * left + right) / 6, left / 2, (right - left) / (6 * steps)]
    )
    last = slopes[-1] + steps[-1] * left[-1] / 6
    return [[float(heights[0]), float(cubics[0, 1]), 0.0, 0.0], *cubics.tolist(), [float(heights[-1]), last, 0.0, 0.0]]


def evaluate(knots: Sequence[float], polynomials: Sequence[Sequence[float]], values: Floats) -> Floats:
    """Evaluate a spline at values of any shape by Horner's rule: the operations of the Polars and SQL expressions.

    A value at a knot belongs to the interval on its right. NaN stays NaN.
    """
    interval = np.searchsorted(np.array(knots), values, side="right")
    starts = np.array([knots[0], *knots])
    a0, a1, a2, a3 = np.array(polynomials, np.float64).T[:, interval]
    t = values - starts[interval]
    return np.asarray(((a3 * t + a2) * t + a1) * t + a0)


def encode(knots: Sequence[float], values: Floats) -> Floats:
    """Return the design columns of values of shape (n,): shape (n, knots - 1)."""
    columns = [evaluate(knots, to_polynomials(knots, weights), values) for weights in np.eye(len(knots) - 1).tolist()]
    return np.column_stack(columns)


def _find_quantiles(values: Floats, shares: Floats) -> Floats:
    """Find quantiles that are values themselves, so that those of two values are no third one."""
    return np.asarray(np.quantile(values, shares, method="inverted_cdf")) if len(values) else values


def _merge(knots: Floats) -> Floats:
    """Leave out knots that lie on the one before them, but for rounding errors."""
    if not len(knots):
        return knots
    apart = np.diff(knots) > NEAR * (knots[-1] - knots[0])
    return np.asarray(knots[np.append(True, apart)])
