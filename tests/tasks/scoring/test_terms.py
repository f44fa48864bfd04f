"""A model with terms predicts files and frames by the arithmetic of its terms, and counts what it finds."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.scoring.manifest import MOST_UNSEEN, BatchRun, Chunk, Counts, FileResult
from linear_neuron.tasks.scoring.run import score_chunk
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.tables.inputs import InputFile
from tests.helpers import make_version
from tests.tasks.helpers import Scoring
from tests.tasks.scoring.term_models import (
    COLUMNS,
    CUTS,
    contribute,
    draw_rows,
    find_level,
    is_extrapolated,
    make_term_version,
    predict_row,
)

Row = dict[str, Any]


@pytest.fixture
def model(store: Store) -> ModelVersion:
    return make_term_version(store)


@pytest.fixture
def strict(store: Store) -> ModelVersion:
    """The same where nothing is filled."""
    return make_term_version(store, missing=False)


def to_csv(rows: list[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["id", *COLUMNS], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"id": f"{index:05d}", **row} for index, row in enumerate(rows))
    return text.getvalue().encode()


def run(folder: Path, model: ModelVersion, path: Path, **batch: Any) -> tuple[FileResult, Path]:
    shadow = batch.pop("shadow_model", None)
    job = BatchRun(
        location=str(folder / "out"),
        batch=Batch(inputs=[str(path)], max_rejects=1, **batch),
        model=model,
        shadow=shadow,
    )
    result = score_chunk(Chunk(source=InputFile(path=str(path), name="a", kind=path.suffix[1:])), job)
    return result, folder / "out"


def read_lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_predictions(model: ModelVersion, rows: list[Row], lines: list[dict[str, str]]) -> None:
    """Compare the bits of the predictions, which are in the order of the rows, without those that have none."""
    expected = {f"{index:05d}": predict_row(model, row) for index, row in enumerate(rows)}
    assert [line["id"] for line in lines] == [key for key, value in expected.items() if value is not None]
    for line in lines:
        assert np.float32(line["prediction"]) == expected[line["id"]], line
        assert line["extrapolated"] == str(is_extrapolated(model, rows[int(line["id"])])).lower(), line


@pytest.mark.parametrize("unseen", [False, True])
def test_file_gets_the_bits_of_plain_arithmetic(tmp_path: Path, model: ModelVersion, unseen: bool) -> None:
    rows = draw_rows(3000, unseen=unseen)
    (tmp_path / "a.csv").write_bytes(to_csv(rows))
    result, out = run(tmp_path, model, tmp_path / "a.csv")
    assert (result.predicted, result.rejected) == (3000, 0)
    assert_predictions(model, rows, read_lines(out / "a.predictions.csv"))
    assert result.extrapolated == sum(is_extrapolated(model, row) for row in rows)


def test_row_without_a_value_is_rejected_with_its_column(tmp_path: Path, strict: ModelVersion) -> None:
    rows = draw_rows(500)
    (tmp_path / "a.csv").write_bytes(to_csv(rows))
    result, out = run(tmp_path, strict, tmp_path / "a.csv")
    assert_predictions(strict, rows, read_lines(out / "a.predictions.csv"))
    reasons = {line["line"]: (line["column"], line["reason"]) for line in read_lines(out / "a.rejects.csv")}
    assert 100 < len(reasons) == result.rejected
    for number, row in zip(_list_lines(rows), rows, strict=True):
        empty = [name for name in ("carat", "area", "rooms", "cut", "sold") if row[name] is None]
        expected = (empty[0], "empty") if empty else ("log(area)", "no finite value") if row["area"] == 0 else None
        assert reasons.get(str(number)) == expected
    assert result.nulls["cut"] == sum(column == "cut" for column, _ in reasons.values())
    assert not result.filled


def _list_lines(rows: list[Row]) -> list[int]:
    """List the lines on which rows begin: a level has a line break."""
    lines, line = [], 2
    for row in rows:
        lines.append(line)
        line += 1 + str(row["cut"]).count("\n")
    return lines


def test_missing_cells_are_filled_and_counted(tmp_path: Path, model: ModelVersion) -> None:
    rows = draw_rows(2000)
    (tmp_path / "a.csv").write_bytes(to_csv(rows))
    result, _ = run(tmp_path, model, tmp_path / "a.csv")
    expected = {name: sum(row[name] is None for row in rows) for name in COLUMNS}
    expected["log(area)"] = sum(row["area"] == 0 for row in rows)
    assert result.filled == expected
    assert min(expected.values()) > 50


def test_wrong_cell_is_rejected_where_a_missing_one_is_filled(tmp_path: Path, model: ModelVersion) -> None:
    cells = ["abc,1,Ideal,2026-01-01,3", ",x,Ideal,2026-01-01,3", ",,,yesterday,3", "101,1,Ideal,2026-01-01,3"]
    cells += [
        "1e39,1,Ideal,2026-01-01,3",
        "inf,1,Ideal,2026-01-01,3",
        ",,,,",
        "NaN, ,  ,,",
        " 1 , 2 , Ideal , 2026-01-01 ,3 ",
    ]
    text = "\n".join(["carat,area,cut,sold,rooms", *cells]) + "\n"
    (tmp_path / "a.csv").write_text(text)
    result, out = run(tmp_path, model, tmp_path / "a.csv")
    found = [
        (line["line"], line["column"], line["value"], line["reason"]) for line in read_lines(out / "a.rejects.csv")
    ]
    assert found == [
        ("2", "carat", "abc", "not a number"),
        ("3", "area", "x", "not a number"),
        ("4", "sold", "yesterday", "not a time"),
        ("5", "carat", "101", "out of bounds"),
        ("6", "carat", "1e39", "overflow"),
        ("7", "carat", "inf", "infinite"),
    ]
    empty = dict.fromkeys(COLUMNS)
    row = {"carat": 1.0, "area": 2.0, "cut": "Ideal", "sold": "2026-01-01", "rooms": 3.0}
    expected = [predict_row(model, empty), predict_row(model, empty), predict_row(model, row)]
    assert [np.float32(line["prediction"]) for line in read_lines(out / "a.predictions.csv")] == expected
    assert result.filled == {"carat": 2, "area": 2, "cut": 2, "sold": 2, "rooms": 2}


def test_unseen_levels_are_listed_with_their_rows(tmp_path: Path, model: ModelVersion) -> None:
    cuts = ["Ideal", "New", "Other", " New ", CUTS and list(CUTS)[-1], "", "y" * 200]
    lines = [
        f"1,50,{cut},2026-{month}-01,3"
        for cut, month in zip(cuts, ["01", "01", "02", "03", "05", "05", "01"], strict=True)
    ]
    (tmp_path / "a.csv").write_text("\n".join(["carat,area,cut,sold,rooms", *lines]) + "\n")
    result, _ = run(tmp_path, model, tmp_path / "a.csv")
    assert result.unseen == {
        "cut": {"New": 2, "Other": 1, "Ideal x": 1, "y" * 100: 1},
        "month(sold)": {"2": 1, "5": 2},
    }
    assert result.unseen_rows == 6
    assert result.extrapolated == 6


def test_thousands_of_unseen_levels_are_counted_in_bounds(tmp_path: Path, model: ModelVersion) -> None:
    lines = [f"1,50,new {index},2026-01-01,3" for index in range(1000)]
    (tmp_path / "a.csv").write_text("\n".join(["carat,area,cut,sold,rooms", *lines]) + "\n")
    result, _ = run(tmp_path, model, tmp_path / "a.csv")
    assert len(result.unseen["cut"]) == MOST_UNSEEN
    assert result.unseen_rows == 1000
    total = Counts()
    for _ in range(2):
        total.add(result)
    assert total.unseen["cut"]["new 7"] == 2
    total.add(Counts(unseen={"cut": {"more": 1, "new 7": 5}}, unseen_rows=6))
    assert (total.unseen["cut"]["new 7"], "more" in total.unseen["cut"], total.unseen_rows) == (7, False, 2006)


def test_cells_add_up_to_the_contributions(tmp_path: Path, model: ModelVersion) -> None:
    rows = draw_rows(2000)
    (tmp_path / "a.csv").write_bytes(to_csv(rows))
    result, _ = run(tmp_path, model, tmp_path / "a.csv")
    _, log, cut, month, curve, slopes, rooms = model.terms
    cells = result.cells
    carats = [row["carat"] for row in rows if row["carat"] is not None]
    assert cells["carat"][0] == [len(carats), pytest.approx(sum(carats)), pytest.approx(sum(x * x for x in carats))]
    assert cells["carat"][1] == [2000 - len(carats), 0, 0]
    levels = [*cut.rows, *(level for level in cut.levels if level not in cut.rows)]
    found = [row["cut"] for row in rows]
    assert cells["cut"][: len(levels)] == [[found.count(level)] for level in levels]
    assert cells["cut"][len(levels) :] == [[found.count("Unseen") + found.count("Never")], [found.count(None)]]
    means = {
        term.name: sum(contribute(term, row) or 0.0 for row in rows) for term in (curve, slopes, rooms, month, log)
    }
    by_level = [slopes.levels.get(level, slopes.other) for level in [*levels, ""]]
    known = sum(
        slope * (cell[1] - cell[0] * slopes.center) for slope, cell in zip(by_level, cells["area:cut"], strict=False)
    )
    assert known == pytest.approx(means["area:cut"])
    assert [cell[0] for cell in cells["spline(carat, 2)"]] == [
        *(sum(low <= x < high for x in carats) for low, high in ((0, 1), (1, 2.5), (2.5, 4), (4, 9))),
        2000 - len(carats),
    ]
    assert cells["month(sold)"] == [[sum(find_level(month, row) == level for row in rows)] for level in ("1", "3")] + [
        [sum(row["sold"] is not None and row["sold"][:7] == "2027-12" for row in rows)],
        [sum(row["sold"] is None for row in rows)],
    ]
    assert len(cells["rooms"]) == 4


def test_levels_are_counted_beside_those_of_the_profile(tmp_path: Path, model: ModelVersion) -> None:
    rows = draw_rows(500)
    (tmp_path / "a.csv").write_bytes(to_csv(rows))
    result, _ = run(tmp_path, model, tmp_path / "a.csv")
    found = [row["cut"] for row in rows]
    shown = [found.count(level) for level in model.contract["cut"]["levels"]]
    assert result.bins["cut"] == [*shown, sum(level is not None for level in found) - sum(shown)]
    assert sum(result.bins["carat"]) == sum(row["carat"] is not None for row in rows)


def test_explanations_add_up_to_the_prediction(tmp_path: Path, model: ModelVersion) -> None:
    rows = draw_rows(300)
    (tmp_path / "a.csv").write_bytes(to_csv(rows))
    _, out = run(tmp_path, model, tmp_path / "a.csv", explain="all")
    for line, row in zip(read_lines(out / "a.predictions.csv"), rows, strict=True):
        parts = [float(line[f"contribution_{name}"]) for name in model.features]
        assert parts == pytest.approx([contribute(term, row) for term in model.terms], rel=1e-6)
        assert float(line["base_prediction"]) + sum(parts) == pytest.approx(float(line["prediction"]), rel=1e-5)
    _, out = run(tmp_path, model, tmp_path / "a.csv", explain="top")
    for line, row in zip(read_lines(out / "a.predictions.csv"), rows, strict=True):
        top = max(model.terms, key=lambda term: abs(contribute(term, row) or 0.0))
        assert line["top_feature"] == top.name
        assert float(line["top_contribution"]) == pytest.approx(contribute(top, row), rel=1e-6)


def test_shadow_may_have_other_terms(tmp_path: Path, model: ModelVersion, store: Store) -> None:
    rows, neuron = draw_rows(200), make_version(store, "v", weights=[2.0])
    other = make_term_version(store, version="20260102T000000Z-bbbbbb", base=12.5)
    (tmp_path / "plain.csv").write_text("carat,area,cut,sold,rooms,RM\n1,50,Ideal,2026-01-01,3, 6 \n")
    (tmp_path / "a.csv").write_bytes(to_csv(rows))
    _, out = run(tmp_path, model, tmp_path / "a.csv", shadow_model=other, add=["shadow"])
    for line, row in zip(read_lines(out / "a.predictions.csv"), rows, strict=True):
        assert np.float32(line["shadow_prediction"]) == predict_row(other, row)
        assert np.float32(line["prediction"]) == predict_row(model, row)
    row = {"carat": 1.0, "area": 50.0, "cut": "Ideal", "sold": "2026-01-01", "rooms": 3.0}
    for served, shadow in ((model, neuron), (neuron, model)):
        result, out = run(tmp_path, served, tmp_path / "plain.csv", shadow_model=shadow, add=["shadow"])
        (line,) = read_lines(out / "a.predictions.csv")
        numbers = {line["prediction"], line["shadow_prediction"]}
        assert {np.float32(number) for number in numbers} == {predict_row(model, row), np.float32(13.0)}
        assert result.shadow_missing == 0


def test_parquet_types_are_categories_as_they_are(tmp_path: Path, model: ModelVersion) -> None:
    rows = draw_rows(1000)
    table = pa.table(
        {
            "id": [f"{index:05d}" for index in range(len(rows))],
            "carat": pa.array([row["carat"] for row in rows], pa.float64()),
            "area": pa.array([row["area"] for row in rows], pa.float64()),
            "cut": pa.array([row["cut"] for row in rows]).dictionary_encode(),
            "sold": pl.Series([row["sold"] for row in rows])
            .str.to_datetime(strict=False)
            .dt.replace_time_zone("UTC")
            .to_arrow(),
            "rooms": pa.array([row["rooms"] for row in rows], pa.float32()),
        }
    )
    sold = pl.Series([row["sold"] and (row["sold"] + "T00:00:00")[:19] for row in rows]).str.to_datetime(time_unit="us")
    table = table.set_column(4, "sold", sold.dt.replace_time_zone("UTC").to_arrow())
    pq.write_table(table, tmp_path / "a.parquet")
    result, out = run(tmp_path, model, tmp_path / "a.parquet", format="csv")
    assert result.rejected == 0
    assert_predictions(model, rows, read_lines(out / "a.predictions.csv"))
    _, out = run(tmp_path, model, tmp_path / "a.parquet")
    written = pq.read_table(out / "a.predictions.parquet")
    assert written.schema.field("cut").type == table.schema.field("cut").type
    formula = json.loads(written.schema.metadata[b"linear_neuron.model"])
    assert (formula["base"], formula["terms"][0]["name"]) == (10.0, "carat")


@pytest.mark.parametrize("kind", ["boolean", "enum", "integer"])
def test_other_types_have_labels(tmp_path: Path, model: ModelVersion, kind: str) -> None:
    cut = model.terms[2].model_copy(update={"levels": {"true": 5.0, "7": 7.0}, "rows": {"true": 9, "7": 9}})
    small = model.model_copy(update={"terms": [cut], "features": ["cut"], "columns": {"cut": "category"}, "ranges": {}})
    values = {
        "boolean": pl.Series([True, None, False]),
        "enum": pl.Series(["true", None, "no"], dtype=pl.Enum(["true", "no"])),
        "integer": pl.Series([7, None, 8]),
    }
    pl.DataFrame({"cut": values[kind]}).write_parquet(tmp_path / "a.parquet")
    result, out = run(tmp_path, small, tmp_path / "a.parquet", format="csv")
    known = 7.0 if kind == "integer" else 5.0
    found = [float(line["prediction"]) for line in read_lines(out / "a.predictions.csv")]
    assert found == [10 + known, 10.5, pytest.approx(10.123)]
    assert result.unseen == {"cut": {{"boolean": "false", "enum": "no", "integer": "8"}[kind]: 1}}


def test_columns_may_have_other_names(tmp_path: Path, model: ModelVersion) -> None:
    rows = draw_rows(50)
    (tmp_path / "a.csv").write_bytes(to_csv(rows).replace(b",cut,", b",quality,", 1))
    _, out = run(tmp_path, model, tmp_path / "a.csv", columns=["cut=quality"])
    assert_predictions(model, rows, read_lines(out / "a.predictions.csv"))


def test_missing_column_fails_with_its_name(tmp_path: Path, model: ModelVersion) -> None:
    (tmp_path / "a.csv").write_text("carat,area,cut,sold\n1,2,3,4\n")
    with pytest.raises(Exception, match="there is no column 'rooms' among carat, area, cut, sold"):
        run(tmp_path, model, tmp_path / "a.csv")


def test_ranges_of_a_file_give_the_counts_of_the_whole(tmp_path: Path, model: ModelVersion) -> None:
    rows = draw_rows(400)
    halves = [to_csv(rows[:200]), to_csv(rows[200:])]
    (tmp_path / "a.csv").write_bytes(to_csv(rows))
    whole, _ = run(tmp_path, model, tmp_path / "a.csv")
    total = Counts()
    for half in halves:
        (tmp_path / "b.csv").write_bytes(half)
        total.add(run(tmp_path, model, tmp_path / "b.csv")[0])
    assert (total.filled, total.unseen, total.unseen_rows) == (whole.filled, whole.unseen, whole.unseen_rows)
    assert total.bins == whole.bins
    for name, cells in total.cells.items():
        assert [cell[0] for cell in cells] == [cell[0] for cell in whole.cells[name]]
        assert [cell[-1] for cell in cells] == pytest.approx([cell[-1] for cell in whole.cells[name]])


def test_plain_versions_are_scored_as_before(score: Scoring) -> None:
    result = score(b"RM\n6\n\n")
    assert (result.predicted, result.sums, result.cells, result.filled) == (1, {"RM": 6.0}, {}, {})
