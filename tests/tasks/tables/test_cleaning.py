"""Keys and times of a table mean the same however they are written."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from linear_neuron.tasks.tables.cleaning import RawRows, clean_rows, read_key, read_label
from linear_neuron.tasks.tables.rejects import LINE
from linear_neuron.tasks.tables.spec import TableSpec


def keys(values: list[Any], dtype: Any = None) -> list[str]:
    table = pl.DataFrame({"id": pl.Series(values, dtype=dtype)})
    return table.select(read_key("id", table.schema["id"]))["id"].to_list()


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (["5", "5.0", " 5 ", "\t5.000\n"], None),
        ([5, 5, 5, 5], pl.Int32),
        ([5.0, 5.0, 5.0, 5.0], pl.Float64),
        ([5.0, 5.0, 5.0, 5.0], pl.Float32),
        ([Decimal("5.00")] * 4, pl.Decimal(9, 2)),
    ],
    ids=["text", "integers", "float64", "float32", "decimals"],
)
def test_whole_float_is_the_key_of_its_integer(values: list[Any], dtype: Any) -> None:
    assert keys(values, dtype) == ["5"] * 4


def test_other_keys_stay_as_they_are() -> None:
    texts = ["05", "5.10", "1.0.0", "v1.0", "5.", ".0", "1e5", "-7", "9007199254740993", "a b", "AB-010", "2024-0010"]
    assert keys(texts) == texts
    assert keys([5.5, 2.0**53, 1e300, -0.0, -3.0]) == ["5.5", "9007199254740992", "1e+300", "0", "-3"]
    assert keys(["-0.0", "-0", "0.0"]) == ["0", "0", "0"]


def test_composed_and_decomposed_letters_are_one_key() -> None:
    assert keys(["caf\u00e9", "cafe\u0301", "\uac00", "\u1100\u1161"]) == ["caf\u00e9"] * 2 + ["\uac00"] * 2


def test_nan_null_and_blanks_are_no_key() -> None:
    assert keys([float("nan"), None]) == ["", ""]
    assert keys(["", " ", None, "\u00a0"]) == [""] * 4
    assert keys([datetime(2026, 1, 2, tzinfo=UTC)])[0].startswith("2026-01-02")


def labels(values: list[Any], dtype: Any = None) -> list[str | None]:
    table = pl.DataFrame({"cut": pl.Series(values, dtype=dtype)})
    return table.select(read_label("cut", table.schema["cut"]))["cut"].to_list()


def test_labels_of_text_keep_it_but_for_blanks_around() -> None:
    assert labels([" a b\t", "5.0", "05", "A", "a", "", " ", None]) == ["a b", "5.0", "05", "A", "a", None, None, None]
    assert labels(["caf\u00e9", "cafe\u0301", "\u00a0"]) == ["caf\u00e9", "cafe\u0301", "\u00a0"]


def test_labels_of_other_types_are_their_text() -> None:
    assert labels([True, False, None]) == ["true", "false", None]
    assert labels([5.0, -0.0, 2.5, float("nan"), None]) == ["5", "0", "2.5", None, None]
    assert labels([Decimal("5.00"), Decimal("5.25")]) == ["5", "5.25"]
    assert labels([7, -1]) == ["7", "-1"]
    assert labels([" S ", "L", " "], pl.Categorical) == ["S", "L", None]
    assert labels(["S", "L"], pl.Enum(["S", "L"])) == ["S", "L"]


def clean(spec: TableSpec, **columns: list[Any]) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
    rows = pl.DataFrame(columns).with_row_index(LINE, 2).with_columns(pl.col(LINE).cast(pl.Int64))
    checked = clean_rows(RawRows("t.csv", rows, None, pl.lit("raw")), spec)
    return checked.valid.drop(LINE).to_dicts(), checked.rejects.drop("raw").rows()


def test_missing_cells_are_null_where_they_are_filled() -> None:
    spec = TableSpec(
        "t.csv", ["area", "price"], categories=["cut"], times=["sold"], filled=frozenset({"area", "cut", "sold"})
    )
    valid, rejects = clean(
        spec,
        area=["1", " ", "NaN", "x", "inf", "2", "3"],
        price=["1", "2", "3", "4", "5", "", "7"],
        cut=["a", "", None, "a", "a", "a", " b "],
        sold=["2026", None, " ", "2026", "2026", "2026", "soon"],
    )
    assert [tuple(row.values()) for row in valid] == [
        (1.0, 1.0, "a", 1767225600000000), (None, 2.0, None, None), (None, 3.0, None, None),
    ]  # fmt: skip
    assert rejects == [
        (5, "area", "x", "not a number"), (6, "area", "inf", "infinite"), (7, "price", "", "empty"),
        (8, "sold", "soon", "not a time"),
    ]  # fmt: skip


def test_bounds_hold_for_known_values_where_cells_are_filled() -> None:
    spec = TableSpec("t.csv", ["area", "price"], bounds={"area": (0, 9)}, filled=frozenset({"area"}))
    valid, rejects = clean(spec, area=["5", "", "10"], price=[1, 2, 3])
    assert [row["area"] for row in valid] == [5.0, None]
    assert rejects == [(4, "area", "10", "out of bounds")]


def test_a_row_without_a_finite_value_of_a_term_is_rejected() -> None:
    terms = {"log(area)": pl.when(pl.col("area") > 0).then(pl.col("area").log()), "^area$": 1 / pl.col("area")}
    valid, rejects = clean(
        TableSpec("t.csv", ["area", "price"], terms=terms), area=["1", "-2", "", "4"], price=[1, 2, 3, 4]
    )
    assert [row["area"] for row in valid] == [1.0, 4.0]
    assert rejects == [(3, "log(area)", "", "no finite value"), (4, "area", "", "empty")]


def test_a_time_or_label_that_is_missing_is_rejected() -> None:
    spec = TableSpec("t.csv", ["price"], categories=["cut"], times=["sold"])
    valid, rejects = clean(spec, price=[1, 2, 3], cut=["a", "", "c"], sold=["2026", "2026", ""])
    assert len(valid) == 1
    assert rejects == [(3, "cut", "", "empty"), (4, "sold", "", "empty")]
