"""A version with terms predicts in real databases what a batch predicts."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import psycopg
import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.expressions import Column, write
from linear_neuron.tasks.features.sql_terms import Dialect
from linear_neuron.tasks.model import IntervalBins, ModelVersion, Term
from linear_neuron.tasks.scoring.frames import predict_frame
from linear_neuron.tasks.scoring.sql_expression import write_select
from linear_neuron.tasks.scoring.sql_model import find_functions
from linear_neuron.tasks.storage.store import Store
from tests.postgres import Postgres
from tests.tasks.scoring.term_models import (
    COLUMNS,
    CUTS,
    draw_rows,
    make_term_version,
    make_terms,
)

Rows = list[tuple[Any, ...]]
Query = Callable[..., Rows]
NUMBERS = ["prediction", "prediction_low", "prediction_high"]
DIALECTS: list[Dialect] = ["postgres", "duckdb", "sqlite"]
TYPES = {
    "postgres": {"number": "float8", "category": "text", "time": "timestamptz"},
    "duckdb": {"number": "double", "category": "varchar", "time": "timestamptz"},
    "sqlite": {"number": "real", "category": "text", "time": "text"},
}


class Database:
    """A database in which statements are run."""

    def __init__(self, dialect: Dialect, connection: Any) -> None:
        self.dialect, self.connection = dialect, connection

    def run(self, statement: str, rows: Rows | None = None) -> Rows:
        """Run a statement, or insert rows by it."""
        if self.dialect == "postgres":
            with self.connection.cursor() as cursor:
                if rows is not None:
                    cursor.executemany(statement.replace("?", "%s").encode(), rows)
                    return []
                cursor.execute(statement.encode())
                return list(cursor.fetchall()) if cursor.description else []
        if rows is not None:
            self.connection.executemany(statement, rows)
            return []
        return [tuple(row) for row in self.connection.execute(statement).fetchall()]

    def fill(self, name: str, kinds: dict[str, str], rows: list[dict[str, Any]]) -> None:
        """Create a table with an id and the columns of rows."""
        columns = ", ".join(f'"{column.replace(chr(34), chr(34) * 2)}" {kind}' for column, kind in kinds.items())
        temporary = "TEMPORARY " if self.dialect == "postgres" else ""
        self.run(f"CREATE {temporary}TABLE {name} (id int, {columns})")
        listed = [(index, *(row[column] for column in kinds)) for index, row in enumerate(rows)]
        marks = ", ".join("?" * (len(kinds) + 1))
        if self.dialect == "duckdb" and len(listed) > 100:
            self.connection.register("frame", pl.DataFrame(rows, infer_schema_length=None).with_row_index("id"))
            self.run(f"INSERT INTO {name} SELECT id, {', '.join(kinds)} FROM frame")  # noqa: S608
        else:
            self.run(f"INSERT INTO {name} VALUES ({marks})", listed)  # noqa: S608

    def predict(self, model: ModelVersion, table: str = "inputs", percent: int = 90) -> list[list[Any]]:
        """Return what the SELECT adds to the rows, in their order."""
        select = write_select(model, self.dialect, table, percent)
        found = self.run(f"SELECT * FROM ({select}) AS s ORDER BY id")  # noqa: S608
        return [list(row[-4:]) for row in found]


@pytest.fixture(params=DIALECTS)
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    if request.param == "postgres":
        with psycopg.connect(request.getfixturevalue("cluster").url) as connection:
            yield Database("postgres", connection)
            connection.rollback()
        return
    local: Any = duckdb.connect() if request.param == "duckdb" else sqlite3.connect(":memory:")
    yield Database(request.param, local)
    local.close()


def to_rows(rows: list[dict[str, Any]], dialect: Dialect) -> list[dict[str, Any]]:
    """Give times their zone, so that no setting of a database decides."""
    return [{**row, "sold": row["sold"] and f"{(row['sold'] + 'T00:00:00')[:19]}+00:00"} for row in rows]


def assert_same(
    found: list[list[Any]], expected: pl.DataFrame, dialect: Dialect, tolerance: float = 0.0, floor: float = 1e-6
) -> None:
    """Compare bits, or within a tolerance where a database has other digits."""
    for index, name in enumerate(NUMBERS):
        mine = np.array([np.nan if row[index] is None else row[index] for row in found], np.float32)
        theirs = expected[name].fill_null(np.nan).to_numpy()
        assert np.array_equal(np.isnan(mine), np.isnan(theirs)), name
        if tolerance:
            assert np.allclose(mine, theirs, rtol=tolerance, atol=floor, equal_nan=True), name
        else:
            assert np.array_equal(mine[~np.isnan(mine)], theirs[~np.isnan(theirs)]), name
    known = [index for index, row in enumerate(found) if row[0] is not None]
    assert [bool(found[index][3]) for index in known] == expected["extrapolated"].gather(known).to_list()


def predict(model: ModelVersion, rows: list[dict[str, Any]], percent: int = 90) -> pl.DataFrame:
    return predict_frame(model, pl.DataFrame(rows, infer_schema_length=None), percent)


def without_log(model: ModelVersion) -> ModelVersion:
    """Leave out the term whose function has other last digits in a database."""
    terms = [term for term in model.terms if term.name != "log(area)"]
    return model.model_copy(update={"terms": terms, "features": [term.name for term in terms]})


@pytest.mark.parametrize("missing", [True, False], ids=["filled", "strict"])
def test_rows_have_the_bits_of_a_batch(store: Store, database: Database, missing: bool) -> None:
    model = without_log(make_term_version(store, missing=missing))
    rows = to_rows(draw_rows(2000), database.dialect)
    database.fill("inputs", {name: TYPES[database.dialect][kind] for name, kind in COLUMNS.items()}, rows)
    tolerance = 1e-6 if database.dialect == "sqlite" else 0.0
    assert_same(database.predict(model), predict(model, rows), database.dialect, tolerance)


def test_functions_are_within_a_millionth(store: Store, database: Database) -> None:
    model = make_term_version(store)
    rows = to_rows(draw_rows(2000), database.dialect)
    database.fill("inputs", {name: TYPES[database.dialect][kind] for name, kind in COLUMNS.items()}, rows)
    assert_same(database.predict(model), predict(model, rows), database.dialect, 1e-6)
    assert write_select(model, database.dialect).startswith(
        "-- log: within a millionth of what predict computes\nSELECT"
    )
    assert write_select(without_log(model), database.dialect).startswith("SELECT")


def test_logarithms_of_a_target_are_raised(store: Store, database: Database) -> None:
    bins = IntervalBins(edges=[1e3], lower={"90": [-5.0, -50.0]}, upper={"90": [5.0, None]}, floor=1.0)
    model = make_term_version(store, link="log", base=7.0, interval_bins=bins)
    rows = to_rows(draw_rows(500), database.dialect)
    database.fill("inputs", {name: TYPES[database.dialect][kind] for name, kind in COLUMNS.items()}, rows)
    expected = predict(model, rows)
    edge = (expected["prediction"] - 1e3).abs() > 1e-2  # Beside an edge the last digit decides about the interval.
    found = [row for row, far in zip(database.predict(model), edge.fill_null(value=True), strict=True) if far]
    assert_same(found, expected.filter(edge.fill_null(value=True)), database.dialect, 2e-6)
    assert find_functions(model) == ["exp", "log"]


@pytest.mark.parametrize("missing", [True, False])
def test_rejected_cells_are_null(store: Store, database: Database, missing: bool) -> None:
    """Where a missing cell is filled, a wrong one is not."""
    if database.dialect == "postgres":
        carats: list[Any] = [1.0, "NaN", "Infinity", 1e39, 101.0, None, 1e-310]
    else:
        carats = [1.0, float("nan"), float("inf"), 1e39, 101.0, None, 1e-310]
    rows = [
        {"carat": carat, "area": 50.0, "cut": "Ideal", "sold": "2026-01-01T00:00:00Z", "rooms": 3.0} for carat in carats
    ]
    database.fill("inputs", {name: TYPES[database.dialect][kind] for name, kind in COLUMNS.items()}, rows)
    known = [0, 1, 5, 6] if missing else [0, 6]
    found = database.predict(make_term_version(store, missing=missing))
    assert [index for index, row in enumerate(found) if row[0] is not None] == known
    assert not missing or found[1] == found[5]


@pytest.mark.parametrize("dialect", ["duckdb", "sqlite"])
def test_text_is_read_as_in_a_file(store: Store, dialect: Dialect, tmp_path: Path) -> None:
    cells = [" 1 ", "", "x", "  ", "1_000", "2"]
    times = ["2026-01-31", "2026-03", "2026", "soon", "", "2026-03-01T00:30:00+01:00"]
    cuts = [" Ideal\t", "", "\n", "other", "'; DROP TABLE x; --", "NaN"]
    rows = [
        {"carat": carat, "area": 50.0, "cut": cut, "sold": sold, "rooms": 3.0}
        for carat, sold, cut in zip(cells, times, cuts, strict=True)
    ]
    local: Any = duckdb.connect() if dialect == "duckdb" else sqlite3.connect(":memory:")
    database = Database(dialect, local)
    kinds = {"carat": "text", "area": "real", "cut": "text", "sold": "text", "rooms": "real"}
    database.fill("inputs", kinds, rows)
    model = make_term_version(store)
    expected = predict(model, rows)
    found = database.predict(model)
    known = [value is not None for value in expected["prediction"]]
    assert known == [True, True, False, False, False, True]
    if dialect == "sqlite":  # It takes any text for a number, so that none is taken for one here.
        known = [False, True, False, False, False, False]
    assert [row[0] is not None for row in found] == known
    for row, wanted in zip(found, expected["prediction"], strict=True):
        assert row[0] is None or row[0] == pytest.approx(wanted, rel=1e-6)
    local.close()


TYPED: dict[Dialect, list[tuple[str, list[Any], list[str | None]]]] = {
    "postgres": [
        ("boolean", [True, False, None], ["true", "false", None]),
        ("int", [7, -8, None], ["7", "-8", None]),
        ("float8", [7.0, 8.5, None], ["7", "8.5", None]),
        ("numeric(8, 2)", ["7.00", "8.50", None], ["7", "8.50", None]),
        ("char(5)", ["a", "b c", None], ["a", "b c", None]),
        ("varchar", [" a ", "\t", None], ["a", None, None]),
    ],
    "duckdb": [
        ("boolean", [True, False, None], ["true", "false", None]),
        ("int", [7, -8, None], ["7", "-8", None]),
        ("double", [7.0, 8.5, None], ["7", "8.5", None]),
        ("decimal(8, 2)", ["7.00", "8.50", None], ["7", "8.50", None]),
        ("ENUM('a', 'b c')", ["a", "b c", None], ["a", "b c", None]),
        ("varchar", [" 7.0 ", "\t", None], ["7.0", None, None]),
    ],
    "sqlite": [
        ("", [7, 8.5, None], ["7", "8.5", None]),
        ("real", [7.0, 8.5, None], ["7", "8.5", None]),
        ("text", [" a ", "\t", None], ["a", None, None]),
    ],
}


def test_columns_of_other_types_have_labels(store: Store, database: Database) -> None:
    for number, (kind, values, labels) in enumerate(TYPED[database.dialect]):
        levels = {label: float(index + 1) for index, label in enumerate(labels) if label}
        term = Term(name="c", kind="category", label="`c`", levels=levels, rows=dict.fromkeys(levels, 1), missing=-9.0)
        columns = {"c": "category"}
        model = make_term_version(
            store, version=f"v{number}", terms=[term], features=["c"], columns=columns, ranges={}, base=0.0, dataset={}
        )
        database.fill(f"t{number}", {"c": kind}, [{"c": value} for value in values])
        found = [row[0] for row in database.predict(model, f"t{number}")]
        assert found == [levels.get(label or "", -9.0) for label in labels], kind


HOSTILE = ['a"; DROP TABLE inputs; --', "line\nbreak", "back\\slash", "100%s", "t", "{0}", "raw", "it's", "$$", "x\\'y"]


def test_hostile_names_and_levels_stay_text(store: Store, database: Database) -> None:
    levels = [
        *HOSTILE,
        "'; DROP TABLE inputs; --",
        "\\'; DROP TABLE inputs; --",
        "E'x'",
        "--",
        "/*",
        "?",
        ":x",
        "😀",
        "'" * 9,
    ]
    levels += ["x" * 10_000, "nul\0byte", "\\", "''", "NULL", "null"]
    values = {level: float(index + 1) for index, level in enumerate(levels)}
    terms = [
        Term(
            name=name,
            kind="category",
            label=write(Column(name)),
            levels=values,
            rows=dict.fromkeys(levels, 1),
            other=-1.0,
        )
        for name in HOSTILE
    ]
    model = make_term_version(
        store,
        terms=terms,
        features=HOSTILE,
        columns=dict.fromkeys(HOSTILE, "category"),
        ranges={},
        base=0.0,
        dataset={},
    )
    if database.dialect == "postgres":
        database.run("SET LOCAL standard_conforming_strings = off")
        levels.remove("nul\0byte")
    shown = [*levels, "Unseen"]
    database.fill("inputs", dict.fromkeys(HOSTILE, "text"), [dict.fromkeys(HOSTILE, level) for level in shown])
    found = database.predict(model)
    assert [row[0] for row in found] == [10 * values.get(level, -1.0) for level in shown]
    assert [bool(row[3]) for row in found] == [False] * len(levels) + [True]
    assert len(database.run("SELECT * FROM inputs")) == len(shown)


def test_case_of_a_level_counts_whatever_the_collation(store: Store, database: Database) -> None:
    kinds = {
        "sqlite": "text COLLATE NOCASE",
        "duckdb": "varchar COLLATE NOCASE",
        "postgres": "text COLLATE case_blind",
    }
    if database.dialect == "postgres":
        database.run("CREATE COLLATION case_blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    term = Term(name="c", kind="category", label="`c`", levels={"A": 1.0, "a": 2.0}, rows={"A": 1, "a": 1})
    model = make_term_version(
        store, terms=[term], features=["c"], columns={"c": "category"}, ranges={}, base=0.0, dataset={}
    )
    database.fill("inputs", {"c": kinds[database.dialect]}, [{"c": "a"}, {"c": "A"}])
    assert [row[0] for row in database.predict(model)] == [2.0, 1.0]


def test_two_thousand_levels_are_looked_up(store: Store, database: Database) -> None:
    levels = {f"level {index}": index / 7 for index in range(2000)}
    bins = IntervalBins(edges=[5.0, 10.0], lower={"90": [-1.0, -2.0, -3.0]}, upper={"90": [1.0, 2.0, 3.0]})
    term = Term(name="c", kind="category", label="`c`", levels=levels, rows=dict.fromkeys(levels, 1))
    model = make_term_version(
        store, terms=[term], features=["c"], columns={"c": "category"}, ranges={}, dataset={}, interval_bins=bins
    )
    rows = [{"c": f"level {index}"} for index in range(0, 2200, 100)]
    database.fill("inputs", {"c": "text"}, rows)
    expected = predict(model, [{"c": row["c"]} for row in rows])
    strict = [row for row in database.predict(model) if row[0] is not None]
    assert len(strict) == len(rows)
    assert_same(strict, expected, database.dialect, 1e-6 if database.dialect == "sqlite" else 0.0)


def test_deep_expression_is_refused(store: Store, database: Database) -> None:
    text = "`a`"
    for _ in range(20):
        text = f"log1p({text})"
    term = make_terms(missing=False)[1].model_copy(update={"value": text})
    model = make_term_version(store, terms=[term], features=["x"], columns={"a": "number"}, ranges={}, dataset={})
    with pytest.raises(UserError, match="too deep for SQL"):
        write_select(model, database.dialect)


@pytest.mark.on_demand
def test_hundred_thousand_rows_are_alike_everywhere(store: Store, cluster: Postgres) -> None:
    model = make_term_version(store)
    rows = draw_rows(100_000)
    expected = predict(model, to_rows(rows, "duckdb"))
    assert len(CUTS) > 10
    for dialect in DIALECTS[:2]:
        connection: Any = psycopg.connect(cluster.url) if dialect == "postgres" else duckdb.connect()
        database = Database(dialect, connection)
        kinds = {name: TYPES[dialect][kind] for name, kind in COLUMNS.items()}
        database.fill("inputs", kinds, to_rows(rows, dialect))
        assert_same(database.predict(model), expected, dialect, 1e-6)
        connection.close()
