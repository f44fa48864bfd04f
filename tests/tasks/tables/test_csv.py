"""CSV cut into blocks of whole records, wherever the reads happen to end."""

import gzip
import hashlib
import io
from pathlib import Path

import pytest
from backports import zstd

from tasks.errors import UserError
from tasks.tables.csv import Block, Quoted, cut_blocks, open_input, read_header

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


def records(blocks: list[Block]) -> list[tuple[int, str]]:
    found = [(record.line, record.raw) for block in blocks for record in block.quoted]
    for block in blocks:
        texts = block.plain.decode().split("\n")[: None if block.plain[-1:] not in (b"\n", b"") else -1]
        numbers = range(block.line, block.line + len(texts)) if block.lines is None else block.lines
        found += zip(numbers, texts, strict=True)
    return sorted(found)


@pytest.mark.parametrize("size", [1, 3, 10, 17, 40, 1000])
def test_the_records_are_the_same_wherever_reads_end(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.tables.csv.BLOCK_BYTES", size)
    blocks = list(cut_blocks(io.BytesIO(AWKWARD), 2))
    assert b"".join(block.data for block in blocks) == AWKWARD
    assert records(blocks) == [
        (2, '1,5,"a\nb"'),
        (4, "2,6,y"),
        (5, '3,"7",z'),
        (6, '4,5,"stray'),
        (7, "5,6,x\r"),
        (8, '6,"5""",café'),
        (9, '7,8,"x\r\ny"'),
        (11, ""),
        (12, "9,1,last"),
    ]


def test_a_quoted_line_break_is_told_from_a_stray_quote_which_costs_its_own_line() -> None:
    quoted = [record for block in cut_blocks(io.BytesIO(AWKWARD), 2) for record in block.quoted]
    assert quoted == [
        Quoted(2, '1,5,"a\nb"', ["1", "5", "a\nb"]),
        Quoted(6, '4,5,"stray', None),
        Quoted(9, '7,8,"x\r\ny"', ["7", "8", "x\r\ny"]),
    ]


def test_bytes_that_are_not_utf8_are_taken_one_by_one() -> None:
    (block,) = cut_blocks(io.BytesIO(b"1,caf\xe9\n2,\xff\n"), 2)
    assert block.latin
    assert block.plain.decode().encode("latin-1") == b"1,caf\xe9\n2,\xff\n"


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.tables.csv.LONGEST_LINE", 1 << 20)
    monkeypatch.setattr("tasks.tables.csv.BLOCK_BYTES", 1 << 19)
    with pytest.raises(UserError, match="line 3 is longer than 1 MB; this is not a CSV file"):
        list(cut_blocks(io.BytesIO(b"1\n" + b"x" * (2 << 20)), 2))


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (b"id,RM\n", ["id", "RM"]),
        (b"\xef\xbb\xbfid, RM \r\n", ["id", "RM"]),
        (b'"a, b",RM', ["a, b", "RM"]),
        (b"caf\xe9,RM\n", ["café", "RM"]),
    ],
)
def test_a_header_gives_its_names_and_stays_as_it_stands(line: bytes, names: list[str]) -> None:
    assert read_header(io.BytesIO(line)) == (line, names)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty; the first line must name the columns"),
        (b"\nid,RM\n", "line 1 is empty"),
        (b'id,"RM\n', "line 1 has a quote that does not end"),
    ],
)
def test_a_file_without_a_header_is_refused(content: bytes, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_header(io.BytesIO(content))


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".csv", AWKWARD),
        (".csv.gz", gzip.compress(AWKWARD) + gzip.compress(b"more")),
        (".CSV.ZST", zstd.compress(AWKWARD)),
    ],
)
def test_content_is_decompressed_and_digested_as_stored(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    read: list[int] = []
    with open_input(str(path), on_read=read.append) as (stream, hashing):
        assert stream.read().startswith(AWKWARD)
        assert hashing.finish() == hashlib.sha256(content).hexdigest()
    assert sum(read) == len(content)


def test_a_range_of_a_file_is_read_alone(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"0123456789")
    with open_input(str(tmp_path / "a.csv"), 3, 7) as (stream, hashing):
        assert stream.read() == b"3456"
        assert hashing.finish() == hashlib.sha256(b"3456").hexdigest()
