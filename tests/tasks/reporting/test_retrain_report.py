"""The report says in words how good the neuron is."""

import re
from typing import Any

import numpy as np
import pytest

from linear_neuron.tasks.dataset.rows import Column, Rows
from linear_neuron.tasks.model import LinearModel
from linear_neuron.tasks.parameters import Training
from linear_neuron.tasks.registry.champion import PromotionDecision
from linear_neuron.tasks.reporting.page import as_table, describe_constraints, list_facts, render_page, shorten_reason
from linear_neuron.tasks.reporting.retrain_report import (
    describe_distance,
    describe_signs,
    summarize,
    write_markdown,
    write_verdict,
)
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.text import number
from linear_neuron.tasks.training.fit_data import FitData
from linear_neuron.tasks.training.metrics import MODELS
from linear_neuron.tasks.training.past import ALL, Choice
from linear_neuron.tasks.training.results import Evaluation, TrainingResult
from tests.helpers import make_split, make_version

NO_ROWS = Rows(np.empty((0, 1)), np.empty(0), np.arange(0))
DATA = FitData(make_split((Column("RM", "rooms"),), Column("MEDV", "price"), NO_ROWS), Choice(ALL, ""))
TAGS = {"h1", "h2", "p", "strong", "code", "pre", "table", "thead", "tbody", "tr", "th", "td"}


def scores(neuron: float, mean: float, least: float) -> dict[str, object]:
    return {"rows": 102, "neuron": {"mse": neuron}, "mean": {"mse": mean}, "least_squares": {"mse": least}}


@pytest.mark.parametrize(
    ("mse", "words"),
    [
        (57.83, "stops well above least squares: its MSE is 53% higher, and it has covered 57% of the way down"),
        (40.0, "is close to least squares: its MSE is 6% higher"),
        (37.9, "has reached least squares"),
        (90.0, "no better than the mean predictor: it should not serve"),
    ],
)
def test_distance_from_least_squares_is_put_in_words(mse: float, words: str) -> None:
    message = describe_distance(scores(mse, 84.48, 37.81), unit="$K")
    assert words in message
    assert message.startswith(f"On 102 test rows its RMSE is **{mse**0.5:.2f}** in $K, ")
    assert (
        "the 9.19 of always predicting the mean. Least squares, the best line for the train rows, has 6.15" in message
    )


def test_no_test_rows_are_admitted() -> None:
    assert "nothing is known" in describe_distance({"rows": 0})


def test_the_report_tells_the_outcome_first_and_then_everything_else(store: Store) -> None:
    metrics = {"test": scores(57.83, 84.48, 37.81)}
    model = make_version(store, "v1", labels={"MEDV": "median price [$K]"}, metrics=metrics)
    result = TrainingResult(Training(), LinearModel((3.0,), 1.0), (1.0,), (), "one Dense unit")
    predicted = {"examples": np.array([10.0, 13.0], np.float32)}
    evaluation = Evaluation(
        result, LinearModel((0.0,), 0.0), predicted, np.array([[3.0], [4.0]]), metrics, {}, None, DATA
    )
    decision = PromotionDecision(False, "it is worse.", {}, None)
    lines = write_markdown(model, evaluation, decision, ["![loss](data:)\n\nHow it fell."], ["## Changed"]).splitlines()
    assert lines[0] == "# MEDV from RM: version v1"
    assert lines[2].startswith("Created 20")
    assert lines[4].startswith(
        "The neuron is `MEDV = 3.0000 * RM + 1.0000`. On 102 test rows its RMSE is **7.60** in $K, 17% below the 9.19 "
    )
    assert lines[6] == (
        "The interval is the prediction ±10.00 (90%, split-conformal); "
        "on the model's test rows its 90% interval held 90% of the time."
    )
    assert lines[8] == "**Not promoted when it was made:** it is worse."
    assert lines[12:15] == [
        "| rows | model | RMSE | typical error (MAE) | R² | below the mean's RMSE | MSE |",
        "| --- | --- | ---: | --- | --- | ---: | ---: |",
        "| test (102) | Neuron | 7.60 | - | - | 17% | 57.83 |",
    ]
    assert any(line.startswith("Errors are in the unit of the target: median price [$K]; MSE in its") for line in lines)
    examples = [line for line in lines[lines.index("## Predictions") :] if line.startswith("|")][:4]
    assert examples == ["| RM | predicted |", "| ---: | ---: |", "| 3.00 | $10.0K |", "| 4.00 | $13.0K |"]
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
    evaluation = Evaluation(result, LinearModel((0.0,), 0.0), predicted, np.array([[3.0]]), metrics, {}, None, DATA)
    decision = PromotionDecision(False, f"the champion predicts {name}.", {}, None)
    page = render_page(write_markdown(model, evaluation, decision, [], []), "v1").partition("<body>")[2]
    assert set(re.findall(r"<(\w+)", page)) <= TAGS
    assert page.count("<h1>") == 1
    assert len(re.findall("<th[ >]", page)) == 15, (
        "seven of metrics, two of examples, and two for each of recipe, data and lineage"
    )


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
    evaluation = Evaluation(
        result, line, {"examples": np.array([10.0, 13.0], np.float32)}, examples, metrics, {}, None, DATA
    )
    lines = write_markdown(model, evaluation, PromotionDecision(True, "it is better.", {}, None), [], []).splitlines()
    assert lines[0] == "# MEDV from 4 features: version v1"
    assert "`MEDV = 3.0000 * RM - 0.5000 * LSTAT + 1e-07 * AGE + 0.0000 * TAX + 1.0000`" in lines[4]
    assert lines[8] == "Allow more epochs."
    start = lines.index("## Weights") + 2
    assert lines[start : start + 6] == [
        "| feature | weight | effect of one standard deviation | share |",
        "| --- | ---: | ---: | ---: |",
        "| LSTAT | -0.5000 | -6.00 | 75% |",
        "| RM | 3.00 | +2.00 | 25% |",
        "| AGE | 1e-07 | +1e-06 | 0% |",
        "| TAX | 0.0000 | +0.0000 | 0% |",
    ]
    assert "The others are at their mean: LSTAT 12.00, AGE 70.00, TAX 0.0000." in lines


def test_numbers_and_tables() -> None:
    assert [number(57.8265), number(0.30534), number(None)] == ["57.83", "0.3053", "-"]
    assert as_table(["a", ""], [[1, ""]]) == "| a |  |\n| ---: | --- |\n| 1 | none |"
    assert [number(1446075163.25), number(-4273.0), number(999.9), number(2e15)] == [
        *("1,446,075,163", "-4,273", "999.90", "2e+15")
    ]
    assert [number(4.20977e-8), number(-0.00052), number(0.0)] == ["4.21e-08", "-0.00052", "0.0000"]
    assert as_table(["a", "b"], [[1, 2]]) == "| a | b |\n| ---: | ---: |\n| 1 | 2 |"


def test_page_keeps_pictures_inside() -> None:
    page = render_page("# Hello\n\n![loss](data:image/png;base64,AAAA)\n\n" + as_table(["a"], [[1]]), "a title")
    assert '<td style="text-align:right">1</td>' in page
    assert '<img src="data:image/png;base64,AAAA" alt="loss" />' in page
    assert "<title>a title</title>" in page


def test_signs_that_bind_are_reported_with_their_cost(store: Store) -> None:
    training = Training(l2=0.1, signs=["area=+", "age=-"]).model_dump()
    signs = {"bound": {"area": -2.5}, "mse": 12.0, "mse_without": 9.0}
    model = make_version(store, "v1", training=training, signs=signs)
    heading, which, table, cost = describe_signs(model)
    assert heading == "## Signs"
    assert which.startswith("Of the signs `area=+`, `age=-` these are binding")
    assert table.splitlines()[-1] == "| area | -2.50 |"
    assert cost.endswith("learned from to 12.00, from 9.00 without signs.")
    (_, none) = describe_signs(model.model_copy(update={"signs": signs | {"bound": {}}}))
    assert none.startswith("The signs `area=+`, `age=-` cost nothing")
    assert describe_signs(make_version(store, "v2")) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"l2": 0.1}, " under the same ridge (l2 0.1)"),
        ({"signs": ["RM=+"]}, " under the same signs"),
        ({"l2": 2.0, "signs": ["RM=+"]}, " under the same ridge (l2 2) and the same signs"),
    ],
)
def test_reports_name_what_least_squares_keeps_to(store: Store, change: dict[str, Any], words: str) -> None:
    training = Training().model_dump() | change
    assert describe_constraints(training) == words
    metrics = {"test": {"rows": 1} | {name: {"mse": 1.0} for name in MODELS}}
    model = make_version(store, "v1", training=training, metrics=metrics)
    assert f"1.00  least squares{words}\n" in summarize(store, model, unchanged=False)
    assert f"Least squares, the best line{words} for the train rows, has 1.00." in describe_distance(
        metrics["test"], words
    )


@pytest.mark.parametrize("end", [".", ". The champion stays.", "; promotion.min_certainty asks for 5%."])
def test_a_verdict_is_short_and_its_figures_are_a_table(end: str) -> None:
    start = "test RMSE 26.21 against the champion's 20.41 (MSE +64.9%), tolerance 1%"
    reason = f"{start}, on 1,536 rows that neither has learned from; the challenger was the better one in 0% of 2000 "
    reason += f"resamples of these rows, which show a difference of 9.7% or more{end}"
    assert shorten_reason(reason) == start + end
    figures: dict[str, float | None] = {"champion_mse": 416.6, "certainty": 0.0, "compared_rows": 1536.0}
    verdict, table = write_verdict(PromotionDecision(False, reason, figures | {"detectable": 0.097}, "v0"))
    assert verdict.startswith(f"**Not promoted when it was made:** {start}")
    assert table.splitlines()[1:] == ["| ---: | ---: | ---: |", "| 1,536 | 0% | 9.7% |"]


def test_facts_are_listed_with_separators_and_plain_dates() -> None:
    details = {"rows": 53940, "read_at": "2026-12-01T03:10:53.8+00:00", "until": 1788480000000000}
    facts = {"rows": "53,940", "read_at": "2026-12-01 03:10 UTC", "until": "2026-09-04 00:00 UTC"}
    assert list_facts({"remarks": [], "flow_run": None, "details": details}) == facts


def test_a_setting_that_names_a_column_is_no_moment() -> None:
    assert list_facts({"time": "day", "known_at": "sold_at"}) == {"time": "day", "known_at": "sold_at"}


def test_bounds_of_intervals_and_small_chances_are_aligned_as_numbers() -> None:
    cells = [["-1,264 to -749.11", "below 0.1%", "2026-01-01"]]
    assert as_table(["a", "b", "c"], cells).splitlines()[1] == "| ---: | ---: | --- |"
