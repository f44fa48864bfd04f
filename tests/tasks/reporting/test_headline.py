"""The headline says how good a model is in the unit of the target."""

from typing import Any

import pytest

from linear_neuron.tasks.reporting.headline import describe_errors, describe_gain, draw_errors, find_unit, join_lines

TEST: dict[str, Any] = {
    "rows": 1102,
    "neuron": {"mse": 1446075163.25, "rmse": 38027.3, "mae": 26014.2, "r2": 0.774},
    "mean": {"mse": 6400000000.0, "rmse": 80000.0, "mae": 60000.0, "r2": -0.0001},
    "least_squares": {"mse": 1440000000.0, "rmse": 37947.3, "mae": 26010.0, "r2": 0.775},
}


def test_terminal_shows_rmse_and_typical_error_first() -> None:
    assert draw_errors(TEST) == [
        "  RMSE  typical error (MAE)       R²  below the mean's RMSE            MSE",
        "38,027               26,014   0.7740                    52%  1,446,075,163  neuron",
        "80,000               60,000  -0.0001                      -  6,400,000,000  mean predictor",
        "37,947               26,010   0.7750                    53%  1,440,000,000  least squares",
    ]


def test_sentence_names_unit_typical_error_and_gain() -> None:
    assert describe_errors(TEST, "$").startswith(
        "On 1,102 test rows its RMSE is **38,027** in $, its typical error (MAE) **26,014**, R² 0.7740, 52% below the "
        "80,000 of always predicting the mean."
    )


def test_sentence_of_an_older_version_has_its_rmse() -> None:
    test = {"rows": 9, "neuron": {"mse": 4.0}, "mean": {"mse": 0.0}}
    assert describe_errors(test, "") == (
        "On 9 test rows its RMSE is **2.00**, beside the 0.0000 of always predicting the mean. "
    )


@pytest.mark.parametrize(
    ("rmse", "mean", "shown"),
    [(7.6, 9.2, "17%"), (9.0, 9.02, "0.2%"), (10.0, 9.0, "-11%"), (1, 0, "-"), (None, 1, "-")],
)
def test_gain_over_the_mean_predictor_has_a_digit_where_small(rmse: float, mean: float, shown: str) -> None:
    assert describe_gain(rmse, mean) == shown


@pytest.mark.parametrize(("label", "unit"), [("median price [$K]", "$K"), ("price", ""), ("a[1]", "")])
def test_unit_is_what_a_label_ends_with(label: str, unit: str) -> None:
    assert find_unit(label) == unit


def test_lines_are_joined_below_a_name() -> None:
    assert join_lines("Test errors", ["a", "b"]) == "Test errors   a\n              b"
