"""The design matrix: plain float64 columns that are made of terms, and the fitted terms made of their weights.

The encoding is learned from the features of all rows, never from the target. A column of the matrix belongs to one
term: the value of a number, the columns of a curve, one column per level of a category, or one slope per level. What
the neuron learns of these columns is decoded into terms, which predict without the matrix.

Each level has a column, none is the reference: of the many best weights the fit takes the smallest.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.encodings import (
    CategoryEncoding,
    Encoding,
    NumberEncoding,
    SlopesEncoding,
    SplineEncoding,
    group_levels,
)
from linear_neuron.tasks.features.entries import Entries, Entry
from linear_neuron.tasks.features.fitted import Kinds, express_label, express_value
from linear_neuron.tasks.features.spline import find_knots
from linear_neuron.tasks.model import LinearModel, Term
from linear_neuron.tasks.tables.scan import MOST_LEVELS as MOST_DIFFERENT
from linear_neuron.tasks.text import plural

Floats = NDArray[np.float64]
MOST_LEVELS = 2000  # with a column each, of all categories together
SHOWN = 60  # characters of a level in the name of its column


@dataclass(frozen=True)
class Design:
    """How columns are made of terms, and terms of weights."""

    encodings: tuple[Encoding, ...]
    kinds: Kinds  # of the columns that are read

    @property
    def columns(self) -> list[str]:
        """The columns that are read, in the order of the terms."""
        return list(self.kinds)

    @property
    def texts(self) -> list[str]:
        """The terms, as they were given."""
        return [encoding.text for encoding in self.encodings]

    @property
    def names(self) -> list[str]:
        """The distinct names of the columns that are made, such as `carat`, `cut=Ideal` or `cut (other)`."""
        found: Counter[str] = Counter()
        names = []
        for text, name in ((one.text, name) for one in self.encodings for name in one.names):
            whole = len(name) <= SHOWN or name == text  # A sign is given by the whole text of a number.
            short = name if whole else f"{name[:SHOWN]}..."
            found[short] += 1
            names.append(short if found[short] == 1 else f"{short} ({found[short]})")
        return names if len(set(names)) == len(names) else [f"{name} [{index}]" for index, name in enumerate(names)]

    @property
    def ranges(self) -> list[slice]:
        """The columns of each term."""
        ends = list(accumulate(len(encoding.names) for encoding in self.encodings))
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    def encode(self, frame: pl.DataFrame) -> Floats:
        """Make the columns of rows, shape (n, columns); NaN where a term has no value and none may be missing."""
        asked = {f"value {i}": express_value(one.value) for i, one in enumerate(self.encodings) if one.value}
        asked |= {
            f"label {i}": express_label(one.label, self.kinds) for i, one in enumerate(self.encodings) if one.label
        }
        found = frame.select(**asked)
        matrix = np.zeros((frame.height, sum(len(encoding.names) for encoding in self.encodings)))
        for i, (encoding, columns) in enumerate(zip(self.encodings, self.ranges, strict=True)):
            value = found[f"value {i}"].fill_null(np.nan).to_numpy() if encoding.value else None
            encoding.encode(matrix[:, columns], value, found[f"label {i}"] if encoding.label else None)
        return matrix

    def settle(self, model: LinearModel, means: Floats) -> LinearModel:
        """Return the same linear model of the columns, so centered that its base is that of the terms.

        Args:
            model: with or without centers.
            means: of the columns in the rows that it has learned from, shape (columns,).
        """
        kept = np.array(model.centers) if model.centers else means
        base = model.base if model.centers else model.bias + float(np.dot(model.weights, means))
        centered = np.array([flag for encoding in self.encodings for flag in encoding.centered])
        base -= float(np.dot(np.array(model.weights)[~centered], kept[~centered]))
        return replace(model, centers=tuple(np.where(centered, kept, 0.0).tolist()), base=base)

    def decode(self, model: LinearModel, rows: list[dict[str, int]] | None = None) -> list[Term]:
        """Make terms of a settled linear model of the columns; its base is theirs.

        Args:
            model: as `settle` returns it.
            rows: of each term, in how many rows each level was learned from.
        """
        counts = rows or [{}] * len(self.encodings)
        weights, centers = np.array(model.weights), np.array(model.centers)
        return [
            encoding.decode(weights[columns], centers[columns]).model_copy(update={"rows": count})
            for encoding, columns, count in zip(self.encodings, self.ranges, counts, strict=True)
        ]

    def count_levels(self, blocks: Iterable[pl.DataFrame]) -> list[dict[str, int]]:
        """Count in rows the levels of each term; none for a term without levels."""
        counts = [Counter[str]() for _ in self.encodings]
        labels = {
            index: express_label(encoding.label, self.kinds)
            for index, encoding in enumerate(self.encodings)
            if encoding.label
        }
        for frame in blocks:
            for index, label in labels.items():
                counts[index].update(_count(frame.select(label=label)["label"]))
        return [dict(sorted(count.items())) for count in counts]

    def find_numbers(self) -> dict[str, int]:
        """Find the column with the value of each term that is a number, by its text."""
        pairs = zip(self.encodings, self.ranges, strict=True)
        return {one.text: columns.start for one, columns in pairs if isinstance(one, NumberEncoding)}

    def find_curves(self) -> dict[str, list[int]]:
        """Find the columns of each term that is a spline, by its text."""
        pairs = zip(self.encodings, self.ranges, strict=True)
        curves = [(one, columns.start) for one, columns in pairs if isinstance(one, SplineEncoding)]
        return {one.text: list(range(start, start + len(one.own))) for one, start in curves}

    def without(self, texts: Iterable[str]) -> "Design":
        """Return the design without some terms, and without the columns that only these read."""
        gone = set(texts)
        kept = tuple(encoding for encoding in self.encodings if encoding.text not in gone)
        read = {name for encoding in kept for name in encoding.columns}
        return Design(kept, {name: kind for name, kind in self.kinds.items() if name in read})


def _count(labels: pl.Series) -> dict[str, int]:
    counts = labels.drop_nulls().value_counts()
    return dict(zip(counts[labels.name].to_list(), counts["count"].to_list(), strict=True))


@dataclass
class _Seen:
    """What was seen of an entry in all rows."""

    entry: Entry
    total: float = 0.0  # of its values
    known: int = 0  # rows with a value, where it has one, and a label, where it has one
    missing: int = 0  # the other rows

    def __post_init__(self) -> None:
        self.levels: Counter[str] = Counter()
        self.values: list[Floats] = []  # of a spline

    def add(self, frame: pl.DataFrame, kinds: Kinds) -> None:
        """Look at some rows."""
        entry, known = self.entry, np.ones(frame.height, bool)
        values = np.zeros(frame.height)
        if entry.value:
            values = frame.select(value=express_value(entry.value))["value"].fill_null(np.nan).to_numpy()
            known &= ~np.isnan(values)
        if entry.label:
            labels = frame.select(label=express_label(entry.label, kinds))["label"]
            known &= labels.is_not_null().to_numpy()
            self.levels.update(_count(labels.filter(pl.Series(known))))
        self.known += int(known.sum())
        self.missing += int((~known).sum())
        self.total += float(values[known].sum())
        if entry.degrees:
            self.values.append(values[known])

    @property
    def mean(self) -> float:
        return self.total / self.known

    def make_encoding(self, entries: Entries) -> Encoding:
        """Make the encoding of the entry.

        Raises:
            UserError: it has a value in no row, or has none in a row where it must have one.
        """
        entry = self.entry
        if not self.known:
            raise UserError(f"{entry.text} has no value in any row; leave it out, or look at what it reads.")
        if self.missing and entries.missing == "reject":
            raise UserError(
                f"{entry.text} has no value in {self.missing:,} of {self.known + self.missing:,} rows; learn from them "
                "by --dataset.missing fill, or leave it out."
            )
        text, fills = entry.text, entries.missing == "fill"
        holes = fills and self.missing > 0
        groups = group_levels(self.levels, entries.min_level_rows)
        match entry:
            case Entry(value=None):
                return CategoryEncoding(text=text, fills=fills, has_missing=holes, label=entry.label, groups=groups)
            case Entry(label=None, degrees=0):
                return NumberEncoding(text=text, fills=fills, has_missing=holes, value=entry.value, fill=self.mean)
            case Entry(label=None):
                knots = tuple(find_knots(np.concatenate(self.values), entry.degrees, text).tolist())
                return SplineEncoding(
                    text=text, fills=fills, has_missing=holes, value=entry.value, fill=self.mean, knots=knots
                )
        return SlopesEncoding(
            text=text,
            fills=fills,
            has_missing=holes,
            value=entry.value,
            label=entry.label,
            groups=groups,
            center=self.mean,
        )


def learn_design(entries: Entries, kinds: Kinds, blocks: Iterator[pl.DataFrame]) -> Design:
    """Learn how to encode entries from the features of all rows.

    Args:
        entries: what to learn from.
        kinds: of the columns that they read.
        blocks: the rows, some at a time, with these columns.

    Raises:
        UserError: an entry has no value, or the categories have too many levels.
    """
    seen = [_Seen(entry) for entry in entries.entries]
    for frame in blocks:
        for one in seen:
            one.add(frame, kinds)
        _check_levels(seen, entries.min_level_rows)
    return Design(tuple(one.make_encoding(entries) for one in seen), kinds)


def _check_levels(seen: list[_Seen], least: int) -> None:
    """Refuse too many levels with the rows that a weight needs, and too many different ones, which a model lists.

    Raises:
        UserError: names the entry that has the most.
    """
    if many := next((one for one in seen if len(one.levels) > MOST_DIFFERENT), None):
        raise UserError(
            f"{many.entry.text} has more than {MOST_DIFFERENT:,} different labels; leave it out, or group them in a "
            "column of its own."
        )
    counts = {one.entry.text: sum(rows >= least for rows in one.levels.values()) for one in seen}
    if sum(counts.values()) > MOST_LEVELS:
        most = max(counts, key=counts.__getitem__)
        raise UserError(
            f"The categories have more than {MOST_LEVELS:,} levels of {plural(least, 'row')} or more, {counts[most]:,} "
            f"of them in {most}; leave it out, raise --dataset.min-level-rows, or group its levels in a column of its "
            "own."
        )
