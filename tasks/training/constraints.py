"""What a fit keeps to beside the rows: a ridge, and signs that weights must have.

Both change the moments alone: plain least squares on the moments that `Constraints.apply` returns is the optimum under
them. So the neuron, least squares beside it, the choice of a past, the interval and a backtest all keep to the same.

Source: "The Elements of Statistical Learning" (2nd edition, Springer, 2009), section 3.4.1 on ridge regression;
"Solving Least Squares Problems" (SIAM, 1995), chapter 23 on the active set of signs and the conditions that it ends at.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linear_neuron.tasks.dataset.moments import DEPENDENT, SPREAD_LOST, Moments
from linear_neuron.tasks.dataset.rows import Floats
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import LinearModel
from linear_neuron.tasks.parameters import Training
from linear_neuron.tasks.parameters.base import read_sign
from linear_neuron.tasks.text import split_hint

NEGLIGIBLE = 1e-10  # gradient or weight, as a share of the target's spread, that is rounding error
ROUNDS = 10  # through the signed columns, at most


@dataclass(frozen=True)
class Constraints:
    """What a fit keeps to; nothing, unless it is given."""

    l2: float = 0.0  # penalty of a squared weight in units of standardized columns, as a share of all rows' weight
    signs: dict[str, int] = field(default_factory=dict)  # column -> 1 or -1, the sign of a weight that is not 0

    def apply(self, moments: Moments) -> Moments:
        """Return moments over which plain least squares, and so the trained neuron, is the constrained optimum."""
        if self.l2:
            moments = moments.penalize(self.l2 * moments.weight * moments.variances[:-1])
        bound = self._find_bound(moments)
        return moments.hold_constant(bound) if bound else moments

    def solve(self, moments: Moments) -> LinearModel:
        """Fit least squares under the constraints."""
        return self.apply(moments).solve()

    def describe_signs(self, moments: Moments) -> dict[str, Any]:
        """Describe which signs are binding and what they cost, as `model.json` keeps it; empty without signs.

        Returns:
            `bound`, the weights that these columns would have without any sign, and the mean squared error over the
            rows with the signs (`mse`) and without (`mse_without`).
        """
        if not self.signs:
            return {}
        features = moments.names[:-1]
        kept, free = self.solve(moments), replace(self, signs={}).solve(moments)
        without = dict(zip(features, free.weights, strict=True))
        penalized = replace(self, signs={}).apply(moments)
        return {
            "bound": {name: without[name] for name in self._find_bound(penalized)},
            "mse": moments.measure_mse(kept),
            "mse_without": moments.measure_mse(free),
        }

    def _find_bound(self, moments: Moments) -> list[str]:
        """Find the signed columns whose weight is 0 at the optimum."""
        features = moments.names[:-1]
        signs = np.array([self.signs.get(name, 0) for name in features])
        if not signs.any():
            return []
        centred = moments.triangle[1:, 1:]
        norms = np.sqrt(np.sum(centred**2, axis=0))
        sizes = np.sqrt(np.sum(moments.triangle[:, 1:] ** 2, axis=0)) + np.abs(moments.origin) * moments.triangle[0, 0]
        scaled = centred * np.divide(1, norms, out=np.zeros_like(norms), where=norms > SPREAD_LOST * sizes)
        columns, target, signed = scaled[:, :-1], scaled[:, -1], signs != 0
        rest = _leave(columns[:, ~signed], np.column_stack([columns[:, signed] * signs[signed], target]))
        positive = find_positive(rest[:, :-1], rest[:, -1])
        names = [name for name, sign in zip(features, signs, strict=True) if sign]
        return [name for name, above in zip(names, positive.tolist(), strict=True) if not above]


def _leave(columns: Floats, others: Floats) -> Floats:
    """Return what other columns have that these, which may depend on each other, do not explain."""
    directions, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    kept = directions[:, sizes > DEPENDENT * sizes.max(initial=0)]
    for _ in range(2):  # The second time takes away what rounding left.
        others = others - kept @ (kept.T @ others)
    return others


def find_positive(columns: Floats, target: Floats) -> NDArray[np.bool_]:
    """Find which weights are above 0 in the least squares of which no weight is below 0.

    The set of positive weights grows by the column with the steepest gradient; where that turns others negative, the
    step ends where the first of them is 0, and it leaves the set.

    Args:
        columns: shape (n, columns), of length 1 or less.
        target: shape (n,), of length 1 or less.
    """
    count = columns.shape[1]
    weights, positive = np.zeros(count), np.zeros(count, np.bool_)
    for _ in range(ROUNDS * count):
        gradient = np.where(positive, 0, columns.T @ (target - columns @ weights))
        if gradient.max(initial=0) <= NEGLIGIBLE:
            break
        positive[int(gradient.argmax())] = True
        wanted = _solve(columns, target, positive)
        while (falling := positive & (wanted <= NEGLIGIBLE)).any():
            passed = weights[falling] / np.maximum(weights[falling] - wanted[falling], NEGLIGIBLE)
            weights = weights + min(1.0, passed.min()) * (wanted - weights)
            positive &= weights > NEGLIGIBLE
            wanted = _solve(columns, target, positive)
        weights = wanted
    return positive


def _solve(columns: Floats, target: Floats, chosen: NDArray[np.bool_]) -> Floats:
    weights = np.zeros(columns.shape[1])
    weights[chosen] = np.linalg.lstsq(columns[:, chosen], target, rcond=DEPENDENT)[0]
    return weights


FREE = Constraints()


def read_constraints(training: Training, names: list[str], known: list[str]) -> Constraints:
    """Read the constraints of a recipe.

    Args:
        training: the recipe.
        names: of the columns that are fitted.
        known: all that may have a sign; of these some may be left out of the fit.

    Raises:
        UserError: a sign is that of an unknown name, or the recipe knows no constraints.
    """
    signs = dict(map(read_sign, training.signs))
    if training.recipe != "converged" and (training.l2 or signs):
        raise UserError(
            "The recipe notebook knows no ridge and no signs: leave --training.l2 and --training.signs out, or take "
            "--training.recipe converged."
        )
    for name in signs:
        if name not in known:
            shown = f"choose from {', '.join(known)}{split_hint(name, known)}" if known else "there is none"
            raise UserError(f"--training.signs names {name!r}, which is no numeric term; {shown}.")
    return Constraints(training.l2, {name: sign for name, sign in signs.items() if name in names})
