"""Snapshots with labels, times and missing cells: codes, levels, digests."""

import sqlite3
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from linear_neuron.tasks.dataset.level_codes import MOST, LevelBlock, LevelCoder
from linear_neuron.tasks.dataset.rows import Origin, Snapshot, copy_records, open_records, record_type
from linear_neuron.tasks.dataset.snapshot import take_snapshot
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Dataset
from linear_neuron.tasks.storage.store import Store

ODD = ['say "x"', "a\nb", "nul\0", "🏠", "x" * 10_000, "other", "Case", "case", "a,b", "'", "null", "NaN"]
ROWS: list[dict[str, Any]] = [
    {"cut": ODD[i % len(ODD)], "area": float(i), "sold": date(2026, 1, 1 + i % 28), "price": 2.0 * i} for i in range(60)
]
Take = Callable[..., Snapshot]


@pytest.fixture
def take(store: Store, tmp_path: Path) -> Take:
    def take(rows: list[dict[str, Any]], suffix: str = "parquet", **options: Any) -> Snapshot:
        path = tmp_path / f"rows.{suffix}"
        frame = pl.DataFrame(rows)
        frame.write_parquet(path) if suffix == "parquet" else frame.write_csv(path)
        wanted = {"features": ["area", "days(sold)"], "categories": ["cut"], "target": "price"} | options
        return take_snapshot(store, Dataset.model_validate({"source": str(path)} | wanted))

    return take


def list_rows(snapshot: Snapshot) -> list[dict[str, Any]]:
    raw = snapshot.read_raw("")
    return raw.read(slice(None), list(raw.kinds)).sort("area", nulls_last=True).to_dicts()


def test_labels_keep_their_text(take: Take) -> None:
    snapshot = take(ROWS)
    assert snapshot.labels["cut"].levels == tuple(sorted(ODD))
    rows = list_rows(snapshot)
    assert [row["cut"] for row in rows] == [row["cut"] for row in ROWS]
    assert [row["sold"] for row in rows] == [date_to_microseconds(row["sold"]) for row in ROWS]


def date_to_microseconds(day: date) -> int:
    return int(np.datetime64(day, "us").astype(np.int64))


def test_the_same_rows_in_any_order_and_form_have_one_digest(take: Take) -> None:
    shuffled = [ROWS[index] for index in np.random.default_rng(1).permutation(len(ROWS)).tolist()]
    rows = [row | {"cut": f" {row['cut']}\t"} for row in shuffled]
    digests = {take(rows, suffix).origin.sha256 for rows in (ROWS, shuffled, rows) for suffix in ("parquet", "csv")}
    assert len(digests) == 1


def test_another_label_is_another_row_and_not_another_order(take: Take) -> None:
    before, after = take(ROWS), take([*ROWS[:-1], ROWS[-1] | {"cut": "\x01 first of all"}])
    assert before.hashes is not None
    assert after.hashes is not None
    assert len(set(before.hashes.tolist()) - set(after.hashes.tolist())) == 1


def test_missing_cells_are_kept_where_they_are_filled(take: Take) -> None:
    holes: list[dict[str, Any]] = [
        {"cut": None, "area": 1.0},
        {"cut": "  ", "area": float("nan")},
        {"cut": "", "area": None, "sold": None},
    ]
    rows = [*ROWS, *({"sold": date(2026, 1, 1), "price": 5.0} | hole for hole in holes)]
    snapshot = take(rows, missing="fill")
    assert snapshot.labels["cut"].levels == tuple(sorted(ODD))
    found = [row for row in list_rows(snapshot) if row["cut"] is None]
    assert [(row["area"], row["sold"] is None) for row in found] == [(1.0, False), (None, False), (None, True)]
    with pytest.raises(UserError, match=r"learn from such rows too by --dataset.missing fill"):
        take(rows)


def test_the_target_the_key_and_the_time_are_never_filled(take: Take) -> None:
    for name in ("price", "sold"):
        with pytest.raises(UserError, match=f"column {name}: '' is rejected as empty"):
            take([*ROWS, ROWS[0] | {name: None}], missing="fill", time="sold")
    with pytest.raises(UserError, match="column cut: '' is rejected as empty"):
        take([*ROWS, ROWS[0] | {"cut": None}], missing="fill", key="cut")


def test_text_in_a_column_of_numbers_is_rejected_where_cells_are_filled_too(take: Take) -> None:
    rows = [row | {"area": "red" if row["area"] == 7 else str(row["area"])} for row in ROWS]
    with pytest.raises(UserError, match="column area: 'red' is rejected as not a number"):
        take(rows, missing="fill")


def test_numbers_alone_are_plain_records(take: Take, tmp_path: Path) -> None:
    snapshot = take(ROWS, features=["area"], categories=[])
    assert snapshot.path is not None
    records = np.load(snapshot.path)
    assert records.dtype == record_type(["area", "price"], timed=False)
    np.save(tmp_path / "plain.npy", records)
    assert snapshot.path.read_bytes() == (tmp_path / "plain.npy").read_bytes()


def test_booleans_enumerations_and_integers_are_labels(take: Take) -> None:
    kinds: dict[str, Any] = {"bool": [True, False], "int": [7, -1], "float": [2.0, 2.5]}
    rows = [row | {name: values[i % 2] for name, values in kinds.items()} for i, row in enumerate(ROWS)]
    snapshot = take(rows, categories=["cut", *kinds])
    levels = {name: snapshot.labels[name].levels for name in kinds}
    assert levels == {"bool": ("false", "true"), "int": ("-1", "7"), "float": ("2", "2.5")}


def test_dictionaries_of_parquet_are_labels(take: Take, tmp_path: Path, store: Store) -> None:
    frame = pl.DataFrame(ROWS).with_columns(
        pl.col("cut").cast(pl.Categorical), size=pl.Series(["S", "L"] * 30, dtype=pl.Enum(["S", "L"]))
    )
    frame.write_parquet(tmp_path / "rows.parquet")
    source = str(tmp_path / "rows.parquet")
    snapshot = take_snapshot(store, Dataset(source=source, categories=["cut", "size"], target="price"))
    assert snapshot.labels["size"].levels == ("L", "S")
    assert snapshot.labels["cut"].levels == tuple(sorted(ODD))


def test_a_sample_has_only_its_own_levels(take: Take) -> None:
    rows = [row | {"cut": f"level {row['area']:.0f}"} for row in ROWS]
    snapshot = take(rows, sample=0.5)
    assert len(snapshot.labels["cut"].levels) == len(snapshot.values) < 60


def test_copied_records_keep_no_level_that_none_of_them_has(take: Take, tmp_path: Path) -> None:
    snapshot = take([*ROWS, {"cut": None, "area": 99.0, "sold": None, "price": 1.0}], missing="fill")
    before = list_rows(snapshot)
    index = np.flatnonzero(snapshot.values[:, 0] != 3.0)
    gone = ODD[3]
    kept = [i for i in index.tolist() if snapshot.labels["cut"].codes[i] != snapshot.labels["cut"].levels.index(gone)]
    assert snapshot.path is not None
    copy_records(snapshot.path, tmp_path / "copy.npy", np.array(kept))
    copied = open_records(tmp_path / "copy.npy", Origin("", ""))
    assert list_rows(copied) == [row for row in before if row["cut"] != gone]
    assert gone.encode() not in (tmp_path / "copy.npy").read_bytes()


def test_codes_become_ranks_of_sorted_levels() -> None:
    coder = LevelCoder("cut")
    first, second = LevelBlock(pl.Series(["b", None, "a"])), LevelBlock(pl.Series(["c", "a"]))
    codes = [*coder.code(first, slice(None)), *coder.code(second, np.array([False, True]))]
    assert coder.levels == ["a", "b"]
    assert coder.ranks[np.array(codes)].tolist() == [1, -1, 0, 0]
    empty = LevelBlock(pl.Series([None, None], dtype=pl.String))
    assert coder.code(empty, slice(None)).tolist() == [-1, -1]
    assert len(set(empty.hashes.tolist())) == 1


def test_far_too_many_labels_are_refused() -> None:
    with pytest.raises(UserError, match=r"Column 'id' has more than 20,000 different labels; leave it out of the cat"):
        LevelCoder("id").code(LevelBlock(pl.Series(map(str, range(MOST + 1)))), slice(None))


def test_refused_rows_of_a_retrain_come_with_a_way_out(take: Take) -> None:
    with pytest.raises(
        UserError, match=r"column 'yes' holds Boolean .* name it in --dataset.categories if it holds la"
    ):
        take([row | {"yes": True} for row in ROWS], features=["yes"])
    with pytest.raises(
        UserError, match=r"log\(area\): '' is rejected as no finite value; .*by --dataset.missing fill, or"
    ):
        take(ROWS, features=["log(area)"])
    with pytest.raises(UserError, match=r"'soon' is rejected as not a number; .* Fix them.$"):
        take([row | {"price": "soon"} for row in ROWS])
    with pytest.raises(UserError, match=r"by --dataset.max-rejects [0-9.]+\.$"):
        take([*ROWS, ROWS[0] | {"price": None}])


def test_a_query_names_its_columns_before_terms_are_read(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(tmp_path / "sales.db") as database:
        database.execute("create table sales (cut text, area real, price real)")
        database.executemany("insert into sales values (?, ?, ?)", [(row["cut"], row["area"] + 1, 5) for row in ROWS])
    database.close()
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_SALES", f"sqlite:///{tmp_path}/sales.db")
    given = {"source": "sql:select * from sales", "connection": "sales", "target": "price", "categories": ["cut"]}
    snapshot = take_snapshot(store, Dataset.model_validate(given | {"features": ["log(area)"]}))
    assert snapshot.read_raw("price").kinds == {"area": "number", "cut": "category"}
    assert len(snapshot.values) == len(ROWS)
    with pytest.raises(UserError, match="there is no column 'aera'"):
        take_snapshot(store, Dataset.model_validate(given | {"features": ["log(aera)"]}))
