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
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

import numpy as np
from backports import zstd

from tasks.errors import UserError
from tasks.store import locate

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


class Meter(io.RawIOBase):
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
) -> Iterator[tuple[BinaryIO, Meter]]:
    """The (decompressed) content of a file or URL, or of a range of its bytes, and the meter of what was read of it.

    `on_read` is told the number of bytes, as stored, of every read.
    """
    with locate(path).open("rb") as file:
        file.seek(start)
        meter = Meter(file, None if stop is None else stop - start, on_read)
        content = io.BufferedReader(meter, READ_BYTES)
        if path.lower().endswith(".gz"):
            yield cast(BinaryIO, gzip.GzipFile(fileobj=content)), meter
        elif path.lower().endswith(".zst"):
            yield cast(BinaryIO, zstd.ZstdFile(content)), meter
        else:
            yield content, meter


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
    reader = csv.reader((f"{rows[place]}\n" for place in places), strict=True)
    try:
        return next(reader), reader.line_num
    except csv.Error:
        return None, reader.line_num
