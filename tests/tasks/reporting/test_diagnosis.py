"""The sections of a report on what the rows say of a fit, and on what would help."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.reporting.diagnosis import describe_fit, describe_help
from linear_neuron.tasks.reporting.page import render_page
from linear_neuron.tasks.training.diagnostics import Diagnostics, Moving, Pair, Spread
from linear_neuron.tasks.training.findings import Findings, Points
from linear_neuron.tasks.training.suggestions import Change, Curve, Step, Suggestions

SPLINE = Change("spline(area, 4)", "area", replaces=True)
STEPS = (
    Step((Change("log(price)"), SPLINE), 700.0, 700.0, 0.0002),
    Step((Change("age:<b>|", "age", is_slopes=True),), 650.0, 990.0, 0.034),
)
FOUND = Suggestions(31, 7440, 1000.0, 1100.0, STEPS, (Curve(SPLINE, 0.12),))
ROWS = (Moving(17, 9.0, 4.0, 0.5, "area", 2.5), Moving(3, 2.0, 2.5, 0.1, "age", -0.4))
DIAGNOSTICS = Diagnostics(
    {"train": 700, "validation": 300, "of": 43000},
    Spread(0.0, (10.0, 20.0, 30.0, 40.0, 50.0), unequal=True),
    ROWS,
    (Pair("area", "rooms", 0.97),),
    ("area", "rooms"),
)
FINDINGS = Findings(FOUND, "--dataset.target 'log(price)'", ("--dataset.target 'log(price)'", "--x"), DIAGNOSTICS)


@pytest.fixture
def model(neuron: ModelVersion) -> ModelVersion:
    """A version that predicts a price."""
    return neuron.model_copy(update={"target": "price"})


def test_suggestions_have_gains_and_flags_to_paste() -> None:
    heading, text, table, alone, method = describe_help(FINDINGS)
    assert heading == "## What would help"
    assert text.startswith("**RMSE 1,000 → 650.00 on 7,440 validation rows, 35% lower**")
    assert text.endswith("`--dataset.target 'log(price)'`")
    lines = table.splitlines()
    assert [cell.strip() for cell in lines[2].strip("|").split("|")][:5] == [
        "log(price) with spline(area, 4)",
        "700.00",
        "700.00",
        "30%",
        "below 0.1%",
    ]
    assert "| 990.00 | 650.00 | 35% | 3.4% |" in lines[3]
    assert alone.splitlines()[2:] == ["- `--dataset.target 'log(price)'`", "- `--x`"]
    assert method.startswith("31 changes were tried")
    assert "<b>" not in render_page("\n\n".join(describe_help(FINDINGS)), "v1")


def test_where_nothing_helps_the_report_has_one_sentence() -> None:
    texts = describe_help(replace(FINDINGS, suggestions=replace(FOUND, steps=())))
    assert texts[1].startswith("Nothing of 31 changes that were tried lowers the error on the 7,440 validation rows")
    assert len(texts) == 2
    assert describe_help(Findings(Suggestions(obstacle="few rows"))) == [texts[0], "Nothing was tried: few rows."]
    assert describe_help(None) == []


def test_diagnostics_are_plain_sentences(model: ModelVersion, tmp_path: Path) -> None:
    text = "\n\n".join(describe_fit(FINDINGS, model, tmp_path))
    assert "an evenly spaced sample of 43,000" in text
    assert "`spline(area, 4)` (12.0%)" in text
    assert "the typical error of price is 10.00, 20.00, 30.00, 40.00, 50.00" in text
    assert "an RMSE of 1,100 on validation rows, and price itself 1,000" in text
    assert "nearly the same are area and rooms (0.97)" in text
    assert "one of them moves a weight by more than its standard error" in text
    assert "| 17 | area | +2.50 | 0.500 | 9.00 | 4.00 |" in text
    assert not list(tmp_path.glob("*.png"))


def test_values_of_rows_with_keys_are_not_shown(model: ModelVersion, tmp_path: Path) -> None:
    hidden = replace(DIAGNOSTICS, moving=tuple(replace(row, actual=None, predicted=None) for row in ROWS))
    findings = replace(FINDINGS, diagnostics=hidden, lines=("a.csv, line 5", "a.csv, line 9"))
    assert "| a.csv, line 5 | area | +2.50 | 0.500 |" in "\n".join(describe_fit(findings, model, tmp_path))


def test_a_picture_is_drawn_only_where_it_says_something(model: ModelVersion, tmp_path: Path) -> None:
    x = np.linspace(1, 10, 50)
    findings = replace(FINDINGS, bent=Points("area", x, np.log(x)), errors=Points("price", x, x * np.sin(9 * x)))
    text = "\n".join(describe_fit(findings, model, tmp_path))
    assert text.count("data:image/png") == 2
    for name in ("curve.png", "spread.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.size[0] == 800
