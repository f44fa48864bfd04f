"""An enclosure holds every value of an expression, and is tight for one function of one column."""

import numpy as np
import polars as pl
import pytest

from linear_neuron.tasks.features.enclosure import Enclosure, enclose
from linear_neuron.tasks.features.expressions import parse
from linear_neuron.tasks.features.polars_terms import to_polars

BOXES = {"a": Enclosure(-3.0, 5.0), "b": Enclosure(0.5, 80.0)}


@pytest.mark.parametrize(
    "text",
    [
        "log(a)", "log1p(a)", "exp(a)", "sqrt(a)", "abs(a)", "min(a, b)", "max(a, 2)", "clip(b, 1, 5)", "-a", "a - b",
        "a * b", "a / b", "b / a", "a ** 2", "a ** 3", "a ** 0.5", "a ** -1", "b ** -2", "b ** a", "a ** 0", "2 ** a",
        "exp(b * b)", "log(b) / sqrt(b)", "abs(a - b) ** 1.5", "a ** b", "abs(b)",
    ],
)  # fmt: skip
def test_values_lie_within(text: str) -> None:
    node = parse(text, ["a", "b"])
    random = np.random.default_rng(3)
    frame = pl.DataFrame({name: random.uniform(box.low, box.high, 5000) for name, box in BOXES.items()})
    values = frame.select(to_polars(node, pl.col)).to_series()
    found = enclose(node, BOXES)
    assert found is not None
    slack = 1e-12 * max(1.0, abs(found.low))
    assert float(values.min()) >= found.low - slack  # type: ignore[arg-type]
    assert float(values.max()) <= found.high * (1 + 1e-12) + 1e-12  # type: ignore[arg-type]
    assert found.holes or not values.null_count()


@pytest.mark.parametrize("text", ["log(0 - b)", "sqrt(0 - b)", "log1p(0 - b - 1)", "a / 0", "(0 - b) ** 0.5"])
def test_an_expression_without_values_has_none(text: str) -> None:
    assert enclose(parse(text, ["a", "b"]), BOXES) is None


def test_a_missing_column_leaves_nothing() -> None:
    assert enclose(parse("max(a, 1) + 2", ["a"]), {"a": None}) is None


def test_a_single_function_is_tight() -> None:
    assert enclose(parse("abs(a)", ["a"]), BOXES) == Enclosure(0.0, 5.0)
    assert enclose(parse("a ** 2", ["a"]), BOXES) == Enclosure(0.0, 25.0)
    assert enclose(parse("month(t)", ["t"]), {"month(`t`)": Enclosure(1.0, 12.0)}) == Enclosure(1.0, 12.0)
