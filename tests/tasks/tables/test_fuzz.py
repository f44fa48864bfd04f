"""Compare the CSV reader with a plain one that holds the whole file: same predictions, rejects and bytes.

`FUZZ=1000000 python -m pytest tests/tasks/tables/test_fuzz.py` tries a million files.
"""

import csv
import io
import os
import re
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.scoring.join import join_ranges
from linear_neuron.tasks.scoring.manifest import BatchRun, Chunk
from linear_neuron.tasks.scoring.plan import split_file
from linear_neuron.tasks.scoring.run import score_chunk
from linear_neuron.tasks.tables.inputs import InputFile

pytestmark = pytest.mark.slow

CASES = int(os.environ.get("FUZZ", "300"))
BATCH = 5000  # cases after which hypothesis forgets what it tried, or its memory would grow without end
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|infinity|nan)", re.ASCII | re.IGNORECASE)
LONE = "\ue000"  # replaces a carriage return that ends no line
BLANKS = " \t\r\n\f\v"
TAIL = re.compile(rb"[,;\t|]([-+.\w]+)[,;\t|]([-+.\w]+)[,;\t|]([-+.\w]+)[,;\t|](?:true|false)(?=\r?\n)")
ADDED = [b"prediction", b"prediction_low", b"prediction_high", b"extrapolated"]

Row = tuple[str, np.float32]  # a record as it is in the file, and what is predicted for it
Reject = list[str]  # line, column, value, reason, raw


def read_plainly(data: bytes, separator: str) -> tuple[list[Row], list[Reject]] | None:
    """Read a file with the columns id, RM and note as one text, line by line, with Python's csv and float.

    A line is a record, or begins one that a quote carries over its end. Where that makes no sense it is rejected alone.
    None where the decimal mark is not certain.
    """
    lines = data.decode("latin-1").split("\n")[1:]  # As one character a byte, so that they come out as they went in.
    if lines and not lines[-1]:
        lines.pop()
    rows: list[Row] = []
    rejects: list[Reject] = []
    number, records = 0, list[tuple[str, str, list[str]]]()
    while number < len(lines):
        fields, count = read_record(lines[number:], separator)
        raw, line = "\n".join(lines[number : number + count]).removesuffix("\r"), str(number + 2)
        number += count
        if not raw:
            rejects.append([line, "", "", "empty line", raw])
        elif fields is None:
            rejects.append([line, "", "", "bad quoting", raw])
        elif len(fields) != 3:
            rejects.append([line, "", str(len(fields)), f"too {'few' if len(fields) < 3 else 'many'} fields", raw])
        else:
            records.append((line, raw, fields))
    mark = "." if separator == "," else find_mark([fields[1].strip(BLANKS) for *_, fields in records])
    if not mark:
        return None
    for line, raw, fields in records:
        prediction, column, reason = predict(fields[1], mark)
        if reason:
            rejects.append([line, column, fields[1] if column == "RM" else "", reason, raw])
        else:
            rows.append((raw, prediction))
    return rows, sorted(rejects, key=lambda reject: int(reject[0]))


def find_mark(values: list[str]) -> str:
    """Find the decimal mark of a column by the rules of `tables/decimals.py`; empty where it is not certain."""
    decimals, opens, thousands = set[str](), set[str](), False
    for value in (value.removeprefix(value[:1]) if value[:1] in ("+", "-") else value for value in values):
        for mark, other in (",.", ".,"):
            thousands |= bool(
                re.fullmatch(rf"[0-9]{{1,3}}([{mark}][0-9]{{3}})+([{mark}][0-9]{{3}}|[{other}][0-9]*)", value)
            )
            if re.fullmatch(rf"[1-9][0-9]{{0,2}}[{mark}][0-9]{{3}}", value):
                opens.add(mark)
            elif re.fullmatch(rf"([0-9]+[{mark}][0-9]*|[{mark}][0-9]+)([eE][+-]?[0-9]+)?", value):
                decimals.add(mark)
    if thousands or len(decimals | opens) > 1 or (opens and not decimals):
        return ""
    return next(iter(decimals), ".")


def read_record(lines: list[str], separator: str) -> tuple[list[str] | None, int]:
    """Return the fields of the first record, None if its quotes make no sense, and how many lines it has."""
    if '"' not in lines[0]:
        return lines[0].removesuffix("\r").split(separator), 1
    # Only \r\n ends a line, but Python's reader stops at any other \r too: it is kept from seeing those.
    reader = csv.reader([re.sub("\r(?!$)", LONE, line) + "\n" for line in lines], strict=True, delimiter=separator)
    try:
        return [field.replace(LONE, "\r") for field in next(reader)], reader.line_num
    except csv.Error:
        return None, 1


def predict(text: str, mark: str) -> tuple[np.float32, str, str]:
    """Return the prediction for a text, or the column and the reason why there is none."""
    nothing, value = np.float32(0), text.strip(BLANKS)
    if not value:
        return nothing, "RM", "empty"
    if mark == ",":
        value = value.replace(",", ".", 1)
    if not NUMBER.fullmatch(value):
        return nothing, "RM", "not a number"
    with np.errstate(over="ignore"):
        x = np.float32(float(value))
        prediction = np.float32(2) * x + np.float32(1)
    if np.isnan(x):
        return nothing, "RM", "NaN"
    if np.isinf(x):
        return nothing, "RM", "infinite" if "inf" in value.lower() else "overflow"
    return prediction, "prediction", "" if np.isfinite(prediction) else "overflow"


def check(data: bytes, separator: str, block: int, ranges: int | None, folder: Path, model: ModelVersion) -> None:
    """Score a file in blocks and ranges of these numbers of bytes, and compare what is written with `read_plainly`."""
    kind = "tsv" if separator == "\t" else "csv"
    (folder / f"a.{kind}").write_bytes(data)
    source = InputFile(path=str(folder / f"a.{kind}"), name="a", size=len(data))
    batch_run = BatchRun(location=str(folder / "out"), batch=Batch(max_rejects=1), model=model)
    with (
        patch("linear_neuron.tasks.tables.csv.BLOCK_BYTES", block),
        patch("linear_neuron.tasks.scoring.plan.RANGE_BYTES", ranges),
    ):
        chunks = split_file(source) if ranges else [Chunk(source=source)]
        try:
            result = join_ranges([score_chunk(chunk, batch_run) for chunk in chunks], batch_run)
            error = result.error
        except UserError as caught:
            error = str(caught)
    if (read := read_plainly(data, separator)) is None:
        assert "say which is the decimal mark by --decimal" in error
        return
    assert not error
    rows, rejects = read
    header = data.split(b"\n")[0]
    end = b"\r\n" if header.endswith(b"\r") else b"\n"
    first = separator.encode().join([header.removesuffix(b"\r"), *ADDED])
    lines = [first, *(write_row(*row, separator) for row in rows)]
    written = (folder / "out" / f"a.predictions.{kind}").read_bytes()
    assert show_bits(written) == show_bits(end.join([*lines, b""]))
    assert (result.predicted, result.rejected, result.error) == (len(rows), len(rejects), "")
    path = folder / "out" / "a.rejects.csv"
    text = path.read_bytes().decode("latin-1") if "a.rejects.csv" in result.outputs else ""
    assert list(csv.reader(io.StringIO(text, newline="")))[1:] == rejects


def write_row(raw: str, prediction: np.float32, separator: str) -> bytes:
    """Return a line of the prediction file; the interval is half a unit wide to each side."""
    low, high = prediction - np.float32(0.5), prediction + np.float32(0.5)
    inside = 7 <= prediction <= 19  # for 3 to 9 rooms
    added = [str(prediction), str(low), str(high), str(bool(inside)).lower()]
    return separator.join([raw, *added]).encode("latin-1")


def show_bits(text: bytes) -> bytes:
    """Write the float32 numbers at the ends of lines as their bits, since there are several spellings of a number."""
    return TAIL.sub(lambda tail: b"".join(np.float32(part).tobytes().hex().encode() for part in tail.groups()), text)


def insert(data: bytes, cuts: list[tuple[int, bytes]]) -> bytes:
    """Put bytes into others, at positions that count modulo their length."""
    for position, more in cuts:
        position %= len(data) + 1
        data = data[:position] + more + data[position:]
    return data


def swap(data: bytes, separator: str) -> bytes:
    """Replace every comma by the separator, and every semicolon by a comma."""
    return data.translate(bytes.maketrans(b",;", separator.encode() + (b"," if separator != "," else b";")))


CELLS = st.sampled_from(
    [
        *(
            "5",
            "6.5",
            " 5 ",
            "",
            " ",
            "x",
            "NaN",
            "-inf",
            "1e39",
            "1e999",
            "3e38",
            "+5.e0",
            ".5",
            "1_0",
            "0x5",
            "٣",
            "-",
        ),
        *(
            '"5"',
            '"a,b"',
            '"a\nb"',
            '"a\r\nb"',
            '"a""b"',
            '"a"" 5,6\n7,8"',
            '"',
            '""',
            '"""',
            '5"',
            '"x"y',
            '"a\n',
            '\nb"',
        ),
        *(
            "*",
            "^.*$",
            "\ufeff",
            "\ufeff5",
            "5\r",
            "\r",
            "caf\u00e9",
            "\x00",
            "\xa05",
            "5,6",
            "5;6",
            '"5;6"',
            "1;234.5",
            "2,500",
            "2.500",
            "1,234,567",
            "0,125",
            "12345,678",
            ";5|",
            "5\r,6",
            "#5",
            "'5'",
            "true",
            "null",
        ),
    ]
)
LINES = st.lists(CELLS, min_size=3, max_size=3).map(",".join) | st.lists(CELLS, max_size=5).map(",".join)
ENDS = st.sampled_from(["\n"] * 6 + ["\r\n"] * 3 + ["\r\r\n", "\n\n", "\r"])
BODIES = st.lists(st.tuples(LINES, ENDS), max_size=12).map(lambda lines: "".join(map("".join, lines)).encode())
STRAY = st.sampled_from(
    [b'"', b",", b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"\xe9", b"\xff", b"5", b'",', b',"', b'""']
)
FILES = st.builds(
    lambda mark, end, body, cuts, separator: (
        mark + swap(b"id,RM,note" + end + insert(body, cuts), separator),
        separator,
    ),
    st.sampled_from([b"", b"", b"\xef\xbb\xbf"]),
    st.sampled_from([b"\n", b"\n", b"\r\n"]),
    BODIES,
    st.lists(st.tuples(st.integers(0, 400), STRAY), max_size=3),
    st.sampled_from(",;\t|"),
)


@pytest.mark.timeout(0)
def test_every_file_is_read_as_by_the_plain_reader(tmp_path: Path, neuron: ModelVersion) -> None:
    def attempt(file: tuple[bytes, str], block: int, ranges: int | None) -> None:
        check(*file, block, ranges, tmp_path, neuron)

    for start in range(0, CASES, BATCH):
        rules = settings(max_examples=min(BATCH, CASES - start))
        seed(start)(rules(given(FILES, st.integers(7, 64), st.none() | st.integers(7, 90))(attempt)))()


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"1,5\r,x", id="a return at the end of a field"),
        pytest.param(b"1,\xc2\xa05,x", id="a blank that is none in Latin-1"),
    ],
)
def test_field_is_the_text_between_separators(tmp_path: Path, neuron: ModelVersion, line: bytes) -> None:
    for text in (line, swap(line, ";")):
        separator = text[1:2].decode()
        head = swap(b"id,RM,note\n", separator)
        check(head + text.replace(b"5", b"y") + b"\n" + text + b"\n", separator, 1000, None, tmp_path, neuron)
