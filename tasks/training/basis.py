"""The units that the converged recipe trains in: features that are centred, of one size and uncorrelated.

In them the loss has the same curvature in every direction, so gradient descent goes straight to the optimum, however
features are scaled and however they correlate. Source: LeCun, Bottou, Orr and Müller, "Efficient BackProp" (1998),
section 4.3, which names the three steps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.dataset.rows import Floats, Rows, cut_rows
from tasks.model import LinearModel

ROUNDING = float(np.finfo(np.float32).eps)  # of predictions, relative
NOTICED = 0.001  # share of the loss above which a report mentions what is missing
CONSTANT = 1e-9  # spread of a feature, as a share of its mean, that float32 is far from seeing
DEPENDENT = 1e-12  # share of the greatest variance, below which a direction says nothing that others do not


@dataclass(frozen=True)
class Basis:
    """A linear change of units, for features `(x - centre) @ matrix`, for targets `(y - middle) / spread`."""

    centre: Floats  # shape (features,)
    matrix: Floats  # shape (features, features)
    middle: float
    spread: float

    def enter(self, x: Floats) -> Floats:
        """Return features in this basis; the shape (n, features) stays."""
        return (x - self.centre) @ self.matrix

    def leave(self, weights: NDArray[np.float32], bias: float) -> LinearModel:
        """Return what a model in this basis is in raw units; the bias makes up for how float32 rounds the weights."""
        raw = (self.spread * (self.matrix @ weights.astype(np.float64))).astype(np.float32)
        total = self.middle + self.spread * bias - float(self.centre @ raw.astype(np.float64))
        return LinearModel(tuple(raw.tolist()), float(np.float32(total)))


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
    """Find the basis in which the features of these rows are centred, have variance 1 and do not correlate.

    A feature that float32 can't tell from a constant gets no weight, and neither does a direction that is a combination
    of others.
    """
    centre = rows.x.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((len(centre), len(centre)))
    for part in cut_rows(len(rows)):
        centred = rows.x[part] - centre
        covariance += centred.T @ centred / len(rows)
    scale = np.sqrt(np.diag(covariance))
    varies = scale > CONSTANT * np.abs(centre)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=varies)
    variances, directions = np.linalg.eigh(covariance * inverse[:, None] * inverse)
    kept = variances > DEPENDENT * variances.max()
    sizes = np.divide(1, np.sqrt(np.abs(variances)), out=np.zeros_like(scale), where=kept)
    spread = float(rows.y.std())
    return Basis(centre, inverse[:, None] * directions * sizes, float(rows.y.mean()), spread if spread > 0 else 1.0)


def describe_end(line: LinearModel, train: Rows, loss: float, left: float) -> tuple[str, ...]:
    """Say in sentences what keeps a trained model from the optimum; nothing where it is there.

    Args:
        line: the model in raw units.
        train: the rows that it was fitted on.
        loss: its mean squared error in the basis it was trained in.
        left: the share of the loss that more training would still save.
    """
    remarks = []
    if left > NOTICED:
        remarks.append(
            f"At the last epoch {left:.1%} of the loss was still to be gained: allow more epochs or larger minibatches."
        )
    parts = ((train.x[part], train.y[part]) for part in cut_rows(len(train)))
    plain = sum(float(np.sum((y - line.predict(x)) ** 2)) for x, y in parts) / len(train)
    if plain > (1 + NOTICED) * loss + ROUNDING * float(train.y.var()):
        remarks.append(
            f"Predictions are made in float32, whose rounding raises the training MSE from {loss:.4g} to {plain:.4g}: "
            "the values of a feature lie close together but far from zero. Subtract a constant from it."
        )
    return tuple(remarks)
