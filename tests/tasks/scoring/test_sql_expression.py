"""A version as a SELECT predicts in real databases what a batch predicts, bit for bit."""

import re
import sqlite3
from functools import cache
from pathlib import Path
from typing import Any, cast

import duckdb
import numpy as np
import polars as pl
import psycopg
import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.sql_terms import Dialect
from linear_neuron.tasks.model import IntervalBins, ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.scoring.manifest import BatchRun
from linear_neuron.tasks.scoring.score import Scorer
from linear_neuron.tasks.scoring.sql_expression import write_select
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.tables.rejects import LINE
from tests.helpers import make_version
from tests.postgres import Postgres
from tests.tasks.helpers import Scoring

ROWS = 150_000
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


@pytest.fixture
def centered(wild: ModelVersion) -> ModelVersion:
    """The same in float64 arithmetic, around centers of which one is far from zero."""
    numbers = {"weights": [3.3427968, -1e-12, 4e5 / 3], "bias": 1.2761, "centers": [0.1, -1e9 / 3, 0.0], "base": -7.7}
    return wild.model_copy(update={"arithmetic": "float64", **numbers})


@pytest.fixture(params=["wild", "centered"])
def model(request: pytest.FixtureRequest) -> ModelVersion:
    return cast(ModelVersion, request.getfixturevalue(request.param))


@cache
def draw_wild_rows() -> pl.DataFrame:
    """A third of the values are usual ones, a third of any size, and a third of those at the ends."""
    rng = np.random.default_rng(20261126)
    usual, sizes = rng.normal(scale=9, size=(3, ROWS)), 10.0 ** rng.integers(-60, 45, (3, ROWS))
    ends = rng.choice(ENDS, (3, ROWS)) * rng.choice([-1, 1], (3, ROWS))
    kind = rng.integers(0, 3, (3, ROWS))
    x = np.choose(kind, [usual, usual * sizes, ends])
    table = pl.DataFrame(dict(zip("abc", x, strict=True))).with_row_index("id")
    return table.with_columns(pl.when(pl.col("id") % 50 > 0).then(pl.col("a")).alias("a"))


def predict(model: ModelVersion, rows: pl.DataFrame, percent: int = 90) -> pl.DataFrame:
    """What a batch predicts, null in the rows that it rejects."""
    batch_run = BatchRun(location="", batch=Batch(interval=percent), model=model)
    scorer = Scorer(batch_run, rows.columns, model.features, [], to_csv=False)
    table = scorer._predict(rows.with_row_index(LINE), [], {}, strip=False)
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


@pytest.fixture
def levels(wild: ModelVersion) -> ModelVersion:
    """The same version with an interval by level, of which some errors are missing for one percent, and a floor."""
    lower = {"90": single(-1e-3, -0.3, -7.7, -1e37), "50": [None] * 4, "99": [None, *single(-0.1, -9.0, -1e36)]}
    upper = {"90": single(0.1, 2.5, 8.1, 3e37), "50": [None] * 4, "99": [*single(0.2, 2.6, 9.1), None]}
    edges = single(-5.5, 0.0, 1234.56)
    return wild.model_copy(update={"interval_bins": IntervalBins(edges=edges, lower=lower, upper=upper, floor=0.0)})


@pytest.mark.parametrize("percent", [90, 50, 99])
def test_levels_of_the_interval_are_those_of_a_batch(
    levels: ModelVersion, cluster: Postgres, tmp_path: Path, percent: int
) -> None:
    levels = levels.model_copy(update={"intervals": {str(percent): 1.0}})
    rows = draw_wild_rows().head(50_000)
    expected = predict(levels, rows, percent)
    rows.write_csv(tmp_path / "inputs.csv")
    with duckdb.connect() as session:
        session.execute("CREATE TABLE inputs (id int, a double, b double, c double)")
        session.execute(f"COPY inputs FROM '{tmp_path}/inputs.csv' (HEADER)")
        session.execute(f"CREATE TABLE predicted AS {write_select(levels, 'duckdb', percent=percent)} ORDER BY id")
        session.execute(f"COPY predicted TO '{tmp_path}/predicted.csv' (HEADER)")
    assert_same(read_csv(tmp_path / "predicted.csv"), expected)
    with psycopg.connect(cluster.url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE inputs (id int, a float8, b float8, c float8)")
        with cursor.copy("COPY inputs FROM STDIN CSV") as copy:
            copy.write(rows.write_csv(include_header=False))
        select = write_select(levels, "postgres", percent=percent)
        cursor.execute(f"CREATE TEMPORARY VIEW predicted AS {select}".encode())
        with cursor.copy("COPY (SELECT * FROM predicted ORDER BY id) TO STDOUT CSV HEADER") as copy:
            assert_same(read_csv(b"".join(copy)), expected)


def test_levels_of_the_interval_are_close_in_sqlite(levels: ModelVersion) -> None:
    ranges = levels.ranges | {"b": (-9.0, 6.25)}  # SQLite predicts no version with larger features in float32.
    levels = levels.model_copy(update={"ranges": ranges})
    rows = pl.DataFrame({"a": np.linspace(-9, 900, 500), "b": 1.0, "c": 1e-7})
    expected = predict(levels, rows)
    with sqlite3.connect(":memory:") as session:
        session.execute("CREATE TABLE inputs (a, b, c)")
        session.executemany("INSERT INTO inputs VALUES (?, ?, ?)", rows.rows())
        found = session.execute(write_select(levels, "sqlite")).fetchall()
    assert np.allclose(np.array([row[3:6] for row in found]), expected.select(NUMBERS).to_numpy(), rtol=1e-5, atol=1e-5)


@pytest.fixture
def logarithm(centered: ModelVersion) -> ModelVersion:
    """A version whose sums are logarithms, of which some have exponentials that are infinite or zero in float32."""
    return centered.model_copy(update={"link": "log", "intervals": {"90": 1.0}})


def assert_close(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Compare predictions but for what databases make of an exponential."""
    for name in NUMBERS:
        assert found[name].is_null().equals(expected[name].is_null()), name
        assert np.allclose(found[name].drop_nulls(), expected[name].drop_nulls(), rtol=1e-6, atol=1e-45), name


def test_exponentials_of_log_models_are_close_in_all_databases(logarithm: ModelVersion, cluster: Postgres) -> None:
    rows = draw_wild_rows().head(20_000)
    expected = predict(logarithm, rows)
    assert (expected["prediction"] == 0).any()
    assert 0.3 < expected["prediction"].null_count() / expected.height < 0.95
    with duckdb.connect() as session:
        session.register("inputs", rows.to_arrow())
        assert_close(session.sql(f"{write_select(logarithm, 'duckdb')} ORDER BY id").pl(), expected)
    with psycopg.connect(cluster.url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE inputs (id int, a float8, b float8, c float8)")
        with cursor.copy("COPY inputs FROM STDIN CSV") as copy:
            copy.write(rows.write_csv(include_header=False))
        cursor.execute(f"CREATE TEMPORARY VIEW predicted AS {write_select(logarithm, 'postgres')}".encode())
        with cursor.copy("COPY (SELECT * FROM predicted ORDER BY id) TO STDOUT CSV HEADER") as copy:
            assert_close(read_csv(b"".join(copy)), expected)
    with sqlite3.connect(":memory:") as lite:
        usual = rows.filter(pl.col("a").abs() < 20, pl.col("b").abs() < 1e9, pl.col("c").abs() < 1e-4)
        lite.execute("CREATE TABLE inputs (id, a, b, c)")
        lite.executemany("INSERT INTO inputs VALUES (?, ?, ?, ?)", usual.rows())
        predicted = [row[4] for row in lite.execute(f"{write_select(logarithm, 'sqlite')} ORDER BY id")]
        assert np.allclose(predicted, predict(logarithm, usual)["prediction"], rtol=1e-6)


def test_python_predicts_exponentials_as_a_batch_does(logarithm: ModelVersion) -> None:
    rows = draw_wild_rows().head(20_000).drop_nulls().filter(pl.all_horizontal(pl.col("a", "b", "c").abs() < 1e3))
    expected = predict(logarithm, rows)["prediction"]
    found = logarithm.linear_model.predict(rows.select("a", "b", "c").to_numpy())
    assert len(rows) > 1000
    assert np.allclose(found[np.isfinite(found)], expected.drop_nulls(), rtol=1e-6)


def read_csv(content: bytes | Path) -> pl.DataFrame:
    types = dict.fromkeys(NUMBERS, pl.Float32) | {"extrapolated": pl.String}
    table = pl.read_csv(content, schema_overrides=types)
    return table.with_columns(
        pl.col("extrapolated").replace_strict({"t": True, "f": False, "true": True, "false": False}, default=None)
    )


def test_postgres_gives_the_bits_of_a_batch(model: ModelVersion, cluster: Postgres) -> None:
    rows = draw_wild_rows()
    with psycopg.connect(cluster.url) as session, session.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE inputs (id int, a float8, b float8, c float8)")
        with cursor.copy("COPY inputs FROM STDIN CSV") as copy:
            copy.write(rows.write_csv(include_header=False))
        cursor.execute(f"CREATE TEMPORARY VIEW predicted AS {write_select(model, 'postgres')}".encode())
        with cursor.copy("COPY (SELECT * FROM predicted ORDER BY id) TO STDOUT CSV HEADER") as copy:
            assert_same(read_csv(b"".join(copy)), predict(model, rows))


def test_duckdb_gives_the_bits_of_a_batch(model: ModelVersion, tmp_path: Path) -> None:
    rows = draw_wild_rows()
    rows.write_csv(tmp_path / "inputs.csv")
    with duckdb.connect() as session:
        session.execute("CREATE TABLE inputs (id int, a double, b double, c double)")
        session.execute(f"COPY inputs FROM '{tmp_path}/inputs.csv' (HEADER)")
        session.execute(f"CREATE TABLE predicted AS {write_select(model, 'duckdb')} ORDER BY id")
        session.execute(f"COPY predicted TO '{tmp_path}/predicted.csv' (HEADER)")
    assert_same(read_csv(tmp_path / "predicted.csv"), predict(model, rows))


@pytest.mark.parametrize("centers", [[], [6.0, 1e6, -3.0]], ids=["float32", "float64"])
def test_sqlite_gives_the_numbers_of_a_batch_in_doubles(store: Store, centers: list[float]) -> None:
    features, weights = ["a", "b", "c"], single(0.3, 11.0, 2e-4)
    ranges = dict.fromkeys(features, (3.5, 8.7))
    model = make_version(store, "v", features=features, weights=weights, ranges=ranges, intervals={"90": 0.5})
    model = model.model_copy(
        update={"arithmetic": "float64" if centers else "float32", "centers": centers, "base": 3e8}
    )
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


SPELLINGS = [
    "abc",
    "1_000",
    "1e1_0",
    "",
    "  ",
    "NaN",
    "-inf",
    "1e39",
    "1e999",
    "3e38",
    "0x10",
    "1,5",
    "true",
    "1f",
    "- 1",
]
SPELLINGS += ["1", " 1.5 ", "\t1", "1e5", "+1", ".5", "1.", "00012", "-0", "1E-5"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_duckdb_rejects_the_spellings_that_a_batch_rejects(neuron: ModelVersion, score: Scoring, spelling: str) -> None:
    predicted = score(f'RM\n"{spelling}"\n'.encode()).predicted
    with duckdb.connect() as session:
        session.execute('CREATE TABLE inputs AS SELECT ?::varchar AS "RM"', [spelling])
        session.execute('CREATE TYPE words AS ENUM (SELECT "RM" FROM inputs)')
        session.execute('CREATE TABLE listed AS SELECT "RM"::words AS "RM" FROM inputs')
        for table in ("inputs", "listed"):
            (row,) = session.execute(write_select(neuron, "duckdb", table)).fetchall()
            assert (row[1] is not None) == bool(predicted)


def test_duckdb_takes_no_boolean_for_a_number(neuron: ModelVersion, cluster: Postgres) -> None:
    created = ['CREATE TABLE inputs ("RM" boolean)', "INSERT INTO inputs VALUES (true), (false)"]
    rows = run("duckdb", [*created, write_select(neuron, "duckdb")], cluster)
    assert [row[1:] for row in rows] == [(None,) * 4] * 2


def test_sqlite_is_refused_where_float32_rounds_a_feature(neuron: ModelVersion) -> None:
    seconds = neuron.model_copy(update={"ranges": {"RM": (1.6e9, 1.7e9)}})
    with pytest.raises(UserError, match=r"SQLite has no float32, to which .* rounds RM, of up to 1\.7e\+09; use Post"):
        write_select(seconds, "sqlite")
    write_select(seconds, "duckdb")
    write_select(seconds.model_copy(update={"arithmetic": "float64", "centers": [1.65e9]}), "sqlite")


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


@pytest.mark.parametrize("name", ["wild", "centered"])
def test_numpy_gives_the_bits_of_a_batch(request: pytest.FixtureRequest, name: str) -> None:
    model = request.getfixturevalue(name)
    rows = draw_wild_rows()
    found = predict(model, rows).select("prediction").with_row_index("id").drop_nulls()
    x = rows.select(model.features).to_numpy()[found["id"].to_numpy()]
    expected = model.linear_model.predict(x)
    assert len(x) > 0.3 * ROWS
    assert np.array_equal(found["prediction"].to_numpy().view(np.uint32), expected.view(np.uint32))


def test_float64_arithmetic_loses_no_digits_of_a_feature(centered: ModelVersion) -> None:
    model = centered.model_copy(
        update={"weights": [2.0, -2.0, 0.0], "centers": [1.7e9, 1.7e9, 0.0], "base": 5.0, "dataset": {}}
    )
    seconds = pl.DataFrame({"a": [1.7e9 + 1, 1.7e9 + 61], "b": [1.7e9, 1.7e9 + 60.5], "c": [0.0, 1.0]})
    assert predict(model, seconds)["prediction"].to_list() == [7.0, 6.0]
    assert predict(model, seconds * 1e30)["prediction"].to_list() == [None, None], "no float32 is as great"


def test_a_table_is_named_with_its_schema(neuron: ModelVersion, cluster: Postgres) -> None:
    assert 'FROM "sales"."may ""26""" AS t' in write_select(neuron, "postgres", 'sales.may "26"')
    for table in ("", "sales.", ".inputs"):
        with pytest.raises(UserError, match=re.escape(f"There can be no table {table!r}; name it as TABLE or SCHEMA.")):
            write_select(neuron, "postgres", table)
