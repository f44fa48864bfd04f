"""The entries of `features` and `categories`, parsed for a table: what each is, and which columns they read."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.expressions import (
    Call,
    Column,
    Node,
    Slopes,
    Spline,
    TimePart,
    find_kinds,
    parse_category,
    parse_feature,
    write,
)
from linear_neuron.tasks.model import Kind, Link

MissingCells = Literal["reject", "fill"]


@dataclass(frozen=True)
class Entry:
    """One entry: a value, a label, or a value with a slope for each label."""

    text: str  # as it was given
    value: Node | None = None
    label: Column | TimePart | None = None
    degrees: int = 0  # of freedom of a spline; 0 where it is none

    @property
    def is_column(self) -> bool:
        """Whether it is the value of a column as it is."""
        return self.label is None and not self.degrees and self.value == Column(self.text)

    def find_kinds(self) -> dict[str, Kind]:
        """Find the columns that are read, and as what."""
        kinds: dict[str, Kind] = dict(find_kinds(self.value)) if self.value else {}
        if isinstance(self.label, TimePart):
            kinds |= {self.label.column.name: "time"}
        elif self.label:
            kinds |= {self.label.name: kinds.get(self.label.name, "category")}
        return kinds


@dataclass(frozen=True)
class Entries:
    """What is learned from: the entries, in their order, and what becomes of rare levels and missing cells."""

    entries: tuple[Entry, ...]
    min_level_rows: int = 10
    missing: MissingCells = "reject"

    @property
    def is_plain(self) -> bool:
        """Whether all are columns of numbers without missing cells, so that nothing needs to be encoded."""
        return self.missing == "reject" and all(entry.is_column for entry in self.entries)

    @property
    def numbers(self) -> list[str]:
        """The entries that are a value times one weight."""
        return [entry.text for entry in self.entries if not entry.label and not entry.degrees]

    @property
    def kinds(self) -> dict[str, Kind]:
        """The columns that are read, in the order of the entries, and as what: a number wins over a label.

        Raises:
            UserError: one is read as a time and as something else.
        """
        found: dict[str, Kind] = {}
        for entry in self.entries:
            for name, kind in entry.find_kinds().items():
                if "time" in (known := {found.get(name, kind), kind}) and len(known) > 1:
                    raise UserError(
                        f"Column {name!r} is read as a time and as a {min(known)}; read only parts of it, such as "
                        f"month({write(Column(name))}), or name another column."
                    )
                found[name] = "number" if "number" in known else kind
        return found


def need_columns(texts: Iterable[str]) -> bool:
    """Whether the names of the table's columns decide what an entry means; a word is a column in any table."""
    return not all(text.isidentifier() for text in texts)


def parse_entries(
    features: Sequence[str],
    categories: Sequence[str],
    columns: Collection[str] = (),
    min_level_rows: int = 10,
    missing: MissingCells = "reject",
) -> Entries:
    """Parse the entries for a table with these columns; a word is taken for a column, which may turn out to be missing.

    Raises:
        UserError: one can't be understood.
    """
    parsed = [_parse_feature(text, columns) for text in features]
    parsed += [Entry(text, label=_parse_category(text, columns)) for text in categories]
    return Entries(tuple(parsed), min_level_rows, missing)


@dataclass(frozen=True)
class Target:
    """What is predicted: a column, of which the logarithm may be what is learned."""

    column: str
    link: Link = "identity"

    @property
    def text(self) -> str:
        """What is learned, as `parse_target` reads it in any table that has the column."""
        return self.column if self.link == "identity" else write(self.node)

    @property
    def node(self) -> Node:
        """The expression of what is learned."""
        return Column(self.column) if self.link == "identity" else Call("log", (Column(self.column),))


def parse_target(text: str, columns: Collection[str] = ()) -> Target:
    """Parse a target for a table with these columns; a word is taken for a column.

    Raises:
        UserError: it is neither a column nor the logarithm of one.
    """
    if text.isidentifier() or not text.strip():
        return Target(text)
    match parse_feature(text, columns):
        case Column(name):
            return Target(name)
        case Call("log", (Column(name),)):
            return Target(name, "log")
    raise UserError(f"{text} can't be the target: name a column, or the logarithm of one, such as log(price).")


def _parse_category(text: str, columns: Collection[str]) -> Column | TimePart:
    return Column(text) if text.isidentifier() else parse_category(text, columns)


def _parse_feature(text: str, columns: Collection[str]) -> Entry:
    if text.isidentifier():
        return Entry(text, Column(text))
    match parse_feature(text, columns):
        case Spline(value, degrees):
            return Entry(text, value, degrees=degrees)
        case Slopes(value, label):
            return Entry(text, value, label)
        case node:
            return Entry(text, node)
