"""A user's own table becomes one snapshot, whatever it came from."""

import gzip
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import cast

import duckdb
import numpy as np
import polars as pl
import pytest
from backports import zstd
from sqlalchemy import create_engine, text

from linear_neuron.tasks.dataset.rows import Origin, Snapshot, open_records, record_type
from linear_neuron.tasks.dataset.snapshot import check_size, read_memory, take_snapshot
from linear_neuron.tasks.dataset.sources import open_snapshot
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Dataset
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.storage.store import Store

ROWS = [
    ("a1", "2026-01-03", 50.5, 2, 200.25),
    ("a2", "2026-01-01", 70.0, 3, 310.0),
    ("a3", "2026-01-02", 65.25, 3, 290.5),
    ("a4", "2026-01-03", 120.0, 5, 520.0),
]
COLUMNS = ["id", "sold_on", "area", "rooms", "price"]
Take = Callable[..., Snapshot]


@pytest.fixture
def take(store: Store, tmp_path: Path) -> Take:
    def take(source: str, **options: object) -> Snapshot:
        wanted = {"features": ["area", "rooms"], "target": "price"} | options
        return take_snapshot(store, Dataset.model_validate({"source": source} | wanted))

    return take


def write_csv(path: Path, *rows: tuple[object, ...]) -> str:
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in (COLUMNS, *rows)))
    return str(path)


def by_sqlite(path: Path) -> str:
    with sqlite3.connect(path / "sales.db") as database:
        database.execute("create table sales (id text, sold_on text, area real, rooms integer, price real)")
        database.executemany("insert into sales values (?, ?, ?, ?, ?)", ROWS[::-1])
    database.close()
    os.environ["LINEAR_NEURON_CONNECTION_SALES"] = f"sqlite:///{path}/sales.db"
    return "sql:select * from sales"


def by_duckdb(path: Path) -> str:
    with duckdb.connect(str(path / "sales.duckdb")) as database:
        database.execute("create table sales (id text, sold_on date, area double, rooms int, price decimal(12, 2))")
        database.executemany("insert into sales values (?, ?, ?, ?, ?)", ROWS)
    os.environ["LINEAR_NEURON_CONNECTION_SALES"] = f"duckdb:///{path}/sales.duckdb"
    return "sql:select * from sales"


def by_csv(path: Path) -> str:
    return write_csv(path / "sales.csv", *ROWS)


def by_folder(path: Path) -> str:
    (path / "sales").mkdir()
    write_csv(path / "sales" / "2.csv", *ROWS[:1])
    (path / "sales" / "1.csv.gz").write_bytes(gzip.compress(Path(write_csv(path / "x", *ROWS[1:3])).read_bytes()))
    (path / "sales" / "0.csv.zst").write_bytes(zstd.compress(Path(write_csv(path / "x", *ROWS[3:])).read_bytes()))
    return str(path / "sales")


def by_parquet(path: Path) -> str:
    table = pl.DataFrame(ROWS, COLUMNS, orient="row").with_columns(pl.col("sold_on").str.to_datetime("%Y-%m-%d"))
    table.write_parquet(path / "sales.parquet")
    return str(path / "sales.parquet")


WAYS = [by_csv, by_folder, by_parquet, by_sqlite, by_duckdb]


@pytest.fixture(autouse=True)
def _no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_SALES", "")


@pytest.mark.parametrize("options", [{}, {"time": "sold_on"}, {"key": "id"}, {"time": "sold_on", "key": "id"}], ids=str)
def test_every_source_gives_the_same_bytes(take: Take, tmp_path: Path, options: dict[str, str]) -> None:
    digests = set()
    for number, way in enumerate(WAYS):
        (folder := tmp_path / str(number)).mkdir()
        source = way(folder)
        connection = {"connection": "sales"} if source.startswith("sql:") else {}
        digests.add(take(source, **options, **connection).origin.sha256)
    assert len(digests) == 1


def test_postgresql_gives_them_too(take: Take, tmp_path: Path, postgres: str) -> None:
    address = postgres.replace("+asyncpg", "")
    engine = create_engine(address.replace("postgresql", "postgresql+psycopg"))
    with engine.begin() as database:
        database.execute(
            text("create table sales (id text, sold_on date, area float8, rooms int, price numeric(12, 2))")
        )
        for row in ROWS:
            database.exec_driver_sql("insert into sales values (%s, %s, %s, %s, %s)", row)
    try:
        os.environ["LINEAR_NEURON_CONNECTION_SALES"] = address
        options = {"connection": "sales", "time": "sold_on", "key": "id"}
        snapshot = take("sql:select *, 100 % 7 as rest from sales", **options)
        assert snapshot.origin.sha256 == take(by_csv(tmp_path), time="sold_on", key="id").origin.sha256
        with pytest.raises(UserError, match="The query on sales failed: syntax error"):
            take("sql:delete from sales returning *", connection="sales")
        os.environ["LINEAR_NEURON_CONNECTION_SALES"] = address.replace("prefect@", "nobody:hunter2@")
        with pytest.raises(UserError, match="The query on sales failed") as caught:
            take("sql:select * from sales", connection="sales")
        assert "hunter2" not in str(caught.value)
    finally:
        with engine.begin() as database:
            database.execute(text("drop table sales"))
        engine.dispose()


def test_rows_stand_in_the_order_of_their_times(take: Take, tmp_path: Path) -> None:
    snapshot = take(by_csv(tmp_path), time="sold_on")
    assert snapshot.values[:2].tolist() == [[70.0, 3.0, 310.0], [65.25, 3.0, 290.5]]
    assert snapshot.times is not None
    assert snapshot.times.tolist() == sorted(snapshot.times.tolist())
    assert [column.name for column in snapshot.columns] == ["area", "rooms", "price"]


TAKE = """
import sys
from linear_neuron.tasks.dataset.snapshot import take_snapshot
from linear_neuron.tasks.parameters import Dataset
from linear_neuron.tasks.storage.store import Store
take_snapshot(Store(sys.argv[1]), Dataset(source=sys.argv[2], features=["area"], target="price"))
"""


def test_a_process_that_took_a_snapshot_leaves_no_scratch(store: Store, tmp_path: Path) -> None:
    (scratch := tmp_path / "scratch").mkdir()
    arguments = [sys.executable, "-c", TAKE, str(store.root), by_csv(tmp_path)]
    subprocess.run(arguments, env=os.environ | {"TMPDIR": str(scratch)}, check=True)
    assert len(store.names("datasets")) == 1
    assert list(scratch.iterdir()) == []


def test_a_snapshot_is_opened_again_by_its_digest(take: Take, store: Store, tmp_path: Path) -> None:
    snapshot = take(by_csv(tmp_path), time="sold_on")
    again = open_snapshot(store, snapshot.origin)
    assert np.array_equal(again.values, snapshot.values)
    assert again.rule == "time in sold_on"
    assert verify(store) == []
    assert snapshot.origin.details["rows"] == 4
    path = snapshot.path
    assert path is not None
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="missing or damaged"):
        open_snapshot(store, snapshot.origin)


ROT: dict[str, Callable[[bytes], bytes]] = {
    "flipped": lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("rot", ROT)
def test_damaged_snapshot_is_replaced_by_what_was_read(
    take: Take, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, rot: str
) -> None:
    first = take(by_csv(tmp_path), time="sold_on")
    expected, path = first.values.tolist(), first.path
    assert path is not None
    data = path.read_bytes()
    path.write_bytes(ROT[rot](data))
    again = take(by_csv(tmp_path), time="sold_on")
    assert again.path is not None
    assert (again.values.tolist(), again.path.read_bytes()) == (expected, data)
    assert verify(store) == []
    assert [f"{path} was damaged" in message for message in caplog.messages] == [True]


def test_intact_snapshot_is_not_written_again(take: Take, tmp_path: Path) -> None:
    states = []
    for _ in range(2):
        path = take(by_csv(tmp_path), time="sold_on").path
        assert path is not None
        states.append((path.stat().st_ino, path.stat().st_mtime_ns))
    assert states[0] == states[1]


@pytest.mark.parametrize("other", ["7.0", " 7", "7.00"])
def test_key_written_in_two_ways_is_one_key(take: Take, tmp_path: Path, other: str) -> None:
    source = write_csv(tmp_path / "sales.csv", ("7", *ROWS[0][1:]), *ROWS, (other, *ROWS[1][1:]))
    with pytest.raises(UserError, match=r"id '7' is the key of two rows, .*line 2 and .*line 7; leave one of them"):
        take(source, key="id")


def test_rule_says_whether_keys_were_written_in_another_way(take: Take, tmp_path: Path) -> None:
    plain = take(write_csv(tmp_path / "plain.csv", (7, *ROWS[0][1:]), *ROWS), key="id")
    floats = take(write_csv(tmp_path / "floats.csv", (7.0, *ROWS[0][1:]), *ROWS), key="id")
    assert np.array_equal(plain.values, floats.values)
    assert (plain.rule, floats.rule) == ("hash of id", "hash of id in its shortest form")
    older = open_records(cast(Path, floats.path), Origin("", "", details={"key": "id"}))
    assert older.rule == "hash of id", "as versions made before say"


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        (("a5", "2026-01-04", "n/a", 2, 9), {}, r"line 6, column area: 'n/a' is rejected as not a number; 1 of 5 rows"),
        (("a5", "2026-01-04", 5, "", 9), {}, "line 6, column rooms: '' is rejected as empty"),
        (("a5", "2026-01-04", 5, 2, "inf"), {}, "line 6, column price: 'inf' is rejected as infinite"),
        (("a5", "2026-01-04", 5, 2, "1e39"), {}, "line 6, column price: '1e39' is rejected as overflow"),
        (("a5", "2026-01-04", 5, 2), {}, "line 6 is rejected: too few fields"),
        (("a5", "soon", 5, 2, 9), {"time": "sold_on"}, "line 6, column sold_on: 'soon' is rejected as not a time"),
        (("", "2026-01-04", 5, 2, 9), {"key": "id"}, "line 6, column id: '' is rejected as empty"),
        (
            ("a5", "2026-01-04", 5, 21, 9),
            {"bounds": ["rooms=1..20"]},
            "column rooms: '21' is rejected as out of bounds",
        ),
        (("a2", "2026-01-04", 5, 2, 9), {"key": "id"}, r"id 'a2' is the key of two rows, .*line 3 and .*line 6"),
    ],
)
def test_a_bad_row_is_told_and_nothing_kept(
    take: Take, store: Store, tmp_path: Path, row: tuple[object, ...], options: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        take(write_csv(tmp_path / "sales.csv", *ROWS, row), **options)
    assert store.names("datasets") == []


def test_future_time_is_rejected_unless_allowed(take: Take, tmp_path: Path) -> None:
    later = datetime.now(UTC) + timedelta(days=2)
    for day in (f"{later:%Y-%m-%d}", "9999-12-31", f"{later:%Y-%m-%dT%H:%MZ}"):
        source = write_csv(tmp_path / "sales.csv", *ROWS, ("a5", day, 5, 2, 9))
        with pytest.raises(UserError, match=rf"'{day}' is rejected as in the future; 1 of 5 .* by --dataset.allow-f"):
            take(source, time="sold_on")
        with pytest.raises(UserError, match=r"The newest sold_on in .* is 2026-01-03 00:00, "):
            take(source, time="sold_on", max_rejects=0.2, max_age_days=1)
        assert len(take(source, time="sold_on", allow_future=True).values) == 5
        with pytest.raises(UserError, match="is rejected as in the future"):
            take(source, known_at="sold_on")


def test_local_time_of_today_is_not_the_future(take: Take, tmp_path: Path) -> None:
    local = datetime.now(UTC) + timedelta(hours=14)
    rows = [*ROWS, ("a5", f"{local:%Y-%m-%dT%H:%M}", 5, 2, 9)]
    assert len(take(write_csv(tmp_path / "sales.csv", *rows), time="sold_on", max_age_days=1).values) == 5


@pytest.mark.parametrize(
    "text",
    ["01-06-23", "1-06-23", "0023-06-01", "0999-12-31", "23-06-01T10:00", "06/01/2023", "20230601", "12023-01-01"],
)
def test_year_without_four_digits_is_no_time(take: Take, tmp_path: Path, text: str) -> None:
    source = write_csv(tmp_path / "sales.csv", *ROWS, ("a5", text, 5, 2, 9))
    with pytest.raises(UserError, match=f"'{text}' is rejected as not a time; .* as ISO 8601, such as 2026-11-23 or"):
        take(source, time="sold_on")


def test_native_time_before_the_year_1000_is_no_time(take: Take, tmp_path: Path) -> None:
    days = pl.Series([date(23, 6, 1), date(2023, 6, 1), date(1000, 1, 1)])
    assert take(write_parquet(tmp_path, sold_on=days), time="sold_on", max_rejects=0.4).origin.details["rows"] == 2


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            [("a", 1, "red", 2, 9)] * 3,
            {},
            "none of 3 rows can be learned from. If area holds labels, name it in --dataset.cat",
        ),
        (
            [("a", 1, "", 2, 9), *ROWS],
            {},
            r"by --dataset.max-rejects 0\.2\. If area is often empty, learn from such rows too by --d",
        ),
        ([("a", 1, 1, 2), *ROWS, *ROWS, *ROWS], {}, r"leave them out by --dataset.max-rejects 0\.077\.$"),
        ([("a", "soon", 1, 2, 9)], {"time": "sold_on"}, "none of 1 rows .* Write times in sold_on as ISO 8601"),
    ],
)
def test_refused_rows_come_with_a_way_out(
    take: Take, tmp_path: Path, rows: list[tuple[object, ...]], options: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        take(write_csv(tmp_path / "sales.csv", *rows), **options)


def test_share_and_number_of_rejects_are_one_limit(take: Take, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "sales.csv", *ROWS, ("a5", "2026-01-04", "n/a", 2, 9))
    for options in ({"max_rejects": 0.2}, {"max_bad_rows": 1}, {"max_rejects": 0.1, "max_bad_rows": 1}):
        assert len(take(source, **options).values) == 4
    with pytest.raises(UserError, match=r"max-rejects 0\.2\.$"):
        take(source, max_rejects=0.19)


def test_bad_rows_that_are_allowed_are_listed(take: Take, tmp_path: Path) -> None:
    bad = ("a5", "2026-01-04", "n/a", 2, 9)
    snapshot = take(path := write_csv(tmp_path / "sales.csv", *ROWS[:2], bad, *ROWS[2:]), max_bad_rows=1)
    assert snapshot.rejects.decode() == (
        "file,line,column,value,reason,raw\n" + f'{path},4,area,n/a,not a number,"a5,2026-01-04,n/a,2,9"\n'
    )
    assert len(snapshot.values) == 4
    assert "missing" not in snapshot.origin.details
    holed = take(write_csv(tmp_path / "holed.csv", *ROWS, ("a5", "2026-01-04", " ", 2, 9)), max_bad_rows=1)
    assert holed.origin.details["missing"] == {"area": 0.2}
    assert snapshot.origin.sha256 == take(write_csv(tmp_path / "clean.csv", *ROWS)).origin.sha256


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"time": "sold_on", "as_of": "2026-01-03"}, 2),
        ({"known_at": "sold_on", "as_of": "2026-01-02"}, 1),
        ({"bounds": ["rooms=..3"], "max_bad_rows": 1}, 3),
    ],
)
def test_only_what_is_asked_for_is_kept(take: Take, tmp_path: Path, options: dict[str, object], count: int) -> None:
    assert len(take(by_csv(tmp_path), **options).values) == count


@pytest.mark.parametrize(
    ("options", "prices"),
    [
        ({"time": "sold_on", "as_of": "2026-01-03"}, [1, 2]),
        ({"known_at": "paid_on", "as_of": "2026-01-03"}, [1, 3]),
        ({"time": "sold_on", "known_at": "paid_on", "as_of": "2026-01-03"}, [1, 3]),
        ({"time": "sold_on", "known_at": "paid_on"}, [1, 2, 3, 4]),
    ],
)
def test_a_row_counts_from_when_it_was_known_or_else_had_happened(
    take: Take, tmp_path: Path, options: dict[str, object], prices: list[float]
) -> None:
    (source := tmp_path / "sales.csv").write_text(
        "sold_on,paid_on,area,price\n"
        "2026-01-01,2026-01-01,10,1\n"
        "2026-01-02,2026-01-03,20,2\n"
        "2026-01-03,2026-01-02,30,3\n"
        "2026-01-03,2026-01-03,40,4\n"
    )
    snapshot = take(str(source), features=["area"], **options)
    assert sorted(snapshot.values[:, -1].tolist()) == prices


@pytest.mark.parametrize(
    ("options", "rule"),
    [({}, "hash of area, rooms, price"), ({"key": "id"}, "hash of id"), ({"time": "sold_on"}, "time in sold_on")],
)
def test_rows_are_split_by_time_or_key_or_all_values(
    take: Take, tmp_path: Path, options: dict[str, object], rule: str
) -> None:
    assert take(by_csv(tmp_path), **options).rule == rule


def test_a_file_with_python_objects_is_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "records.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects in dtype"):
        open_records(tmp_path / "records.npy", Origin("", ""))


def test_a_sample_is_the_same_share_each_time(take: Take, tmp_path: Path) -> None:
    rows = [(f"a{i}", "2026-01-01", i, i % 7, 3 * i) for i in range(1000)]
    source = write_csv(tmp_path / "sales.csv", *rows)
    sample = take(source, sample=0.3)
    assert 240 < len(sample.values) < 360
    assert sample.origin.sha256 == take(source, sample=0.3).origin.sha256
    assert len(np.unique(np.asarray(sample.hashes) > np.uint64(2**63))) == 2  # The split is by other bits.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026", 1767225600),
        ("2026-02", 1769904000),
        ("2026-02-03", 1770076800),
        ("2026-02-03T04:05", 1770091500),
        ("2026-02-03 04:05:06.5", 1770091506.5),
        ("2026-02-03T04:05:06Z", 1770091506),
        ("2026-02-03T04:05:06+01:00", 1770087906),
    ],
)
def test_times_are_those_of_iso_8601(take: Take, tmp_path: Path, text: str, seconds: float) -> None:
    snapshot = take(write_csv(tmp_path / "sales.csv", ("a", text, 1, 2, 3)), time="sold_on")
    assert snapshot.times is not None
    assert snapshot.times.tolist() == [seconds * 1e6]


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("sales.csv", {"features": ["aera"]}, r"there is no column 'aera' among id, .*; did you mean 'area'\?"),
        (
            "sales.csv",
            {"time": "sold_on", "max_age_days": 1},
            r"The newest sold_on in .* is 2026-01-03 00:00, ",
        ),
        ("sales.csv", {"features": ["price"]}, "price is the target and can't be a feature too"),
        ("sales.csv", {"as_of": "2026-01-01"}, "as-of needs --dataset.time"),
        ("sales.csv", {"known_at": "sold_on", "max_age_days": 1}, "max-age-days needs --dataset.time"),
        ("sales.csv", {"time": "sold_on", "as_of": "2025-12-31"}, "No row is left to learn from"),
        ("sales.csv", {"connection": "sales"}, "--dataset.connection is for a query"),
        ("empty.csv", {}, "can't be read: the file is empty"),
        ("header.csv", {}, "The table has no rows"),
        ("none", {}, "There is no table in"),
        ("broken.parquet", {}, "broken.parquet can't be read: this is not a Parquet file"),
        ("dates.parquet", {"features": ["sold_on"]}, r"dates.parquet: column 'sold_on' holds Date where numbers"),
        ("sales.csv.gz", {}, "can't be read"),
    ],
)
def test_what_is_no_table_is_told_in_one_sentence(
    take: Take, tmp_path: Path, source: str, options: dict[str, object], message: str
) -> None:
    by_csv(tmp_path)
    (tmp_path / "none").mkdir()
    (tmp_path / "empty.csv").touch()
    (tmp_path / "header.csv").write_text("area,rooms,price\n")
    (tmp_path / "broken.parquet").write_text("area,rooms,price\n")
    (tmp_path / "sales.csv.gz").write_text("area,rooms,price\n")
    table = pl.DataFrame(ROWS, COLUMNS, orient="row").with_columns(pl.col("sold_on").str.to_date())
    table.write_parquet(tmp_path / "dates.parquet")
    with pytest.raises(UserError, match=message):
        take(str(tmp_path / source), **options)


def test_a_table_that_changes_while_it_is_read_is_refused(take: Take, tmp_path: Path) -> None:
    from linear_neuron.tasks.tables import csv
    from linear_neuron.tasks.tables import read as reading

    path = Path(by_csv(tmp_path))
    before = csv.cut_blocks

    def cut_and_grow(*arguments: object) -> object:
        yield from before(*arguments)  # type: ignore[arg-type]
        with path.open("a") as file:
            file.write("a6,2026-01-04,1,2,3\n")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "cut_blocks", cut_and_grow)
        with pytest.raises(UserError, match="it changed while it was being read"):
            take(str(path))


def write_parquet(path: Path, **columns: object) -> str:
    table = {"area": [1.0, 2.0, 3.0], "rooms": [1, 2, 2], "price": [3.0, 5.0, 6.0]} | columns
    pl.DataFrame(table).write_parquet(path / "sales.parquet")
    return str(path / "sales.parquet")


@pytest.mark.parametrize(
    "names", [["面积"], [f"{number} {'x' * 60}" for number in range(300)]], ids=["unicode", "wide"]
)
def test_columns_may_have_any_names_and_be_many(take: Take, store: Store, tmp_path: Path, names: list[str]) -> None:
    source = write_parquet(tmp_path, **{name: [1.0, 2.0, number] for number, name in enumerate(names)})
    snapshot = take(source, features=names)
    assert [column.name for column in open_snapshot(store, snapshot.origin).columns] == [*names, "price"]


@pytest.mark.parametrize("name", ["", "\0hash", "\0time", "a\0b"])
def test_names_that_a_record_has_itself_are_refused(take: Take, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="A column to learn from can't be called"):
        take(write_parquet(tmp_path, **{name: [1, 2, 3]}), features=[name])


@pytest.mark.parametrize("role", ["time", "key", "known_at"])
@pytest.mark.parametrize(
    "values", [[[1], [2], [3]], [b"\xff", b"a", b"b"], [timedelta(1)] * 3], ids=["List", "Binary", "Duration"]
)
def test_times_and_keys_are_not_lists_or_bytes(take: Take, tmp_path: Path, role: str, values: list[object]) -> None:
    with pytest.raises(UserError, match=r"column 'odd' holds \w+.* where text, numbers or times are needed"):
        take(write_parquet(tmp_path, odd=values), **{role: "odd"})


def test_a_time_with_a_zone_is_taken_as_utc(take: Take, tmp_path: Path) -> None:
    there = pl.Series([1767225600 * 1_000_000] * 3).cast(pl.Datetime("us", "America/New_York"))
    snapshot = take(write_parquet(tmp_path, sold_on=there), time="sold_on")
    assert snapshot.times is not None
    assert snapshot.times.tolist() == [1767225600 * 1_000_000] * 3


def test_a_year_beyond_9999_is_not_a_time(take: Take, tmp_path: Path) -> None:
    far = pl.Series([500_000_000_000_000_000] * 3).cast(pl.Datetime("us"))
    with pytest.raises(UserError, match="is rejected as not a time"):
        take(write_parquet(tmp_path, sold_on=far), time="sold_on", max_age_days=1)


def test_both_zeros_are_the_same_number(take: Take, tmp_path: Path) -> None:
    digests = {take(write_parquet(tmp_path, area=[zero, 1.0, 2.0])).origin.sha256 for zero in (0.0, -0.0)}
    assert len(digests) == 1


def test_a_long_value_is_shown_in_part(take: Take, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"column area: 'x{60}\.\.\.' is rejected as not a number"):
        take(write_parquet(tmp_path, area=["x" * 1000, "1", "2"]))


def test_key_that_was_double_for_a_moment_is_named(take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from linear_neuron.tasks.tables import read as reading

    pieces = iter([[1, 1, 2], [1, 2, 3]])
    monkeypatch.setattr(
        reading, "read_query", lambda *_: [pl.DataFrame({"area": [1, 2, 3], "price": [1, 2, 3], "id": next(pieces)})]
    )
    with pytest.raises(UserError, match="changed while it was being read"):
        take("sql:select * from sales", connection="sales", key="id", features=["area"])


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ([], r"line 4 and .*line 6; leave one of them\.$"),
        ([1], r"leave one of them \(1 more rows have a key that was there before\)\.$"),
        ([3], r"line 4 and .*, line 6; leave one of them \(1 more"),
    ],
)
def test_keys_that_name_two_rows_are_counted(take: Take, tmp_path: Path, more: list[int], sentence: str) -> None:
    lines = [f"{key},{place},{place}" for place, key in enumerate([1, 2, 3, 4, 3, *more])]
    (source := tmp_path / "sales.csv").write_text("\n".join(["id,area,price", *lines]))
    with pytest.raises(UserError, match=sentence):
        take(str(source), key="id", features=["area"])


def test_first_bad_parquet_row_and_count_are_named(take: Take, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 2, column area: 'x' is rejected as not a number; 1 of 3 rows can't"):
        take(write_parquet(tmp_path, area=["1", "x", "3"]))


def test_a_table_is_measured_against_the_memory(take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linear_neuron.tasks.dataset.snapshot.read_memory", lambda: 100)
    with pytest.raises(UserError, match="The table has 4 rows, which need 0 GB of memory"):
        take(by_csv(tmp_path))


def test_a_table_beyond_memory_is_told_what_fits() -> None:
    kind = record_type(["area", "rooms", "price"], timed=False)
    check_size(10_000_000, kind, 1 << 30)
    with pytest.raises(
        UserError, match=r"100,000,000 rows, which need 8 GB .* this machine has 1 GB; .*\.sample 0\.13"
    ):
        check_size(100_000_000, kind, 1 << 30)
    assert read_memory() > 1 << 28
