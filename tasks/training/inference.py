"""How certain the weights of a least squares fit are: robust standard errors, intervals and variance inflation.

One more pass over the rows, a block at a time, with the triangle of their moments: in the orthonormal columns that it
gives, a row's leverage is the sum of its squares, and the sandwich is a sum of products of a row with its residual.

Source: MacKinnon and White, "Some heteroskedasticity-consistent covariance matrix estimators with improved finite
sample properties", Journal of Econometrics 29 (1985), for HC1 and HC3; Belsley, Kuh and Welsch, "Regression
Diagnostics" (Wiley, 1980), for leverage and the inflation of variances.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from linear_neuron.tasks.dataset.moments import BLOCK_ROWS, DEPENDENT, SPREAD_LOST, Moments
from linear_neuron.tasks.dataset.rows import Floats, Rows, release_pages
from linear_neuron.tasks.model import LinearModel, Uncertainty
from linear_neuron.tasks.text import list_first

NORMAL = 1.959963984540054  # standard errors on both sides of a weight that hold 95% of a normal distribution
FULL = 1 - 1e-9  # leverage from which on a row alone decides a weight, so that its residual says nothing
MOST_WORK = 3e11  # multiplications, rows times columns squared, above which the rows are not looked at again
SHORT = 0.25  # standard errors from the optimum; at fewer a 95% interval still holds 94.3%


@dataclass(frozen=True)
class Covariance:
    """The covariance of fitted weights, and by which rule it is estimated."""

    method: str  # HC3, HC1 or classical
    matrix: Floats  # shape (features, features), in squared units of the weights
    spread: Floats  # of directions to the weights, shape (features, directions)
    inflations: Floats  # shape (features,): variance inflation factors; infinite where others explain a column


def estimate_covariance(
    moments: Moments, model: LinearModel, rows: Rows, row_weights: Floats | None = None
) -> Covariance:
    """Estimate the covariance of the weights of a fit that is at the optimum.

    HC3 divides each residual by 1 less the row's leverage. Where a row has a leverage of 1, such as the only one of its
    level, that is 0 by 0, and HC1 takes the place of HC3 for all rows.

    Args:
        moments: of the rows.
        model: the least squares fit over them.
        rows: with `x` of shape (n, features).
        row_weights: shape (n,), where rows have weights.
    """
    spread, inflations = decompose(moments)
    count, rank = len(rows), spread.shape[1] + 1
    if count * rank**2 > MOST_WORK or count <= rank:
        variance = moments.measure_mse(model) * moments.weight / max(count - rank, 1)
        return Covariance("classical", variance * spread @ spread.T, spread, inflations)
    one, three, highest = _sum_products(moments, model, rows, row_weights, spread)
    if highest < FULL:
        return Covariance("HC3", spread @ three @ spread.T, spread, inflations)
    return Covariance("HC1", spread @ one @ spread.T * count / (count - rank), spread, inflations)


def decompose(moments: Moments) -> tuple[Floats, Floats]:
    """Decompose the centered columns into orthonormal directions.

    Returns:
        What turns centered rows into coordinates in these directions, and their covariance into that of the weights,
        shape (features, directions); and the variance inflation factors, infinite for a column that others explain.
    """
    centred = moments.triangle[1:, 1:-1]
    lengths = np.sqrt(np.sum(centred**2, axis=0))
    sizes = np.abs(moments.triangle[0, 1:-1]) + np.abs(moments.origin[:-1]) * moments.triangle[0, 0]
    varies = lengths > SPREAD_LOST * sizes
    norms = np.where(varies, lengths, 1.0)
    _, values, right = np.linalg.svd(np.where(varies, centred, 0.0) / norms, full_matrices=False)
    kept = values > DEPENDENT * values.max(initial=0)
    directions = right[kept] / values[kept][:, None]
    inflations = np.sum(directions**2, axis=0)
    inflations[np.sum(right[~kept] ** 2, axis=0) > DEPENDENT] = np.inf
    return directions.T / norms[:, None], inflations


def _sum_products(
    moments: Moments, model: LinearModel, rows: Rows, row_weights: Floats | None, spread: Floats
) -> tuple[Floats, Floats, float]:
    """Sum the products of each row with its squared residual, in the orthonormal directions.

    Returns:
        The sums of HC1, without its factor, and of HC3, shape (directions, directions); and the highest leverage.
    """
    means, total = moments.means[:-1], moments.weight
    one = np.zeros((spread.shape[1], spread.shape[1]))
    three, highest = one.copy(), 0.0
    for start in range(0, len(rows), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        found = (rows.x[part] - means) @ spread
        errors = rows.y[part] - model.compute(rows.x[part])
        leverage = 1 / total + np.einsum("ij,ij->i", found, found)
        if row_weights is not None:
            leverage *= row_weights[part]
            errors = errors * row_weights[part]
        highest = max(highest, float(leverage.max(initial=0)))
        plain = found * errors[:, None]
        one += plain.T @ plain
        raised = plain / (1 - np.minimum(leverage, FULL))[:, None]
        three += raised.T @ raised
        release_pages(rows.x)
    return one, three, highest


def describe_weights(
    covariance: Covariance, model: LinearModel, names: Sequence[str], groups: Sequence[slice], means: Floats
) -> dict[str, Uncertainty]:
    """Describe each weight with its standard error, 95% interval and variance inflation factor.

    Args:
        covariance: of the weights.
        model: whose weights they are.
        names: of the columns.
        groups: columns of the levels of one category each, whose contributions are centered: their mean over the rows
            is 0. A level's weight alone is arbitrary by a constant; its contribution is not.
        means: of the columns, shape (features,).
    """
    turn = np.eye(len(names))
    for group in groups:
        turn[group, group] -= means[group]
    weights, matrix = turn @ np.array(model.weights), turn @ covariance.matrix @ turn.T
    errors = np.sqrt(np.maximum(np.diag(matrix), 0))
    inflations = [float(value) if np.isfinite(value) else None for value in covariance.inflations]
    return {
        name: Uncertainty(
            weight=weight,
            error=error,
            low=weight - NORMAL * error,
            high=weight + NORMAL * error,
            inflation=inflation,
        )
        for name, weight, error, inflation in zip(names, weights.tolist(), errors.tolist(), inflations, strict=True)
    }


@dataclass(frozen=True)
class Inference:
    """The uncertainty of the weights by name and the method, or else why there is none."""

    weights: dict[str, Uncertainty]
    method: str = ""
    reason: str = ""


def infer(
    fit: LinearModel,
    moments: Moments | None,
    rows: Rows,
    row_weights: Floats | None,
    obstacle: str,
    names: Sequence[str],
    groups: Sequence[slice] = (),
) -> Inference:
    """Infer how certain the weights of a fit are, if it is at the optimum; if not, say why that is not known.

    Args:
        fit: the model.
        moments: of the rows; None where a recipe does not measure them.
        rows: that it has learned from.
        row_weights: their weights, where they have some.
        obstacle: what else keeps it from plain least squares; empty without.
        names: of the columns.
        groups: columns of the levels of one category each.
    """
    if moments is None:
        return Inference({}, reason="the recipe stops after its epochs, not at the optimum")
    if obstacle:
        return Inference({}, reason=obstacle)
    covariance, means = estimate_covariance(moments, fit, rows, row_weights), moments.means[:-1]
    best = _find_nearest(covariance.spread, moments, fit)
    found = describe_weights(covariance, fit, names, groups, means)
    optimum = describe_weights(covariance, best, names, groups, means)
    short = [name for name in names if abs(found[name].weight - optimum[name].weight) > SHORT * found[name].error]
    if short:
        return Inference({}, reason=f"the fit stops short of the optimum in {list_first(short, 3)}")
    return Inference(found, covariance.method)


def _find_nearest(spread: Floats, moments: Moments, fit: LinearModel) -> LinearModel:
    """Find the optimum that is nearest to a fit: where columns depend on each other there are many."""
    best, norms = moments.solve(), np.sqrt(moments.variances[:-1])
    apart = np.array(fit.weights) - np.array(best.weights)
    moved = np.linalg.lstsq(spread * norms[:, None], apart * norms, rcond=None)[0]
    return replace(best, weights=tuple((np.array(fit.weights) - spread @ moved).tolist()))


def find_obstacle(l2: float, bound: Sequence[str]) -> str:
    """Say what keeps a fit from plain least squares; empty where nothing does.

    Args:
        l2: the ridge.
        bound: columns whose sign is binding.
    """
    if l2:
        return "the ridge pulls all weights towards 0, and no standard error shows how far"
    return f"a sign holds {list_first(bound, 3)} at 0" if bound else ""
