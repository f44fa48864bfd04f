"""Scores are compared with the mean predictor and least squares, on tables small enough to check by hand."""

import numpy as np
import pytest

from linear_neuron.tasks.dataset.rows import Column, Rows
from linear_neuron.tasks.model import LinearModel
from linear_neuron.tasks.parameters import ExampleInputs, Training
from linear_neuron.tasks.training.metrics import (
    compare_models,
    evaluate,
    fit_least_squares,
    interval_half_widths,
    measure_coverage,
    measure_errors,
)
from linear_neuron.tasks.training.results import TrainingResult
from tests.helpers import fit_alone, make_split


def rows(x: list[float], y: list[float]) -> Rows:
    return Rows(np.array(x, float)[:, None], np.array(y, float), np.arange(len(y)))


def test_scores_of_three_rows() -> None:
    scores = measure_errors(np.array([1.0, 2.0, 6.0]), np.array([2.0, 2.0, 4.0]))
    assert scores["mse"] == pytest.approx(5 / 3)
    assert scores["rmse"] == pytest.approx((5 / 3) ** 0.5)
    assert scores["mae"] == 1
    assert scores["r2"] == pytest.approx(1 - 5 / 14)


def test_r2_is_the_same_in_smaller_units() -> None:
    assert measure_errors(np.array([0.1, 0.2, 0.6]), np.array([0.2, 0.2, 0.4]))["r2"] == pytest.approx(1 - 5 / 14)


def test_r2_is_none_where_the_target_does_not_vary() -> None:
    assert measure_errors(np.array([2.0, 2.0]), np.array([2.0, 3.0]))["r2"] is None


def test_no_rows_have_no_scores() -> None:
    assert measure_errors(np.array([]), np.array([])) == {"mse": None, "rmse": None, "mae": None, "r2": None}


def test_least_squares_finds_the_line_through_points_on_a_line() -> None:
    line = fit_least_squares(rows([1, 2, 4], [5, 7, 11]))
    assert line.weights == pytest.approx((2,))
    assert line.bias == pytest.approx(3)


def test_least_squares_of_a_big_table_is_that_of_all_its_rows() -> None:
    rng = np.random.default_rng(1)
    x = np.column_stack([1e8 + rng.exponential(size=150_000), -1e-6 * rng.exponential(size=150_000)])
    y = 7 + 2 * x[:, 0] - 3e6 * x[:, 1]
    line = fit_least_squares(Rows(x, y, np.arange(150_000)))
    assert line.weights == pytest.approx((2, -3e6), rel=1e-6)
    assert line.bias == pytest.approx(7, abs=1)


def test_least_squares_loses_no_digits_to_a_large_target() -> None:
    line = fit_least_squares(rows([0, 2, 3], [1e12 + 1, 1e12 + 5, 1e12 + 7]))
    assert line.weights == pytest.approx((2,), rel=1e-10)


def test_least_squares_of_a_constant_feature_is_the_mean() -> None:
    line = fit_least_squares(rows([5, 5, 5], [1, 2, 6]))
    assert line.weights == (0,)
    assert line.bias == pytest.approx(3)


def test_neuron_mean_and_least_squares_are_scored_on_every_part() -> None:
    split = make_split((Column("x", ""),), Column("y", ""), rows([0, 1], [0, 2]), rows([], []), rows([2], [5]))
    predicted = {part: some.x[:, 0].astype(np.float32) for part, some in split.parts.items()}
    metrics = compare_models(split, predicted, LinearModel((2.0,), 2.0))
    assert {part: scores["rows"] for part, scores in metrics.items()} == {"train": 2, "validation": 0, "test": 1}
    assert metrics["test"]["neuron"]["mse"] == 9
    assert metrics["test"]["mean"]["mse"] == 16
    assert metrics["test"]["least_squares"]["mse"] == 1
    assert metrics["validation"]["neuron"]["mse"] is None


def test_every_row_and_example_is_predicted() -> None:
    split = make_split((Column("x", ""),), Column("y", ""), rows([0, 1], [0, 2]), rows([3], [1]), rows([2], [5]))
    result = TrainingResult(Training(), LinearModel((3.0,), 1.0), (1.0,), (), "")
    evaluation = evaluate.fn(*fit_alone(split, result), ExampleInputs(values=[10]))
    assert {part: values.tolist() for part, values in evaluation.predicted.items()} == {
        "train": [1, 4],
        "validation": [10],
        "test": [7],
        "examples": [31],
    }
    assert evaluation.metrics["test"]["neuron"]["mse"] == 4
    assert (evaluation.intervals["50"], evaluation.intervals["51"]) == (9, None)
    assert evaluation.coverage is None
    assert evaluation.examples.tolist() == [[10]]


def test_interval_takes_the_conformal_rank_of_the_residuals() -> None:
    widths = interval_half_widths(np.arange(1.0, 10.0), np.zeros(9, np.float32))
    assert (widths["50"], widths["80"], widths["90"]) == (5, 8, 9)
    assert widths["91"] is None, "ten residuals would be needed"
    assert list(widths) == [str(percent) for percent in range(50, 100)]
    assert interval_half_widths(np.arange(1.0, 200.0), np.zeros(199, np.float32))["99"] == 198


def test_coverage_is_measured_from_the_predictions() -> None:
    assert measure_coverage(np.array([5.0, 6.0]), np.array([4.0, 9.0], np.float32), 1.0) == 0.5


def test_coverage_is_the_share_of_rows_within_the_interval() -> None:
    actual, predicted = np.array([1.0, -2, 3, 9]), np.zeros(4, np.float32)
    assert measure_coverage(actual, predicted, 3.0) == 0.75
    assert measure_coverage(actual, predicted, None) is None
