"""Expressions in real databases have the values that they have in Polars."""

import math
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import polars as pl
import psycopg
import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.expressions import PARTS, Call, Column, Node, Number, parse
from linear_neuron.tasks.features.polars_terms import to_polars
from linear_neuron.tasks.features.simplify import find_inexact
from linear_neuron.tasks.features.sql_terms import Dialect, to_sql
from tests.postgres import Postgres
from tests.tasks.features.test_polars_terms import MOMENTS, to_microseconds

SIZES = [
    0.0,
    1.0,
    0.5,
    3.0,
    7.25,
    1e-9,
    1e-5,
    0.1,
    99.0,
    709.9,
    746.0,
    1e5,
    1e30,
    3.4e38,
    1e-38,
    1e-160,
    1e-200,
    5e-324,
]
NUMBERS = [None, *SIZES, *(-size for size in SIZES)]
EXPRESSIONS = [
    "a + b",
    "a - b * 3",
    "a * b",
    "a * a * b * b * a * b",
    "a * a * a * a * a * a * a * a * a - 1e308 * a",
    "a / b",
    "a / b / a / b / a",
    "(a - b) * (a + b) / (a * b - 1)",
    "2 / 3 * a",
    "a ** 2 - b ** 3 + a ** 4",
    "a ** 0.5",
    "a ** -3",
    "(a + b) ** 7",
    "a ** b",
    "abs(-a) - -b",
    "sqrt(a)",
    "log(a)",
    "log1p(a)",
    "log1p(a * b)",
    "exp(a)",
    "exp(-a / 100) * b",
    "exp(exp(a))",
    "exp(a) * exp(b) / exp(a - b)",
    "log(a * b) + log(exp(b))",
    "min(a, b)",
    "max(a - 100, 0)",
    "max(a, log(b), 3, 2)",
    "clip(a / b, -2, b)",
    "min(max(a, -1), sqrt(b)) * a",
    "max(1, 2) + a",
]
Query = Callable[[str], list[Any]]


@pytest.fixture(params=["postgres", "duckdb", "sqlite"])
def database(request: pytest.FixtureRequest) -> Iterator[tuple[Dialect, Query]]:
    """A database with the pairs of NUMBERS in the table n, and times in the table m."""
    pairs = [(index, a, b) for index, (a, b) in enumerate((a, b) for a in NUMBERS for b in NUMBERS)]
    times = [*enumerate(map(to_microseconds, MOMENTS)), (99, None)]
    kind = {"postgres": "float8", "duckdb": "double", "sqlite": "real"}[request.param]
    tables = [f"CREATE TEMPORARY TABLE n (i int, a {kind}, b {kind})", "CREATE TEMPORARY TABLE m (i int, t bigint)"]
    if request.param == "postgres":
        with psycopg.connect(request.getfixturevalue("cluster").url) as session, session.cursor() as cursor:
            for table in tables:
                cursor.execute(table.encode())
            for name, rows in (("n", pairs), ("m", times)):
                with cursor.copy(f"COPY {name} FROM STDIN".encode()) as copy:
                    for row in rows:
                        copy.write_row(row)
            yield request.param, lambda text: cursor.execute(text.encode()).fetchall()
        return
    local = duckdb.connect() if request.param == "duckdb" else sqlite3.connect(":memory:")
    for table in tables:
        local.execute(table)
    local.executemany("INSERT INTO n VALUES (?, ?, ?)", pairs)
    local.executemany("INSERT INTO m VALUES (?, ?)", times)
    yield request.param, lambda text: local.execute(text).fetchall()
    local.close()


def read(name: str) -> str:
    return f"t.{name}"


def query(database: tuple[Dialect, Query], node: Node, table: str = "n") -> list[float | None]:
    dialect, run = database
    text = to_sql(node, read, dialect)
    return [value for _, value in run(f"SELECT t.i, {text} AS v FROM {table} AS t ORDER BY t.i")]  # noqa: S608


def test_values_are_those_of_polars(database: tuple[Dialect, Query]) -> None:
    table = pl.DataFrame(
        [(a, b) for a in NUMBERS for b in NUMBERS], schema={"a": pl.Float64, "b": pl.Float64}, orient="row"
    )
    for text in EXPRESSIONS:
        node = parse(text, ["a", "b"])
        expected = table.with_columns(to_polars(node, pl.col).alias("v"))["v"].to_list()
        found = query(database, node)
        exact = not find_inexact(node)
        for row, value, wanted in zip(table.iter_rows(), found, expected, strict=True):
            shown = (text, row, value, wanted)
            if value is None or wanted is None:
                assert value is wanted, shown
            elif exact:
                assert value == wanted, shown
            else:
                assert math.isclose(value, wanted, rel_tol=1e-6, abs_tol=1e-300), shown


def test_parts_of_times_are_those_of_polars(database: tuple[Dialect, Query]) -> None:
    table = pl.DataFrame({"t": [*map(to_microseconds, MOMENTS), None]})
    for part in PARTS:
        node = parse(f"{part}(t)", ["t"])
        expected = table.select(to_polars(node, pl.col))["t"].to_list()
        assert query(database, node, "m") == expected, part


def test_expression_that_would_be_too_long_is_refused(database: tuple[Dialect, Query]) -> None:
    deep: Node = Column("a")
    for _ in range(30):
        deep = Call("max", (Call("log1p", (deep,)), Number(0.0)))
    with pytest.raises(UserError, match="This expression is too deep for SQL; use fewer functions within each other"):
        to_sql(deep, read, database[0])


def test_usual_values_take_the_fast_way_in_postgres(cluster: Postgres) -> None:
    assert "SELECT" not in to_sql(parse("a / 3 + log(b) * a", ["a", "b"]), read, "postgres").partition("ELSE")[0]
    assert to_sql(parse("a + sqrt(b)", ["a", "b"]), read, "postgres").startswith("(t.a + sqrt(")
