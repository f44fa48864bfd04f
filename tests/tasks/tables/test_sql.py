"""Queries are read, and can change nothing."""

import sqlite3
from pathlib import Path

import duckdb
import polars as pl
import pytest
from prefect import flow
from prefect.blocks.system import Secret

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.tables.sql import read_query, read_text


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "sales.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table sales (area, price)")
        connection.executemany("insert into sales values (?, ?)", [(1, 2.5), (2.5, None), ("n/a", 4)])
    connection.close()
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_WARE_HOUSE", f"sqlite:///{path}")
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_OTHER", "mysql://user:hunter2@host/sales")
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_BAD", "hunter2")
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_GONE", "sqlite:///gone.db")
    return path


def rows(text: str, connection: str = "ware-house") -> pl.DataFrame:
    return pl.concat(read_query(text, connection), how="diagonal_relaxed")


def test_column_of_several_types_is_text(database: Path) -> None:
    assert rows("select area from sales")["area"].to_list() == ["1", "2.5", "n/a"]
    assert rows("select price from sales")["price"].to_list() == ["2.5", None, "4"]


def test_query_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "sales.sql").write_text("-- a; comment\nselect ';' as x;\n")
    assert read_text(f"sql:{tmp_path}/sales.sql") == "-- a; comment\nselect ';' as x;"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("sql:", "The query is empty"),
        ("sql:-- nothing", "The query is empty"),
        ("sql:select 1; select 2", "more than one statement"),
        ("sql:gone.sql", "can't be read: No such file"),
    ],
)
def test_text_that_is_no_query_is_refused(source: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_text(source)


@pytest.mark.parametrize(
    ("query", "connection", "message"),
    [
        ("select gone from sales", "ware-house", "The query on ware-house failed: no such column: gone."),
        ("delete from sales", "ware-house", "attempt to write a readonly database"),
        ("create table x (y)", "ware-house", "attempt to write a readonly database"),
        ("pragma user_version = 3", "ware-house", "readonly|returns no rows"),
        ("select 1 as x, 2 as x", "ware-house", "has the column 'x' twice"),
        ("select 1", "", "give --connection, or --dataset.connection to retrain"),
        ("select 1", "nowhere", "set LINEAR_NEURON_CONNECTION_NOWHERE"),
        ("select 1", "other", "connection other"),
        ("select 1", "bad", "must begin with sqlite:///"),
        ("select 1", "gone", "There is no database at .*gone.db"),
    ],
)
def test_failed_query_shows_no_address(database: Path, query: str, connection: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        rows(query, connection)
    assert "hunter2" not in str(caught.value)
    assert len(rows("select * from sales")) == 3


@pytest.mark.parametrize("query", ["attach '{}' as other", "vacuum into '{}'"])
def test_query_cannot_make_another_database(database: Path, tmp_path: Path, query: str) -> None:
    with pytest.raises(UserError, match="The query on ware-house failed"):
        rows(query.format(tmp_path / "new.db"))
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://user:hunter2@host:many/sales",
        "postgresql://user:1@hunter2@host/sales",
        "postgresql://user:hunter2@[::1/sales",
        "mysql://user:hunter2@host/sales",
        "hunter2",
    ],
)
def test_wrong_address_shows_no_password(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_ODD", address)
    with pytest.raises(
        UserError, match=r"must begin with sqlite:///, .* an @ in its password must be written as %40"
    ) as caught:
        rows("select 1", "odd")
    assert "hunter2" not in str(caught.value)
    assert "host" not in str(caught.value)


def test_driver_of_an_address_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_PREFECT", "postgresql+asyncpg://user:hunter2@127.0.0.1:1/sales")
    with pytest.raises(UserError, match=r"The query on prefect failed: .*Connection refused"):
        rows("select 1", "prefect")


def test_duckdb_file_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with duckdb.connect(str(tmp_path / "sales.duckdb")) as database:
        database.execute("create table sales as select 1.5 as area")
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_DUCK", f"duckdb:///{tmp_path}/sales.duckdb")
    assert rows("select * from sales", "duck")["area"].cast(float).to_list() == [1.5]
    for query in ("delete from sales", f"copy sales to '{tmp_path}/new'", f"attach '{tmp_path}/new'"):
        with pytest.raises(UserError, match="The query on duck returns no rows; it must be a SELECT"):
            rows(query, "duck")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match="The query on duck has the column 'x' twice"):
        rows("select 1 as x, 2 as x", "duck")
    with pytest.raises(UserError, match="The query on duck has 'x', which holds INTERVAL; leave it out"):
        rows("select interval '1 day' as x", "duck")
    with pytest.raises(UserError, match="The query on duck failed"):
        rows("select gone from sales", "duck")


def test_address_is_read_from_a_secret_block(server: str, database: Path) -> None:
    Secret(value=f"sqlite:///{database}").save("ware-house-2", overwrite=True)

    @flow
    def count(connection: str) -> int:
        return len(rows("select * from sales", connection))

    assert count("WARE_HOUSE_2") == 3
    with pytest.raises(UserError, match="There is no address for the connection nowhere"):
        count("nowhere")
