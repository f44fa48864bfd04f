"""Read random tables from databases: each agrees with the same table as CSV.

`FUZZ=20000 python -m pytest tests/tasks/tables/test_sql_types.py` tries 20,000 tables of each database.
"""

import csv
import datetime as dt
import os
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.tables.read import read_rows
from linear_neuron.tasks.tables.spec import TableSpec
from linear_neuron.tasks.tables.sql import read_query
from tests.postgres import Postgres

pytestmark = pytest.mark.slow

CASES = int(os.environ.get("FUZZ", "25"))
Values = list[Any]
Kind = tuple[str, st.SearchStrategy[Any]]  # a type of the database, and its values

INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9) | st.just(9007199254740993)
REALS = st.floats(allow_nan=False) | st.sampled_from([1.0, 2.5, 1e16, -0.0, 1e-320])
TEXTS = st.sampled_from(["5", " 6 ", "x", "", "1e5", "nan", "inf", "007"])
NUMERICS = st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**15), max_value=10**15)


def spell(value: object) -> str:
    return "" if value is None else f"{value:f}" if isinstance(value, Decimal) else str(value)


def read(spec: TableSpec) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Return the rows of a table, and where and why others are rejected."""
    rows = read_rows(spec, kept=1 << 20)
    valid = [row for table in rows for row in table.select("x", "\0key").iter_rows()]
    rejects = list(csv.DictReader(rows.rejects.data.decode().splitlines())) if rows.rejects.count else []
    return valid, [(row["column"], row["reason"]) for row in rejects]


def agree(folder: Path, values: Values, load: Callable[[Values], None]) -> None:
    """Make sure that the values in a table of a database are read as the same ones in a CSV file."""
    load(values)
    with (folder / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("k", "x"), *((f"k{row}", spell(value)) for row, value in enumerate(values))])
    expected = read(TableSpec(str(folder / "a.csv"), ["x"], key="k"))
    assert read(TableSpec("sql:select k, x from t order by n", ["x"], "base", key="k")) == expected
    table = pl.concat(read_query("select k, x from t order by n", "base"), how="vertical_relaxed")
    assert table["x"].null_count() == sum(value is None for value in values)


def attempt(check: Callable[[tuple[Kind, Values]], None], kinds: list[Kind]) -> None:
    tables = st.sampled_from(kinds).flatmap(
        lambda kind: st.tuples(st.just(kind), st.lists(st.none() | kind[1], min_size=1, max_size=7))
    )
    settings(max_examples=CASES)(given(tables)(check))()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linear_neuron.tasks.tables.sql.BATCH_ROWS", 3)


def test_sqlite_agrees_with_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.db"
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_BASE", f"sqlite:///{path}")

    def load(values: Values) -> None:
        with sqlite3.connect(path) as base:
            base.executescript("drop table if exists t; create table t (n, k, x)")
            base.executemany("insert into t values (?, ?, ?)", [(row, f"k{row}", v) for row, v in enumerate(values)])
        base.close()

    kinds = [("", INTEGERS), ("", REALS), ("", INTEGERS | REALS), ("", INTEGERS | REALS | TEXTS)]
    attempt(lambda table: agree(tmp_path, table[1], load), kinds)


def test_duckdb_agrees_with_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.duckdb"
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_BASE", f"duckdb:///{path}")

    def check(table: tuple[Kind, Values]) -> None:
        (kind, _), values = table

        def load(values: Values) -> None:
            with duckdb.connect(str(path)) as base:
                base.execute(f"create or replace table t (n int, k varchar, x {kind})")
                rows = [(row, f"k{row}", one) for row, one in enumerate(values)]
                base.executemany("insert into t values (?, ?, ?)", rows)

        agree(tmp_path, values, load)

    attempt(
        check,
        [
            ("bigint", INTEGERS),
            ("double", REALS),
            ("hugeint", st.integers(-(2**126), 2**126)),
            ("decimal(38, 2)", NUMERICS),
            ("varchar", TEXTS),
        ],
    )


def test_postgresql_agrees_with_csv(cluster: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_BASE", cluster.url)
    special = st.sampled_from([Decimal("NaN"), Decimal("Infinity"), Decimal("9" * 60), Decimal("1.25"), Decimal("1.5")])
    with psycopg.connect(cluster.url, autocommit=True, prepare_threshold=None) as base:

        def check(table: tuple[Kind, Values]) -> None:
            (kind, _), values = table

            def load(values: Values) -> None:
                base.execute("drop table if exists t")
                base.execute(f"create table t (n int, k text, x {kind})".encode())
                with base.cursor() as cursor:
                    rows = [(row, f"k{row}", one) for row, one in enumerate(values)]
                    cursor.executemany("insert into t values (%s, %s, %s)", rows)

            agree(tmp_path, values, load)

        attempt(
            check,
            [
                ("bigint", INTEGERS),
                ("double precision", REALS.filter(lambda value: value == 0 or abs(value) > 1e-300)),
                ("numeric", NUMERICS | special),
                ("numeric(20, 2)", NUMERICS),
                ("text", TEXTS),
            ],
        )


def test_one_real_changes_no_integer_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(tmp_path / "a.db") as base:
        base.execute("create table t (x)")
        base.executemany("insert into t values (?)", [(9007199254740993,), (1,), (2.5,)])
    base.close()
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_BASE", f"sqlite:///{tmp_path}/a.db")
    tables = list(read_query("select x from t", "base"))
    assert pl.concat(tables, how="vertical_relaxed")["x"].to_list() == ["9007199254740993", "1", "2.5"]


def test_odd_types_of_duckdb_become_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with duckdb.connect(str(tmp_path / "a.duckdb")):
        pass
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_BASE", f"duckdb:///{tmp_path}/a.duckdb")
    query = """select 'infinity'::date as "a""b day", '-infinity'::timestamp as time, union_value(n := 5) as either,
        170141183460469231731687303715884105727::hugeint as big, '101'::bit as bits, date '2026-01-02' as near
        union all select date '2026-01-02', timestamp '2026-01-02', union_value(n := 6), 1, '1', date '2026-01-03'"""
    (table,) = read_query(query, "base")
    assert table["either"].to_list() == ["5", "6"]
    assert table["big"].to_list() == [str(2**127 - 1), "1"]
    assert table["bits"].to_list() == ["101", "1"]
    assert table['a"b day'].to_list() == ["2147483647", "2026-01-02"]
    assert table["time"].to_list()[1] == "2026-01-02 00:00:00.000000"
    assert table["near"].to_list() == [dt.date(2026, 1, 2), dt.date(2026, 1, 3)]
    assert table["near"].dtype == pl.Date


def test_infinite_date_of_postgresql_is_one_sentence(cluster: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_BASE", cluster.url)
    with pytest.raises(UserError, match="The query on base failed: date too large"):
        list(read_query("select 'infinity'::date as x", "base"))
