"""Read CSV in blocks of whole records, wherever the reads happen to end."""

import csv
import io
from collections.abc import Iterator

import numpy as np
import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.tables.csv import cut_blocks, parse_block, read_header

AWKWARD = (
    b'1,5,"a\nb"\n'  # a line break in quotes
    b"2,6,y\n"
    b'3,"7",z\n'
    b'4,5,"stray\n'  # a quote that never ends
    b"5,6,x\r\n"
    b'6,"5""",caf\xc3\xa9\n'
    b'7,8,"x\r\ny"\r\n'
    b"\n"
    b"9,1,last"  # no line end
)

Record = tuple[int, str, list[str] | str]  # line, raw text, fields or the reason why it is no record


def read_records(data: bytes, separator: str = ",", width: int = 3) -> list[Record]:
    columns = [str(index) for index in range(width)]
    found: list[Record] = []
    for block in cut_blocks(io.BytesIO(data), 2, separator):
        good, broken = parse_block(block, columns, columns)
        found += [(line, raw, fields) for raw, line, *fields in good.iter_rows()]
        found += [(row["line"], row["raw"], row["reason"]) for row in broken.iter_rows(named=True)]
    return sorted(found, key=lambda record: record[0])


@pytest.mark.parametrize("size", [1, 3, 10, 17, 40, 1000])
def test_records_do_not_depend_on_where_reads_end(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linear_neuron.tasks.tables.csv.BLOCK_BYTES", size)
    assert b"".join(block.data for block in cut_blocks(io.BytesIO(AWKWARD), 2, ",")) == AWKWARD
    assert read_records(AWKWARD) == [
        (2, '1,5,"a\nb"', ["1", "5", "a\nb"]),
        (4, "2,6,y", ["2", "6", "y"]),
        (5, '3,"7",z', ["3", "7", "z"]),
        (6, '4,5,"stray', "bad quoting"),
        (7, "5,6,x", ["5", "6", "x"]),
        (8, '6,"5""",café', ["6", '5"', "café"]),
        (9, '7,8,"x\r\ny"', ["7", "8", "x\r\ny"]),
        (11, "", "empty line"),
        (12, "9,1,last", ["9", "1", "last"]),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param('7,5" pipe,x', ["7", '5" pipe', "x"], id="in a field that does not begin with one it is text"),
        pytest.param('7,5"",""""', ["7", '5""', '"'], id="doubled it is text only in quotes"),
        pytest.param('7,5" pipe,"a\n1,2,3\n"', ["7", '5" pipe', "a\n1,2,3\n"], id="text before a field of many lines"),
        pytest.param('"a, ""b"", c","",', ['a, "b", c', "", ""], id="commas and quotes in quotes"),
        pytest.param('7,5,"x', "bad quoting", id="it does not end"),
        pytest.param('7,5,"x"y', "bad quoting", id="text follows its end"),
        pytest.param('7,5,"x"\ry', "bad quoting", id="a carriage return follows its end"),
        pytest.param('7,5"z,"x', "bad quoting", id="text before one that does not end"),
        pytest.param('7,"5",x,"y,z"', "too many fields", id="quoted fields are counted"),
        pytest.param('"7,5,x"', "too few fields", id="commas in quotes are not counted"),
    ],
)
def test_neighbours_decide_what_a_quote_means(text: str, expected: list[str] | str) -> None:
    lines = 1 + text.count("\n")
    assert read_records(f"1,2,3\n{text}\n4,5,6\n".encode()) == [
        (2, "1,2,3", ["1", "2", "3"]),
        (3, text, expected),
        (3 + lines, "4,5,6", ["4", "5", "6"]),
    ]


def test_line_after_a_broken_one_is_read() -> None:
    assert read_records(b'1,"x\n",5"",",7,8\n') == [
        (2, '1,"x', "bad quoting"),
        (3, '",5"",",7,8', [',5",', "7", "8"]),
    ]


def read_slowly(text: str, separator: str) -> Iterator[Record]:
    """Read as Python's csv does, starting again after the first line of what it refuses."""
    lines, row = text.splitlines(keepends=True), 0
    while row < len(lines):
        reader = csv.reader(lines[row:], strict=True, delimiter=separator)
        try:
            found: list[str] | str = next(reader) or "empty line"
            count = reader.line_num
        except csv.Error:
            found, count = "bad quoting", 1
        if isinstance(found, list) and len(found) != 3:
            found = "too few fields" if len(found) < 3 else "too many fields"
        raw = "".join(lines[row : row + count]).removesuffix("\n").removesuffix("\r")
        yield row + 2, raw, found
        row += count


def test_records_agree_with_pythons_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    tokens = [
        '"',
        '""',
        ",",
        ",",
        "\n",
        "\n",
        "\r\n",
        "x",
        "5",
        "é",
        "\ue000",
        "\ufeff",
        "x\x01",
        '"a"',
        '"b\nc"',
        ',"d,e",',
    ]
    for _ in range(100):
        separator = str(rng.choice(list(",;\t|")))
        text = "".join(rng.choice(tokens, rng.integers(1, 40))).replace(",", separator) + "\n"
        monkeypatch.setattr("linear_neuron.tasks.tables.csv.BLOCK_BYTES", int(rng.choice([1, 2, 5, 1000])))
        longest = int(rng.choice([3, 10, 1000]))
        monkeypatch.setattr("linear_neuron.tasks.tables.quotes.LONGEST_RECORD", longest)
        expected = list(read_slowly(text, separator))
        try:
            assert read_records(text.encode(), separator) == expected, repr(text)
        except UserError:
            long = [raw for _, raw, _ in expected if len(raw.encode()) >= longest]
            assert long or "bad quoting" in [found for *_, found in expected], repr(text)


@pytest.mark.parametrize("inside", ["7,8,9\n" * 2000, "7,8,9 " * 40_000])
def test_long_text_in_quotes_is_one_field(inside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linear_neuron.tasks.tables.csv.BLOCK_BYTES", 1000)
    assert [record[2] for record in read_records(f'1,2,"{inside}"\n4,5,6\n'.encode())] == [
        ["1", "2", inside],
        ["4", "5", "6"],
    ]


@pytest.fixture
def little_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linear_neuron.tasks.tables.csv.BLOCK_BYTES", 100)
    monkeypatch.setattr("linear_neuron.tasks.tables.quotes.LONGEST_RECORD", 1000)


ROWS = "4,5,6\n" * 1000


@pytest.mark.usefixtures("little_is_held")
def test_quote_without_an_end_breaks_one_line() -> None:
    data = f'1,2,"3\n{ROWS}'.encode()
    blocks = list(cut_blocks(io.BytesIO(data), 2, ","))
    assert max(len(block.data) for block in blocks) < 1200, "no more is held than that"
    assert blocks[0].marked
    assert len(blocks[0].marked.broken) == 1
    records = read_records(data)
    assert records == [(2, '1,2,"3', "bad quoting"), *((line, "4,5,6", ["4", "5", "6"]) for line in range(3, 1003))]


@pytest.mark.usefixtures("little_is_held")
@pytest.mark.parametrize(
    "later",
    [
        pytest.param('4,"5",6\n', id="a quote that begins a field"),
        pytest.param('4,5" pipe,6\n', id="a quote in a field"),
        pytest.param('4,"""5""",6\n', id="doubled ones behind one that begins a field"),
        pytest.param('4,"",6\n4,"5",6\n', id="a quote after doubled ones"),
    ],
)
@pytest.mark.parametrize("stray", ['1,2,"3\n', f'1,"{"a" * 300}\nb","3\n'], ids=["alone", "behind others"])
def test_quote_is_stray_if_the_next_is_no_end(later: str, stray: str) -> None:
    records = read_records(f'{stray}{ROWS}{later}{ROWS}4,5",6\n'.encode())
    broken = [(2 + row, line, "bad quoting") for row, line in enumerate(stray.splitlines())]
    assert [record for record in records if isinstance(record[2], str)] == broken
    assert len(records) == 2001 + len(broken) + later.count("\n")


@pytest.mark.usefixtures("little_is_held")
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f'1,2,"{ROWS}"\n7,8,9\n', id="at the end of a line"),
        pytest.param(f'1,2,"{ROWS}"\r\n7,8,9\n', id="at the end of a line of Windows"),
        pytest.param(f'1,"{ROWS}",3\n7,8,9\n', id="before a separator"),
        pytest.param(f'1,2,"{ROWS}"', id="at the end of the file"),
        pytest.param(f'1,2,"{ROWS}""{ROWS}a ""b"" c""\n{ROWS}"""\n', id="after doubled ones"),
        pytest.param(f'1,"a\nb","{ROWS}"\n', id="in the second field of several lines"),
    ],
)
def test_too_long_text_in_quotes_fails_the_file(separator: str, text: str) -> None:
    data = ("4,5,6\n" + text).replace(",", separator).encode()
    line = 4 if "a\nb" in text else 3
    with pytest.raises(UserError, match=f"line {line} has a quote that does not end within"):
        read_records(data, separator)


def test_bytes_that_are_not_utf8_are_latin1() -> None:
    (block,) = cut_blocks(io.BytesIO(b"1,caf\xe9\n2,\xff\n"), 2, ",")
    assert block.latin
    assert block.text.decode().encode("latin-1") == b"1,caf\xe9\n2,\xff\n"


def test_incomplete_latin1_records_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linear_neuron.tasks.tables.csv.BLOCK_BYTES", 13)
    assert read_records(b'\xe9,\xe9,\xe9\n1,2,"\xe9\n\xff,"\n') == [
        (2, "é,é,é", ["é", "é", "é"]),
        (3, '1,2,"é\nÿ,"', ["1", "2", "é\nÿ,"]),
    ]


def test_line_without_an_end_is_refused_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linear_neuron.tasks.tables.csv.LONGEST_LINE", 1 << 20)
    monkeypatch.setattr("linear_neuron.tasks.tables.csv.BLOCK_BYTES", 1 << 19)
    with pytest.raises(UserError, match="line 3 is longer than 1 MB; this is not a CSV file"):
        list(cut_blocks(io.BytesIO(b"1\n" + b"x" * (2 << 20)), 2, ","))


@pytest.mark.parametrize(
    ("line", "names", "separator"),
    [
        (b"id,RM\n", ["id", "RM"], ","),
        (b"\xef\xbb\xbfid, RM \r\n", ["id", "RM"], ","),
        (b'"a, b",RM', ["a, b", "RM"], ","),
        (b"caf\xe9,RM\n", ["caf\u00e9", "RM"], ","),
        (b"id;RM\r\n", ["id", "RM"], ";"),
        (b"id\tRM\n", ["id", "RM"], "\t"),
        (b"\xef\xbb\xbfid | RM\n", ["id", "RM"], "|"),
        pytest.param(b"RM;price, EUR;id\n", ["RM", "price, EUR", "id"], ";", id="the most columns count"),
        pytest.param(b"RM;id,price\n", ["RM;id", "price"], ",", id="of equals a comma counts first"),
        pytest.param(b"RM|id\tprice\n", ["RM|id", "price"], "\t", id="of equals a tab counts before a bar"),
        pytest.param(b'"a;b;c",RM\n', ["a;b;c", "RM"], ",", id="separators in quotes do not count"),
        pytest.param(b'5" pipe;RM;"7, 8"\n', ['5" pipe', "RM", "7, 8"], ";", id="a quote in a field is text"),
        pytest.param(b"RM\n", ["RM"], ",", id="one column"),
        pytest.param(b'id,x,"a; b; c; d"\n', ["id", "x", "a; b; c; d"], ",", id="more separators in quotes than out"),
        pytest.param(b'"a, b, c";x\n', ["a, b, c", "x"], ";", id="commas in the first quotes"),
        pytest.param(b'id\t"a|b|c;d;e"\n', ["id", "a|b|c;d;e"], "\t", id="two others in quotes"),
        pytest.param(b'id, "a; b; c"\n', ["id", '"a; b; c"'], ",", id="a blank before the quotes"),
        pytest.param(b'"a; b"\n', ["a; b"], ",", id="one column in quotes"),
        pytest.param(b'id,"a ""x; y; z"""\r\n', ["id", 'a "x; y; z"'], ",", id="doubled quotes"),
    ],
)
def test_header_is_split_at_its_separator(line: bytes, names: list[str], separator: str) -> None:
    assert read_header(io.BytesIO(line)) == (line, names, separator)


def test_header_of_a_tsv_file_is_split_at_tabs_alone() -> None:
    assert read_header(io.BytesIO(b"a,b;c,d\tRM\n"), "\t").columns == ["a,b;c,d", "RM"]
    assert read_header(io.BytesIO(b"a,RM\n"), "\t") == (b"a,RM\n", ["a,RM"], "\t")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty; the first line must name the columns"),
        (b"\nid,RM\n", "line 1 is empty"),
        (b'id,"RM\n', "line 1 has a quote that does not end"),
        (b"i" * (4 << 20), "line 1 is longer than 4 MB"),
    ],
)
def test_file_without_a_header_is_refused(content: bytes, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_header(io.BytesIO(content))


def test_block_has_a_bounded_number_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linear_neuron.tasks.tables.csv.BLOCK_LINES", 2)
    blocks = cut_blocks(io.BytesIO(b"1\n2\n3\n4\n5\n"), 2, ",")
    assert [(block.line, block.data) for block in blocks] == [(2, b"1\n2\n"), (4, b"3\n4\n"), (6, b"5\n")]


def test_bytes_held_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linear_neuron.tasks.tables.csv.BLOCK_LINES", 2)
    monkeypatch.setattr("linear_neuron.tasks.tables.csv.BLOCK_BYTES", 10)
    stream, done = io.BytesIO(b"1\n" * 100), 0
    for block in cut_blocks(stream, 2, ","):
        assert stream.tell() - done <= 10
        done += len(block.data)
    assert done == 200


def test_short_and_long_line_are_both_rejected() -> None:
    (block,) = cut_blocks(io.BytesIO(b"1,2,3\n1,2\n1,2,3,4\n"), 2, ",")
    whole, broken = parse_block(block, ["0", "1", "2"], ["0"])
    assert (whole.height, broken["value"].to_list()) == (1, ["2", "4"])


def test_reject_of_another_width_has_its_fields_counted() -> None:
    (block,) = cut_blocks(io.BytesIO(b"7\n1,2,3\n1,2,3,4\n\n"), 2, ",")
    _, broken = parse_block(block, ["0", "1", "2"], ["0"])
    assert broken["value"].to_list() == ["1", "4", ""]
