"""How good the neuron is, beside the mean predictor and least squares."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linear_neuron.tasks.dataset.design_matrix import predict, predict_effect
from linear_neuron.tasks.dataset.rows import Floats, Predictions, Rows, Split, copy_column, cut_rows, read_ranges
from linear_neuron.tasks.dataset.slices import cut_slices, measure_slices
from linear_neuron.tasks.dataset.split import example_inputs
from linear_neuron.tasks.model import LinearModel
from linear_neuron.tasks.parameters import ExampleInputs
from linear_neuron.tasks.steps import get_logger, task
from linear_neuron.tasks.text import number
from linear_neuron.tasks.training.basis import PRECISION, describe_rounding
from linear_neuron.tasks.training.calibration import calibrate
from linear_neuron.tasks.training.fit_data import FitData
from linear_neuron.tasks.training.interval import find_inside
from linear_neuron.tasks.training.results import Evaluation, Fitted


def interval_half_widths(actual: Floats, predicted: Predictions) -> dict[str, float | None]:
    """Compute split-conformal half widths of the prediction interval, by percent of coverage from 50 to 99.

    The half width for a coverage p is the ceil((n + 1) p)-th smallest of the n absolute residuals of rows that were
    not fitted; it is None where n is too small for that. Source: "Distribution-Free Predictive Inference for
    Regression", Journal of the American Statistical Association 113 (2018), section 2.
    """
    count, residuals = len(actual), np.sort(np.abs(actual - predicted))
    ranks = {percent: -(-(count + 1) * percent // 100) for percent in range(50, 100)}  # ceiling division
    return {str(p): float(residuals[rank - 1]) if rank <= count else None for p, rank in ranks.items()}


def measure_coverage(actual: Floats, predicted: Predictions, half_width: float | None) -> float | None:
    """Compute the share of rows whose target lies within the half width of its prediction, if there are any."""
    if half_width is None or not len(actual):
        return None
    return float(np.mean(np.abs(actual - predicted) <= half_width))


MODELS = {"neuron": "Neuron", "mean": "Mean predictor", "least_squares": "Least squares"}  # in metrics.json: in words


def measure_errors(actual: Floats, predicted: NDArray[np.floating[Any]]) -> dict[str, float | None]:
    """Compute mean squared error, its root, mean absolute error (target units) and R2; all None without rows.

    R2 compares with the variance of the targets, and is None where they do not vary.
    """
    if not len(actual):
        return dict.fromkeys(("mse", "rmse", "mae", "r2"))
    variance, errors = float(np.var(actual)), np.asarray(actual - predicted, np.float64)
    mae = float(np.mean(np.abs(errors, out=errors)))  # In place, since a copy takes as much memory as the rows.
    mse = float(np.mean(np.square(errors, out=errors)))
    return {
        "mse": mse,
        "rmse": mse**0.5,
        "mae": mae,
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
    line = np.empty(len(rows))
    for part, x in read_ranges(rows.x):
        line[part] = x @ least_squares.weights + least_squares.bias
    return {
        "neuron": measure_errors(rows.y, predicted),
        "mean": measure_errors(rows.y, np.asarray(mean)),
        "least_squares": measure_errors(rows.y, least_squares.respond(line)),
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
def evaluate(data: FitData, fitted: Fitted, table: ExampleInputs) -> Evaluation:
    """Predict every row once with the candidate, and measure its errors beside the mean predictor and least squares."""
    split, result = data.split, fitted.candidate
    model, served, names = result.linear_model, fitted.served.linear_model, tuple[str, ...]()
    predicted = {part: predict(split, model, rows) for part, rows in split.parts.items()}
    if split.terms:
        name, examples, predicted["examples"] = predict_effect(split, served, table.values)
        names = (name,)
    else:
        examples = example_inputs(split, table.values)
        predicted["examples"] = served.predict(examples)
    least_squares = data.solve(data.parts["train"]) if data.parts else fit_least_squares(split.train)
    metrics = compare_models(split, predicted, least_squares)
    shown = ", ".join(f"{name} {number(metrics['test'][name]['rmse'])}" for name in MODELS)
    get_logger().info("Test RMSE: %s", shown)
    if data.parts:
        exact, variance = data.parts["train"].measure_mse(model), float(data.parts["train"].variances[-1])
        rounded = float(metrics["train"]["neuron"]["mse"])
        same = not data.past.half_life and split.link == "identity"  # Only then both are means over the same squares.
        found = describe_rounding(rounded, exact, PRECISION * variance) if same else ()
        for remark in found:
            get_logger().warning(remark)
        result = replace(result, remarks=(*result.remarks, *found))
    intervals = interval_half_widths(split.validation.y, predicted["validation"])
    coverage = measure_coverage(split.test.y, predicted["test"], intervals["90"])
    inside = None if intervals["90"] is None else np.abs(split.test.y - predicted["test"]) <= intervals["90"]
    evaluation = Evaluation(
        result, least_squares, predicted, examples, metrics, intervals, coverage, data, example_names=names
    )
    if data.served is not None:
        own, fields = calibrate(data, predicted)
        remarks = tuple(fitted.served_remarks)
        evaluation = replace(evaluation, served=fitted.served, served_remarks=remarks, **fields)
        inside = find_inside(own, split.test.y, predicted["test"])
    groups = cut_slices(split.raw, split.terms, split.test, predicted["test"])
    slices = measure_slices(groups, copy_column(split.test.y), predicted["test"], inside)
    metrics["test"]["slices"] = [one.model_dump() for one in slices]
    return evaluation
