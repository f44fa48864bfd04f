"""A model as expressions in Polars: its prediction, and what each term contributes to it."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import polars as pl

from linear_neuron.tasks.dataset.profile import count_bins
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.tables.rejects import F32, F64, TEXT, Limits, Marks, Reason, explain_numbers, read_number

Columns = dict[str, pl.Series]


@dataclass(frozen=True)
class Bound:
    """What a model says of some rows, as expressions over them."""

    prediction: pl.Expr  # null, or not finite, where a row has none
    extrapolated: pl.Expr
    counted: dict[str, pl.Expr]  # what `count` needs of the rows that are predicted
    explain: Callable[[], tuple[pl.Expr, dict[str, pl.Expr]]]  # what is added up in float64: a start, and of each term
    added: list[pl.Series]  # columns that the rows need beside their own
    numbers: dict[str, pl.Expr]  # column of the rows -> its value, where it is read as a number


class PlainModel:
    """A model whose features are columns of numbers."""

    def __init__(self, model: ModelVersion) -> None:
        self.model = model

    def bind(
        self,
        rows: pl.DataFrame,
        names: Sequence[str],
        marks: Marks,
        *,
        strip: bool,
        known: dict[str, pl.Expr] | None = None,
    ) -> Bound:
        """Bind the model to rows.

        Args:
            rows: as their source has them.
            names: of their columns that the model reads, in the order of `ModelVersion.kinds`.
            marks: of the numbers in text.
            strip: whether blanks around a number in text are allowed.
            known: numbers that another model reads, by column.
        """
        read = known or {}
        values = [
            read[name]
            if name in read
            else read_number(name, strip=strip and rows.schema[name] == TEXT, marks=marks.get(name, ""))
            for name in names
        ]
        return Bound(
            prediction=express(self.model, values),
            extrapolated=find_extrapolated(self.model, values),
            counted={f"x{index}": value.cast(F32) for index, value in enumerate(values)},
            explain=lambda: explain(self.model, values),
            added=[],
            numbers=dict(zip(names, values, strict=True)),
        )

    def explain_rejects(
        self, rows: pl.DataFrame, names: Sequence[str], marks: Marks
    ) -> tuple[list[pl.Series], list[Reason]]:
        """Say why rows are rejected: the columns that the reasons need beside those of the rows, and the reasons."""
        limits = dict(zip(names, find_limits(self.model).values(), strict=True))
        return [], explain_numbers(rows.schema, limits, marks)

    def count(self, found: Columns, rows: int) -> dict[str, Any]:
        """Count features in the ten bins of the training rows, as far as the version knows them, and add them up."""
        values = {name: found[f"x{index}"].to_numpy() for index, name in enumerate(self.model.features)}
        edges = {name: self.model.contract.get(name, {}).get("deciles") for name in values}
        return {
            "bins": {name: count_bins(values[name], known) for name, known in edges.items() if known},
            "sums": {name: float(of.sum(dtype=np.float64)) for name, of in values.items()} if rows else {},
        }


def find_limits(model: ModelVersion) -> Limits:
    """Find for each feature within what its values must lie, if that was said when the model was made."""
    return {feature: model.bounds.get(feature) for feature in model.features}


def express(model: ModelVersion, values: list[pl.Expr]) -> pl.Expr:
    """Express the prediction of float64 values, one a feature: null where one is null or out of its limits.

    The arithmetic is that of `LinearModel.predict`. A value beyond the greatest float32 has no finite prediction.
    """
    limits = find_limits(model).values()
    allowed = [value.is_between(*ends) for value, ends in zip(values, limits, strict=True) if ends]
    if model.arithmetic == "float64":
        total = _express_float64(model, values)
        allowed += [value.cast(F32).is_finite() for value in values]
    else:
        terms = [value.cast(F32) * pl.lit(weight, F32) for value, weight in zip(values, model.weights, strict=True)]
        total = reduce(operator.add, terms) + pl.lit(model.bias, F32)
    return pl.when(pl.all_horizontal(allowed)).then(total) if allowed else total


def _express_float64(model: ModelVersion, values: list[pl.Expr]) -> pl.Expr:
    """Express the sum in float64 of centered values, or the exponential of it, rounded to float32 once."""
    parts = zip(values, model.weights, model.centers, strict=True)
    terms = [(value - pl.lit(center, F64)) * pl.lit(weight, F64) for value, weight, center in parts]
    return respond(model, reduce(operator.add, terms, pl.lit(model.base, F64)))


def respond(model: ModelVersion, total: pl.Expr) -> pl.Expr:
    """Express what a sum of the terms in float64 predicts, in target units, rounded to float32."""
    return (total.exp() if model.link == "log" else total).cast(F32)


def express_interval(model: ModelVersion, prediction: pl.Expr, percent: int) -> dict[str, pl.Expr]:
    """Express the bounds between which `percent` of 100 actual values should lie; null where the version has none."""
    bins = model.interval_bins
    if bins is None:
        half = pl.lit(model.intervals[str(percent)], F32)
        return {"prediction_low": prediction - half, "prediction_high": prediction + half}
    bounds = {
        "prediction_low": prediction + _find_error(bins.edges, bins.lower[str(percent)], prediction),
        "prediction_high": prediction + _find_error(bins.edges, bins.upper[str(percent)], prediction),
    }
    if bins.floor is None:
        return bounds
    floor = pl.lit(bins.floor, F32)
    return {name: pl.when(bound < floor).then(floor).otherwise(bound) for name, bound in bounds.items()}


def _find_error(edges: list[float], errors: list[float | None], prediction: pl.Expr) -> pl.Expr:
    """Express the error of the bin in which a prediction is, from the highest bin down."""
    found = pl.lit(errors[0], F32)
    for edge, error in zip(edges, errors[1:], strict=True):
        found = pl.when(prediction >= pl.lit(edge, F32)).then(pl.lit(error, F32)).otherwise(found)
    return found


def find_extrapolated(model: ModelVersion, values: list[pl.Expr]) -> pl.Expr:
    """Express whether a value, rounded to float32, lies outside of what its feature was among the fitted rows."""
    ends = [[pl.lit(end, F32) for end in model.ranges[feature]] for feature in model.features]
    inside = [value.cast(F32).is_between(low, high) for value, (low, high) in zip(values, ends, strict=True)]
    return ~pl.all_horizontal(inside)


def find_means(model: ModelVersion) -> list[float]:
    """Find the mean of each feature among the training rows; of a model with terms none is needed.

    Raises:
        UserError: the version was made before they were kept.
    """
    if model.terms:
        return []
    means = [model.contract.get(feature, {}).get("mean") for feature in model.features]
    if None in means:
        raise UserError(
            f"{model.version} does not know the means of its training rows, beside which --explain puts each row; "
            "make a version that does by `retrain --force`."
        )
    return [mean for mean in means if mean is not None]


def explain(model: ModelVersion, values: list[pl.Expr]) -> tuple[pl.Expr, dict[str, pl.Expr]]:
    """Express the prediction at the training means, and what each feature adds: weight * (value - training mean).

    These are the Shapley values of a linear model whose features are independent:
    "Explaining prediction models and individual predictions with feature contributions", Knowledge and Information
    Systems 41, 2014.
    """
    means = find_means(model)
    if model.arithmetic == "float32":
        values = [value.cast(F32).cast(F64) for value in values]
    parts = [(value - mean) * weight for value, weight, mean in zip(values, model.weights, means, strict=True)]
    base = model.bias + sum(weight * mean for weight, mean in zip(model.weights, means, strict=True))
    if model.arithmetic == "float64":
        base = float(model.linear_model.compute(np.array([means]))[0])
    return pl.lit(base), dict(zip(model.features, parts, strict=True))


def explain_all(model: ModelVersion, bound: Bound) -> dict[str, pl.Expr]:
    """Express a prediction near the training means and what each term adds to it: the prediction is their sum.

    Where the logarithm of the target is learned, they are factors, and the prediction is their product.
    """
    base, parts = bound.explain()
    columns = {"base_prediction": base} | {f"contribution_{name}": part for name, part in parts.items()}
    return {name: respond(model, value) for name, value in columns.items()}


def explain_top(model: ModelVersion, bound: Bound, labels: list[str]) -> dict[str, pl.Expr]:
    """Express the label of the term that contributes most, whatever its sign, and its contribution.

    Of equal ones it is the first.
    """
    parts = list(bound.explain()[1].values())
    sizes = [part.cast(F32).abs() for part in parts]
    chosen = [pl.when(size == pl.max_horizontal(sizes)) for size in sizes]
    return {
        "top_feature": pl.coalesce(when.then(pl.lit(label)) for when, label in zip(chosen, labels, strict=True)),
        "top_contribution": respond(model, pl.coalesce(w.then(p) for w, p in zip(chosen, parts, strict=True))),
    }
