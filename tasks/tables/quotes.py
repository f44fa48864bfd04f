"""What the quotes in a text of CSV mean, all of them decided at once.

- plain: no quote has a meaning; one inside a field that does not begin with it is text, as in `7,5" pipe`.
- quoted: every quote begins or ends a field or is one half of a doubled one. The record may run over several lines.
- broken: a quote begins a field and does not end it, since the next one can't be its end or there is no other. That
  costs the line it stands on and no other.
- overdue: a quote that has not ended after 4 MB, which is all that may be held of a record. The lines after it may be
  rows after a stray quote, or the text of a long field. They are taken for rows until the next quote that is not
  doubled: if that can be the end of a field, they were text, perhaps, and the whole file fails, so that no text
  becomes predictions; if it can't, or if there is no other quote in the file, the line is just broken.

Where a line break or a quote means nothing, a mark that the text does not have stands in place of it, so that a record
is one line and every quote belongs to the ends of a field, until that is taken back.
"""

import re
from bisect import bisect_left, bisect_right
from functools import cached_property
from typing import NamedTuple

import numpy as np

from tasks.tables.bits import (
    Mask,
    Places,
    count_before,
    count_bits,
    find_byte,
    is_set,
    list_places,
    mark_odd,
    move_back,
    move_on,
    set_bits,
)

LONGEST_RECORD = 4 << 20  # bytes
NEWLINE, RETURN, QUOTE = b'\n\r"'
HIDDEN_NEWLINE, HIDDEN_SEPARATOR, HIDDEN_QUOTE = b"\xfd\xfe\xff"  # no UTF-8 text has these bytes
MARKS = range(0xE000, 0x110000)  # characters for private use first; a text of all of them is 4 MB long
UNPAIRED = re.compile(rb'(?<!")"(?:"")*(?!")')  # quotes in a row of which one is left over if each has its double


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
    def at(self) -> Places:
        """The places of all quotes."""
        return list_places(self.quotes)

    @cached_property
    def ends(self) -> Places:
        """The places of all line ends."""
        return list_places(self.newlines)

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
        """The places where a quote could begin a field."""
        begins = move_on(self.separators | self.newlines)
        begins[0] |= np.uint64(1)  # Before the first byte stands a line end.
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
        return count_before(self.quotes, list_places(wrong)).data

    def decide(self, last: bool) -> int:
        """Find the quotes that are text and the rows that are broken; return how many rows are whole records.

        A quote that does not end in the last rows may still do so in what comes next, unless this is the `last` text.
        """
        row = first = 0  # of the record that is looked at, and of the quotes whose turn to begin or end is known
        while (found := self._find_wrong(first)) < self.count or (found - first) % 2:
            row = self._find_row(first, found, row)
            if (found - first) % 2 == 0:  # Outside of quotes, so it stands in a field that does not begin with one.
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
        place = bisect_left(wrong, first)
        return wrong[place] if place < len(wrong) else self.count

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
        if row == self.rows:
            return len(self.text)
        return int(self.ends[row - 1]) + 1 if row else 0

    def mark(self, rows: int) -> "Marked":
        """Put marks in place of what means nothing in the first rows."""
        size, inside = self.begin(rows), self.inside
        literal = self.at[self.literal] if self.literal.any() else np.zeros(0, np.int64)
        if len(literal):
            inside = mark_odd(self.quotes & ~set_bits(literal, self.quotes))
        newlines = list_places(self.newlines & inside)
        # Before a separator, Polars drops a return where that ends a field; then it has to know which one does.
        separators = list_places(self.separators & inside & move_on(self.returns))
        hidden = (newlines, HIDDEN_NEWLINE), (separators, HIDDEN_SEPARATOR), (literal, HIDDEN_QUOTE)
        marked, starts = self.data[:size], np.arange(rows)
        marks: dict[str, str] = {}
        if any(len(places) for places, _ in hidden):
            text = self.text[:size].copy()
            for places, byte in hidden:
                text[places[places < size]] = byte
            marked, marks = _choose_marks(text.tobytes(), self.separator)
            starts = np.delete(starts, count_before(self.newlines, newlines[newlines < size]) + 1)
        broken = np.searchsorted(starts, self.broken)
        return Marked(marked, marks, size, starts, broken, self.separators & ~inside, self.newlines & ~inside)


class Marked(NamedTuple):
    """Some whole records, a line each, with marks in place of what means nothing."""

    text: bytes
    marks: dict[str, str]  # mark -> the character that it stands for
    size: int  # bytes without marks
    starts: Places  # the row that each record begins with
    broken: Places  # the records, from 0, that are broken lines
    separators: Mask  # those that end a field, here or later
    newlines: Mask  # those that end a record, here or later

    def count_fields(self, lengths: Places) -> Places:
        """Count the fields of each record; a broken line has none.

        Args:
            lengths: of the lines in bytes, without their ends. To look for the ends takes twice as long.
        """
        exact = not self.marks and b"\r" not in self.text  # Else the lines have other lengths in the data.
        ends = np.cumsum(lengths + 1) - 1 if exact else list_places(self.newlines)[: len(self.starts)]
        fields = np.diff(count_before(self.separators, ends), prepend=0) + 1
        fields[self.broken] = 0
        return fields


def _choose_marks(text: bytes, separator: str) -> tuple[bytes, dict[str, str]]:
    """Put a character that the text does not have in place of each byte that hides something."""
    marks: dict[str, str] = {}
    for byte, character in (HIDDEN_NEWLINE, "\n"), (HIDDEN_SEPARATOR, separator), (HIDDEN_QUOTE, '"'):
        if byte in text:
            mark = next(mark for mark in map(chr, MARKS) if mark.encode() not in text)
            marks[mark] = character
            text = text.replace(bytes([byte]), mark.encode())
    return text, marks
