"""Read CSV as a stream of blocks of whole records, so that a file of any size is read in bounded memory.

What passes through to a prediction file stays the same byte for byte, so a block keeps the text of its records. What
quotes mean is decided in `quotes`: in the text of a block a mark replaces each line break or quote without a meaning.

Of comma, semicolon, tab and bar, the separator of a file is the one that cuts the fewest quoted names of its first
line; of these, the one that gives it the most columns; of equals, the first in this order. So `RM;price, EUR;id` and
`id,RM,"a; b; c; d"` have three columns, and `RM;id,price` the two of its comma.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, NamedTuple, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.tables.inputs import SEPARATORS
from linear_neuron.tasks.tables.quotes import (
    LONGEST_RECORD,
    NEWLINE,
    Marked,
    Quotes,
    count_bits,
    count_byte,
    find_end,
    has_pair,
)
from linear_neuron.tasks.tables.rejects import LAST, LINE, NO_REJECTS, RAW, TEXT, explain_broken
from linear_neuron.tasks.tables.stream import check_format

BLOCK_BYTES = 5 << 20  # read at a time; more is no faster, and a block costs some twelve times its size in memory
BLOCK_LINES = 250_000  # of short lines a block has no more, since every line costs some hundred bytes too
LONGEST_LINE = 16 << 20  # bytes; beyond it, this is not a text of lines
LONGEST_HEADER = 4 << 20  # bytes; the names of 100,000 columns are shorter
BOM = b"\xef\xbb\xbf"


class Header(NamedTuple):
    """The first line of a file."""

    raw: bytes  # as it is in the file, with its byte order mark and line end
    columns: list[str]
    separator: str  # of the whole file


@dataclass(frozen=True)
class Block:
    """Whole records, and where they are in their file."""

    line: int  # number of the first line
    data: bytes  # as it is in the file
    text: bytes  # the same in UTF-8, a record a line, with marks
    separator: str
    latin: bool = False  # the bytes were not UTF-8, so each was taken as one character, as Latin-1 has it
    marked: Marked | None = None  # where there are quotes, what they mean
    overdue: int | None = None  # number of the last line with a record that has a quote without an end in time


def read_header(stream: BinaryIO, separators: str = SEPARATORS) -> Header:
    """Read the first line, and recognise which of some separators its columns have.

    Raises:
        UserError: there is no such line, or it is not that of a CSV file as it is read here.
    """
    raw = stream.readline(LONGEST_HEADER)
    if not raw.strip():
        raise UserError(f"{'line 1' if raw else 'the file'} is empty; the first line must name the columns")
    check_format(raw)
    if len(raw) >= LONGEST_HEADER:
        raise UserError(f"line 1 is longer than {LONGEST_HEADER >> 20} MB; it must be the names of the columns")
    candidates = [one for one in separators if one == separators[0] or one.encode() in raw]
    columns, separator = max(((_split_header(raw, one), one) for one in candidates), key=lambda found: _rate(found[0]))
    if not columns:
        raise UserError("line 1 has a quote that does not end; fix the names of the columns")
    return Header(raw, columns, separator)


def _rate(columns: list[str]) -> tuple[bool, int, int]:
    """Rate the names that a separator gives: there are some, few have a quote without its other one, there are many."""
    return bool(columns), -sum(name.count('"') % 2 for name in columns), len(columns)


def extend_header(raw: bytes, names: list[str], separator: str) -> bytes:
    """Add names to a first line, in its own encoding, and leave its line end away."""
    line = raw.rstrip(b"\r\n")
    more = separator + write_line(names, separator)
    try:
        line.decode()
    except UnicodeDecodeError:
        return line + more.encode("latin-1", errors="replace")
    return line + more.encode()


def _split_header(raw: bytes, separator: str) -> list[str]:
    """Split the first line into the names of columns; none where its quotes make no sense with this separator."""
    if raw.isascii() and b'"' not in raw and raw.decode().rstrip("\r\n").replace("\t", "").isprintable():
        return [name.strip() for name in raw.decode().split(separator)]  # On a small file, all else is half the time.
    block = _cut(raw.removeprefix(BOM), 1, separator, last=True)
    ends = count_bits(block.marked.separators) if block.marked else count_byte(block.text, ord(separator))
    numbers = [str(number) for number in range(ends + 1)]
    header, broken = parse_block(block, numbers, numbers)
    return [] if broken.height else [name.strip() for name in header.select(numbers).row(0)]


def cut_blocks(stream: BinaryIO, line: int, separator: str) -> Iterator[Block]:
    """Cut what is left of a stream, whose next line has the number `line`, into blocks.

    Where blocks end depends on nothing but where they start, so that a file can be cut once and read in parts.

    Raises:
        UserError: a line has no end in sight, or a quote ends too late.
    """
    held, rest, seen, more = b"", b"", 0, True
    overdue: int | None = None  # line of a record that was given up since a quote in it had not ended in time
    while more:
        chunk, rest = _cut_lines(rest + stream.read(BLOCK_BYTES - len(rest)))
        more = bool(chunk)
        end = chunk.rfind(b"\n") + 1
        if more and not end:
            held += chunk
            if len(held) - held.rfind(b"\n") > LONGEST_LINE:
                line += held.count(b"\n")
                raise UserError(f"line {line} is longer than {LONGEST_LINE >> 20} MB; this is not a CSV file")
            continue
        data = b"".join((held, memoryview(chunk)[:end]))  # One copy; sums and slices would make three.
        overdue = overdue and _find_late_end(data[seen:], separator, overdue)
        block = _cut(data, line, separator, last=not more)
        overdue = block.overdue or overdue
        seen = len(data) - len(block.data)
        held = data[len(block.data) :] + chunk[end:]
        if block.data:
            line += count_byte(block.data, NEWLINE)
            yield block


def _cut_lines(chunk: bytes) -> tuple[bytes, bytes]:
    """Cut off the lines that are beyond what a block may have."""
    if len(chunk) <= BLOCK_LINES or count_byte(chunk, NEWLINE) <= BLOCK_LINES:
        return chunk, b""
    end = int(np.flatnonzero(np.frombuffer(chunk, np.uint8) == NEWLINE)[BLOCK_LINES - 1]) + 1
    return chunk[:end], chunk[end:]


def _find_late_end(text: bytes, separator: str, overdue: int) -> int | None:
    """Return `overdue`, the line of a quote that has not ended in time, unless it turns out to be a stray one.

    Raises:
        UserError: the quote ends in these lines.
    """
    ended = find_end(text, separator)
    if ended:
        bound = f"{LONGEST_RECORD >> 20} MB"
        raise UserError(
            f"line {overdue} has a quote that does not end within {bound}, so that what follows may be text or rows; "
            "end it before that, or shorten its text"
        )
    return overdue if ended is None else None


def _cut(data: bytes, line: int, separator: str, last: bool) -> Block:
    """Make a block of the records that are complete in `data`; the last one may go on in what is not read yet."""
    text, latin = data, False
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            text, latin = data.decode("latin-1").encode(), True
    if b'"' not in data:
        return Block(line, data, text, separator, latin)
    quotes = Quotes(text if text.endswith(b"\n") else text + b"\n", separator)
    rows = quotes.decide(last)
    marked = quotes.mark(rows)
    size = len(text[: marked.size].decode()) if latin else marked.size  # of the same in `data`
    overdue = None if quotes.overdue is None else line + quotes.overdue
    return Block(line, data[:size], marked.text, separator, latin, marked, overdue)


def parse_block(block: Block, columns: list[str], wanted: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the records of a block with the wanted columns as text, and the lines that are no records as rejects."""
    # Polars takes a text for a file: it drops a byte order mark and unpacks what begins as zlib does, with an x.
    guard = block.text.startswith((BOM, b"x"))
    text = b"\n" * guard + block.text
    indices = {name: columns.index(name) for name in wanted}
    if block.marked is None:
        indices[LAST] = len(columns) - 1
    fields = _read_fields(text, len(columns), indices, block.separator, None if block.marked is None else '"')
    lines = pl.read_lines(text, name=RAW)[guard:]
    numbers = np.arange(lines.height) if block.marked is None else block.marked.starts
    table = lines.hstack([pl.Series(LINE, numbers + block.line), *fields[guard:]])
    width = _count_fields(block, table, len(columns))
    if LAST in indices:
        table.drop_in_place(LAST)
    if block.marked and block.marked.marks:
        table = table.with_columns(pl.col(TEXT).str.replace_many(block.marked.marks))
    if width is None:
        return table, NO_REJECTS
    whole = width == len(columns)
    return table.filter(whole), explain_broken(table.filter(~whole), width.filter(~whole), len(columns))


def _count_fields(block: Block, table: pl.DataFrame, columns: int) -> pl.Series | None:
    """Count the fields of every line, 0 for a broken one; None where every line has one for each column.

    Without quotes: where no line lacks its last field, and there are as many separators as there should be, no line has
    one too many.
    """
    if block.marked:
        fields = block.marked.count_fields(table[RAW].str.len_bytes().to_numpy().astype(np.int64))
        return None if (fields == columns).all() else pl.Series(fields)
    separators = count_byte(block.text, ord(block.separator))
    if separators == table.height * (columns - 1) and not (table[LAST] == "").any():
        return None
    return table.select(pl.col(RAW).str.count_matches(block.separator, literal=True) + 1).to_series()


def _read_fields(text: bytes, width: int, indices: dict[str, int], separator: str, quote: str | None) -> pl.DataFrame:
    """Read some fields of every line, by name; a line with too few or too many gives what it has."""
    schema = {str(index): TEXT for index in range(width)}
    ragged: Any = {"truncate_ragged_lines": True, "missing_columns": "insert", "extra_columns": "ignore"}
    # Polars drops a carriage return before a separator. Looking for both in a text takes ten times as long as masks.
    if b"\r" in text and has_pair(text, b"\r", separator.encode()):
        text = text.replace(f"\r{separator}".encode(), f"\r\r{separator}".encode())
    style: Any = {"separator": separator, "quote_char": quote, "empty_string_is_null": False}
    table = pl.scan_csv(text, has_header=False, schema=schema, **style, **ragged)
    return table.select(pl.col(str(index)).alias(name) for name, index in indices.items()).collect()


def write_line(fields: Iterable[str], separator: str = ",") -> str:
    """Write one record of CSV, without a line end."""
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=separator, lineterminator="").writerow(fields)
    return buffer.getvalue()


class _Chunks(list[bytes]):
    """A file that keeps what is written as chunks; io.BytesIO costs a tenth more CPU time on 5,000,000 rows."""

    def write(self, chunk: bytes) -> int:
        self.append(chunk)
        return len(chunk)


def write_chunks(table: pl.DataFrame, **style: Any) -> list[bytes]:
    """Write a table as CSV without its header; a float32 in the fewest digits that read back as the same float32."""
    chunks = _Chunks()
    table.write_csv(cast(IO[bytes], chunks), include_header=False, **style)
    return chunks


def write_columns(columns: Sequence[NDArray[Any]]) -> list[bytes]:
    """Write columns of numbers as CSV without a header, as `write_chunks` does."""
    return write_chunks(
        pl.DataFrame([pl.Series(str(index), np.ascontiguousarray(column)) for index, column in enumerate(columns)])
    )
