"""Decide the decimal mark of numbers in text, column by column of a file, and never by a guess.

In a file that commas separate, it is the point. In others `6,5` and `6.5` are both common, and `1,234` may be either
1234 or 1.234. So all values of a column are looked at: a mark that is not before exactly three digits is a decimal
mark. Where there is none, or marks of both kinds, the file is refused until `--decimal` names the mark.
"""

import threading
from collections.abc import Callable, Iterator

import polars as pl

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.tables.rejects import TEXT, Marks
from linear_neuron.tasks.tables.spec import Decimal

Evidence = dict[tuple[str, str], str]  # a mark, and what it shows itself to be -> the first value that shows it
HEAD = 1000  # values that are looked at before all of them are
EDGES = r"^[ \t\r\n\f\x0b]*[+-]?", r"[ \t\r\n\f\x0b]*$"


def _spell(pattern: str, mark: str) -> str:
    """Write the pattern of a number, in which M is the mark and O the other one."""
    other = "." if mark == "," else ","
    return pattern.replace("M", f"[{mark}]").replace("O", f"[{other}]").join((f"{EDGES[0]}(?:", f"){EDGES[1]}"))


KINDS = {
    "decimal": r"(?:0M[0-9]*|[0-9]{4,}M[0-9]*|[0-9]+M(?:[0-9]{0,2}|[0-9]{4,})|M[0-9]+)"
    r"(?:[eE][+-]?[0-9]+)?|[0-9]+M[0-9]*[eE][+-]?[0-9]+",
    "open": r"[1-9][0-9]{0,2}M[0-9]{3}",
    "thousands": r"[0-9]{1,3}(?:M[0-9]{3})+(?:M[0-9]{3}|O[0-9]*)",
}


def find_evidence(column: pl.Series) -> Evidence:
    """Find what the marks in a column of text show themselves to be."""
    marks = [mark for mark in ",." if column.str.contains(mark, literal=True).any()]
    if len(marks) == 1 and (found := _find_first(column.head(HEAD), marks[0], "decimal")):
        return {(marks[0], "decimal"): found}
    kinds = [(mark, kind) for mark in marks for kind in KINDS]
    return {(mark, kind): found for mark, kind in kinds if (found := _find_first(column, mark, kind))}


def _find_first(column: pl.Series, mark: str, kind: str) -> str:
    found = column.filter(column.str.contains(_spell(KINDS[kind], mark)).fill_null(value=False)).head(1)
    return str(found[0]) if len(found) else ""


def decide_mark(evidence: Evidence, name: str) -> str:
    """Return the decimal mark of a column; empty where there is no mark, or nothing that decides yet.

    Raises:
        UserError: there are marks of both kinds, or marks of thousands.
    """
    decimals = {mark for mark, kind in evidence if kind == "decimal"}
    others = {mark for mark, kind in evidence if kind == "thousands" or (kind == "open" and decimals - {mark})}
    opens = {mark for mark, kind in evidence if kind == "open"}
    if others or len(decimals) > 1 or len(opens) > 1:
        raise _refuse(
            name,
            list({mark: value for (mark, _), value in evidence.items()}.values()),
            "commas and points, or marks of thousands,",
        )
    return next(iter(decimals), "")


def _refuse(name: str, examples: list[str], what: str) -> UserError:
    shown = f", such as {' and '.join(repr(value.strip()) for value in examples)}" if examples else ""
    return UserError(
        f"column {name!r} has {what} in its numbers{shown}; say which is the decimal mark by --decimal comma "
        "or --decimal point (--dataset.decimal to retrain)"
    )


def find_clash(one: Marks, other: Marks) -> str:
    """Say that two ranges of a file have different decimal marks in a column; empty where they have not."""
    names = [name for name in one.keys() & other.keys() if one[name] != other[name]]
    return str(_refuse(min(names), [], "commas and points")) if names else ""


class DecimalMarks:
    """Finds the decimal marks of a file, whichever of its blocks is asked about first."""

    def __init__(
        self,
        decimal: Decimal = "auto",
        *,
        by_points: bool = True,
        read_again: Callable[[], Iterator[pl.DataFrame]] = lambda: iter(()),
    ) -> None:
        """Keep what decides.

        Args:
            decimal: What the user said.
            by_points: Whether `auto` means the point, as where commas separate the columns.
            read_again: Reads the file from its start, for a block that does not decide alone.
        """
        self.decimal, self.by_points, self.read_again = decimal, by_points, read_again
        self._seen: dict[str, Evidence] = {}  # of each column
        self._lock = threading.Lock()

    @property
    def found(self) -> dict[str, str]:
        """Column -> its decimal mark, where one was found."""
        return {name: mark for name, seen in sorted(self._seen.items()) if (mark := decide_mark(seen, name))}

    def find(self, rows: pl.DataFrame, names: list[str]) -> Marks:
        """Find the marks of some columns: the decimal one, and that of thousands where these rows may have it.

        Raises:
            UserError: a column's mark is not certain.
        """
        texts = [name for name in dict.fromkeys(names) if rows.schema[name] == TEXT]
        if self.decimal == "auto":
            return {} if self.by_points else {name: self._find(rows, name) for name in texts}
        mark, other = (",", ".") if self.decimal == "comma" else (".", ",")
        return {name: mark + other if rows[name].str.contains(other, literal=True).any() else mark for name in texts}

    def _find(self, rows: pl.DataFrame, name: str) -> str:
        evidence = find_evidence(rows[name])
        with self._lock:
            seen = self._seen.setdefault(name, {})
            for key, value in evidence.items():
                seen.setdefault(key, value)
            mark = decide_mark(seen, name)
            if mark or not evidence:
                return mark
            for block in self.read_again():
                for key, value in find_evidence(block[name]).items():
                    seen.setdefault(key, value)
            if not (mark := decide_mark(seen, name)):
                raise _refuse(name, list(evidence.values())[:1], "marks before exactly three digits")
            return mark
