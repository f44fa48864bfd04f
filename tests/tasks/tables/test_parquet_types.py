"""Predict Parquet of any schema: types in = types out, and a column that is not needed never fails a file.

`FUZZ=20000 python -m pytest tests/tasks/tables/test_parquet_types.py` tries 20,000 schemas.
"""

import csv
import datetime as dt
import io
import json
import os
import time
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.scoring.manifest import BatchRun, Chunk, FileResult
from linear_neuron.tasks.scoring.run import score_chunk
from linear_neuron.tasks.tables.inputs import InputFile
from linear_neuron.tasks.tables.read import read_rows
from linear_neuron.tasks.tables.spec import TableSpec

CASES = int(os.environ.get("FUZZ", "100"))
ADDED = ["prediction", "prediction_low", "prediction_high", "extrapolated"]
DAY = dt.datetime(2026, 1, 2, 3, 4, 5)
FAR = 2**63 - 1

# A type and a value that is not null.
ODD: dict[str, tuple[pa.DataType, Any]] = {
    "uuid": (pa.uuid(), uuid.UUID(int=7).bytes),
    "fixed": (pa.binary(4), b"\xff\x00ab"),
    "json": (pa.json_(), '{"a": 1}'),
    "date64": (pa.date64(), DAY.date()),
    "time32": (pa.time32("ms"), DAY.time()),
    "time64": (pa.time64("us"), DAY.time()),
    "offset": (pa.timestamp("us", "+02:00"), DAY),
    "half": (pa.timestamp("us", "+05:30"), DAY),
    "zulu": (pa.timestamp("us", "Z"), DAY),
    "city": (pa.timestamp("ms", "Europe/Berlin"), DAY),
    "far": (pa.timestamp("us"), FAR),
    "farther": (pa.timestamp("ns", "UTC"), -FAR),
    "days": (pa.date32(), 2**31 - 1),
    "decimal256": (pa.decimal256(60, 2), Decimal("9" * 58 + ".25")),
    "ordered": (pa.dictionary(pa.int8(), pa.string(), ordered=True), "low"),
    "numbered": (pa.dictionary(pa.int8(), pa.int64()), 7),
    "list": (pa.list_(pa.int64()), [1, None]),
    "map": (pa.map_(pa.string(), pa.int64()), [("a", 1)]),
    "bytes": (pa.list_(pa.binary()), [b"\xff"]),
    "deep": (pa.struct([("a", pa.list_(pa.struct([("b", pa.binary(2))])))]), {"a": [{"b": b"\xff\x00"}]}),
    "duration": (pa.duration("us"), dt.timedelta(1)),
    "half float": (pa.float16(), 1.5),
    "nothing": (pa.null(), None),
    "view": (pa.string_view(), "x"),
    "wide": (pa.large_binary(), b"\x00"),
    "flag": (pa.bool_(), True),
    "unsigned": (pa.uint64(), 2**64 - 1),
}


def make_column(dtype: pa.DataType, values: list[Any]) -> pa.Array:
    if pa.types.is_dictionary(dtype):
        return pa.array(values, dtype.value_type).dictionary_encode().cast(dtype)
    if isinstance(dtype, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(dtype, pa.array(values, dtype.storage_type))
    return pa.array(values, dtype)


def make_table(kinds: list[str], rooms: list[float | None]) -> pa.Table:
    columns = [
        make_column(ODD[kind][0], [None if row % 3 == 2 else ODD[kind][1] for row in range(len(rooms))])
        for kind in kinds
    ]
    fields = [pa.field(f"{kind} {number}", ODD[kind][0], metadata={"unit": kind}) for number, kind in enumerate(kinds)]
    metadata = {"pandas": '{"index_columns": ["id"]}', "geo": '{"version": "1.1.0"}'}
    schema = pa.schema([pa.field("RM", pa.float64(), metadata={"PARQUET:field_id": "7"}), *fields], metadata=metadata)
    return pa.table([pa.array(rooms, pa.float64()), *columns], schema=schema)


def predict(folder: Path, table: pa.Table, model: ModelVersion, **batch: Any) -> FileResult:
    pq.write_table(table, folder / "a.parquet", row_group_size=3)
    return predict_file(folder, model, **batch)


def predict_file(folder: Path, model: ModelVersion, **batch: Any) -> FileResult:
    path = folder / "a.parquet"
    source = InputFile(path=str(path), name="a", size=path.stat().st_size)
    batch_run = BatchRun(location=str(folder / "out"), batch=Batch(max_rejects=1, **batch), model=model)
    return score_chunk(Chunk(source=source, size=source.size), batch_run)


def read(path: Path) -> pa.Table:
    return pq.ParquetFile(path).read()


def check(folder: Path, table: pa.Table, model: ModelVersion) -> None:
    """Predict a table, and make sure that all that passes through is as it was."""
    predict(folder, table, model)
    stored, written = read(folder / "a.parquet"), read(folder / "out" / "a.predictions.parquet")
    good = [row for row, rooms in enumerate(table["RM"].to_pylist()) if rooms is not None]
    passed = written.select(range(stored.num_columns))
    assert passed.schema.remove_metadata().equals(stored.schema.remove_metadata(), check_metadata=True)
    assert passed.equals(pa.concat_tables([stored.slice(0, 0), *(stored.slice(row, 1) for row in good)]))
    assert written.column_names[stored.num_columns :] == ADDED
    known = written.schema.metadata
    assert {name: known[name] for name in stored.schema.metadata} == stored.schema.metadata
    assert b"linear_neuron.model_version" in known


@pytest.mark.parametrize("kind", ODD)
def test_column_passes_through_with_type_and_metadata(tmp_path: Path, neuron: ModelVersion, kind: str) -> None:
    check(tmp_path, make_table([kind], [5.0, None, 6.0, 7.0]), neuron)
    rejects = list(csv.DictReader(io.StringIO((tmp_path / "out" / "a.rejects.csv").read_text())))
    assert [(row["line"], row["column"], row["reason"]) for row in rejects] == [("2", "RM", "empty")]
    shown = json.loads(rejects[0]["raw"])
    assert shown["RM"] is None
    assert (shown[f"{kind} 0"] is None) == (kind == "nothing")


def test_any_schema_passes_through(tmp_path: Path, neuron: ModelVersion) -> None:
    rooms = st.lists(st.sampled_from([5.0, 6.5, None]), max_size=8)

    @settings(max_examples=CASES)
    @given(st.lists(st.sampled_from(sorted(ODD)), max_size=5), rooms)
    def attempt(kinds: list[str], rooms: list[float | None]) -> None:
        check(tmp_path, make_table(kinds, rooms), neuron)

    attempt()


def test_types_of_polars_pass_through(tmp_path: Path, neuron: ModelVersion) -> None:
    table = pl.DataFrame(
        {
            "RM": [5.0, 6.0],
            "level": pl.Series(["low", "high"], dtype=pl.Enum(["low", "high"])),
            "category": pl.Series(["x", "y"], dtype=pl.Categorical),
            "array": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int32, 2)),
            "struct": [{"a": b"x"}, None],
            "time": [DAY.time(), None],
        }
    )
    table.write_parquet(tmp_path / "a.parquet")
    predict_file(tmp_path, neuron)
    written = pl.read_parquet(tmp_path / "out" / "a.predictions.parquet")
    assert written.select(table.columns).schema == table.schema
    assert written.select(table.columns).equals(table)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("uuid", "00000000-0000-0000-0000-000000000007"),
        ("json", '"{""a"": 1}"'),
        ("date64", "2026-01-02"),
        ("half", "2026-01-02T03:04:05.000000+0000"),
        ("far", str(FAR)),
        ("decimal256", "9" * 58 + ".25"),
        ("ordered", "low"),
        ("numbered", "7"),
    ],
)
def test_column_becomes_text_of_csv(tmp_path: Path, neuron: ModelVersion, kind: str, text: str) -> None:
    predict(tmp_path, make_table([kind], [5.0]), neuron, format="csv")
    lines = (tmp_path / "out" / "a.predictions.csv").read_text().splitlines()
    assert lines[1] == f"5.0,{text},11.0,10.5,11.5,false"


@pytest.mark.parametrize("kind", ["list", "map", "bytes", "deep", "duration", "fixed", "wide"])
def test_column_without_a_text_is_no_csv(tmp_path: Path, neuron: ModelVersion, kind: str) -> None:
    with pytest.raises(
        UserError, match=f"column '{kind} 0' holds .*, for which CSV has no text; ask for --format parquet"
    ):
        predict(tmp_path, make_table([kind], [5.0]), neuron, format="csv")


@pytest.mark.parametrize(
    ("dtype", "values", "predicted"),
    [
        (pa.decimal256(60, 2), [Decimal("5.00"), None], 1),
        (pa.decimal128(10, 2), [Decimal("5.00")], 1),
        (pa.dictionary(pa.int8(), pa.string()), ["5", "x"], 1),
        (pa.float16(), [5.0], 1),
        (pa.string_view(), ["5"], 1),
        (pa.int8(), [5], 1),
    ],
)
def test_feature_of_any_type_of_numbers_is_read(
    tmp_path: Path, neuron: ModelVersion, dtype: pa.DataType, values: list[Any], predicted: int
) -> None:
    assert predict(tmp_path, pa.table({"RM": make_column(dtype, values)}), neuron).predicted == predicted
    written = read(tmp_path / "out" / "a.predictions.parquet")
    assert (written.schema.field("RM").type, written["prediction"].to_pylist()) == (dtype, [11.0])


@pytest.mark.parametrize("kind", ["half", "zulu", "offset", "city", "date64"])
def test_time_of_any_zone_is_read(tmp_path: Path, kind: str) -> None:
    dtype, value = ODD[kind]
    table = pa.table({"at": make_column(dtype, [value, None]), "y": [1.0, 2.0]})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = read_rows(TableSpec(str(tmp_path / "a.parquet"), ["y"], time="at"))
    (valid,) = list(rows)
    midnight = kind == "date64"
    at = dt.datetime(2026, 1, 2, *(0, 0, 0) if midnight else (3, 4, 5), tzinfo=dt.UTC)
    assert valid["\0time"].to_list() == [int(at.timestamp() * 1_000_000)]
    assert rows.rejects.count == 1


@pytest.mark.parametrize("unit", ["ms", "us"])
def test_far_time_is_rejected_beside_a_near_one(tmp_path: Path, unit: str) -> None:
    table = pa.table({"at": pa.array([1, FAR, None], pa.timestamp(unit)), "y": [1.0, 2.0, 3.0]})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = read_rows(TableSpec(str(tmp_path / "a.parquet"), ["y"], time="at"), kept=9)
    assert [valid["\0time"].to_list() for valid in rows] == [[1000 if unit == "ms" else 1]]
    assert (rows.rejects.count, f"{FAR},not a time" in rows.rejects.data.decode()) == (2, True)


def test_key_of_a_uuid_is_its_text(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"id": make_column(pa.uuid(), [uuid.UUID(int=7).bytes]), "y": [1.0]}),
        tmp_path / "a.parquet",
    )
    (valid,) = list(read_rows(TableSpec(str(tmp_path / "a.parquet"), ["y"], key="id")))
    assert valid["\0key"].to_list() == [str(uuid.UUID(int=7))]


def test_page_that_fails_its_checksum_is_refused(tmp_path: Path, neuron: ModelVersion) -> None:
    table = pa.table({"RM": [5.0 + row for row in range(1000)]})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[data.index(pa.array([105.0]).buffers()[1].to_pybytes()[:8]) + 6] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"it can't be read as Parquet \(.*CRC.*\); write it again"):
        predict_file(tmp_path, neuron)
    predict(tmp_path, table, neuron)
    assert pq.ParquetFile(tmp_path / "out" / "a.predictions.parquet", page_checksum_verification=True).read().num_rows


def test_encrypted_file_is_called_so(tmp_path: Path, neuron: ModelVersion) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PARE" + bytes(20) + b"PARE")
    with pytest.raises(UserError, match="this Parquet file is encrypted; give it decrypted"):
        predict_file(tmp_path, neuron)


def test_doubled_name_fails_only_where_it_is_needed(tmp_path: Path, neuron: ModelVersion) -> None:
    twice = pa.table([pa.array([5.0]), pa.array([1]), pa.array(["x"])], names=["RM", "note", "note"])
    predict(tmp_path, twice, neuron)
    assert read(tmp_path / "out" / "a.predictions.parquet").column_names[:3] == ["RM", "note", "note"]
    predict(tmp_path, twice, neuron, format="csv")
    assert (tmp_path / "out" / "a.predictions.csv").read_text().startswith("RM,note,note,prediction")
    with pytest.raises(UserError, match="column 'RM' is there already, so it would be ambiguous"):
        predict(tmp_path, twice.rename_columns(["RM", "RM", "note"]), neuron)


def test_names_with_dots_are_not_parts(tmp_path: Path, neuron: ModelVersion) -> None:
    table = pa.table({"RM": [5.0], "RM.RM": [7.0], "a": pa.array([{"b": 1}]), "a.b": [2]})
    check(tmp_path, table.replace_schema_metadata({"x": "y"}), neuron)
    assert read(tmp_path / "out" / "a.predictions.parquet")["prediction"].to_pylist() == [11.0]


def test_many_columns_take_linear_time(tmp_path: Path, neuron: ModelVersion) -> None:
    seconds = []
    for columns in (1_000, 4_000):
        table = pa.table({"RM": [5.0, None]} | {f"c{number}": [1.0, 2.0] for number in range(columns)})
        start = time.process_time()
        predict(tmp_path, table, neuron)
        seconds.append(time.process_time() - start)
    assert seconds[1] < 8 * seconds[0], "quadratic time would be 16 times as much"
