"""Moments of rows: the triangle that a linear fit needs instead of the rows, whatever their number.

The squared error of every linear model over some rows depends on them only through the triangle R of the QR
decomposition of `[1, x, y]`. Triangles of parts merge: stack them and decompose again. QR works on the values
themselves, so it keeps twice the digits that the normal equations (sums of products) keep.

Source: "Matrix Computations" (4th edition, Johns Hopkins, 2013), section 5.2 on QR and 6.5 on adding rows to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from linear_neuron.tasks.dataset.rows import Floats, Rows, release_pages
from linear_neuron.tasks.model import LinearModel

BLOCK_ROWS = 1 << 14  # rows decomposed at once: few enough for the processor's cache
DEPENDENT = 1e-13  # share of a column's spread that other columns leave, below which it is rounding error
SPREAD_LOST = 1e-14  # spread, as a share of the greatest value, that is rounding error in float64


@dataclass(frozen=True)
class Moments:
    """What a linear fit needs of some rows: features and target, in the order of `names`, the target last."""

    names: tuple[str, ...]
    origin: Floats  # shape (columns,), subtracted from the columns before all else, so that large means cost no digits
    triangle: Floats  # shape (columns + 1, columns + 1): R of [1, columns - origin], with diagonal >= 0
    rows: int  # how many rows; the sum of their weights is `weight`

    @property
    def weight(self) -> float:
        """The sum of the rows' weights: their number, where each has the weight 1."""
        return float(self.triangle[0, 0] ** 2)

    @property
    def means(self) -> Floats:
        """The weighted mean of each column."""
        return np.asarray(self.origin + self.triangle[0, 1:] / self.triangle[0, 0])

    @property
    def variances(self) -> Floats:
        """The weighted variance of each column, with the weight itself as divisor."""
        return np.asarray(np.sum(self.triangle[1:, 1:] ** 2, axis=0) / self.weight)

    @property
    def correlations(self) -> Floats:
        """The correlations of all columns, shape (columns, columns); NaN where a column does not vary."""
        centred = self.triangle[1:, 1:]
        norms = np.sqrt(np.sum(centred**2, axis=0))
        sizes = np.sqrt(np.sum(self.triangle[:, 1:] ** 2, axis=0)) + np.abs(self.origin) * self.triangle[0, 0]
        scaled = centred / np.where(norms > SPREAD_LOST * sizes, norms, np.nan)
        return np.asarray(np.clip(scaled.T @ scaled, -1, 1))

    def move(self, origin: Floats) -> Moments:
        """Return the same moments seen from another origin.

        What is rounding error is known by the size of what was rounded, which the other origin no longer tells.
        """
        triangle = self.triangle.copy()
        norms, weight = np.sqrt(np.sum(triangle[1:, 1:] ** 2, axis=0)), triangle[0, 0]
        lost = SPREAD_LOST * (np.abs(triangle[0, 1:]) + np.abs(self.origin) * weight)
        triangle[1:, 1:] *= norms > lost
        triangle[0, 1:] += weight * (self.origin - origin)
        triangle[0, 1:] *= np.abs(triangle[0, 1:]) > lost
        return replace(self, origin=origin, triangle=triangle)

    def scale(self, factor: float) -> Moments:
        """Return the moments with the weight of every row multiplied by a factor of 0 or more."""
        return replace(self, triangle=self.triangle * np.sqrt(factor))

    def select(self, names: Sequence[str]) -> Moments:
        """Return the moments of some of the columns, in the given order, of which the last is the target."""
        indices = [self.names.index(name) for name in names]
        triangle = _reduce(self.triangle[:, [0, *(index + 1 for index in indices)]])
        return replace(self, names=tuple(names), origin=self.origin[indices], triangle=triangle)

    def penalize(self, penalties: Floats) -> Moments:
        """Add a ridge: `penalty * weight**2` of each feature is added to the sum of squared errors.

        Args:
            penalties: shape (features,), each 0 or more, in squared units of its column.
        """
        ridge = np.zeros((len(penalties), len(self.triangle)))
        ridge[:, 1:-1] = np.diag(np.sqrt(penalties))
        return replace(self, triangle=_reduce(np.vstack([self.triangle, ridge])))

    def hold_constant(self, names: Sequence[str]) -> Moments:
        """Return the moments with some features constant at their mean, so that a fit gives them the weight 0."""
        held = [1 + self.names.index(name) for name in names]
        moved = self.move(self.means)
        moved.triangle[:, held] = 0
        return moved

    def measure_mse(self, model: LinearModel) -> float:
        """Compute the weighted mean squared error of a linear model over the rows, in float64."""
        weights = np.array(model.weights, np.float64)
        base, centers = (model.base, np.array(model.centers)) if model.centers else (model.bias, np.zeros(len(weights)))
        bias = base + float(weights @ (self.origin[:-1] - centers)) - self.origin[-1]
        return float(np.sum((self.triangle @ np.array([bias, *weights, -1.0])) ** 2) / self.weight)

    def solve(self) -> LinearModel:
        """Fit least squares; where features depend on each other, take the smallest weights of the best.

        Features are scaled to one spread first. A feature that does not vary gets the weight 0.
        """
        centred = self.triangle[1:, 1:-1]
        norms = np.sqrt(np.sum(centred**2, axis=0))
        sizes = np.abs(self.triangle[0, 1:-1]) + np.abs(self.origin[:-1]) * self.triangle[0, 0]
        inverse = np.divide(1, norms, out=np.zeros_like(norms), where=norms > SPREAD_LOST * sizes)
        scaled, target = centred * inverse, self.triangle[1:, -1]
        left = np.abs(np.diag(scaled))
        if len(left) and left.min() > DEPENDENT:
            solution = np.linalg.solve(scaled[:-1], target[:-1])  # It is triangular already.
        else:
            solution, *_ = np.linalg.lstsq(scaled, target, rcond=DEPENDENT)
        weights = solution * inverse
        bias = self.origin[-1] - self.origin[:-1] @ weights + self._centre(weights)
        return LinearModel(tuple(weights.tolist()), float(bias))

    def condense(self) -> Rows:
        """Return columns + 1 rows, each of weight 1, over which every linear model has the same mean squared error.

        A reflection that turns the first unit vector into equal parts makes the column of ones constant again, so that
        a fit with a bias sees plain rows, with the loss and the gradient that all rows have.
        """
        centred = self.move(self.means).triangle[:, 1:] / self.triangle[0, 0]
        count = len(self.triangle)
        mirror = np.full(count, count**-0.5)
        mirror[0] -= 1
        size = float(mirror @ mirror)
        turned = centred - np.outer(mirror, mirror @ centred) * (2 / size) if size else centred
        rows = self.means + turned * count**0.5
        return Rows(rows[:, :-1], rows[:, -1], np.arange(count))

    def _centre(self, weights: Floats) -> float:
        first = self.triangle[0]
        return float((first[-1] - first[1:-1] @ weights) / first[0])


def find_origin(x: Floats, y: Floats) -> Floats:
    """Find an origin for the moments of rows like these: the means of the first block, shape (features + 1,)."""
    return np.append(x[:BLOCK_ROWS].mean(axis=0), y[:BLOCK_ROWS].mean())


def measure_moments(
    names: Sequence[str], x: Floats, y: Floats, weights: Floats | None = None, origin: Floats | None = None
) -> Moments:
    """Measure the moments of rows, a block at a time, so that a table mapped from a file is never copied whole.

    Args:
        names: of the features and the target.
        x: shape (n, features), n > 0.
        y: shape (n,).
        weights: shape (n,), each 0 or more; without them each row counts 1.
        origin: shape (features + 1,); moments of the same origin merge without another rounding.
    """
    origin = find_origin(x, y) if origin is None else origin
    triangle = np.zeros((0, len(names) + 1))
    for start in range(0, len(y), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        block = np.empty((len(y[part]), len(names) + 1))
        block[:, 0] = 1
        np.subtract(x[part], origin[:-1], out=block[:, 1:-1])
        np.subtract(y[part], origin[-1], out=block[:, -1])
        if weights is not None:
            block *= np.sqrt(weights[part])[:, None]
        triangle = _reduce(np.vstack([triangle, _reduce(block)]))
        release_pages(x)
    return Moments(tuple(names), origin, triangle, len(y))


def merge_moments(parts: Sequence[Moments]) -> Moments:
    """Merge the moments of parts, of which there is at least one, to those of all their rows."""
    first = parts[0]
    same = [part if part.origin is first.origin else part.move(first.origin) for part in parts]
    triangle = _reduce(np.vstack([part.triangle for part in same]))
    return replace(first, triangle=triangle, rows=sum(part.rows for part in parts))


def _reduce(block: Floats) -> Floats:
    """Decompose a block; return R with a diagonal of 0 or more, square also where there are few rows."""
    triangle = np.asarray(np.linalg.qr(block, mode="r"))
    triangle *= np.where(np.diag(triangle) < 0, -1.0, 1.0)[:, None]
    missing = block.shape[1] - len(triangle)
    return np.vstack([triangle, np.zeros((missing, block.shape[1]))]) if missing > 0 else triangle
