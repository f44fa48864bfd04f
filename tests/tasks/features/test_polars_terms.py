"""Expressions in Polars have the values of Python's own arithmetic."""

import math
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from linear_neuron.tasks.features.expressions import PARTS, Binary, Column, Negative, Node, Number, Part, parse
from linear_neuron.tasks.features.polars_terms import express_part, to_polars
from linear_neuron.tasks.features.simplify import find_inexact
from tests.tasks.features.trees import evaluate, trees

SINGLE = 3.4028234663852886e38
VALUES = st.one_of(st.none(), st.floats(-SINGLE, SINGLE), st.sampled_from([0.0, -0.0, 1.0, -1.0, 5e-324, 1e-200]))
ROWS = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=5)
MOMENTS = [
    datetime(2000, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1969, 12, 31, 23, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1000, 1, 1, 1, 1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 12, tzinfo=UTC),
    datetime(2026, 11, 29, 6, 30, tzinfo=UTC),
]


def compute(node: Node, rows: list[tuple[float | None, float | None]]) -> list[float | None]:
    table = pl.DataFrame(rows, schema={"a": pl.Float64, "b": pl.Float64}, orient="row")
    value = to_polars(node, pl.col).alias("value")
    return table.with_columns(value)["value"].to_list()


def to_microseconds(moment: datetime) -> int:
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() // 1) * 10**6 + moment.microsecond


def compute_part(part: Part, moment: datetime) -> float:
    if part == "days":
        return to_microseconds(moment) / 86_400e6
    found = {"quarter": (moment.month + 2) // 3, "weekday": moment.isoweekday()}
    return float(found.get(part) or (moment.timetuple().tm_yday if part == "day_of_year" else getattr(moment, part)))


@given(trees("+-*/", {"abs": 1, "sqrt": 1}), ROWS)
@example(Binary("*", Column("a"), Column("a")), [(1e-200, None), (None, 1.0)])
@example(Binary("/", Column("a"), Binary("/", Column("b"), Number(1e-300))), [(1.0, 1e30), (1.0, 0.0)])
def test_arithmetic_gives_the_bits_of_python(tree: Node, rows: list[tuple[float | None, float | None]]) -> None:
    found = compute(tree, rows)
    expected = [evaluate(tree, {"a": a, "b": b}) for a, b in rows]
    assert list(map(repr, found)) == list(map(repr, expected))


@given(trees(calls={"exp": 1, "log": 1, "log1p": 1, "min": 2, "max": 3, "clip": 3}), ROWS)
def test_functions_are_finite_or_null(tree: Node, rows: list[tuple[float | None, float | None]]) -> None:
    for value in compute(tree, rows):
        assert value is None or math.isfinite(value)


FUNCTIONS = ["log(a)", "log1p(a)", "exp(a)", "sqrt(a)", "abs(a)", "min(a, b)", "max(a, 1, b)", "clip(a, -1, b)"]
FUNCTIONS += ["a ** 2", "a ** 3", "a ** 4", "a ** 0.5", "a ** -1", "2 ** a", "a ** b", "(a + b) ** 2", "a / b"]


@pytest.mark.parametrize("text", FUNCTIONS)
def test_functions_have_the_values_of_python(text: str) -> None:
    numbers = [None, 0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e-9, 1e-200, 700.0, 800.0, -800.0, 1e30]
    rows = [(a, b) for a in numbers for b in numbers]
    node = parse(text, ["a", "b"])
    expected = [evaluate(node, {"a": a, "b": b}) for a, b in rows]
    for row, value, wanted in zip(rows, compute(node, rows), expected, strict=True):
        if wanted is None or value is None:
            assert value is wanted, (row, value, wanted)
        else:
            assert math.isclose(value, wanted, rel_tol=1e-14, abs_tol=1e-320), row


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_times_are_those_of_python(part: Part) -> None:
    times = pl.DataFrame({"t": [*map(to_microseconds, MOMENTS), None]})
    found = times.select(express_part(part, pl.col("t")))["t"].to_list()
    assert found == [*(compute_part(part, moment) for moment in MOMENTS), None]
    node = parse(f"{part}(t) * 2", ["t"])
    assert times.select(to_polars(node, pl.col))["t"][0] == 2 * found[0]


def test_inexact_functions_are_listed() -> None:
    assert find_inexact(parse("a ** 2 + sqrt(b) / max(a, -b) - clip(a, 1, 2)", ["a", "b"])) == []
    assert find_inexact(parse("log(a) + -exp(log(b)) * a ** 0.5 - min(log1p(a), 3)", ["a", "b"])) == [
        "**",
        "exp",
        "log",
        "log1p",
    ]
    assert find_inexact(Binary("**", Negative(Column("a")), Number(2.0))) == ["**"]
