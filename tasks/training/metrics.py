"""How good the neuron is, beside the mean predictor and least squares."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.dataset.rows import Floats, Predictions, Rows, Split, cut_rows
from tasks.dataset.split import example_inputs
from tasks.model import LinearModel
from tasks.parameters import ExampleInputs
from tasks.steps import get_logger, task
from tasks.training.interval import interval_half_widths, measure_coverage
from tasks.training.results import Evaluation, TrainingResult

MODELS = {"neuron": "Neuron", "mean": "Mean predictor", "least_squares": "Least squares"}  # in metrics.json: in words


def measure_errors(actual: Floats, predicted: NDArray[np.floating[Any]]) -> dict[str, float | None]:
    """Compute mean squared error, its root, mean absolute error (target units) and R2; all None without rows.

    R2 compares with the variance of the targets, and is None where they do not vary.
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
    """Fit ordinary least squares, in bounded memory.

    Columns are centred and scaled first, so that a column of large numbers costs no digits. Each range of rows is
    reduced to the triangle of its QR decomposition together with the one before it, which loses none either.
    Where columns depend on each other, the smallest weights among the best are taken.

    Source: "Matrix Computations" (4th edition, Johns Hopkins, 2013), section 5.2 on QR and 6.5 on adding rows to it.
    """
    centre, mean, parts = rows.x.mean(axis=0), rows.y.mean(), cut_rows(len(rows))
    scale = np.sqrt(sum(np.sum((rows.x[part] - centre) ** 2, axis=0) for part in parts) / len(rows))
    scale[scale == 0] = 1
    reduced = np.zeros((0, rows.x.shape[1] + 1))
    for part in parts:
        scaled = np.column_stack([(rows.x[part] - centre) / scale, rows.y[part] - mean])
        reduced = np.vstack([reduced, scaled])
        if len(parts) > 1:
            reduced = np.asarray(np.linalg.qr(reduced, mode="r"))
    scaled_weights, *_ = np.linalg.lstsq(reduced[:, :-1], reduced[:, -1], rcond=None)
    weights = scaled_weights / scale
    return LinearModel(tuple(weights.tolist()), float(mean - centre @ weights))


def measure_models(
    rows: Rows, predicted: Predictions, mean: float, least_squares: LinearModel
) -> dict[str, dict[str, float | None]]:
    """Measure on some rows the neuron, by what it predicts for them, the mean predictor and least squares."""
    return {
        "neuron": measure_errors(rows.y, predicted),
        "mean": measure_errors(rows.y, np.full(len(rows), mean)),
        "least_squares": measure_errors(rows.y, rows.x @ least_squares.weights + least_squares.bias),
    }


def compare_models(split: Split, predicted: dict[str, Predictions], least_squares: LinearModel) -> dict[str, Any]:
    """Compute the content of `metrics.json`: for train, validation and test rows, each model's errors.

    The mean predictor is that of the train rows, which the neuron and least squares were fitted on too.
    """
    mean = float(split.train.y.mean())
    return {
        part: {"rows": len(rows), **measure_models(rows, predicted[part], mean, least_squares)}
        for part, rows in split.parts.items()
    }


@task("Evaluate on the test rows")
def evaluate(split: Split, result: TrainingResult, table: ExampleInputs) -> Evaluation:
    """Predict every row once, and measure the errors of the neuron, the mean predictor and least squares."""
    examples, model = example_inputs(split, table.values), result.linear_model
    inputs = {part: rows.x for part, rows in split.parts.items()} | {"examples": examples}
    predicted = {part: model.predict(x) for part, x in inputs.items()}
    least_squares = fit_least_squares(split.train)
    metrics = compare_models(split, predicted, least_squares)
    get_logger().info("Test MSE: %s", ", ".join(f"{name} {metrics['test'][name]['mse']:.4f}" for name in MODELS))
    intervals = interval_half_widths(split.validation.y, predicted["validation"])
    coverage = measure_coverage(split.test.y, predicted["test"], intervals["90"])
    return Evaluation(result, least_squares, predicted, examples, metrics, intervals, coverage)
