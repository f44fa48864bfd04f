"""The units that the converged recipe trains in: features that are centerd, of one size and uncorrelated.

In them the loss has the same curvature in every direction, so gradient descent goes straight to the optimum, however
features are scaled and however they correlate. Source: LeCun, Bottou, Orr and Müller, "Efficient BackProp" (1998),
section 4.3, which names the three steps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linear_neuron.tasks.dataset.moments import measure_moments
from linear_neuron.tasks.dataset.rows import Floats, Rows, cut_rows
from linear_neuron.tasks.model import LinearModel

NOTICED = 0.001  # share of the loss above which a report mentions what is missing
PRECISION = 1e-12  # mean squared error, as a share of the targets' variance, that is about float32's rounding
CONSTANT = 1e-14  # spread of a feature, as a share of its greatest value, that is rounding error in float64
DEPENDENT = 1e-13  # share of the greatest spread, below which a direction is the rounding error of others


@dataclass(frozen=True)
class Basis:
    """A linear change of units, for features `(x - center) @ matrix`, for targets `(y - middle) / spread`."""

    center: Floats  # shape (features,)
    matrix: Floats  # shape (features, features)
    middle: float
    spread: float
    least: float  # mean squared error of least squares, in squared target units

    def enter(self, x: Floats) -> Floats:
        """Return features in this basis; the shape (n, features) stays."""
        return (x - self.center) @ self.matrix

    def leave(self, weights: NDArray[np.float32], bias: float, signs: Floats | float = 0.0) -> LinearModel:
        """Return what a model in this basis is in raw units, for predictions in float64 arithmetic.

        Args:
            weights: shape (features,).
            bias: in this basis.
            signs: shape (features,), 1 or -1 where a raw weight must have that sign or be 0. Where its optimum is
                close to 0, training may end on the other side.
        """
        raw = self.spread * (self.matrix @ weights.astype(np.float64))
        raw[raw * signs < 0] = 0
        base = self.middle + self.spread * bias
        return LinearModel(tuple(raw.tolist()), base - float(self.center @ raw), tuple(self.center.tolist()), base)


def copy_rows(
    rows: Rows, order: NDArray[np.int64] | None = None, basis: Basis | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Copy features, shape (n, features), and targets, shape (n, 1), to float32, some rows at a time.

    They come in the order and in the basis that is given, otherwise as they are.
    """
    x, y = np.empty(rows.x.shape, np.float32), np.empty((len(rows), 1), np.float32)
    for part in cut_rows(len(rows)):
        chosen = part if order is None else order[part]
        x[part] = basis.enter(rows.x[chosen]) if basis else rows.x[chosen]
        y[part, 0] = (rows.y[chosen] - basis.middle) / basis.spread if basis else rows.y[chosen]
    return x, y


def find_basis(rows: Rows) -> Basis:
    """Find the basis in which the features of these rows are centered, have variance 1 and do not correlate.

    It comes from the triangle of the rows, which keeps twice the digits of a covariance matrix. A feature that float64
    can't tell from a constant gets no weight, and neither does a direction that is a combination of others.
    """
    features = rows.x.shape[1]
    moments = measure_moments([str(index) for index in range(features + 1)], rows.x, rows.y)
    center, triangle = moments.means[:-1], moments.triangle[1:, 1:-1] / moments.weight**0.5
    scale = np.sqrt(np.sum(triangle**2, axis=0))
    greatest = np.max(np.abs(rows.x), axis=0)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > CONSTANT * greatest)
    _, sizes, directions = np.linalg.svd(triangle * inverse, full_matrices=False)
    kept = sizes > DEPENDENT * sizes.max()
    matrix = inverse[:, None] * directions.T * np.divide(1, sizes, out=np.zeros_like(sizes), where=kept)
    spread, least = float(moments.variances[-1] ** 0.5), moments.measure_mse(moments.solve())
    return Basis(center, matrix, float(moments.means[-1]), spread if spread > 0 else 1.0, least)


def describe_end(line: LinearModel, train: Rows, basis: Basis, left: float) -> tuple[str, ...]:
    """Describe in sentences what keeps a trained model from the optimum; nothing where it is there.

    Args:
        line: the model in raw units.
        train: the rows that it was fitted on. Of condensed rows the rounding of predictions is not known.
        basis: in which it was trained.
        left: the share of the loss that more training would still save.
    """
    exact, rounded = measure_mse(line, train)
    negligible = PRECISION * basis.spread**2
    if left > NOTICED:
        saving = f"At the last epoch {left:.1%} of the loss was still to be gained"
        return (f"{saving}: allow more epochs or larger minibatches.",)
    if exact > (1 + NOTICED) * basis.least + negligible:
        return (
            f"The training MSE is {exact:.4g}, and least squares reaches {basis.least:.4g}: some features are nearly a "
            "combination of others. Leave one of these out.",
        )
    if len(train) <= train.x.shape[1] + 2:
        return ()
    return describe_rounding(rounded, exact, negligible)


def measure_mse(line: LinearModel, rows: Rows) -> tuple[float, float]:
    """Measure the mean squared error over rows of the sums in float64, and of the predictions, rounded to float32."""
    totals = np.zeros(2)
    for part in cut_rows(len(rows)):
        x, y = rows.x[part], rows.y[part]
        totals += [np.sum((y - line.compute(x)) ** 2), np.sum((y - line.predict(x)) ** 2)]
    exact, rounded = (totals / len(rows)).tolist()
    return exact, rounded


def describe_rounding(rounded: float, exact: float, negligible: float) -> tuple[str, ...]:
    """Describe in a sentence what rounding predictions to float32 costs; nothing where that is little."""
    if rounded <= (1 + NOTICED) * exact + negligible:
        return ()
    return (
        f"Predictions are rounded to float32: the training MSE rises from {exact:.4g} to {rounded:.4g}, since the "
        "values of the target lie close together but far from zero. Subtract a constant from it.",
    )
