"""Rows of a database are predicted, and predictions loaded into it."""

import os
import resource
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Engine

from linear_neuron.flows.predict import predict
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import ModelVersion, Term
from linear_neuron.tasks.parameters import Batch, Retention
from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.registry.retention import clean_store
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version
from tests.tasks.scoring.term_models import make_term_version

NAME = "LINEAR_NEURON_CONNECTION_SALES"


@pytest.fixture
def champion(store: Store) -> ModelVersion:
    model = make_version(store, "20260101T000000Z-aaaaaa")
    promote(store, model.version, "by hand")
    return model


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    if request.param == "sqlite":
        sqlite3.connect(tmp_path / "sales.db").close()
        monkeypatch.setenv(NAME, f"sqlite:///{tmp_path}/sales.db")
    else:
        monkeypatch.setenv(NAME, request.getfixturevalue("postgres").replace("+asyncpg", ""))
    engine = create_engine(os.environ[NAME].replace("postgresql", "postgresql+psycopg"))
    with engine.begin() as session:
        session.execute(text('create table sales (id text, "RM" numeric(4, 2))'))
        session.execute(text("insert into sales values ('007', 6.5), ('a,\"b', 5), ('x', null)"))
    yield engine
    with engine.begin() as session:
        session.execute(text("drop table sales"))
        session.execute(text("drop table if exists predicted"))
    engine.dispose()


def rows_of(engine: Engine) -> list[tuple[object, ...]]:
    query = "select id, prediction, prediction_low, extrapolated, batch, model_version from predicted order by id"
    with engine.begin() as session:
        return [tuple(row) for row in session.execute(text(query))]


def test_a_query_is_predicted_and_loaded_into_a_table(champion: ModelVersion, database: Engine) -> None:
    batch = Batch(inputs=['sql:select id, "RM" from sales order by id'], connection="sales", into="predicted")
    location = predict.fn(batch)
    (path,) = Path(location).glob("*.predictions.csv")
    assert path.read_text().splitlines()[1].startswith("007,6.5")
    assert len(path.read_text().splitlines()) == 3
    name, version = Path(location).name, champion.version
    expected = [("007", 20.5, 10.5, False, name, version), ('a,"b', 16.0, 6.0, False, name, version)]
    assert rows_of(database) == expected
    predict.fn(batch)
    assert rows_of(database) == expected
    with database.begin() as session:
        session.execute(text("update sales set \"RM\" = 7 where id = '007'"))
    predict.fn(batch)
    assert [row[1] for row in rows_of(database)] == [22.0, 16.0]
    with database.begin() as session:
        session.execute(text('update sales set "RM" = null'))
    predict.fn(batch.model_copy(update={"max_rejects": 1}))
    assert rows_of(database) == []


def test_added_columns_are_loaded_too(champion: ModelVersion, database: Engine) -> None:
    query = 'sql:select id, "RM" from sales order by id'
    predict.fn(Batch(inputs=[query], connection="sales", into="predicted", add=["model_version"]))
    assert [row[:2] + row[5:] for row in rows_of(database)] == [
        ("007", 20.5, champion.version),
        ('a,"b', 16.0, champion.version),
    ]


def test_queries_that_no_csv_file_can_hold_are_refused(champion: ModelVersion, database: Engine) -> None:
    queries = {"sqlite": "select 5 as \"RM\", x'ff' as b", "postgresql": "select 5 as \"RM\", 'a'::bytea as b"}
    with pytest.raises(UserError, match=r"column 'b' holds Binary where .*; leave it out, or cast it to text"):
        predict.fn(Batch(inputs=[f"sql:{queries[database.dialect.name]}"], connection="sales"))


def test_two_query_files_of_one_name_are_refused(champion: ModelVersion, tmp_path: Path, database: Engine) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "sales.sql").write_text('select "RM" from sales')
    with pytest.raises(UserError, match="Two of the queries are called sales; rename the file of one"):
        predict.fn(Batch(inputs=[f"sql:{tmp_path}/{folder}/sales.sql" for folder in "ab"], connection="sales"))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("RM,", "No column of a table of this database can be called ''; rename it in the inputs"),
        ("RM,id,id", "column 'id' is there twice"),
        ("RM,batch", "The predictions have a column 'batch', which the table uses itself; rename it"),
    ],
)
def test_columns_that_no_table_can_have_are_refused(
    champion: ModelVersion, database: Engine, tmp_path: Path, header: str, message: str
) -> None:
    (tmp_path / "x.csv").write_text(f"{header}\n6{',a' * header.count(',')}\n")
    with pytest.raises(UserError, match=message):
        predict.fn(Batch(inputs=[str(tmp_path / "x.csv")], connection="sales", into="predicted"))


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_name_that_would_be_cut_off_is_refused(champion: ModelVersion, database: Engine, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(f"RM,{'x' * 64}\n6,a\n")
    with pytest.raises(UserError, match="No column of a table of this database can be called 'xxx"):
        predict.fn(Batch(inputs=[str(tmp_path / "x.csv")], connection="sales", into="predicted"))


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_two_runs_of_one_batch_load_it_once(champion: ModelVersion, database: Engine) -> None:
    batch = Batch(inputs=['sql:select id, "RM" from sales order by id'], connection="sales", into="predicted")
    predict.fn(batch)
    expected = rows_of(database)
    with ThreadPoolExecutor() as pool:
        with database.begin() as first:
            first.execute(text("create table mine as select * from predicted"))
            first.execute(text("delete from predicted"))
            first.execute(text("insert into predicted select * from mine"))
            first.execute(text("drop table mine"))
            second = pool.submit(predict.fn, batch)
            while not first.execute(text("select 1 from pg_locks where not granted")).all():
                assert not second.done(), "it did not wait"
        second.result()
    assert rows_of(database) == expected


@pytest.mark.parametrize(
    ("connection", "message"), [("", "needs the name of its database"), ("nowhere", "There is no address")]
)
def test_a_table_without_a_database_is_refused_before_any_work(
    champion: ModelVersion, store: Store, tmp_path: Path, connection: str, message: str
) -> None:
    (tmp_path / "x.csv").write_text("RM\n6\n")
    with pytest.raises(UserError, match=message):
        predict.fn(Batch(inputs=[str(tmp_path / "x.csv")], connection=connection, into="predicted"))
    assert store.names("predictions") == []


def test_files_are_loaded_beside_other_batches(champion: ModelVersion, database: Engine, tmp_path: Path) -> None:
    for name, rooms in (("a", 6), ("b", 7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.csv").write_text(f"id,RM\n{name},{rooms}\n")
        predict.fn(Batch(inputs=[str(tmp_path / name)], connection="sales", into="predicted"))
    assert [row[:2] for row in rows_of(database)] == [("a", 19.0), ("b", 22.0)]
    (tmp_path / "b" / "x.csv").write_text("id,RM\nb,many\n")
    predict.fn(Batch(inputs=[str(tmp_path / "b")], connection="sales", into="predicted", max_rejects=1))
    assert [row[0] for row in rows_of(database)] == ["a"], "b has no prediction any more, and a is another batch"


def test_a_table_without_the_columns_is_refused(champion: ModelVersion, database: Engine, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,RM\na,6\n")
    with pytest.raises(UserError, match="The table sales has no column 'batch'"):
        predict.fn(Batch(inputs=[str(tmp_path / "x.csv")], connection="sales", into="sales"))
    (tmp_path / "y.csv").write_text("batch,RM\na,6\n")
    with pytest.raises(UserError, match="have a column 'batch', which the table uses itself"):
        predict.fn(Batch(inputs=[str(tmp_path / "y.csv")], connection="sales", into="predicted"))
    with pytest.raises(UserError, match="returns no rows; there is nothing to predict"):
        predict.fn(Batch(inputs=["sql:select * from sales where 1 = 0"], connection="sales"))


def test_any_version_and_the_champion_of_a_day_predict(champion: ModelVersion, store: Store, tmp_path: Path) -> None:
    (path := tmp_path / "x.csv").write_text("RM\n6\n")
    other = make_version(store, "20260102T000000Z-bbbbbb", bias=2.0)
    chosen = predict.fn(Batch(inputs=[str(path)], model=other.version))
    assert Path(chosen).name.startswith(other.version)
    today = promote(store, other.version, "better").since.date().isoformat()
    assert Path(predict.fn(Batch(inputs=[str(path)], as_of=today))).name.startswith(other.version)
    log = Path(store.root.path) / "promotions.jsonl"
    first, second = log.read_text().splitlines(keepends=True)
    log.write_text(first.replace(today, "2026-03-01") + second)
    assert Path(predict.fn(Batch(inputs=[str(path)], as_of="2026-03-01"))).name.startswith(champion.version)
    with pytest.raises(UserError, match="had no champion on 2026-02-28; the first one served from 2026-03-01"):
        predict.fn(Batch(inputs=[str(path)], as_of="2026-02-28"))
    with pytest.raises(UserError, match="by --model or a day by --as-of, and not both"):
        predict.fn(Batch(inputs=[str(path)], as_of="2026-03-01", model=other.version))


def test_each_query_and_connection_has_its_own_batch(
    champion: ModelVersion, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locations = []
    for name, rooms in (("a", 5), ("b", 6)):
        with closing(sqlite3.connect(tmp_path / f"{name}.db")) as session:
            session.execute('create table sales (id, "RM")')
            session.execute("insert into sales values (?, ?)", (name, rooms))
            session.commit()
        monkeypatch.setenv(f"LINEAR_NEURON_CONNECTION_{name.upper()}", f"sqlite:///{tmp_path}/{name}.db")
        for query in ("select * from sales", 'select id || 1 as id, "RM" + 1 as "RM" from sales'):
            locations.append(predict.fn(Batch(inputs=[f"sql:{query}"], connection=name, into="predicted")))
    assert len(set(locations)) == 4
    for name, rooms in (("a", 5), ("b", 6)):
        with closing(sqlite3.connect(tmp_path / f"{name}.db")) as session:
            found = session.execute("select id, prediction from predicted order by id").fetchall()
        assert found == [(name, 3.0 * rooms + 1), (f"{name}1", 3.0 * rooms + 4)]
    assert store.names("queries") == [], "they are removed after each run"
    assert all("/queries/" not in (Path(location) / "manifest.json").read_text() for location in locations)
    assert verify(store) == []


def test_a_query_beside_files_is_predicted(champion: ModelVersion, database: Engine, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,RM\na,6\n")
    batch = Batch(inputs=['sql:select id, "RM" from sales', str(tmp_path / "x.csv")], connection="sales")
    location = predict.fn(batch)
    assert len(list(Path(location).glob("*.predictions.csv"))) == 2
    assert predict.fn(batch) == location
    assert not list(Path(location).glob(".older/*")), "nothing has changed"
    (tmp_path / "sales.sql").write_text('select "RM" from sales')
    (tmp_path / "sales.csv").write_text("RM\n6\n")
    with pytest.raises(UserError, match="Two of the queries are called sales; rename the file of one, or the input"):
        predict.fn(Batch(inputs=[f"sql:{tmp_path}/sales.sql", str(tmp_path / "sales.csv")], connection="sales"))


def test_a_failed_run_leaves_no_rows_of_a_query(champion: ModelVersion, store: Store, database: Engine) -> None:
    for query, options in (('select "RM" from sales', {"model": "none"}), ('select id as "RM" from sales', {})):
        with pytest.raises(UserError):
            predict.fn(Batch(inputs=['sql:select 6 as "RM"', f"sql:{query}"], connection="sales", **options))
        assert store.names("queries") == []
    with pytest.raises(UserError):
        predict.fn(Batch(inputs=['sql:select 6 as "RM"', "sql:select nothing"], connection="sales"))
    assert store.names("queries") == []


def test_rows_of_a_killed_run_are_found_and_cleaned(champion: ModelVersion, store: Store) -> None:
    path = store.root / "queries" / "0a1b2c3d" / "sales.csv"
    store.write(path, b"id\n1\n")
    assert verify(store) == [], "its run may still be going on"
    for old in (path, path.parent):
        os.utime(old.path, (1, 1))
    assert verify(store) == [
        f"{store.root}/queries/0a1b2c3d has rows of a query whose run was killed; `clean` removes them."
    ]
    assert clean_store(store, Retention()) == ["saved query 0a1b2c3d"]
    assert store.names("queries") == []


def test_a_full_disk_while_a_query_is_saved_is_one_sentence(
    champion: ModelVersion, store: Store, database: Engine
) -> None:
    numbers = 'with recursive n(i) as (select 1 union all select i + 1 from n where i < 9999) select i as "RM" from n'
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(UserError, match="File too large") as caught:
            predict.fn(Batch(inputs=[f"sql:{numbers}"], connection="sales"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert store.names("queries") == []


def test_a_run_loads_only_what_it_was_asked_for(champion: ModelVersion, database: Engine, tmp_path: Path) -> None:
    for name, rooms in (("a", 6), ("b", 7)):
        (tmp_path / f"{name}.csv").write_text(f"id,RM\n{name},{rooms}\n")
        predict.fn(Batch(inputs=[str(tmp_path / f"{name}.csv")], connection="sales", into="predicted"))
    assert [row[:2] for row in rows_of(database)] == [("a", 19.0), ("b", 22.0)]
    with database.begin() as session:
        session.execute(text("delete from predicted where id = 'b'"))
    predict.fn(Batch(inputs=[str(tmp_path / "a.csv")], connection="sales", into="predicted"))
    assert [row[0] for row in rows_of(database)] == ["a"], "b was not asked for"
    with database.begin() as session:
        found = session.execute(text("select input_name, predicted_at from predicted")).one()
    assert (found[0], str(found[1])[:4]) == ("a", str(datetime.now(UTC).year))


def test_files_of_one_name_are_both_loaded(champion: ModelVersion, database: Engine, tmp_path: Path) -> None:
    for folder, rooms in (("a", 6), ("b", 7)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.csv").write_text(f"id,RM\n{folder},{rooms}\n")
    both = Batch(inputs=[str(tmp_path / "a/x.csv"), str(tmp_path / "b/x.csv")], connection="sales", into="predicted")
    for batch in (both, both, *(both.model_copy(update={"inputs": [path]}) for path in both.inputs)):
        predict.fn(batch)
    with database.begin() as session:
        found = session.execute(text("select input_name, id, count(*) from predicted group by input_name, id")).all()
    assert sorted(found) == [("a/x", "a", 1), ("b/x", "b", 1), ("x", "a", 1), ("x", "b", 1)], "each batch has its rows"


def test_a_table_of_an_older_version_takes_the_whole_batch(
    champion: ModelVersion, database: Engine, tmp_path: Path
) -> None:
    columns = "prediction float, prediction_low float, prediction_high float, extrapolated boolean"
    with database.begin() as session:
        session.execute(text(f'create table predicted (batch text, model_version text, id text, "RM" text, {columns})'))
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"id,RM\n{name},6\n")
        predict.fn(Batch(inputs=[str(tmp_path / f"{name}.csv")], connection="sales", into="predicted"))
    assert [row[0] for row in rows_of(database)] == ["a", "b"]
    query = 'sql:select 7 as id, 6 as "RM"'
    predict.fn(Batch(inputs=[query], connection="sales", into="predicted"))
    assert [row[0] for row in rows_of(database)] == ["7", "a", "b"], "its id is text"


def test_numbers_of_a_query_are_numbers_in_the_table(champion: ModelVersion, database: Engine) -> None:
    query = 'sql:select 9007199254740993 as id, 1.5 as half, id as name, "RM" from sales where "RM" = 5'
    predict.fn(Batch(inputs=[query], connection="sales", into="predicted"))
    with database.begin() as session:
        (row,) = session.execute(text("select id, half + 1, name from predicted")).all()
    assert (row[0], float(row[1]), row[2]) == (9007199254740993, 2.5, 'a,"b')


def test_numbers_of_parquet_are_numbers_in_the_table(champion: ModelVersion, database: Engine, tmp_path: Path) -> None:
    pl.DataFrame({"id": [1, None], "RM": [5.0, 6.0], "name": ["x", None]}).write_parquet(tmp_path / "x.parquet")
    predict.fn(Batch(inputs=[str(tmp_path / "x.parquet")], connection="sales", into="predicted"))
    with database.begin() as session:
        rows = session.execute(text('select id, "RM", name from predicted order by "RM"')).all()
    assert [tuple(row) for row in rows] == [(1, 5.0, "x"), (None, 6.0, None)]


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_table_of_a_schema_is_loaded(champion: ModelVersion, database: Engine, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,RM\na,6\n")
    with database.begin() as session:
        session.execute(text("create schema other"))
    try:
        for _ in range(2):
            predict.fn(Batch(inputs=[str(tmp_path / "x.csv")], connection="sales", into="other.predicted"))
        with database.begin() as session:
            assert session.execute(text("select id from other.predicted")).scalars().all() == ["a"]
    finally:
        with database.begin() as session:
            session.execute(text("drop schema other cascade"))


def test_categories_of_a_query_have_the_labels_of_its_types(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: str
) -> None:
    monkeypatch.setenv(NAME, postgres.replace("+asyncpg", ""))
    levels = {"7": 1.0, "8.5": 2.0, "true": 3.0, "9": 4.0, "1.50": 5.0, "x": 6.0}
    columns = ["whole", "part", "flag", "exact", "text"]
    terms = [
        Term(name=name, kind="category", label=f"`{name}`", levels=levels, rows=dict.fromkeys(levels, 1), missing=-1.0)
        for name in columns
    ]
    make_term_version(
        store,
        terms=terms,
        features=columns,
        columns=dict.fromkeys(columns, "category"),
        ranges={},
        base=0.0,
        dataset={},
    )
    query = (
        "sql:SELECT * FROM (VALUES (1, 7.0::float8, 8.5::float4, true, 9.00::numeric(4, 2), ' x '), "
        "(2, 8.5, 7, NULL, 1.50, '9')) AS t (id, whole, part, flag, exact, text)"
    )
    batch = Batch(inputs=[query], connection="sales", model="20260101T000000Z-aaaaaa", output=str(tmp_path / "out"))
    (path,) = Path(predict.fn(batch)).glob("*.predictions.csv")
    found = pl.read_csv(path)
    assert found["prediction"].to_list() == [1 + 2 + 3 + 4 + 6, 2 + 1 - 1 + 5 + 4]
    assert found["extrapolated"].to_list() == [False, False]
