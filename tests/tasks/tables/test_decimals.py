"""Find the decimal mark of each column, and refuse a file in which it is not certain."""

import re
from pathlib import Path

import polars as pl
import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.scoring.join import join_ranges
from linear_neuron.tasks.tables.decimals import DecimalMarks
from linear_neuron.tasks.tables.read import read_rows
from linear_neuron.tasks.tables.rejects import read_number
from linear_neuron.tasks.tables.spec import Decimal, TableSpec
from tests.tasks.helpers import Scoring, part


def read(values: list[str], decimal: Decimal = "auto") -> list[float | None]:
    rows = pl.DataFrame({"x": values})
    marks = DecimalMarks(decimal, by_points=False, read_again=lambda: iter([rows])).find(rows, ["x"])
    return rows.select(read_number("x", strip=True, marks=marks["x"])).to_series().to_list()


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (["6,5", "1,234"], [6.5, 1.234]),
        (["6.5", "1.234"], [6.5, 1.234]),
        (["0,125", "2,500"], [0.125, 2.5]),
        (["12345,678"], [12345.678]),
        (["1,234e3", " 5 "], [1234.0, 5.0]),
        (["5", "x", "1,2,3"], [5.0, None, None]),
        ([",5", "6,"], [0.5, 6.0]),
    ],
)
def test_mark_of_a_column_is_found(values: list[str], numbers: list[float | None]) -> None:
    assert read(values) == numbers


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["1,234"],
            "column 'x' has marks before exactly three digits in its numbers, such as '1,234'; say which is the",
        ),
        (["2.500", "5"], "marks before exactly three digits in its numbers, such as '2.500'"),
        (["1,234.50"], "commas and points, or marks of thousands, in its numbers, such as '1,234.50'"),
        (["1.234.567"], "marks of thousands, in its numbers, such as '1.234.567'"),
        (["6,5", "6.5"], "commas and points, or marks of thousands, in its numbers, such as '6,5' and '6.5'"),
        (["6,5", "2.500"], "commas and points"),
        (["1,234", "2.500"], "commas and points"),
        (["2.5", "1,234.50"], "commas and points"),
    ],
)
def test_uncertain_mark_is_refused_with_the_flag(values: list[str], message: str) -> None:
    with pytest.raises(UserError, match=rf"{message}.*--decimal comma or --decimal point"):
        read(values)


@pytest.mark.parametrize(
    ("decimal", "numbers"),
    [
        ("comma", [1.234, 2500.0, None, 1234.5, None, 6.5]),
        ("point", [1234.0, 2.5, 1234.5, None, 6.5, None]),
    ],
)
def test_flag_names_the_mark_and_allows_thousands(decimal: Decimal, numbers: list[float | None]) -> None:
    assert read(["1,234", "2.500", "1,234.5", "1.234,5", "6.5", "6,5"], decimal) == numbers


@pytest.mark.parametrize("kind", ["tsv", "csv"])
def test_later_block_decides_for_an_earlier_one(score: Scoring, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linear_neuron.tasks.tables.csv.BLOCK_BYTES", 40)
    separator = "\t" if kind == "tsv" else ";"
    lines = [f"1{separator}7,000\n"] * 20 + [f"1{separator}6,5\n"] + [f"1{separator}7,000\n"] * 20
    result = score(f"id{separator}RM\n{''.join(lines)}".encode(), f"a.{kind}")
    assert (result.predicted, result.decimals) == (41, {"RM": ","})
    assert f"7,000{separator}15.0{separator}" in score.read(f"a.predictions.{kind}").decode()
    with pytest.raises(UserError, match=r"such as '.,.*' and '6\.5'"):
        score(f"id{separator}RM\n{''.join(lines)}1{separator}6.5\n".encode(), f"a.{kind}")


def test_commas_in_a_file_of_commas_are_no_decimal_marks(score: Scoring) -> None:
    result = score(b'id,RM\n1,"1,234"\n2,2.500\n')
    assert (result.rejects, result.predicted) == ({"not a number": 1}, 1)
    assert score(b'id,RM\n1,"6,5"\n2,"1.006,5"\n', decimal="comma").predicted == 2
    assert "1006.5" not in score.predictions.decode()
    assert '"1.006,5",2014.0,' in score.predictions.decode()


def test_ranges_of_different_marks_are_refused(score: Scoring) -> None:
    results = [part(0, decimals={"RM": ","}), part(10, decimals={"RM": "."})]
    assert re.match(
        "column 'RM' has commas and points in its numbers; say", join_ranges(results, score.batch_run()).error
    )


def test_mark_is_found_for_training(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("key;x;y\n1.234;2,500;1\n2.345;6,5;2\n")
    spec = TableSpec(str(tmp_path / "a.csv"), ["x", "y"], key="key")
    assert pl.concat(read_rows(spec))["x"].to_list() == [2.5, 6.5]
    (tmp_path / "a.csv").write_text("key;x;y\n1.234;2,500;1\n")
    with pytest.raises(UserError, match=r"a\.csv: column 'x' has marks before exactly three digits"):
        list(read_rows(spec))
    spec = TableSpec(str(tmp_path / "a.csv"), ["x", "y"], key="key", decimal="point")
    assert pl.concat(read_rows(spec))["x"].to_list() == [2500.0]
