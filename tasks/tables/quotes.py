"""What the quotes in a text of CSV mean, all of them decided at once.

- plain: no quote has a meaning; one inside a field that does not begin with it is text, as in `7,5" pipe`.
- quoted: every quote begins or ends a field or is one half of a doubled one. The record may run over several lines.
- broken: a quote begins a field and does not end it, since the next one can't be its end or there is no other. That
  costs the line it stands on and no other.
- overdue: a quote that has not ended after 4 MB, which is all that may be held of a record. The lines after it may be
  rows after a stray quote, or the text of a long field. They are taken for rows until the next quote that is not
  doubled: if that can be the end of a field, they were text, perhaps, and the whole file fails, so that no text
  becomes predictions; if it can't, or if there is no other quote in the file, the line is just broken.

Where quotes change what a separator, a line break or a quote means, a byte that no text has stands in place of it: a
record is one line, every separator ends a field, every quote too, until that is taken back.
"""

import re
from bisect import bisect_left, bisect_right

import numpy as np
from numpy.typing import NDArray

LONGEST_RECORD = 4 << 20  # bytes
NEWLINE, RETURN, QUOTE = b'\n\r"'
HIDDEN_NEWLINE, HIDDEN_SEPARATOR, HIDDEN_QUOTE = b"\xfd\xfe\xff"  # no UTF-8 text has these bytes
UNPAIRED = re.compile(rb'(?<!")"(?:"")*(?!")')  # quotes in a row of which one is left over if each has its double


def find_end(text: bytes, separator: str) -> bool | None:
    """Whether the first quote in some lines that is not doubled can end a field; None where there is no such quote."""
    if b'"' in text and (found := UNPAIRED.search(text)):
        return text.startswith((separator.encode(), b"\n", b"\r\n"), found.end()) or found.end() == len(text)
    return None


class Quotes:
    """Decides what every quote of some whole lines is: one end of a field, half of a doubled quote, or text.

    Whether a quote can begin or end a field shows in its neighbours, and which of the two it would do in how many there
    are before it. So all of them are looked at at once, and only those that can be neither are looked at in order.
    """

    def __init__(self, text: bytes, separator: str) -> None:
        self.text, self.separator = np.frombuffer(text, np.uint8), ord(separator)
        self.at, self.ends = np.flatnonzero(self.text == QUOTE), np.flatnonzero(self.text == NEWLINE)
        self.before = np.searchsorted(self.at, self.ends).data  # row -> quotes up to its end
        previous, following = self.text[self.at - 1], self.text[self.at + 1]  # Before the first byte stands a line end.
        after = self.text[np.minimum(self.at + 2, len(self.text) - 1)]
        begins = (previous == self.separator) | (previous == NEWLINE)
        self.begins = begins.data
        ends = (following == self.separator) | (following == NEWLINE) | (following == RETURN) & (after == NEWLINE)
        odd = np.arange(len(self.at)) % 2 == 1
        wrong = ~(begins | (previous == QUOTE)), ~(ends | (following == QUOTE))
        self.wrong = [np.flatnonzero(np.where(odd == turn, *wrong)).data for turn in (False, True)]
        self.literal = np.zeros(len(self.at), bool)
        self.broken: list[int] = []  # rows
        self.overdue: int | None = None  # the row where the last record began that has a quote without an end in time

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
            if found == len(self.at) and not last:
                if len(self.text) - self.begin(row) <= LONGEST_RECORD:
                    return row
                self.overdue = row
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
        marked[inside & (text == self.separator)] = HIDDEN_SEPARATOR
        marked[at[literal]] = HIDDEN_QUOTE
        ends = np.flatnonzero(~inside[self.ends[:rows]])  # rows that a record ends with
        return marked.tobytes(), np.append(0, ends[:-1] + 1) if rows else ends
