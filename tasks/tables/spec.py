"""What is needed of a table: where it is, which of its columns are read, and which values are allowed in them."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import polars as pl

# Names of columns after reading, which no table has. RESPELLED: whether the table has the key in another form.
KEY, TIME, KNOWN, RESPELLED = "\0key", "\0time", "\0known", "\0respelled"

Decimal = Literal["auto", "comma", "point"]


@dataclass(frozen=True)
class TableSpec:
    """A table and the columns that are needed of it, each with its kind: number, category, time or key.

    `tables/read.py` reads it. Training, actual values and the comparison of versions make one each.
    """

    source: str  # file, folder, glob or URL of CSV or Parquet; or a query, as sql:FILE.sql or sql:SELECT ...
    numbers: list[str]  # columns that are read as finite float64
    connection: str = ""  # name of the query's database
    key: str = ""  # column that names a row
    time: str = ""  # column that says when a row happened
    known_at: str = ""  # column that says when a row became known
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)  # column -> least and greatest allowed value
    decimal: Decimal = "auto"  # mark of numbers in text
    latest: int | None = None  # microseconds since 1970 after which a time is rejected
    categories: list[str] = field(default_factory=list)  # columns that are read as labels
    unlearned: tuple[str, ...] = ()  # those of the categories that only cut rows into slices
    times: list[str] = field(default_factory=list)  # columns that are read as microseconds since 1970, beside `time`
    filled: frozenset[str] = frozenset()  # columns of the three kinds whose empty cells are null, and no reject
    terms: "dict[str, pl.Expr]" = field(default_factory=dict)  # text -> its value, which must be finite, of the columns
    advice: str = "Leave this column out, or name another."  # on a column that holds something else than is needed
    as_of: str = ""  # day in UTC before which a row must have happened, or been known; empty takes every row

    @property
    def checked(self) -> list[str]:
        """List the columns whose values must be finite numbers, each once."""
        return list(dict.fromkeys([*self.numbers, *self.bounds]))

    @property
    def columns(self) -> list[str]:
        """List the columns that are read, each once."""
        names = [*self.numbers, self.time, self.key, self.known_at, *self.bounds, *self.categories, *self.times]
        return list(dict.fromkeys(filter(None, names)))
