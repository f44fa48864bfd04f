"""CSV as a stream of blocks of whole records, so that a file of any size is read in bounded memory.

What passes through a prediction file must stay the same to the byte, so a block keeps the text of its records.
Quotes are understood here and nowhere else, once for every line of a block:

- plain: no quote has a meaning; one inside a field that does not begin with it is text, as in `7,5" pipe`.
- quoted: every quote begins or ends a field or is one half of a doubled one. The record may run over several lines.
- broken: a quote begins a field and does not end it. That costs the line it stands on and no other.

Where quotes change what a comma, a line break or a quote means, the block holds a mark in place of that character: a
record is one line, every comma a separator, every quote the end of a field, until the marks are taken back.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, BinaryIO, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.errors import UserError
from tasks.tables.contract import LAST, LINE, RAW, TEXT, explain_broken
from tasks.tables.stream import check_format

BLOCK_BYTES = 4 << 20  # read at a time; more is no faster, and a block costs some twelve times its size in memory
LONGEST_LINE = 16 << 20  # bytes; beyond it, this is not a text of lines
LONGEST_RECORD = 4 << 20  # bytes; a quote that has not ended by then is taken for a stray one
NEWLINE, RETURN, COMMA, QUOTE = b'\n\r,"'
BOM = b"\xef\xbb\xbf"
HIDDEN_NEWLINE, HIDDEN_COMMA, HIDDEN_QUOTE = b"\xfd\xfe\xff"  # no UTF-8 text has these bytes
HIDDEN = {HIDDEN_NEWLINE: "\n", HIDDEN_COMMA: ",", HIDDEN_QUOTE: '"'}
MARKS = range(0xE000, 0x110000)  # characters for private use first; a text of all of them is 4 MB long


@dataclass(frozen=True)
class Block:
    """Whole records, and where they stand in their file."""

    line: int  # number of the first line
    data: bytes  # as it stands in the file
    text: bytes  # the same in UTF-8, a record a line, with marks
    latin: bool = False  # the bytes were not UTF-8, so each was taken as one character, as Latin-1 has it
    lines: NDArray[np.int64] | None = None  # numbers of the records' first lines, where there are quotes
    broken: tuple[int, ...] = ()  # which of the records, from 0, are lines that are broken
    marks: dict[str, str] = field(default_factory=dict)  # mark -> the character that it stands for


def read_header(stream: BinaryIO) -> tuple[bytes, list[str]]:
    """Read the first line: as it stands, with its byte order mark and line end, and the column names in it.

    Raises:
        UserError: there is no such line, or it is not that of a CSV file as it is read here.
    """
    raw = stream.readline(LONGEST_LINE)
    if not raw.strip():
        raise UserError(f"{'line 1' if raw else 'the file'} is empty; the first line must name the columns")
    check_format(raw)
    block = _cut(raw.removeprefix(BOM), 1, last=True)
    header, broken = parse_block(block, places := [str(place) for place in range(block.text.count(b",") + 1)], places)
    if broken.height:
        raise UserError("line 1 has a quote that does not end; mend the names of the columns")
    return raw, [name.strip() for name in header.select(places).row(0)]


def cut_blocks(stream: BinaryIO, line: int) -> Iterator[Block]:
    """Cut what is left of a stream, whose next line has the number `line`, into blocks.

    Where blocks end depends on nothing but where they start, so that a file can be cut once and read in parts.

    Raises:
        UserError: a line has no end in sight.
    """
    held, more = b"", True
    while more:
        chunk = stream.read(BLOCK_BYTES)
        more = bool(chunk)
        end = chunk.rfind(b"\n") + 1
        if more and not end:
            held += chunk
            if len(held) - held.rfind(b"\n") > LONGEST_LINE:
                line += held.count(b"\n")
                raise UserError(f"line {line} is longer than {LONGEST_LINE >> 20} MB; this is not a CSV file")
            continue
        data = b"".join((held, memoryview(chunk)[:end]))  # One copy; sums and slices would make three.
        block = _cut(data, line, last=not more)
        held = data[len(block.data) :] + chunk[end:]
        if block.data:
            line += int(np.count_nonzero(np.frombuffer(block.data, np.uint8) == NEWLINE))  # A third of count's time.
            yield block


def _cut(data: bytes, line: int, last: bool) -> Block:
    """Make a block of the records that are complete in `data`; the last one may go on in what is not read yet."""
    text, latin = data, False
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            text, latin = data.decode("latin-1").encode(), True
    if b'"' not in data:
        return Block(line, data, text, latin)
    quotes = Quotes(text if text.endswith(b"\n") else text + b"\n")
    rows = quotes.decide(last)
    marked, starts = quotes.mark(rows)
    size = quotes.begin(rows)
    marks: dict[str, str] = {}
    for byte, character in HIDDEN.items():
        if byte in marked:
            mark = next(mark for mark in map(chr, MARKS) if mark.encode() not in marked)
            marks[mark] = character
            marked = marked.replace(bytes([byte]), mark.encode())
    size = len(text[:size].decode()) if latin else size  # of the same in `data`
    broken = tuple(np.flatnonzero(np.isin(starts, quotes.broken)).tolist())
    return Block(line, data[:size], marked, latin, line + starts, broken, marks)


class Quotes:
    """Decides what every quote of some whole lines is: one end of a field, half of a doubled quote, or text.

    Whether a quote can begin or end a field shows in its neighbours, and which of the two it would do in how many there
    are before it. So all of them are looked at at once, and only those that can be neither are looked at in order.
    """

    def __init__(self, text: bytes) -> None:
        self.text = np.frombuffer(text, np.uint8)
        self.at, self.ends = np.flatnonzero(self.text == QUOTE), np.flatnonzero(self.text == NEWLINE)
        self.before = np.searchsorted(self.at, self.ends).data  # row -> quotes up to its end
        previous, following = self.text[self.at - 1], self.text[self.at + 1]  # Before the first byte stands a line end.
        after = self.text[np.minimum(self.at + 2, len(self.text) - 1)]
        begins = (previous == COMMA) | (previous == NEWLINE)
        self.begins = begins.data
        ends = (following == COMMA) | (following == NEWLINE) | (following == RETURN) & (after == NEWLINE)
        odd = np.arange(len(self.at)) % 2 == 1
        wrong = ~(begins | (previous == QUOTE)), ~(ends | (following == QUOTE))
        self.wrong = [np.flatnonzero(np.where(odd == turn, *wrong)).data for turn in (False, True)]
        self.literal = np.zeros(len(self.at), bool)
        self.broken: list[int] = []  # rows

    def decide(self, last: bool) -> int:
        """Find the quotes that are text and the rows that are broken; return how many rows are whole records.

        A quote that does not end in the last rows may still do so in what comes next, unless this is the `last` text.
        """
        row = first = 0  # of the record that is looked at, and of the quotes whose turn to begin or end is known
        while (found := self._find_wrong(first)) < len(self.at) or (found - first) % 2:
            row = self._find_row(first, found, row)
            if (found - first) % 2 == 0:  # Outside of quotes, so it stands in a field that does not begin with one.
                self.literal[found] = True
                first = found + 1
                continue
            if found == len(self.at) and not last and len(self.text) - self.begin(row) <= LONGEST_RECORD:
                return row
            first = self.before[row]
            self.literal[self.before[row - 1] if row else 0 : first] = True
            self.literal[first : found + 1] = False
            self.broken.append(row)
            row += 1
        return len(self.ends)

    def _find_wrong(self, first: int) -> int:
        """Find the first quote from `first` on that is not what its turn makes it, or how many quotes there are."""
        if first < len(self.at) and not self.begins[first]:
            return first
        wrong = self.wrong[first % 2]
        place = bisect_left(wrong, first)
        return int(wrong[place]) if place < len(wrong) else len(self.at)

    def _find_row(self, first: int, found: int, row: int) -> int:
        """Find the first row of the record of the quote `found`: the one after the last line end outside of quotes."""
        for end in range(bisect_right(self.before, found) - 1, row - 1, -1):
            if self.before[end] < first:
                break
            if (self.before[end] - first) % 2 == 0:
                return end + 1
        return row

    def begin(self, row: int) -> int:
        """Return the place of a row's first byte."""
        return int(self.ends[row - 1]) + 1 if row else 0

    def mark(self, rows: int) -> tuple[bytes, NDArray[np.int64]]:
        """Hide what means nothing in the first rows behind bytes of their own; return also where records begin."""
        text = self.text[: self.begin(rows)]
        count = np.searchsorted(self.at, len(text))
        at, literal = self.at[:count], self.literal[:count]
        turns = at[~literal]  # where quotes begin and end, by turns
        inside = np.repeat(np.arange(len(turns) + 1) % 2 == 1, np.diff(turns, prepend=0, append=len(text)))
        marked = text.copy()
        marked[inside & (text == NEWLINE)] = HIDDEN_NEWLINE
        marked[inside & (text == COMMA)] = HIDDEN_COMMA
        marked[at[literal]] = HIDDEN_QUOTE
        ends = np.flatnonzero(~inside[self.ends[:rows]])  # rows that a record ends with
        return marked.tobytes(), np.append(0, ends[:-1] + 1) if rows else ends


def parse_block(block: Block, columns: list[str], wanted: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the records of a block with the wanted columns as text, and the lines that are no records as rejects."""
    # Polars takes a text for a file: it drops a byte order mark and unpacks what begins as zlib does, with an x.
    guard = block.text.startswith((BOM, b"x"))
    text = b"\n" * guard + block.text
    places = {name: columns.index(name) for name in wanted} | {LAST: len(columns) - 1}
    fields = _read_fields(text, len(columns), places, None if block.lines is None else '"')
    lines = pl.read_lines(text, name=RAW)[guard:]
    numbers = range(block.line, block.line + lines.height) if block.lines is None else block.lines
    table = lines.with_columns(pl.Series(LINE, numbers, pl.Int64)).hstack(fields[guard:])
    width = _count_fields(block, table, len(columns))
    table.drop_in_place(LAST)
    if block.marks:
        table = table.with_columns(pl.col(TEXT).str.replace_many(block.marks))
    if width is None:
        return table, explain_broken(table.clear(), pl.Series([], dtype=pl.UInt32), len(columns))
    whole = width == len(columns)
    return table.filter(whole), explain_broken(table.filter(~whole), width.filter(~whole), len(columns))


def _count_fields(block: Block, table: pl.DataFrame, columns: int) -> pl.Series | None:
    """Count the fields of every line, 0 for a broken one; None where every line has one for each column.

    Where no line lacks its last field, and there are as many separators as there should be, no line has one too many.
    """
    separators = np.count_nonzero(np.frombuffer(block.text, np.uint8) == COMMA)
    if separators == table.height * (columns - 1) and not (table[LAST] == "").any() and not block.broken:
        return None
    width = table.select(pl.col(RAW).str.count_matches(",", literal=True) + 1).to_series()
    return width.scatter(block.broken, 0) if block.broken else width


def _read_fields(text: bytes, width: int, places: dict[str, int], quote: str | None) -> pl.DataFrame:
    """Read some fields of every line, by name; a line with too few or too many gives what it has."""
    schema = {str(place): TEXT for place in range(width)}
    ragged: Any = {"truncate_ragged_lines": True, "missing_columns": "insert", "extra_columns": "ignore"}
    table = pl.scan_csv(text, has_header=False, schema=schema, quote_char=quote, empty_string_is_null=False, **ragged)
    return table.select(pl.col(str(place)).alias(name) for name, place in places.items()).collect()


class _Chunks(list[bytes]):
    """A file that keeps what is written in pieces; io.BytesIO costs a tenth more CPU time on 5,000,000 rows."""

    def write(self, chunk: bytes) -> int:
        self.append(chunk)
        return len(chunk)


def write_chunks(table: pl.DataFrame, **style: Any) -> list[bytes]:
    """Write a table as CSV without its header; a float32 in the fewest digits that read back as the same float32."""
    chunks = _Chunks()
    table.write_csv(cast(IO[bytes], chunks), include_header=False, **style)
    return chunks
