"""Every kind of reject by name: what is predicted, what is rejected and why, to the byte."""

import csv
import gzip
import io
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from backports import zstd

from linear_neuron.tasks.errors import UserError
from tests.tasks.helpers import Scoring

ADDED = "prediction,prediction_low,prediction_high,extrapolated"
PREDICTED_5 = "11.0,10.5,11.5,false"  # 2 * 5 + 1, give or take a half
REJECTS = "line,column,value,reason,raw\n"


@pytest.fixture
def location(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("line", "reject"),
    [
        pytest.param("7,abc,x", '3,RM,abc,not a number,"7,abc,x"', id="not a number"),
        pytest.param("7,1_000,x", '3,RM,1_000,not a number,"7,1_000,x"', id="python's underscores"),
        pytest.param("7,,x", '3,RM,"",empty,"7,,x"', id="empty"),
        pytest.param("7,  ,x", '3,RM,  ,empty,"7,  ,x"', id="blank"),
        pytest.param('7,"",x', '3,RM,"",empty,"7,"""",x"', id="empty in quotes"),
        pytest.param("7,NaN,x", '3,RM,NaN,NaN,"7,NaN,x"', id="NaN"),
        pytest.param("7,-inf,x", '3,RM,-inf,infinite,"7,-inf,x"', id="infinite"),
        pytest.param("7,1e39,x", '3,RM,1e39,overflow,"7,1e39,x"', id="overflow of float32"),
        pytest.param("7,1e999,x", '3,RM,1e999,overflow,"7,1e999,x"', id="overflow of float64"),
        pytest.param("7,3e38,x", '3,prediction,"",overflow,"7,3e38,x"', id="overflow of the prediction"),
        pytest.param("7,5", '3,"",2,too few fields,"7,5"', id="too few fields"),
        pytest.param("7,5,x,y", '3,"",4,too many fields,"7,5,x,y"', id="too many fields"),
        pytest.param("7,5,x,", '3,"",4,too many fields,"7,5,x,"', id="one comma too many"),
        pytest.param('7,"5",x,y', '3,"",4,too many fields,"7,""5"",x,y"', id="too many fields with quotes"),
        pytest.param("", '3,"","",empty line,""', id="empty line"),
        pytest.param('7,5,"x', '3,"","",bad quoting,"7,5,""x"', id="a quote that does not end"),
        pytest.param('7,5,"x"y', '3,"","",bad quoting,"7,5,""x""y"', id="text after a quote"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_bad_row_is_kept_apart_with_its_reason_and_its_neighbours_are_predicted(
    score: Scoring, line: str, reject: str, end: str
) -> None:
    result = score(end.join(["id,RM,note", "007,5,a", line, "008,5.0,b", ""]).encode())
    rows = [f"id,RM,note,{ADDED}", f"007,5,a,{PREDICTED_5}", f"008,5.0,b,{PREDICTED_5}", ""]
    assert score.predictions.decode() == end.join(rows)
    assert score.rejects == f"{REJECTS}{reject}\n"
    assert (result.rows, result.predicted, result.rejected) == (3, 2, 1)
    assert result.rejects == {next(csv.reader([reject]))[3]: 1}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("007, 5 ,x", id="blanks around a number"),
        pytest.param('007,"5",x', id="a number in quotes"),
        pytest.param("007,+5.000e0,x", id="another spelling of a number"),
        pytest.param('"007",5,"a, ""b"""', id="commas and quotes in quotes"),
        pytest.param('007,5,"two\nlines"', id="a line break in quotes"),
        pytest.param('007,5,5"x', id="a quote inside a field"),
        pytest.param("007,5,", id="an empty field that is no feature"),
        pytest.param("007,5,naïve 北京", id="any text"),
        pytest.param("007,5,\x00\x1a", id="control characters"),
    ],
)
def test_what_is_no_feature_passes_through_to_the_byte(score: Scoring, line: str) -> None:
    score(f"id,RM,note\n{line}\n1,5,z\n".encode())
    assert score.predictions.decode() == f"id,RM,note,{ADDED}\n{line},{PREDICTED_5}\n1,5,z,{PREDICTED_5}\n"
    assert score.outputs == ["a.predictions.csv"]


def test_latin1_bytes_pass_through_and_stand_in_the_rejects_as_they_were(score: Scoring) -> None:
    score(b"id,RM,caf\xe9\n1,5,\xe9t\xe9\n2,x\xff,\xe8\n")
    assert (
        score.predictions
        == b"id,RM,caf\xe9," + f"{ADDED}\n".encode() + b"1,5,\xe9t\xe9," + PREDICTED_5.encode() + b"\n"
    )
    assert score.read("a.rejects.csv") == REJECTS.encode() + b'3,RM,x\xff,not a number,"2,x\xff,\xe8"\n'


def test_a_byte_order_mark_stays(score: Scoring) -> None:
    score(b"\xef\xbb\xbfRM,id\r\n5,1\r\n")
    assert score.predictions == f"\ufeffRM,id,{ADDED}\r\n5,1,{PREDICTED_5}\r\n".encode()


def test_mixed_line_ends_become_those_of_the_header(score: Scoring) -> None:
    score(b"id,RM\n1,5\r\n2,5\n")
    assert score.predictions.decode() == f"id,RM,{ADDED}\n1,5,{PREDICTED_5}\n2,5,{PREDICTED_5}\n"


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_file_keeps_the_separator_that_it_has(score: Scoring, separator: str) -> None:
    content = (
        "id/RM/note\r\n"
        '007/5/"a/b, ""c"""\r\n'
        "8/5,0/,\r\n"
        '9/"5,00"/"two\nlines"\r\n'
        "1/5/x/\r\n"  # line 6
        '2/x"/"y/"\r\n'
        "3/5\r\n"
    )
    predictions = (
        "id/RM/note/prediction/prediction_low/prediction_high/extrapolated\r\n"
        '007/5/"a/b, ""c"""/11.0/10.5/11.5/false\r\n'
        "8/5,0/,/11.0/10.5/11.5/false\r\n"
        '9/"5,00"/"two\nlines"/11.0/10.5/11.5/false\r\n'
    )
    score(content.replace("/", separator).encode())
    assert score.predictions.decode() == predictions.replace("/", separator)
    assert list(csv.reader(io.StringIO(score.rejects)))[1:] == [
        ["6", "", "4", "too many fields", "1/5/x/".replace("/", separator)],
        ["7", "RM", 'x"', "not a number", '2/x"/"y/"'.replace("/", separator)],
        ["8", "", "2", "too few fields", "3/5".replace("/", separator)],
    ]


@pytest.mark.parametrize(
    ("value", "prediction"),
    [
        ("6,5", 14.0),
        ('"6,5"', 14.0),
        (" -0,25e1 ", -4.0),
        ("6.5", 14.0),
        (",5", 2.0),
        ("1,2,3", None),
        ("6,", 13.0),
        (",", None),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_comma_may_be_the_decimal_point_where_it_separates_nothing(
    score: Scoring, value: str, prediction: float | None, kind: str
) -> None:
    result = score(f"id;RM\n1;{value}\n".encode(), format=kind)
    if prediction is None:
        assert result.rejects == {"not a number": 1}
        assert score.rejects == f"{REJECTS}2,RM,{csv_field(value)},not a number,{csv_field('1;' + value)}\n"
    elif kind == "csv":
        assert score.predictions.decode().splitlines()[1].startswith(f"1;{value};{prediction};")
    else:
        table = pl.read_parquet(score.folder / "out" / "a.predictions.parquet")
        assert table.select("RM", "prediction").rows() == [(value.strip('"'), prediction)]


def csv_field(text: str) -> str:
    return f'"{text}"' if "," in text else text


def test_a_comma_is_no_decimal_point_in_a_file_of_commas(score: Scoring) -> None:
    assert score(b'id,RM\n1,"6,5"\n').rejects == {"not a number": 1}


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".ZST", zstd.compress)])
def test_a_tsv_file_is_split_at_tabs_alone(score: Scoring, suffix: str, pack: Any) -> None:
    result = score(pack(b"id;a;b,c\tRM\n1;,\t5\n"), f"a.tsv{suffix}")
    assert list(result.outputs) == ["a.predictions.tsv"]
    assert score.read("a.predictions.tsv").decode() == (
        "id;a;b,c\tRM\tprediction\tprediction_low\tprediction_high\textrapolated\n1;,\t5\t11.0\t10.5\t11.5\tfalse\n"
    )


def test_a_file_of_one_column_has_no_separators(score: Scoring) -> None:
    score(b"RM\n5\n\nx\n5")
    assert score.predictions.decode() == f"RM,{ADDED}\n5,{PREDICTED_5}\n5,{PREDICTED_5}\n"
    assert score.rejects == f'{REJECTS}3,RM,"",empty,""\n4,RM,x,not a number,x\n'


def test_a_header_alone_gives_a_header_alone(score: Scoring) -> None:
    assert score(b"id,RM\n").rows == 0
    assert score.predictions.decode() == f"id,RM,{ADDED}\n"


def test_one_field_too_many_does_not_make_up_for_one_too_few(score: Scoring) -> None:
    score(b"id,RM,note\n1,5,a,\n2,5\n3,5,a\n")
    assert score.rejects == f'{REJECTS}2,"",4,too many fields,"1,5,a,"\n3,"",2,too few fields,"2,5"\n'
    score(b"id,RM,note\n1,5,a\n2,5\n3,5,a,b\n")
    assert score.rejects == f'{REJECTS}3,"",2,too few fields,"2,5"\n4,"",4,too many fields,"3,5,a,b"\n'


def test_rejects_stand_in_the_order_of_their_lines(score: Scoring) -> None:
    score(b'id,RM\n1,a\n2\n3,"b"\n4,"\n5,c\n6,5\n')
    assert [line.split(",")[0] for line in score.rejects.splitlines()[1:]] == ["2", "3", "4", "5", "6"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty; the first line must name the columns"),
        (b"1,5,x\n2,6,y\n", "there is no column 'RM' among 1, 5, x; name the one that holds it by --columns RM=COLUMN"),
        (b"id,rm\n1,5\n", "name the one that holds it by --columns RM=rm, or add the line of column names"),
        (b"rooms;id\n5;1\n", "there is no column 'RM' among rooms, id; name"),
        ("RM,id\n5,1\n".encode("utf-16"), "this is UTF-16 text; save it as UTF-8"),
        (b"RM,id\r5,1\r", "its lines end with a carriage return alone; save it with line feeds"),
        (b",".join(b"c%d" % n for n in range(99)) + b"\n", "c18, c19 and 79 more; name"),
        (b"id,RM,RM\n1,5,6\n", "column 'RM' is there already, so it would be ambiguous; rename it"),
        (b"id,RM,prediction\n1,5,6\n", "column 'prediction' is there already"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_that_makes_no_sense_fails_and_leaves_nothing(
    score: Scoring, content: bytes, sentence: str, kind: str
) -> None:
    with pytest.raises(UserError) as message:
        score(content, format=kind)
    assert sentence in str(message.value)
    assert not (score.folder / "out").exists()


def test_a_file_that_is_mostly_dirt_fails_and_shows_why(score: Scoring) -> None:
    content = b"RM\n5\nx\ny\n\n"
    assert score(content, max_rejects=0.7).error == (
        "3 of 4 rows can't be predicted (empty 1, not a number 2), "
        "a greater share than the 0.7 that --max-rejects allows"
    )
    assert score.outputs == ["a.rejects.csv"]
    assert [line.split(",")[0] for line in score.rejects.splitlines()] == ["line", "3", "4", "5"]
    assert score(content, max_rejects=0.75).predicted == 1


def test_a_feature_may_go_by_several_names(score: Scoring) -> None:
    for header in (b"zimmer,id", b"rooms,zimmer", b"RM,id"):
        assert score(header + b"\n5,0\n", columns=["RM=rooms", "RM=zimmer"]).predicted == 1
        assert score.predictions.endswith(f"5,0,{PREDICTED_5}\n".encode())


@pytest.mark.parametrize("name", ["*", "^.*$"])
def test_a_column_named_like_a_pattern_is_itself(score: Scoring, name: str) -> None:
    assert score(f"{name},RM\na,5\n".encode()).predicted == 1
    assert score.predictions.decode() == f"{name},RM,{ADDED}\na,5,{PREDICTED_5}\n"
    for content, batch in ((f"{name}\n5\n", {"columns": [f"RM={name}"]}), (f"{name},RM\n5,5\n", {"format": "parquet"})):
        with pytest.raises(UserError, match="has a name that is a pattern of other names here; rename it"):
            score(content.encode(), **batch)


def test_bytes_in_a_parquet_file_pass_through(score: Scoring) -> None:
    buffer = io.BytesIO()
    pl.DataFrame({"RM": [5.0, None], "blob": [b"\xff\x00", b"\x01"]}).write_parquet(buffer)
    assert score(buffer.getvalue(), "a.parquet").predicted == 1
    assert pl.read_parquet(score.folder / "out" / "a.predictions.parquet")["blob"].to_list() == [b"\xff\x00"]
    assert '"{""RM"":null,""blob"":""AQ==""}"' in score.rejects


def test_a_parquet_file_named_like_a_glob_is_itself(score: Scoring) -> None:
    pl.DataFrame({"RM": [9.0, 9.0]}).write_parquet(score.folder / "sugar.parquet")
    buffer = io.BytesIO()
    pl.DataFrame({"RM": [5.0]}).write_parquet(buffer)
    assert score(buffer.getvalue(), "s*r.parquet").predicted == 1
    assert pl.read_parquet(score.folder / "out" / "a.predictions.parquet")["RM"].to_list() == [5.0]


def test_columns_that_are_not_read_may_share_a_name(score: Scoring) -> None:
    assert score(b"note,RM,note,\na,5,b,\n").predicted == 1
    assert score.predictions.decode() == f"note,RM,note,,{ADDED}\na,5,b,,{PREDICTED_5}\n"
    with pytest.raises(UserError, match="column 'note' is there twice, which Parquet does not allow"):
        score(b"note,RM,note\na,5,b\n", format="parquet")


def test_a_feature_may_go_by_another_name(score: Scoring) -> None:
    score(b"rooms,RM2\n5,0\n", columns=["RM=rooms"])
    assert score.predictions.decode() == f"rooms,RM2,{ADDED}\n5,0,{PREDICTED_5}\n"


def test_rows_outside_the_range_trained_on_are_marked(score: Scoring) -> None:
    result = score(b"RM\n2.999\n3\n9\n9.001\n")
    assert [line.rpartition(",")[2] for line in score.predictions.decode().split()[1:]] == [
        "true",
        "false",
        "false",
        "true",
    ]
    assert result.extrapolated == 2
    assert result.histogram == [0, 2, 0, 2, 0]  # 6.998, 7, 19, 19.002 in bins of 5 from 5 to 20


def test_predictions_beyond_the_training_targets_are_counted_apart(score: Scoring) -> None:
    assert score(b"RM\n-100\n0\n5\n1e30\n").histogram == [2, 0, 1, 0, 1]


def test_without_an_interval_its_columns_are_empty(score: Scoring) -> None:
    score.neuron = score.neuron.model_copy(update={"intervals": {"99": None}})
    score(b"RM\n5\n", interval=99)
    assert score.predictions.decode() == f"RM,{ADDED}\n5,11.0,,,false\n"


def test_several_features_are_found_by_name_in_any_order(score: Scoring) -> None:
    changes = {"features": ["A", "B"], "weights": [1.0, 10.0], "ranges": {"A": (0, 9), "B": (0, 9)}}
    score.neuron = score.neuron.model_copy(update=changes)
    score(b"B,x,A\n2,,3\n2,,\n,,\n")
    assert score.predictions.decode() == f"B,x,A,{ADDED}\n2,,3,24.0,23.5,24.5,false\n"
    assert score.rejects == f'{REJECTS}3,A,"",empty,"2,,"\n4,A,"",empty,",,"\n'


EDGES = [0.0, -0.0, 1e-45, 1.1754942e-38, 1.17549435e-38, 0.1, 1 / 3, 16777217.0, 1e-7, 1e16, 1.7e38, -1.7e38]


def test_every_prediction_reads_back_as_the_float32_that_it_is(score: Scoring) -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 0x7F000000, 5000, np.int32).view(np.float32)  # every positive magnitude but the last two
    x = np.concatenate([EDGES, rng.normal(6, 2, 5000), bits, -bits])
    score.neuron = score.neuron.model_copy(update={"weights": [0.7300000190734863], "bias": -3.140000104904175})
    score("\n".join(["RM", *map(repr, x.tolist()), ""]).encode())
    table = pl.read_csv(score.predictions, schema_overrides={"RM": pl.Float64})
    rows = table["RM"].to_numpy().astype(np.float32)[:, None]
    expected = score.neuron.linear_model.predict(rows)
    read = np.array([float(line.split(b",")[1]) for line in score.predictions.split()[1:]]).astype(np.float32)
    assert np.array_equal(read.view(np.int32), expected.view(np.int32))


@pytest.mark.parametrize(("name", "pack"), [("a.csv.gz", gzip.compress), ("a.csv.zst", zstd.compress)])
def test_compressed_csv_is_read(score: Scoring, name: str, pack: Any) -> None:
    score(pack(b"RM\n5\n"), name)
    assert score.predictions.decode() == f"RM,{ADDED}\n5,{PREDICTED_5}\n"


def test_a_truncated_gz_fails(score: Scoring) -> None:
    with pytest.raises(UserError, match=r"it can't be unpacked .*ended before the end-of-stream marker"):
        score(gzip.compress(b"RM\n" + b"5\n" * 9000)[:-9], "a.csv.gz")
    assert score.outputs == []


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()


def test_parquet_keeps_its_columns_and_types_and_rejects_show_rows_as_json(score: Scoring) -> None:
    content = {
        "id": [7, 8, 9],
        "RM": [5.0, None, float("nan")],
        "day": [date(2026, 1, 2)] * 3,
        "sum": [Decimal("1.50")] * 3,
    }
    result = score(parquet(**content), "a.parquet")
    table = pl.read_parquet(score.folder / "out" / "a.predictions.parquet")
    assert table.rows() == [(7, 5.0, date(2026, 1, 2), Decimal("1.50"), 11.0, 10.5, 11.5, False)]
    assert table.schema["prediction"] == pl.Float32
    assert score.rejects.splitlines()[1].startswith('2,RM,"",empty,"{""id"":8,""RM"":null,""day"":""2026-01-02""')
    assert (result.predicted, result.rejects) == (1, {"NaN": 1, "empty": 1})


def test_parquet_may_hold_numbers_as_text_or_of_any_width(score: Scoring) -> None:
    score(parquet(RM=["5", " 5 ", "x"]), "a.parquet", format="csv")
    assert score.predictions.decode() == f"RM,{ADDED}\n5,{PREDICTED_5}\n 5 ,{PREDICTED_5}\n"
    score(parquet(RM=pl.Series([5], dtype=pl.Int8)), "a.parquet", format="csv")
    assert score.predictions.decode() == f"RM,{ADDED}\n5,{PREDICTED_5}\n"


def test_parquet_of_no_rows_gives_parquet_of_no_rows(score: Scoring) -> None:
    score(parquet(RM=pl.Series([], dtype=pl.Float64)), "a.parquet")
    table = pl.read_parquet(score.folder / "out" / "a.predictions.parquet")
    assert table.shape == (0, 5)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (parquet(RM=[True]), "column 'RM' holds Boolean where numbers are needed"),
        (parquet(RM=[[5.0]]), r"column 'RM' holds List\(Float64\) where numbers are needed"),
        (b"RM\n5\n", "this is not a Parquet file, whatever its name says"),
        (b"", "this is not a Parquet file, whatever its name says"),
        (parquet(RM=[5.0])[:-20], "this is not a Parquet file, whatever its name says"),
    ],
)
def test_parquet_of_the_wrong_type_fails(score: Scoring, content: bytes, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        score(content, "a.parquet")
    assert not (score.folder / "out").exists()


def test_csv_becomes_parquet_with_its_text_as_it_was(score: Scoring) -> None:
    score(b'id,RM,note\n007,5,caf\xe9\n008,x,b\n009,"5","a\nb"\n', format="parquet")
    table = pl.read_parquet(score.folder / "out" / "a.predictions.parquet")
    assert table.rows() == [
        ("007", "5", "café", 11.0, 10.5, 11.5, False),
        ("009", "5", "a\nb", 11.0, 10.5, 11.5, False),
    ]
    assert score.rejects == f'{REJECTS}3,RM,x,not a number,"008,x,b"\n'


def test_a_failure_in_the_middle_of_parquet_is_an_error(score: Scoring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linear_neuron.tasks.tables.csv.LONGEST_LINE", 8 << 20)
    with pytest.raises(UserError, match="line 3 is longer than 8 MB; this is not a CSV file"):
        score(b"RM\n5\n" + b"5" * (20 << 20), format="parquet")
    assert score.outputs == []


def test_rows_keep_their_order_over_many_blocks(score: Scoring) -> None:
    lines = [f"{number:07},{number % 7},{'x' * (number % 50)}" for number in range(300_000)]
    score("\n".join(["id,RM,pad", *lines, ""]).encode())
    message = score.predictions.decode().splitlines()[1:]
    assert [line.rsplit(",", 4)[0] for line in message] == lines
    assert all(float(line.rsplit(",", 4)[1]) == number % 7 * 2 + 1 for number, line in enumerate(message))
