"""Decide what every quote in a text of CSV means, all of them at once.

A quote is one of four:

- plain: no quote has a meaning; one inside a field that does not begin with it is text, as in `7,5" pipe`.
- quoted: every quote begins or ends a field or is one half of a doubled one. The record may run over several lines.
- broken: a quote begins a field and does not end it, since the next one can't be its end or there is no other. That
  costs the line that it is in and no other.
- overdue: a quote that has not ended after 4 MB, which is all that may be held of a record. The lines after it may be
  rows after a stray quote, or the text of a long field. They are taken for rows until the next quote that is not
  doubled: if that can be the end of a field, they were text, perhaps, and the whole file fails, so that no text
  becomes predictions; if it can't, or if there is no other quote in the file, the line is just broken.

Where a line break or a quote has no meaning, `Quotes.mark` replaces it by a mark, which is a character that the text
does not have. Then a record is one line and every quote is at the ends of a field. `csv.parse_block` takes the marks
back. `Quotes` works on bit masks, whose functions are at the end of this file.
"""

import re
from bisect import bisect_left, bisect_right
from functools import cached_property
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

LONGEST_RECORD = 4 << 20  # bytes
NEWLINE, RETURN, QUOTE = b'\n\r"'
HIDDEN_NEWLINE, HIDDEN_SEPARATOR, HIDDEN_QUOTE = b"\xfd\xfe\xff"  # no UTF-8 text has these bytes
MARKS = range(0xE000, 0x110000)  # characters for private use first; a text of all of them is 4 MB long
UNPAIRED = re.compile(rb'(?<!")"(?:"")*(?!")')  # quotes in a row of which one is left over if each has its double

Mask = NDArray[np.uint64]  # bit `at % 64` of word `at // 64` is that of byte `at`
Positions = NDArray[np.int64]
ONE, TOP = np.uint64(1), np.uint64(63)


def find_end(text: bytes, separator: str) -> bool | None:
    """Whether the first quote in some lines that is not doubled can end a field; None where there is no such quote."""
    if b'"' in text and (found := UNPAIRED.search(text)):
        return text.startswith((separator.encode(), b"\n", b"\r\n"), found.end()) or found.end() == len(text)
    return None


class Quotes:
    """Decides what every quote of some whole lines is: one end of a field, half of a doubled quote, or text.

    Whether a quote can begin or end a field shows in its neighbours, and which of the two it would do in how many there
    are before it. So all of them are looked at at once, and only those that can be neither are looked at in order:
    where there is none, no list of quotes or rows is made.
    """

    def __init__(self, text: bytes, separator: str) -> None:
        self.data, self.text, self.separator = text, np.frombuffer(text, np.uint8), separator
        self.quotes, self.newlines = find_byte(self.text, QUOTE), find_byte(self.text, NEWLINE)
        self.separators = find_byte(self.text, ord(separator))
        self.returns = find_byte(self.text, RETURN) if b"\r" in text else np.zeros_like(self.quotes)
        self.count, self.rows = count_bits(self.quotes), count_bits(self.newlines)
        self.inside = mark_odd(self.quotes)  # Bytes inside of quotes, with the one that opens them.
        self.literal = np.zeros(self.count, bool)  # quote -> whether it is text
        self.broken: list[int] = []  # rows
        self.overdue: int | None = None  # the row where the last record began that has a quote without an end in time

    @cached_property
    def at(self) -> Positions:
        """The positions of all quotes."""
        return list_positions(self.quotes)

    @cached_property
    def ends(self) -> Positions:
        """The positions of all line ends."""
        return list_positions(self.newlines)

    @cached_property
    def before(self) -> memoryview:
        """Row -> quotes up to its end."""
        return count_before(self.quotes, self.ends).data

    @cached_property
    def begins(self) -> memoryview:
        """Quote -> whether it can begin a field, even where it is no half of a doubled one."""
        return is_set(self.can_begin, self.at).data

    @cached_property
    def can_begin(self) -> Mask:
        """The positions where a quote could begin a field."""
        begins = move_on(self.separators | self.newlines)
        begins[0] |= np.uint64(1)  # The first byte begins a line too.
        return begins

    @cached_property
    def wrong(self) -> memoryview:
        """The quotes that can't be what they have to be, if the first of all opens a field."""
        return self._list_wrong(self.inside)

    @cached_property
    def wrong_after(self) -> memoryview:
        """The quotes that can't be what they have to be, if the second of all opens a field."""
        return self._list_wrong(~self.inside)

    def _list_wrong(self, opening: Mask) -> memoryview:
        begins = self.can_begin | move_on(self.quotes)
        ends = self.separators | self.newlines | self.quotes | (self.returns & move_back(self.newlines))
        wrong = self.quotes & ~((opening & begins) | (~opening & move_back(ends)))
        return count_before(self.quotes, list_positions(wrong)).data

    def decide(self, last: bool) -> int:
        """Find the quotes that are text and the rows that are broken; return how many rows are whole records.

        A quote that does not end in the last rows may still do so in what comes next, unless this is the `last` text.
        """
        row = first = 0  # of the record that is looked at, and of the quotes of which each begins or ends is known
        while (found := self._find_wrong(first)) < self.count or (found - first) % 2:
            row = self._find_row(first, found, row)
            if (found - first) % 2 == 0:  # Outside of quotes, so it is inside a field that does not begin with one.
                self.literal[found] = True
                first = found + 1
                continue
            if found == self.count and not last:
                if len(self.text) - self.begin(row) <= LONGEST_RECORD:
                    return row
                self.overdue = row
            first = self.before[row]
            self.literal[self.before[row - 1] if row else 0 : first] = True
            self.literal[first : found + 1] = False
            self.broken.append(row)
            row += 1
        return self.rows

    def _find_wrong(self, first: int) -> int:
        """Find the first quote from `first` on that is not what its turn makes it, or how many quotes there are."""
        if 0 < first < self.count and not self.begins[first]:
            return first
        wrong = self.wrong_after if first % 2 else self.wrong
        index = bisect_left(wrong, first)
        return wrong[index] if index < len(wrong) else self.count

    def _find_row(self, first: int, found: int, row: int) -> int:
        """Find the first row of the record of the quote `found`: the one after the last line end outside of quotes."""
        for end in range(bisect_right(self.before, found) - 1, row - 1, -1):
            if self.before[end] < first:
                break
            if (self.before[end] - first) % 2 == 0:
                return end + 1
        return row

    def begin(self, row: int) -> int:
        """Return the position of a row's first byte."""
        if row == self.rows:
            return len(self.text)
        return int(self.ends[row - 1]) + 1 if row else 0

    def mark(self, rows: int) -> "Marked":
        """Replace by marks what has no meaning in the first rows."""
        size, inside = self.begin(rows), self.inside
        literal = self.at[self.literal] if self.literal.any() else np.zeros(0, np.int64)
        if len(literal):
            inside = mark_odd(self.quotes & ~set_bits(literal, self.quotes))
        newlines = list_positions(self.newlines & inside)
        # Before a separator, Polars drops a return where that ends a field; then it has to know which one does.
        separators = list_positions(self.separators & inside & move_on(self.returns))
        hidden = (newlines, HIDDEN_NEWLINE), (separators, HIDDEN_SEPARATOR), (literal, HIDDEN_QUOTE)
        marked, starts = self.data[:size], np.arange(rows)
        marks: dict[str, str] = {}
        if any(len(positions) for positions, _ in hidden):
            text = self.text[:size].copy()
            for positions, byte in hidden:
                text[positions[positions < size]] = byte
            marked, marks = _choose_marks(text.tobytes(), self.separator)
            starts = np.delete(starts, count_before(self.newlines, newlines[newlines < size]) + 1)
        broken = np.searchsorted(starts, self.broken)
        return Marked(marked, marks, size, starts, broken, self.separators & ~inside, self.newlines & ~inside)


class Marked(NamedTuple):
    """Some whole records, a line each, with marks for what has no meaning."""

    text: bytes
    marks: dict[str, str]  # mark -> the character that it replaces
    size: int  # bytes without marks
    starts: Positions  # the row that each record begins with
    broken: Positions  # the records, from 0, that are broken lines
    separators: Mask  # those that end a field, here or later
    newlines: Mask  # those that end a record, here or later

    def count_fields(self, lengths: Positions) -> Positions:
        """Count the fields of each record; a broken line has none.

        Args:
            lengths: of the lines in bytes, without their ends. To look for the ends takes twice as long.
        """
        exact = not self.marks and b"\r" not in self.text  # Else the lines have other lengths in the data.
        ends = np.cumsum(lengths + 1) - 1 if exact else list_positions(self.newlines)[: len(self.starts)]
        fields = np.diff(count_before(self.separators, ends), prepend=0) + 1
        fields[self.broken] = 0
        return fields


def _choose_marks(text: bytes, separator: str) -> tuple[bytes, dict[str, str]]:
    """Replace each byte that hides something by a character that the text does not have."""
    marks: dict[str, str] = {}
    for byte, character in (HIDDEN_NEWLINE, "\n"), (HIDDEN_SEPARATOR, separator), (HIDDEN_QUOTE, '"'):
        if byte in text:
            mark = next(mark for mark in map(chr, MARKS) if mark.encode() not in text)
            marks[mark] = character
            text = text.replace(bytes([byte]), mark.encode())
    return text, marks


# Bit masks: one bit for each byte of a text, 64 in a word, so that a question about all bytes is a few operations.


def count_byte(text: bytes, byte: int) -> int:
    """Count the bytes with a value, in a third of NumPy's time and a twentieth of that of bytes.count."""
    return int((pl.Series(np.frombuffer(text, np.uint8)) == byte).sum())


def find_byte(text: NDArray[np.uint8], byte: int) -> Mask:
    """Set the bits of all bytes with a value."""
    packed = np.packbits(text == byte, bitorder="little")
    mask = np.zeros(-(-len(text) // 64), np.uint64)
    mask.view(np.uint8)[: len(packed)] = packed
    return mask


def set_bits(positions: Positions, like: Mask) -> Mask:
    """Set the bits at some positions, in a mask as long as another."""
    bits = np.zeros(64 * len(like), bool)
    bits[positions] = True
    return np.packbits(bits, bitorder="little").view(np.uint64)


def list_positions(mask: Mask) -> Positions:
    """List the positions of all bits that are set."""
    words = np.flatnonzero(mask)
    bits = np.unpackbits(mask[words].view(np.uint8), bitorder="little").view(bool)
    found = np.flatnonzero(bits)
    positions: Positions = words[found >> 6] * 64 + (found & 63)
    return positions


def mark_odd(mask: Mask) -> Mask:
    """Set every bit that has an odd number of bits set in the mask up to it, its own included."""
    odd = mask.copy()
    for shift in (1, 2, 4, 8, 16, 32):
        odd ^= odd << np.uint64(shift)
    odd[1:] ^= np.uint64(0) - np.bitwise_xor.accumulate(odd >> TOP)[:-1]  # All bits of the words after an odd number.
    return odd


def move_on(mask: Mask) -> Mask:
    """Set every bit whose byte follows one that is set."""
    moved = mask << ONE
    moved[1:] |= mask[:-1] >> TOP
    return moved


def move_back(mask: Mask) -> Mask:
    """Set every bit whose byte is before one that is set."""
    moved = mask >> ONE
    moved[:-1] |= mask[1:] << TOP
    return moved


def has_pair(text: bytes, first: bytes, second: bytes) -> bool:
    """Whether one byte is directly before another somewhere."""
    array = np.frombuffer(text, np.uint8)
    return bool((find_byte(array, ord(first)) & move_back(find_byte(array, ord(second)))).any())


def count_bits(mask: Mask) -> int:
    """Count the bits that are set."""
    return int(np.bitwise_count(mask).sum())


def count_before(mask: Mask, positions: Positions) -> Positions:
    """Count the bits that are set before each position; a position may be the end of the text."""
    if not len(positions):
        return positions
    words, bits = positions >> 6, (positions & 63).astype(np.uint64)
    padded = np.append(mask, np.uint64(0))
    counts = np.append(0, np.cumsum(np.bitwise_count(mask), dtype=np.int64))
    before: Positions = counts[words] + np.bitwise_count(padded[words] & ((ONE << bits) - ONE))
    return before


def is_set(mask: Mask, positions: Positions) -> NDArray[np.bool_]:
    """Whether the bits at some positions are set."""
    bits: Mask = mask[positions >> 6] >> (positions & 63).astype(np.uint64) & ONE
    return bits.astype(bool)
