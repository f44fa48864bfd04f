"""The model as plain numbers: what `model.json` holds, and all that a prediction needs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class LinearModel:
    """A linear model: one weight a feature, in raw feature units, and a bias in target units."""

    weights: tuple[float, ...]
    bias: float

    def predict(self, x: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Predict rows of shape (n, features): `bias + sum(weight_i * feature_i)` in float32, feature by feature."""
        total = np.zeros(len(x), np.float32)
        for column, weight in enumerate(self.weights):
            total += np.float32(weight) * x[:, column].astype(np.float32)
        return total + np.float32(self.bias)

    def formula(self, features: list[str], target: str) -> str:
        """Write the model as people do, such as `MEDV = 3.3428 * RM + 1.2761`."""
        terms = " + ".join(f"{_digits(weight)} * {name}" for weight, name in zip(self.weights, features, strict=True))
        return f"{target} = {terms} + {_digits(self.bias)}".replace("+ -", "- ")


def _digits(value: float) -> str:
    """Write a number with four decimals, or four digits where those would all be zeros."""
    return f"{value:.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:.4g}"


class Histogram(BaseModel):
    """Counts of values between edges; there is one edge more than there are counts."""

    edges: list[float]
    counts: list[int]


class ModelVersion(BaseModel):
    """One version of the model, with what it was made from and how well it does."""

    model_config = ConfigDict(frozen=True)

    version: str
    features: list[str]
    target: str
    labels: dict[str, str] = {}  # column -> what it means, with its unit; older versions have none
    weights: list[float]  # float32 values, one a feature, in raw feature units
    bias: float
    effects: dict[str, float] = {}  # feature -> weight times its standard deviation among the fitted rows, target units
    ranges: dict[str, tuple[float, float]]  # feature -> least and greatest value among the fitted rows
    intervals: dict[str, float | None]  # percent -> half width of the prediction interval, in target units
    coverage: float | None  # share of the test rows within the 90% interval
    targets: Histogram  # of the fitted rows
    contract: dict[str, dict[str, Any]] = {}  # column -> what its fitted rows were like; older versions have none
    predictions: dict[str, Any] = {}  # what those for its fitted rows were like, as a column of the contract
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
    def linear_model(self) -> LinearModel:
        """Weights and bias alone, which is all that predicts."""
        return LinearModel(tuple(self.weights), self.bias)
