"""The report says in words how good the neuron is."""

import pytest

from tasks.reporting.markdown import as_table, number, render_page
from tasks.reporting.retrain import describe_distance


def scores(neuron: float, mean: float, least: float) -> dict[str, object]:
    return {"rows": 102, "neuron": {"mse": neuron}, "mean": {"mse": mean}, "least_squares": {"mse": least}}


@pytest.mark.parametrize(
    ("mse", "words"),
    [
        (57.83, "stops well above least squares: its error is 53% higher, and it has covered 57% of the way down"),
        (40.0, "is close to least squares: its error is 6% higher"),
        (37.9, "has reached least squares"),
        (90.0, "no better than the mean predictor: it should not serve"),
    ],
)
def test_distance_from_least_squares_is_put_in_words(mse: float, words: str) -> None:
    message = describe_distance(scores(mse, 84.48, 37.81))
    assert words in message
    assert f"**{mse:.2f}**, beside 84.48 for always predicting the mean and 37.81 for least squares" in message


def test_no_test_rows_are_admitted() -> None:
    assert "nothing is known" in describe_distance({"rows": 0})


def test_numbers_and_tables() -> None:
    assert [number(57.8265), number(0.30534), number(None)] == ["57.83", "0.3053", "-"]
    assert as_table(["a", "b"], [[1, 2]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_page_keeps_pictures_inside() -> None:
    page = render_page("# Hello\n\n![loss](data:image/png;base64,AAAA)", "a title")
    assert '<img src="data:image/png;base64,AAAA" alt="loss" />' in page
    assert "<title>a title</title>" in page
