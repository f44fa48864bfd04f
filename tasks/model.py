"""The model as plain numbers: what `model.json` holds, and all that a prediction needs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from linear_neuron.tasks.parameters.base import Limits, read_bounds

Link = Literal["identity", "log"]  # what the sum of the terms is: the target, or its natural logarithm
SHOWN = 12  # terms that a formula shows
BLOCK_ROWS = 1 << 16  # predicted at once, so that a table that is mapped from a file is never copied whole


@dataclass(frozen=True)
class LinearModel:
    """A linear model: one weight a feature, in raw feature units, and a bias in target units.

    With centers it predicts in float64 arithmetic: `base + sum(weight_i * (feature_i - center_i))`, term by term from
    the left, rounded to float32 once. Without, as the notebook recipe and older versions do, it predicts in float32
    arithmetic: `sum(weight_i * feature_i) + bias`, each value, product and sum rounded.

    With the link `log` these sums are logarithms: weights, bias and base are in units of the target's logarithm, and a
    prediction is the exponential of the sum, taken before it is rounded to float32.
    """

    weights: tuple[float, ...]
    bias: float
    centers: tuple[float, ...] = ()  # a value of each feature that is subtracted from it, near its training mean
    base: float = 0.0  # the prediction at the centers
    link: Link = "identity"

    def predict(self, x: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Predict rows of shape (n, features); beyond the greatest float32 a prediction is infinite."""
        if not self.centers:
            total = np.zeros(len(x), np.float32)
            for column, weight in enumerate(self.weights):
                total += np.float32(weight) * x[:, column].astype(np.float32)
            return self.respond(total + np.float32(self.bias))
        predicted = np.empty(len(x), np.float32)
        for start in range(0, len(x), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            with np.errstate(over="ignore"):
                predicted[part] = self.respond(self.compute(x[part]))
        return predicted

    def respond(self, sums: NDArray[Any]) -> NDArray[Any]:
        """Return what sums of the terms predict, in target units."""
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(sums)) if self.link == "log" else sums

    def compute(self, x: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Compute the sums of rows in float64 arithmetic, not rounded: with the link `log` they are logarithms."""
        centers, base = (self.centers, self.base) if self.centers else ((0.0,) * len(self.weights), self.bias)
        total = np.full(len(x), base)
        for column, (weight, center) in enumerate(zip(self.weights, centers, strict=True)):
            total += weight * (x[:, column].astype(np.float64) - center)
        return total

    def formula(self, features: list[str], target: str) -> str:
        """Write the model as people do, such as `MEDV = 3.3428 * RM + 1.2761`."""
        parts = [f"{_digits(weight)} * {name}" for weight, name in zip(self.weights, features, strict=True)]
        return write_formula(f"log({target})" if self.link == "log" else target, parts, self.bias)


def write_formula(target: str, parts: list[str], bias: float) -> str:
    """Write a sum as people do; of many parts the first ones."""
    more = [f"{len(parts) - SHOWN:,} more terms"] if len(parts) > SHOWN + 1 else []
    shown = parts[:SHOWN] if more else parts
    return f"{target} = {' + '.join([*shown, *more, _digits(bias)])}".replace("+ -", "- ")


def _digits(value: float) -> str:
    """Write a number with four decimals, or four digits where those would all be zeros."""
    return f"{value:.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:.4g}"


class Histogram(BaseModel):
    """Counts of values between edges; there is one edge more than there are counts."""

    edges: list[float]
    counts: list[int]


class IntervalBins(BaseModel):
    """The errors between which actual values should lie, by level of the prediction.

    Bin 0 holds the predictions below the first edge, bin 1 those from it on, and so on; values are compared as float32.
    """

    model_config = ConfigDict(frozen=True)

    edges: list[float]  # float32 values, rising; one bin more than there are edges
    lower: dict[str, list[float | None]]  # percent -> what is added to a prediction for its lower bound, by bin
    upper: dict[str, list[float | None]]  # the same for the upper bound; null where there were too few rows
    floor: float | None = None  # bounds below it are raised to it: 0 where the target is never negative
    rows: list[float] = []  # calibration rows of each bin, the heaviest as one; older versions have none
    mse: list[float] = []  # mean squared error of the calibration rows of each bin; older versions have none

    def sum_squares(self, predicted: NDArray[np.floating[Any]]) -> float | None:
        """Sum the squared errors that predictions are expected to have, each the mean of its bin.

        None where the version has no such means.
        """
        if not self.mse:
            return None
        values = np.asarray(predicted, np.float32)
        above = [int(np.count_nonzero(values >= np.float32(edge))) for edge in self.edges]
        return float(-np.diff([len(values), *above, 0]) @ np.array(self.mse))


class Term(BaseModel):
    """A fitted term in plain numbers: how the columns of a row become its contribution to the prediction.

    Contributions are computed in float64, from the left: a number is `(value - center) * weight`; a category is looked
    up in `levels`; slopes are `(value - center) * slope of the level`; a spline is the polynomial of the value's
    interval by Horner's rule, `((a3 * t + a2) * t + a1) * t + a0`.
    """

    model_config = ConfigDict(frozen=True)

    name: str  # the entry as it was given: column of contributions, plots, drift
    kind: Literal["number", "category", "spline", "slopes"]
    value: str = ""  # number, spline, slopes: canonical numeric expression
    label: str = ""  # category, slopes: canonical expression of the labels
    weight: float = 0.0  # number
    center: float = 0.0  # number, slopes: subtracted from the value
    levels: dict[str, float] = {}  # category: level -> contribution; slopes: level -> slope
    other: float = 0.0  # the same for levels that are rare, or not in `levels`
    rows: dict[str, int] = {}  # level -> rows that it was learned from; any other level is an unseen one
    knots: list[float] = []  # spline, rising: interval i is from knots[i - 1] to knots[i]
    polynomials: list[
        list[float]
    ] = []  # spline: a0 to a3 of each of len(knots) + 1 intervals, in t = value - its left knot (the first: its right)
    missing: float | None = None  # contribution where value or label is null; None: the row is rejected


Kind = Literal["number", "category", "time"]  # as which a column is read: float64, label, or microseconds since 1970


class ColumnChoice(BaseModel):
    """What became of a column of the table where nobody named terms."""

    model_config = ConfigDict(frozen=True)

    column: str
    kind: Literal["number", "category", "time", "role", "left out"]  # role: target, key, or named by the user
    entries: list[str] = []  # of features where it is a number, else of categories
    reason: str = ""


class AutoTerms(BaseModel):
    """The terms that were chosen for a table of which nobody named any."""

    model_config = ConfigDict(frozen=True)

    features: list[str]
    categories: list[str]
    missing: Literal["reject", "fill"]
    columns: list[ColumnChoice]  # of the table, in its order


class Candidate(BaseModel):
    """The model that was fitted on the train rows alone: all that measures a version measures it."""

    model_config = ConfigDict(frozen=True)

    weights: list[float]  # one a feature, in raw feature units; one a design column where there are terms
    bias: float
    centers: list[float] = []  # of float64 arithmetic, as of the version
    base: float = 0.0
    link: Link = "identity"  # that of the version
    terms: list[Term] = []  # those of the version with other numbers; empty where the version has none
    rows: int  # that it has learned from
    newest: datetime | None = None  # time of the newest of them, where the rows have times

    @property
    def linear_model(self) -> LinearModel:
        """The numbers alone that predict."""
        return LinearModel(tuple(self.weights), self.bias, tuple(self.centers), self.base, self.link)


class Uncertainty(BaseModel):
    """How certain a weight is, in its own unit; of a level of a category: its contribution."""

    model_config = ConfigDict(frozen=True)

    weight: float
    error: float  # standard error
    low: float  # 95% confidence interval, from here
    high: float  # to here
    inflation: float | None  # variance inflation factor; None where other columns explain this one wholly


class Learned(BaseModel):
    """What the model that predicts has learned from."""

    model_config = ConfigDict(frozen=True)

    rows: int
    newest: datetime | None = None  # time of the newest row, where the rows have times


class ModelVersion(BaseModel):
    """One version of the model, with what it was made from and how well it does."""

    model_config = ConfigDict(frozen=True)

    version: str
    features: list[str]  # names of the terms as they were given: features, then categories
    target: str  # the column, also where its logarithm is learned
    link: Link = "identity"  # log: the sum of base and contributions is the logarithm of a prediction
    labels: dict[str, str] = {}  # column -> what it means, with its unit; older versions have none
    weights: list[
        float
    ]  # of the model that predicts: one a feature, in raw feature units; float32 values in float32 arithmetic
    bias: float
    arithmetic: Literal["float32", "float64"] = "float32"  # in which it predicts, see LinearModel
    centers: list[float] = []  # of float64 arithmetic: what is subtracted from each feature
    base: float = 0.0  # of float64 arithmetic: the prediction at the centers
    terms: list[Term] = []  # what predicts; empty where each feature is a column of numbers, see `all_terms`
    design: list[str] = []  # names of the design columns, to which weights and centers belong where there are terms
    columns: dict[str, Kind] = {}  # that a prediction reads; older versions have none: then the features are numbers
    candidate: Candidate | None = None  # None where the model that predicts is the candidate, as in older versions
    learned: Learned | None = None  # what the model that predicts has learned from; older versions have none
    signs: dict[str, Any] = {}  # which signs of weights are binding and what they cost, where `training` has signs
    auto: AutoTerms | None = None  # how the terms were chosen; None where they were named
    past: dict[str, Any] = {}  # how much of the past that is, from what it was chosen, and why
    uncertainty: dict[str, Uncertainty] = {}  # design column -> of its weight; older versions have none
    uncertainty_method: str = ""  # HC3, HC1 or classical; empty where `uncertainty` is
    uncertainty_reason: str = ""  # why there is no uncertainty, in a sentence
    effects: dict[str, float] = {}  # feature -> weight times its standard deviation among the fitted rows, target units
    ranges: dict[str, tuple[float, float]]  # feature -> least and greatest value among the fitted rows
    intervals: dict[str, float | None]  # percent -> half width of the candidate's interval, in target units
    interval_bins: IntervalBins | None = None  # the interval by level of the prediction; where missing, `intervals` is
    interval_rows: str = ""  # on which rows' errors `interval_bins` is calibrated
    coverage: float | None  # share of the test rows within the candidate's 90% interval
    coverage_deciles: list[float | None] = []  # the same by decile of the prediction, lowest first
    targets: Histogram  # of the fitted rows
    mean: float | None = None  # of the targets that the candidate has learned from; older versions do not say it
    contract: dict[
        str, dict[str, Any]
    ] = {}  # profile: column -> statistics of its fitted rows; older versions have none
    predictions: dict[str, Any] = {}  # the same of the predictions for its fitted rows
    test_errors: list[float] = []  # absolute errors of the candidate on the test rows at 0, 1, ..., 100%
    dataset: dict[str, Any]
    training: dict[str, Any]
    metrics: dict[str, Any]
    lineage: dict[str, Any]
    fingerprint: str  # digest of all that decides the outcome
    created_at: datetime

    @property
    def shares(self) -> dict[str, float]:
        """Feature -> its share of all effects, greatest first: of the predictions' spread, were none correlated."""
        total = sum(map(abs, self.effects.values())) or 1.0
        shares = {name: abs(effect) / total for name, effect in self.effects.items()}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    @property
    def bounds(self) -> dict[str, Limits]:
        """Column -> the least and the greatest value that it may have; only those that the dataset's bounds name."""
        return dict(map(read_bounds, self.dataset.get("bounds", [])))

    @property
    def linear_model(self) -> LinearModel:
        """The numbers alone that predict."""
        return LinearModel(tuple(self.weights), self.bias, tuple(self.centers), self.base, self.link)

    @property
    def formula(self) -> str:
        """The model as people write it; a term that is no number times a weight is shown as a function."""
        if not self.terms:
            return self.linear_model.formula(self.features, self.target)
        numbers = [term for term in self.terms if term.kind == "number"]
        bias = self.base - sum(term.weight * term.center for term in numbers)
        parts = [
            f"{_digits(term.weight)} * {term.name}" if term.kind == "number" else f"f({term.name})"
            for term in self.terms
        ]
        return write_formula(f"log({self.target})" if self.link == "log" else self.target, parts, bias)

    @property
    def all_terms(self) -> list[Term]:
        """The terms of the model that predicts, also where each is a column of numbers."""
        return self.terms or _list_numbers(self.features, self.linear_model)

    @property
    def candidate_terms(self) -> list[Term]:
        """The terms of the candidate, which is the model that predicts where none was refitted."""
        if self.candidate is None:
            return self.all_terms
        return self.candidate.terms or _list_numbers(self.features, self.candidate_model)

    @property
    def kinds(self) -> dict[str, Kind]:
        """The columns that a prediction reads, and as what."""
        return self.columns or dict.fromkeys(self.features, "number")

    @property
    def candidate_model(self) -> LinearModel:
        """The model that has not learned from the test rows, so that versions can be compared on them."""
        if self.candidate is None:
            return self.linear_model
        return self.candidate.linear_model

    @property
    def is_refitted(self) -> bool:
        """Whether the model that predicts is another one than the candidate that was measured."""
        return self.candidate is not None


def _list_numbers(names: list[str], model: LinearModel) -> list[Term]:
    """List columns of numbers as terms."""
    centers = model.centers or (0.0,) * len(names)
    return [
        Term(name=name, kind="number", value="`" + name.replace("`", "``") + "`", weight=weight, center=center)
        for name, weight, center in zip(names, model.weights, centers, strict=True)
    ]
