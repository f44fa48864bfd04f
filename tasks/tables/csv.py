"""CSV as a stream of blocks of whole records, so that a file of any size is read in bounded memory.

What passes through a prediction file must stay the same to the byte, so a block holds the text of its records unparsed.
A line with an odd number of quotes either begins a record of several lines or has a stray quote. Only one who reads in
order can tell, so those are taken apart here, by Python's csv module; the columnar engine parses all the others.
"""

import csv
import gzip
import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np
import polars as pl
from backports import zstd

from tasks.errors import UserError
from tasks.storage.store import locate
from tasks.tables.contract import LAST, LINE, RAW, TEXT, explain_broken

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


BLOCK_BYTES = 4 << 20
"""How much is read at a time: larger blocks are no faster, and each costs some twelve times its size in memory."""

READ_BYTES = 1 << 20
NEWLINE = ord("\n")
LONGEST_LINE = 16 << 20  # bytes; beyond it, this is not a text of lines
LONGEST_RECORD = 1000  # lines that a quoted record may run over, and that a stray quote costs to recognise


class Quoted(NamedTuple):
    """A record whose quotes take a second look; its fields are None where they make no sense."""

    line: int
    raw: str
    fields: list[str] | None


@dataclass(frozen=True)
class Block:
    """Whole records, and where they stand in their file."""

    line: int  # number of the first line
    data: bytes  # as it stands in the file
    plain: bytes  # UTF-8, a record a line: those that are one line, whatever its quotes
    latin: bool = False  # the bytes were not UTF-8, so each was taken as one character, as Latin-1 has it
    lines: list[int] | None = None  # of the plain records, where they don't just count up from `line`
    quoted: tuple[Quoted, ...] = ()  # the others


class HashingReader(io.RawIOBase):
    """What is read of a file, or of a range of it, is digested and counted on the way."""

    def __init__(self, file: BinaryIO, stop: int | None, on_read: Callable[[int], None]) -> None:
        self._file, self._left, self._on_read = file, stop, on_read
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fills the buffer as far as one read of the file does."""
        view = memoryview(buffer)[: self._left]
        count = self._file.readinto(view)  # type: ignore[attr-defined]
        self.sha256.update(view[:count])
        if self._left is not None:
            self._left -= count
        self._on_read(count)
        return int(count)

    def finish(self) -> str:
        """The sha256 of all of it, in hex, what a decompressor left unread included."""
        while self.read(READ_BYTES):
            pass
        return self.sha256.hexdigest()


@contextmanager
def open_input(
    path: str, start: int = 0, stop: int | None = None, on_read: Callable[[int], None] = lambda _: None
) -> Iterator[tuple[BinaryIO, HashingReader]]:
    """The (decompressed) content of a file or URL, or of a range of its bytes, and the meter of what was read of it.

    `on_read` is told the number of bytes, as stored, of every read.
    """
    with locate(path).open("rb") as file:
        file.seek(start)
        hashing = HashingReader(file, None if stop is None else stop - start, on_read)
        content = io.BufferedReader(hashing, READ_BYTES)
        if path.lower().endswith(".gz"):
            yield cast(BinaryIO, gzip.GzipFile(fileobj=content)), hashing
        elif path.lower().endswith(".zst"):
            yield cast(BinaryIO, zstd.ZstdFile(content)), hashing
        else:
            yield content, hashing


def read_header(stream: BinaryIO) -> tuple[bytes, list[str]]:
    """The first line as it stands, with its byte order mark and line end, and the column names in it.

    Raises:
        UserError: there is no such line.
    """
    raw = stream.readline(LONGEST_LINE)
    if not raw.strip():
        raise UserError(f"{'line 1' if raw else 'the file'} is empty; the first line must name the columns")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    try:
        return raw, [name.strip() for name in next(csv.reader([text], strict=True))]
    except csv.Error:
        raise UserError("line 1 has a quote that does not end; mend the names of the columns") from None


def cut_blocks(stream: BinaryIO, line: int) -> Iterator[Block]:
    """Cuts what is left of a stream, whose next line has the number `line`, into blocks.

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
                raise UserError(f"line {line} is longer than {LONGEST_LINE >> 20} MB; this is not a CSV file")
            continue
        data = b"".join((held, memoryview(chunk)[:end]))  # One copy; sums and slices would make three.
        block = _cut(data, line, last=not more)
        held = data[len(block.data) :] + chunk[end:]
        if block.data:
            line += int(np.count_nonzero(np.frombuffer(block.data, np.uint8) == NEWLINE))  # A third of count's time.
            yield block


def _cut(data: bytes, line: int, last: bool) -> Block:
    """The records that are complete in `data`; the last one may go on in what has not been read yet."""
    text, latin = data, False
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            text, latin = data.decode("latin-1").encode(), True
    if b'"' not in data:
        return Block(line, data, text, latin)
    rows = text.decode().removesuffix("\n").split("\n")
    odd = [
        row for row, line_text in enumerate(rows) if line_text.count('"') % 2
    ]  # Only these can begin a longer record.
    plain: list[str] = []
    lines: list[int] = []
    quoted: list[Quoted] = []
    row = 0
    for start in odd:
        if start < row:
            continue  # It ended the record before.
        plain += rows[row:start]
        lines += range(line + row, line + start)
        fields, count = read_record(rows, start)
        row = start
        if fields is None and not last and count == len(rows) - start < LONGEST_RECORD:
            break  # The quote may end in what comes next.
        row += count if fields is not None else 1  # A stray quote costs its own line and no other.
        quoted.append(Quoted(line + start, "\n".join(rows[start:row]).removesuffix("\r"), fields))
    else:
        plain += rows[row:]
        lines += range(line + row, line + len(rows))
        row = len(rows)
    left = len("\n".join([*rows[row:], ""]).encode("latin-1" if latin else "utf-8")) if row < len(rows) else 0
    return Block(line, data[: len(data) - left], "\n".join([*plain, ""]).encode(), latin, lines, tuple(quoted))


def read_record(rows: list[str], row: int) -> tuple[list[str] | None, int]:
    """The fields of the record that starts at a row, None where they make no sense, and how many rows were read."""
    places = range(row, min(row + LONGEST_RECORD, len(rows)))
    reader = csv.reader((f"{rows[location]}\n" for location in places), strict=True)
    try:
        return next(reader), reader.line_num
    except csv.Error:
        return None, reader.line_num


COMMA = ord(",")
QUOTED = r'"(?:[^"]|"")*"'
WELL_QUOTED = rf'^(?:{QUOTED}|[^",]*)(?:,(?:{QUOTED}|[^",]*))*$'


def parse_block(block: Block, columns: list[str], wanted: list[str]) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """The records of a block with the wanted columns as text, and as rejects the lines that are no records, if any."""
    if (clean := parse_clean_block(block, columns, wanted)) is not None:
        return clean, None
    places = {name: columns.index(name) for name in wanted}
    text, quoted = block.plain, list(block.quoted)
    lines = pl.read_lines(text, name=RAW) if text else pl.DataFrame(schema={RAW: TEXT})
    counted = range(block.line, block.line + lines.height) if block.lines is None else block.lines
    lines = lines.with_columns(pl.Series(LINE, counted, pl.Int64))
    separators = pl.col(RAW)
    if has_quotes := b'"' in text:
        sane = lines[RAW].str.contains(WELL_QUOTED)
        for raw, line in lines.filter(~sane).iter_rows():
            quoted.append(Quoted(line, raw, read_record([raw], 0)[0]))
        lines, text = (lines, text) if sane.all() else (lines.filter(sane), b"")
        separators = separators.str.replace_all(QUOTED, "")
    fields = lines.select(separators.str.count_matches(",", literal=True) + 1).to_series()
    whole = fields == len(columns)
    good, text = (lines, text) if whole.all() else (lines.filter(whole), b"")
    if good.height:
        text = text or write_lines(good.select(RAW), quote_style="never")
        good = good.hstack(_read_fields(text, len(columns), places, '"' if has_quotes else None))
    else:
        good = good.with_columns(pl.lit("").alias(name) for name in wanted)
    broken = explain_broken(lines.filter(~whole), fields.filter(~whole), len(columns))
    if not quoted:
        return good, broken
    others = pl.DataFrame(quoted, schema={LINE: pl.Int64, RAW: TEXT, "": pl.List(TEXT)}, orient="row")
    fields = others[""].list.len().fill_null(0)
    whole = fields == len(columns)
    chosen = [pl.col("").list.get(location, null_on_oob=True).alias(name) for name, location in places.items()]
    good = pl.concat([good, others.filter(whole).select(RAW, LINE, *chosen)]).sort(LINE)
    return good, pl.concat([broken, explain_broken(others.filter(~whole), fields.filter(~whole), len(columns))])


def parse_clean_block(block: Block, columns: list[str], wanted: list[str]) -> pl.DataFrame | None:
    """The same, for less, for a block in which every line is a record without quotes; none for other blocks.

    Where no line lacks its last field, and there are as many separators as there should be, no line has one too many.
    """
    if block.lines is not None or b'"' in block.plain:
        return None
    lines = pl.read_lines(block.plain, name=RAW)
    if np.count_nonzero(np.frombuffer(block.plain, np.uint8) == COMMA) != lines.height * (len(columns) - 1):
        return None
    try:
        places = {name: columns.index(name) for name in wanted} | {LAST: len(columns) - 1}
        fields = _read_fields(block.plain, len(columns), places, None)
    except pl.exceptions.PolarsError:  # Its first line has other fields than the header.
        return None
    if fields.height != lines.height or fields.select((pl.col(LAST).fill_null("") == "").any()).item():
        return None
    counted = pl.Series(LINE, range(block.line, block.line + lines.height), pl.Int64)
    return lines.with_columns(counted).hstack(fields.drop(LAST))


def _read_fields(text: bytes, width: int, places: dict[str, int], quote: str | None) -> pl.DataFrame:
    """Some fields of CSV text without a header, by name; Polars is silent about lines of another width."""
    schema = {str(location): TEXT for location in range(width)}
    table = pl.scan_csv(text, has_header=False, schema=schema, quote_char=quote, empty_string_is_null=False)
    return table.select(pl.col(str(location)).alias(name) for name, location in places.items()).collect()


class _Chunks(list[bytes]):
    """What is written to it, as it comes: a BytesIO would copy it all, and again to grow."""

    def write(self, chunk: bytes) -> int:
        """Takes some lines."""
        self.append(chunk)
        return len(chunk)


def write_chunks(table: pl.DataFrame, **style: Any) -> list[bytes]:
    """A table as CSV without its header; a float32 in the fewest digits that read back as the same float32."""
    chunks = _Chunks()
    table.write_csv(cast(IO[bytes], chunks), include_header=False, **style)
    return chunks


def write_lines(table: pl.DataFrame, **style: Any) -> bytes:
    """The same in one piece."""
    return b"".join(write_chunks(table, **style))
