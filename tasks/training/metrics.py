"""How good the neuron is, beside two things it can't argue with."""

from typing import Any

import numpy as np

from tasks.dataset.rows import Floats, Rows, Split
from tasks.model import LinearModel
from tasks.steps import get_logger, task
from tasks.training.interval import interval_half_widths, measure_coverage
from tasks.training.results import Evaluation, TrainingResult

MODELS = ("neuron", "mean", "least_squares")


def score(actual: Floats, predicted: Floats) -> dict[str, float | None]:
    """Mean squared error, its root, mean absolute error (target units) and R2; none without rows.

    R2 is none where the targets do not vary, since it compares with their variance.
    """
    if not len(actual):
        return dict.fromkeys(("mse", "rmse", "mae", "r2"))
    errors = actual - predicted
    mse, variance = float(np.mean(errors**2)), float(np.var(actual))
    return {
        "mse": mse,
        "rmse": mse**0.5,
        "mae": float(np.mean(np.abs(errors))),
        "r2": 1 - mse / variance if variance > 0 else None,
    }


def fit_least_squares(rows: Rows) -> LinearModel:
    """Ordinary least squares in closed form.

    Columns are centred and scaled first, which changes nothing but the rounding, so that a column of large numbers
    costs no digits; where columns depend on each other, the smallest weights among the best are taken.
    """
    centre, scale = rows.x.mean(axis=0), rows.x.std(axis=0)
    scale[scale == 0] = 1
    scaled, *_ = np.linalg.lstsq((rows.x - centre) / scale, rows.y - rows.y.mean(), rcond=None)
    weights = scaled / scale
    return LinearModel(tuple(weights.tolist()), float(rows.y.mean() - centre @ weights))


def compare_models(split: Split, neuron: LinearModel, least_squares: LinearModel) -> dict[str, Any]:
    """The content of `metrics.json`: for train, validation and test rows, each model's scores.

    The mean predictor is that of the train rows, which the neuron and the closed form were fitted on too.
    """
    mean = split.train.y.mean()

    def part(rows: Rows) -> dict[str, Any]:
        return {
            "rows": len(rows),
            "neuron": score(rows.y, neuron.predict(rows.x).astype(np.float64)),
            "mean": score(rows.y, np.full(len(rows), mean)),
            "least_squares": score(rows.y, rows.x @ least_squares.weights + least_squares.bias),
        }

    return {"train": part(split.train), "validation": part(split.validation), "test": part(split.test)}


@task("Evaluate on the test rows")
def evaluate(split: Split, trained: TrainingResult) -> Evaluation:
    """Scores the neuron, the mean predictor and the closed form on every part of the rows."""
    least_squares = fit_least_squares(split.train)
    metrics = compare_models(split, trained.linear_model, least_squares)
    intervals = interval_half_widths(split.validation, trained.linear_model)
    test = metrics["test"]
    get_logger().info("Test MSE: %s", ", ".join(f"{name} {test[name]['mse']:.4f}" for name in MODELS))
    return Evaluation(
        metrics, least_squares, intervals, measure_coverage(split.test, trained.linear_model, intervals["90"])
    )
