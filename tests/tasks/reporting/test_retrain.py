"""The report says in words how good the neuron is."""

import re

import numpy as np
import pytest

from tasks.model import LinearModel
from tasks.parameters import Training
from tasks.registry.champion import PromotionDecision
from tasks.reporting.markdown import as_table, number, render_page
from tasks.reporting.retrain import describe_distance, write_markdown
from tasks.storage.store import Store
from tasks.training.results import Evaluation, TrainingResult
from tests.helpers import make_version

TAGS = {"h1", "h2", "p", "strong", "code", "pre", "table", "thead", "tbody", "tr", "th", "td"}


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


def test_the_report_tells_the_outcome_first_and_then_everything_else(store: Store) -> None:
    metrics = {"test": scores(57.83, 84.48, 37.81)}
    model = make_version(store, "v1", labels={"MEDV": "median price [$K]"}, metrics=metrics)
    result = TrainingResult(Training(), LinearModel((3.0,), 1.0), (1.0,), (), "one Dense unit")
    predicted = {"examples": np.array([10.0, 13.0], np.float32)}
    evaluation = Evaluation(result, LinearModel((0.0,), 0.0), predicted, np.array([[3.0], [4.0]]), metrics, {}, None)
    decision = PromotionDecision(False, "it is worse.", {}, None)
    lines = write_markdown(model, evaluation, decision, ["![loss](data:)\n\nHow it fell."], ["## Changed"]).splitlines()
    assert lines[0] == "# MEDV from RM: version v1"
    assert lines[2].startswith(
        "The neuron is `MEDV = 3.0000 * RM + 1.0000`. On 102 test rows its mean squared error is "
    )
    assert lines[4] == (
        "The interval is the prediction ±10.00 (90%, split-conformal); "
        "on the model's test rows its 90% interval held 90% of the time."
    )
    assert lines[6] == "**Not promoted:** it is worse."
    assert lines[10:13] == [
        "| rows | model | MSE |",
        "| --- | --- | --- |",
        "| test (102) | Neuron | 57.83 |",
    ]
    assert "Errors are in the unit of the target: median price [$K]; MSE in its square." in lines
    examples = [line for line in lines[lines.index("## Predictions") :] if line.startswith("|")][:4]
    assert examples == ["| RM | predicted |", "| --- | --- |", "| 3.00 | $10.0K |", "| 4.00 | $13.0K |"]
    headings = [line[3:] for line in lines if line.startswith("## ")]
    assert headings == [
        "How good it is",
        "Changed",
        "Predictions",
        "Plots",
        "Recipe",
        "Data",
        "Lineage",
        "Model summary",
    ]
    assert "| optimizer | RMSprop |" in lines
    assert "| remarks | none |" in lines
    assert lines.index("How it fell.") > lines.index("## Plots")
    assert "one Dense unit" in lines


@pytest.mark.parametrize("name", ["[a](http://b)", "![i](http://c/x.png)", "<script>", "a|b`", "x\n\n# y"])
def test_a_hostile_name_makes_nothing_in_the_report(store: Store, name: str) -> None:
    metrics = {"test": scores(57.83, 84.48, 37.81)}
    dataset = {"name": name, "remarks": [name, "https://z"], "columns": {name: name}}
    model = make_version(
        store, "v1", features=[name], target=name, labels={name: name}, metrics=metrics, dataset=dataset
    )
    result = TrainingResult(Training(), LinearModel((3.0,), 1.0), (1.0,), (), "one Dense unit")
    predicted = {"examples": np.array([10.0], np.float32)}
    evaluation = Evaluation(result, LinearModel((0.0,), 0.0), predicted, np.array([[3.0]]), metrics, {}, None)
    decision = PromotionDecision(False, f"the champion predicts {name}.", {}, None)
    page = render_page(write_markdown(model, evaluation, decision, [], []), "v1").partition("<body>")[2]
    assert set(re.findall(r"<(\w+)", page)) <= TAGS
    assert page.count("<h1>") == 1
    assert page.count("<th>") == 11, "three of metrics, two of examples, and two for each of recipe, data and lineage"


def test_several_features_are_reported_with_their_shares(store: Store) -> None:
    metrics = {"test": scores(20.0, 84.48, 20.0)}
    model = make_version(
        store,
        "v1",
        features=["RM", "LSTAT", "AGE", "TAX"],
        weights=[3.0, -0.5, 1e-7, 0.0],
        effects={"RM": 2.0, "LSTAT": -6.0, "AGE": 1e-6, "TAX": 0.0},
        labels={"MEDV": "median price [$K]"},
        metrics=metrics,
    )
    line = LinearModel(tuple(model.weights), 1.0)
    result = TrainingResult(Training(), line, (1.0,), (), "one Dense unit", ("Allow more epochs.",))
    examples = np.array([[3.0, 12.0, 70.0, 0.0], [4.0, 12.0, 70.0, 0.0]])
    evaluation = Evaluation(result, line, {"examples": np.array([10.0, 13.0], np.float32)}, examples, metrics, {}, None)
    lines = write_markdown(model, evaluation, PromotionDecision(True, "it is better.", {}, None), [], []).splitlines()
    assert lines[0] == "# MEDV from 4 features: version v1"
    assert "`MEDV = 3.0000 * RM - 0.5000 * LSTAT + 1e-07 * AGE + 0.0000 * TAX + 1.0000`" in lines[2]
    assert lines[6] == "Allow more epochs."
    start = lines.index("## Weights") + 2
    assert lines[start : start + 6] == [
        "| feature | weight | effect of one standard deviation | share |",
        "| --- | --- | --- | --- |",
        "| LSTAT | -0.5000 | -6 | 75% |",
        "| RM | 3.00 | +2 | 25% |",
        "| AGE | 1e-07 | +1e-06 | 0% |",
        "| TAX | 0.0000 | +0 | 0% |",
    ]
    assert "The others stand at their mean: LSTAT 12.00, AGE 70.00, TAX 0.0000." in lines


def test_numbers_and_tables() -> None:
    assert [number(57.8265), number(0.30534), number(None)] == ["57.83", "0.3053", "-"]
    assert as_table(["a", ""], [[1, ""]]) == "| a |  |\n| --- | --- |\n| 1 | none |"
    assert [number(4.20977e-8), number(-0.00052), number(0.0)] == ["4.21e-08", "-0.00052", "0.0000"]
    assert as_table(["a", "b"], [[1, 2]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_page_keeps_pictures_inside() -> None:
    page = render_page("# Hello\n\n![loss](data:image/png;base64,AAAA)\n\n" + as_table(["a"], [[1]]), "a title")
    assert "<td>1</td>" in page
    assert '<img src="data:image/png;base64,AAAA" alt="loss" />' in page
    assert "<title>a title</title>" in page
