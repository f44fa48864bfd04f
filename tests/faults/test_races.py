"""Two real processes on one store at the same time: each does its work, or says in a sentence what to run again."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from linear_neuron.tasks.monitoring.forget import Search
from linear_neuron.tasks.monitoring.performance import load_index
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.registry.versions import list_versions, read_version
from linear_neuron.tasks.storage.store import locate
from tests.faults.matrix import PREDICT, TABLE, World, grown_table, inbox, two_versions
from tests.faults.zygote import Outcome
from tests.helpers import make_version
from tests.postgres import Postgres

ROUNDS = 3
ROWS = 3
Order = tuple[str, dict[str, Any]]


def race(worlds: list[World], *orders: Order) -> list[Outcome]:
    """Run commands on the store of the first world at once, each in a process of its own."""
    root, scratch = worlds[0].root, worlds[0].scratch
    scratch.mkdir(exist_ok=True)
    rivals = [World(world.zygote, root, scratch) for world in worlds]  # the same world, by other processes
    with ThreadPoolExecutor(len(orders)) as pool:
        pairs = zip(rivals, orders, strict=True)
        return list(pool.map(lambda pair: pair[0].run(pair[1][0], **pair[1][1]), pairs))


def check_done(outcomes: list[Outcome]) -> None:
    """Check that every command did its work."""
    assert [outcome.status for outcome in outcomes] == ["done"] * len(outcomes), [it.message for it in outcomes]


def record_at_once(worlds: list[World]) -> None:
    """Record two files of actual values at the same time, again and again."""
    world = worlds[0]
    world.scratch.mkdir()
    inbox(world)
    assert world.run("predict", **PREDICT).ok
    for number in range(ROUNDS):
        orders: list[Order] = []
        for name, key in (("a", 1), ("b", 3)):
            path = f"{world.root}/actuals/{name}{number}.csv"
            world.store.write(locate(path), b"id,MEDV\n%d,%d\n%s%d,9\n" % (key, number, name.encode(), number))
            orders.append(("actuals", {"inputs": [path], "key": "id"}))
        check_done(race(worlds, *orders))
        entries = load_index(world.store)[0].entries
        assert sorted(Path(entry.source).stem for entry in entries) == sorted(
            f"{name}{before}" for name in "ab" for before in range(number + 1)
        )
        assert sum(entry.matched for entry in entries) == 2, "each key counts in its last file"
        assert verify(world.store) == []
    assert set(world.store.names("actuals")) == {"index.json", *load_index(world.store)[0].names()}


def test_two_files_of_actuals_are_both_recorded(worlds: list[World]) -> None:
    record_at_once(worlds)


def test_two_files_of_actuals_are_both_recorded_in_a_bucket(s3_worlds: list[World]) -> None:
    record_at_once(s3_worlds)


def load_at_once(worlds: list[World], address: str, read: Callable[[], list[Any]], clear: Callable[[], object]) -> None:
    """Predict two files into one table at the same time: as one batch, and as two."""
    two_versions(world := worlds[0])
    for number in range(ROUNDS):
        clear()
        orders: list[Order] = []
        for name in "ab":
            path = f"{world.root}/{'in' if number % 2 else name}{number}/{name}.csv"
            rows = "".join(f"{name}{row},{5 + row % 3}\n" for row in range(ROWS))
            world.store.write(locate(path), f"id,RM\n{rows}".encode())
            orders.append(("predict_into", {"inputs": [path], "address": address}))
        for _ in range(2):
            check_done(race(worlds, *orders))
            assert sorted(read()) == sorted((f"{name}{row}",) for name in "ab" for row in range(ROWS))
    clear()  # Other tests use the database, too.
    assert verify(world.store) == []


def test_two_predictions_are_both_in_a_table_of_sqlite(worlds: list[World], tmp_path: Path) -> None:
    sqlite3.connect(path := tmp_path / "sales.db").close()

    def execute(statement: str) -> list[Any]:
        with closing(sqlite3.connect(path)) as session:
            return session.execute(statement).fetchall()

    load_at_once(
        worlds,
        f"sqlite:///{path}",
        lambda: execute("select id from predicted"),
        lambda: execute("drop table if exists predicted"),
    )


def test_two_predictions_are_both_in_a_table_of_postgresql(worlds: list[World], cluster: Postgres) -> None:
    def read() -> list[Any]:
        with psycopg.connect(cluster.url) as session:
            return session.execute("select id from predicted").fetchall()

    def clear() -> None:
        with psycopg.connect(cluster.url) as session:
            session.execute("drop table if exists predicted")

    load_at_once(worlds, cluster.url, read, clear)


def write_keys(world: World, months: int, *gone: str) -> None:
    """Write a table of sales with keys, of which some are gone."""
    rows = [
        f"k{n},2026-{1 + n // 28:02}-{1 + n % 28:02},{40 + n * 37 % 120},{2 * (n * 37 % 120) + n % 7}"
        for n in range(28 * months)
        if f"k{n}" not in gone
    ]
    rows.append("k5,2026-01-01,x,9" if "k5" not in gone else "k6,2026-01-01,x,9")
    world.store.write(locate(f"{world.root}/table") / "sales.csv", "\n".join(["id,sold_on,area,price", *rows]).encode())


@pytest.mark.parametrize("kept", [False, True], ids=["gone from the source", "still in the source"])
def test_a_key_is_forgotten_beside_a_retrain(worlds: list[World], kept: bool) -> None:
    world = worlds[0]
    world.scratch.mkdir()
    write_keys(world, 4)
    table = TABLE | {"key": "id", "max_rejects": 0.05}
    assert world.run("retrain_table", **table).ok
    write_keys(world, 5, *([] if kept else ["k5"]))
    trained, forgotten = race(worlds, ("retrain_table", table), ("forget_key", {"key": "k5"}))
    check_done([trained, forgotten])
    assert verify(world.store) == []
    if not kept:
        assert not Search(world.store, "k5", "", ()).run().files
    else:
        assert f"a run would read it again: {world.root}/table" in forgotten.message
        write_keys(world, 6, "k5")
        assert world.run("forget_key", key="k5").ok
        assert not Search(world.store, "k5", "", ()).run().files
    check_done([world.run("retrain_table", **table)])
    assert verify(world.store) == []


def test_clean_beside_a_backtest_takes_nothing_from_it(worlds: list[World]) -> None:
    world = worlds[0]
    world.scratch.mkdir()
    grown_table(world)
    for day in range(4, 28):
        make_version(world.store, f"202601{day:02}T000000Z-{day:06}", dataset={"sha256": "", "source": "package"})
    period = {"from": "2026-03-01", "to": "2026-05-01"}
    tested, cleaned = race(worlds, ("backtest", TABLE | {"period": period}), ("clean", {"newest": 1, "days": 0}))
    check_done([tested, cleaned])
    assert "model 20260104T000000Z-000004" in cleaned.message
    assert verify(world.store) == []
    assert len(world.store.names("backtests")) == 1
    assert (locate(tested.message) / "manifest.json").exists()
    for version in list_versions(world.store):
        assert read_version(world.store, version).version == version
    check_done([world.run("backtest", **TABLE, period=period)])
