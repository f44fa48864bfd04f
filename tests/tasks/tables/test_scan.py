"""What a column holds is found in one pass, whatever the table came from."""

import sqlite3
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.tables.scan import MOST_LEVELS, ColumnFacts, scan_table
from linear_neuron.tasks.tables.spec import TableSpec
from tests.tasks.tables.test_parquet_types import ODD, make_table


def scan(source: Path | str, needed: str = "", **options: str) -> dict[str, ColumnFacts]:
    spec = TableSpec(str(source), [], **options)  # type: ignore[arg-type]
    return {facts.name: facts for facts in scan_table(spec, lambda _: [needed] if needed else []).columns}


def write(path: Path, header: str, *lines: str) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.mark.parametrize(
    ("cells", "holds"),
    [
        (["1", "2.5", "", "-3e2"], "numbers"),
        (["1", "2", "n/a"], "labels"),
        (["1", "nan", "NaN"], "numbers"),
        (["nan", "b"], "labels"),
        (["02134", "12345"], "labels"),
        (["2026-01-01", "2026-01-02T06:00Z", ""], "times"),
        (["2026-01-01", "soon"], "labels"),
        (["2026", "2025"], "numbers"),
        (["true", "false"], "labels"),
        (["inf", "1"], "labels"),
        (["1e60"], "labels"),
        (["", " "], ""),
        (["1.2.3", "10.0.0.1"], "labels"),
    ],
)
def test_text_is_what_all_its_cells_are(tmp_path: Path, cells: list[str], holds: str) -> None:
    path = write(tmp_path / "t.csv", "x,y", *(f"{cell},1" for cell in cells))
    assert scan(path)["x"].holds == holds


def test_missing_cells_and_levels_are_counted(tmp_path: Path) -> None:
    facts = scan(write(tmp_path / "t.csv", "x,y", " a ,1", "a,1", "b,1", ",1", "  ,1"))["x"]
    assert (facts.levels, facts.missing, facts.cells, facts.repeats) == ({"a": 2, "b": 1}, 2, 5, True)


def test_rows_without_the_needed_number_do_not_count(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "x,y", "a,1", "b,", "c,no", "a,3")
    assert scan(path, "y")["x"].levels == {"a": 2}
    result = scan_table(TableSpec(str(path), []), lambda _: ["y"])
    assert (result.rows, result.height) == (2, 4)


def test_rows_of_later_days_do_not_count(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "x,t,k", "a,2026-01-01,2026-01-05", "b,2026-01-02,2026-01-02")
    assert scan(path, time="t", as_of="2026-01-02")["x"].levels == {"a": 1}
    assert scan(path, time="t", known_at="k", as_of="2026-01-03")["x"].levels == {"b": 1}


def test_parquet_types_are_what_they_are(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "flag": [True, False, None],
            "level": pl.Series(["a", "b", "a"], dtype=pl.Categorical),
            "enum": pl.Series(["a", "b", "a"], dtype=pl.Enum(["a", "b"])),
            "day": [date(2026, 1, 1), date(2026, 3, 1), None],
            "moment": [datetime(2026, 1, 1, 5, tzinfo=UTC)] * 3,
            "real": [1.5, float("nan"), None],
            "whole": [1, 2, 3],
            "list": [[1], [2], [3]],
            "none": [None, None, None],
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    facts = scan(tmp_path / "t.parquet")
    holds = {name: found.holds for name, found in facts.items()}
    assert holds == {
        "flag": "labels",
        "level": "labels",
        "enum": "labels",
        "day": "times",
        "moment": "times",
        "real": "numbers",
        "whole": "numbers",
        "list": "",
        "none": "",
    }
    assert facts["flag"].levels == {"true": 1, "false": 1}
    assert (facts["real"].missing, facts["real"].numbers, facts["day"].days) == (2, 1, 59)
    assert (facts["moment"].parts["hour"], facts["day"].parts["month"]) == ({5: 3}, {1: 1, 3: 1})
    assert facts["list"].unusable.startswith("List")


def test_dictionary_of_parquet_has_labels_also_where_they_are_digits(tmp_path: Path) -> None:
    codes = pa.array(["1", "2", "1"])
    pq.write_table(pa.table({"code": codes.dictionary_encode(), "text": codes}), tmp_path / "t.parquet")
    facts = scan(tmp_path / "t.parquet")
    assert (facts["code"].holds, facts["text"].holds) == ("labels", "numbers")


@pytest.mark.parametrize("kind", ODD)
def test_no_type_of_parquet_stops_the_scan(tmp_path: Path, kind: str) -> None:
    pq.write_table(make_table([kind], [1.0, None, 3.0]), tmp_path / "t.parquet")
    facts = scan(tmp_path / "t.parquet", "RM")
    assert (facts["RM"].numbers, facts[f"{kind} 0"].cells) == (2, 2)


def test_query_is_scanned_like_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(tmp_path / "t.db") as session:
        session.execute("create table t (x text, y real)")
        session.executemany("insert into t values (?, ?)", [("a", 1.0), ("b", None), ("a", 2.0)])
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_SALES", f"sqlite:///{tmp_path}/t.db")
    facts = scan("sql:select * from t", connection="sales")
    assert (facts["x"].levels, facts["y"].missing, facts["y"].holds) == ({"a": 2, "b": 1}, 1, "numbers")


def test_column_of_one_file_alone_has_fewer_cells(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "x,y", "1,2")
    write(tmp_path / "b.csv", "x,z", "1,2")
    assert {name: facts.cells for name, facts in scan(tmp_path).items()} == {"x": 2, "y": 1, "z": 1}


def test_decimal_commas_are_numbers_and_uncertain_ones_are_refused(tmp_path: Path) -> None:
    facts = scan(write(tmp_path / "t.csv", "x;y", "1,5;a", "2,25;b"))["x"]
    assert (facts.holds, facts.least, facts.greatest) == ("numbers", 1.5, 2.25)
    with pytest.raises(UserError, match=r"t\.csv: column 'x' has marks before exactly three digits"):
        scan(write(tmp_path / "t.csv", "x;y", "1,500;a"))
    assert scan(write(tmp_path / "t.csv", "x;y", "1,500;a", "about 2;b"))["x"].holds == "labels"


def test_too_many_levels_are_not_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "x,y", *(f"id-{row},{row}" for row in range(MOST_LEVELS + 1)))
    facts = scan(path)
    assert (facts["x"].levels, facts["x"].holds, facts["y"].holds) == (None, "labels", "numbers")


def test_unknown_column_of_the_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t\.csv: there is no column 'day' among x, y"):
        scan(write(tmp_path / "t.csv", "x,y", "1,2"), time="day")


def test_name_that_no_column_may_have_is_unusable(tmp_path: Path) -> None:
    facts = scan(write(tmp_path / "t.csv", ",*,y", "1,2,3"))
    assert [name for name, found in facts.items() if found.unusable] == ["", "*"]
