"""A version as a SELECT predicts in real databases what a batch predicts, to the bit."""

import re
import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import psycopg
import pytest

from tasks.errors import UserError
from tasks.model import ModelVersion
from tasks.parameters import Batch
from tasks.registry.sql import Dialect, write_select
from tasks.scoring.manifest import BatchRun
from tasks.scoring.score import Scorer
from tasks.storage.store import Store
from tasks.tables.contract import LINE
from tests.helpers import make_version
from tests.postgres import Postgres

ROWS = 1_000_000
NUMBERS = ["prediction", "prediction_low", "prediction_high"]
HOSTILE = ['a"; DROP TABLE inputs; --', "line\nbreak", "back\\slash", "100%s", "*", "t", "{0}", "number"]
# Rounding to float32 is tried at its ends: overflow, the smallest numbers, ties, and what is no number.
ENDS = [0.0, 1e-46, 7.0064923e-46, 2.0**-150, 1.4e-45, 1.2e-38, 3.4028234e38, 3.4028235677973362e38, 1e300, np.inf]
ENDS += [6.25, 6.25 + 2**-23, 6.25 + 2**-22, 8.7, float(np.float32(8.7)), 16777217.0, 2.0**-149 * 1.5]
ENDS += [(float(np.float32(8.7)) + float(np.nextafter(np.float32(8.7), np.float32(9)))) / 2]  # a tie that is rounded up


def single(*values: float) -> list[float]:
    return [float(np.float32(value)) for value in values]


@pytest.fixture
def wild(store: Store) -> ModelVersion:
    """A version with great and small weights, and bounds of one column."""
    return make_version(
        store,
        "20260101T000000Z-aaaaaa",
        features=["a", "b", "c"],
        weights=single(3.3427968, -1e-12, 4e5),
        bias=single(1.2761)[0],
        ranges={"a": (3.5, 8.7), "b": (-1e30, 6.25), "c": (-0.1, 0.1)},
        intervals={"90": 1e37, "50": None},
        dataset={"bounds": ["b=..1e38", "c=-1e38..1e38"]},
    )


def draw_wild_rows() -> pl.DataFrame:
    """A third of the values are usual ones, a third of any size, and a third of those at the ends."""
    rng = np.random.default_rng(20261126)
    usual, sizes = rng.normal(scale=9, size=(3, ROWS)), 10.0 ** rng.integers(-60, 45, (3, ROWS))
    ends = rng.choice(ENDS, (3, ROWS)) * rng.choice([-1, 1], (3, ROWS))
    kind = rng.integers(0, 3, (3, ROWS))
    x = np.choose(kind, [usual, usual * sizes, ends])
    table = pl.DataFrame(dict(zip("abc", x, strict=True))).with_row_index("id")
    return table.with_columns(pl.when(pl.col("id") % 50 > 0).then(pl.col("a")).alias("a"))


def predict(model: ModelVersion, rows: pl.DataFrame) -> pl.DataFrame:
    """What a batch predicts, null in the rows that it rejects."""
    batch_run = BatchRun(location="", batch=Batch(), model=model)
    scorer = Scorer(batch_run, rows.columns, model.features, [], to_csv=False)
    table = scorer._predict(rows.with_row_index(LINE), [], strip=False)
    finite = pl.col("prediction").is_finite()
    return table.select(*(pl.when(finite).then(pl.col(name)).alias(name) for name in NUMBERS), "extrapolated")


def assert_same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Compare the bits of the numbers, so that a zero has its sign, and what is null."""
    assert expected["prediction"].null_count() < 0.7 * expected.height
    for name in NUMBERS:
        assert found[name].is_null().equals(expected[name].is_null()), name
        bits, wanted = (table[name].drop_nulls().to_numpy().view(np.uint32) for table in (found, expected))
        assert np.array_equal(bits, wanted), name
    assert found["extrapolated"].equals(expected["extrapolated"])


def read_csv(content: bytes | Path) -> pl.DataFrame:
    types = dict.fromkeys(NUMBERS, pl.Float32) | {"extrapolated": pl.String}
    table = pl.read_csv(content, schema_overrides=types)
    return table.with_columns(
        pl.col("extrapolated").replace_strict({"t": True, "f": False, "true": True, "false": False}, default=None)
    )


def test_postgres_gives_the_bits_of_a_batch(wild: ModelVersion, cluster: Postgres) -> None:
    rows = draw_wild_rows()
    with psycopg.connect(cluster.url) as session, session.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE inputs (id int, a float8, b float8, c float8)")
        with cursor.copy("COPY inputs FROM STDIN CSV") as copy:
            copy.write(rows.write_csv(include_header=False))
        cursor.execute(f"CREATE TEMPORARY VIEW predicted AS {write_select(wild, 'postgres')}".encode())
        with cursor.copy("COPY (SELECT * FROM predicted ORDER BY id) TO STDOUT CSV HEADER") as copy:
            assert_same(read_csv(b"".join(copy)), predict(wild, rows))


def test_duckdb_gives_the_bits_of_a_batch(wild: ModelVersion, tmp_path: Path) -> None:
    rows = draw_wild_rows()
    rows.write_csv(tmp_path / "inputs.csv")
    with duckdb.connect() as session:
        session.execute("CREATE TABLE inputs (id int, a double, b double, c double)")
        session.execute(f"COPY inputs FROM '{tmp_path}/inputs.csv' (HEADER)")
        session.execute(f"CREATE TABLE predicted AS {write_select(wild, 'duckdb')} ORDER BY id")
        session.execute(f"COPY predicted TO '{tmp_path}/predicted.csv' (HEADER)")
    assert_same(read_csv(tmp_path / "predicted.csv"), predict(wild, rows))


def test_sqlite_gives_the_numbers_of_a_batch_in_doubles(store: Store) -> None:
    features, weights = ["a", "b", "c"], single(0.3, 11.0, 2e-4)
    ranges = dict.fromkeys(features, (3.5, 8.7))
    model = make_version(store, "v", features=features, weights=weights, ranges=ranges, intervals={"90": 0.5})
    x = np.random.default_rng(1).uniform(0, 12, (100_000, 3))
    rows = pl.DataFrame(x, schema=features)
    with sqlite3.connect(":memory:") as session:
        session.execute("CREATE TABLE inputs (a real, b, c)")
        session.executemany("INSERT INTO inputs VALUES (?, ?, ?)", rows.iter_rows())
        found = np.array(session.execute(write_select(model, "sqlite")).fetchall(), np.float64)
    expected = predict(model, rows)
    assert np.allclose(found[:, 3:6], expected.select(NUMBERS).to_numpy(), rtol=1e-5, atol=0)
    assert np.array_equal(found[:, 6], expected["extrapolated"].to_numpy())
    assert 10_000 < expected["extrapolated"].to_numpy().sum() < 100_000
    session.close()


def run(dialect: Dialect, statements: list[str], cluster: Postgres) -> list[tuple[Any, ...]]:
    """Run statements in a database of their own, and return the rows of the last."""
    if dialect == "postgres":
        with psycopg.connect(cluster.url) as connection:
            for statement in statements:
                cursor = connection.execute(statement.replace("CREATE TABLE", "CREATE TEMPORARY TABLE").encode())
            return cursor.fetchall()
    session = sqlite3.connect(":memory:") if dialect == "sqlite" else duckdb.connect()
    for statement in statements:
        rows = session.execute(statement)
    found = [tuple(row) for row in rows.fetchall()]
    session.close()
    return found


@pytest.mark.parametrize("dialect", ["postgres", "duckdb", "sqlite"])
def test_a_hostile_name_stays_a_name(store: Store, dialect: Dialect, cluster: Postgres) -> None:
    ranges = dict.fromkeys(HOSTILE, (0.0, 1.0))
    model = make_version(store, "v", features=HOSTILE, weights=[2.0**n for n in range(8)], ranges=ranges, bias=0.5)
    table = 'in"puts; --\n'
    quoted = [name.replace('"', '""') for name in HOSTILE]
    columns = ", ".join(f'"{name}" real' for name in quoted)
    created = [f'CREATE TABLE "in""puts; --\n" ({columns})', 'INSERT INTO "in""puts; --\n" VALUES (1,1,1,1,1,1,1,2)']
    (row,) = run(dialect, [*created, write_select(model, dialect, table)], cluster)
    assert row[:8] == (1, 1, 1, 1, 1, 1, 1, 2)
    assert row[8:11] == (127 + 256 + 0.5, 127 + 256 - 9.5, 127 + 256 + 10.5)
    assert bool(row[11]) is True


@pytest.mark.parametrize("dialect", ["postgres", "duckdb", "sqlite"])
def test_what_a_batch_rejects_is_null(neuron: ModelVersion, dialect: Dialect, cluster: Postgres) -> None:
    model = neuron.model_copy(update={"dataset": {"bounds": ["RM=1..20"]}, "intervals": {"90": None}})
    created = [
        'CREATE TABLE inputs ("RM" double precision)',
        "INSERT INTO inputs VALUES (6), (null), (0.5), (21), (10)",
    ]
    rows = run(dialect, [*created, write_select(model, dialect)], cluster)
    assert [row[:4] for row in rows] == [
        (6, 13, None, None),
        (None, None, None, None),
        (0.5, None, None, None),
        (21, None, None, None),
        (10, 21, None, None),
    ]
    assert [row[4] if row[4] is None else bool(row[4]) for row in rows] == [False, None, True, True, True]


@pytest.mark.parametrize("dialect", ["duckdb", "sqlite"])
def test_text_that_is_no_number_is_null(neuron: ModelVersion, dialect: Dialect, cluster: Postgres) -> None:
    created = ['CREATE TABLE inputs ("RM" text)', "INSERT INTO inputs VALUES ('n/a'), ('')"]
    rows = run(dialect, [*created, write_select(neuron, dialect)], cluster)
    assert [row[1:] for row in rows] == [(None,) * 4] * 2


def test_sqlite_gives_null_where_float32_overflows(neuron: ModelVersion, cluster: Postgres) -> None:
    created = ["CREATE TABLE inputs (RM)", "INSERT INTO inputs VALUES (3e38), (1e39), (9e999), (-9223372036854775808)"]
    rows = run("sqlite", [*created, write_select(neuron, "sqlite")], cluster)
    assert [row[1] for row in rows] == [None, None, None, pytest.approx(-2 * 2.0**63 + 1)]
    small = neuron.model_copy(update={"weights": [1e-5]})
    rows = run("sqlite", [*created, write_select(small, "sqlite")], cluster)
    assert [row[1] for row in rows[:3]] == [pytest.approx(3e33), None, None], "the feature itself overflows"


@pytest.mark.parametrize("dialect", ["postgres", "duckdb"])
def test_three_hundred_features_are_added_up(store: Store, dialect: Dialect, cluster: Postgres) -> None:
    names = [f"f{place}" for place in range(300)]
    ranges = dict.fromkeys(names, (0.0, 1.0))
    model = make_version(store, "v", features=names, weights=single(*[0.1] * 300), ranges=ranges)
    created = [f"CREATE TABLE inputs ({', '.join(f'{name} double precision DEFAULT 1' for name in names)})"]
    created.append("INSERT INTO inputs DEFAULT VALUES")
    (row,) = run(dialect, [*created, write_select(model, dialect)], cluster)
    (expected,) = predict(model, pl.DataFrame(np.ones((1, 300)), schema=names))["prediction"]
    assert np.float32(row[300]) == np.float32(expected)
    assert expected > 31.00007, "each sum was rounded to float32"


def test_a_table_is_named_with_its_schema(neuron: ModelVersion, cluster: Postgres) -> None:
    assert 'FROM "sales"."may ""26""" AS t' in write_select(neuron, "postgres", 'sales.may "26"')
    for table in ("", "sales.", ".inputs"):
        with pytest.raises(UserError, match=re.escape(f"There can be no table {table!r}; name it as TABLE or SCHEMA.")):
            write_select(neuron, "postgres", table)
