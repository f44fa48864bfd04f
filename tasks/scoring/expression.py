"""A model as expressions in Polars: its prediction, and what each feature contributes to it."""

import operator
from functools import reduce

import polars as pl

from tasks.errors import UserError
from tasks.model import ModelVersion
from tasks.parameters.base import read_bounds
from tasks.tables.contract import F32, F64, Limits


def find_limits(model: ModelVersion) -> Limits:
    """Find for each feature within what its values must lie, if that was said when the model was made."""
    limits = dict(map(read_bounds, model.dataset.get("bounds", [])))
    return {feature: limits.get(feature) for feature in model.features}


def express(model: ModelVersion, values: list[pl.Expr]) -> pl.Expr:
    """Express the prediction of float64 values, one a feature: null where one is null or out of its limits.

    Each value is rounded to float32, as Keras does; the sum is taken in float32.
    """
    terms = [value.cast(F32) * pl.lit(weight, F32) for value, weight in zip(values, model.weights, strict=True)]
    total = reduce(operator.add, terms) + pl.lit(model.bias, F32)
    limits = find_limits(model).values()
    if bounded := [value.is_between(*ends) for value, ends in zip(values, limits, strict=True) if ends]:
        total = pl.when(pl.all_horizontal(bounded)).then(total)
    return total


def express_interval(model: ModelVersion, prediction: pl.Expr, percent: int) -> dict[str, pl.Expr]:
    """Express the bounds between which so many of 100 true values should lie; null where the version has none."""
    half = pl.lit(model.intervals[str(percent)], F32)
    return {"prediction_low": prediction - half, "prediction_high": prediction + half}


def find_extrapolated(model: ModelVersion, values: list[pl.Expr]) -> pl.Expr:
    """Express whether a value, rounded to float32, lies outside of what its feature was among the fitted rows."""
    ends = [[pl.lit(end, F32) for end in model.ranges[feature]] for feature in model.features]
    inside = [value.cast(F32).is_between(low, high) for value, (low, high) in zip(values, ends, strict=True)]
    return ~pl.all_horizontal(inside)


def find_means(model: ModelVersion) -> list[float]:
    """Find the mean of each feature among the training rows.

    Raises:
        UserError: the version was made before they were kept.
    """
    means = [model.contract.get(feature, {}).get("mean") for feature in model.features]
    if None in means:
        raise UserError(
            f"{model.version} does not know the means of its training rows, beside which --explain puts each row; "
            "make a version that does by `retrain --force`."
        )
    return [mean for mean in means if mean is not None]


def contribute(model: ModelVersion, values: list[pl.Expr]) -> list[pl.Expr]:
    """Express what each feature adds to the prediction at the training means: weight * (value - training mean).

    These are the Shapley values of a linear model whose features are independent:
    "Explaining prediction models and individual predictions with feature contributions", Knowledge and Information
    Systems 41, 2014.
    """
    parts = zip(values, model.weights, find_means(model), strict=True)
    return [((value.cast(F32).cast(F64) - mean) * weight).cast(F32) for value, weight, mean in parts]


def explain_all(model: ModelVersion, values: list[pl.Expr]) -> dict[str, pl.Expr]:
    """Express the prediction at the training means and all contributions, of which the prediction is the sum."""
    base = model.bias + sum(weight * mean for weight, mean in zip(model.weights, find_means(model), strict=True))
    added = zip(model.features, contribute(model, values), strict=True)
    return {"base_prediction": pl.lit(base, F32)} | {f"contribution_{feature}": part for feature, part in added}


def explain_top(model: ModelVersion, values: list[pl.Expr], labels: list[str]) -> dict[str, pl.Expr]:
    """Express the label of the feature that contributes most, whatever its sign, and its contribution.

    Of equal ones it is the first.
    """
    parts = contribute(model, values)
    most = pl.max_horizontal(part.abs() for part in parts)
    chosen = [pl.when(part.abs() == most) for part in parts]
    return {
        "top_feature": pl.coalesce(when.then(pl.lit(label)) for when, label in zip(chosen, labels, strict=True)),
        "top_contribution": pl.coalesce(when.then(part) for when, part in zip(chosen, parts, strict=True)),
    }
