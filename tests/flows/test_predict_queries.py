"""Rows of a database are predicted, and predictions loaded into it."""

import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Engine

from flows.predict import predict
from tasks.errors import UserError
from tasks.model import ModelVersion
from tasks.parameters import Batch
from tasks.registry.champion import promote
from tasks.storage.store import Store
from tests.helpers import make_version

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
    with pytest.raises(UserError, match="had no champion on 2026-02-28; the first one serves since 2026-03-01"):
        predict.fn(Batch(inputs=[str(path)], as_of="2026-02-28"))
    with pytest.raises(UserError, match="by --model or a day by --as-of, and not both"):
        predict.fn(Batch(inputs=[str(path)], as_of="2026-03-01", model=other.version))
