"""How the columns of one term are made of its value or its label, and the fitted term of their weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linear_neuron.tasks.features.expressions import Column, Node, TimePart, find_columns, write
from linear_neuron.tasks.features.spline import encode as encode_spline
from linear_neuron.tasks.features.spline import evaluate, to_polynomials
from linear_neuron.tasks.model import Term

Floats = NDArray[np.float64]
UNKNOWN = -1  # index of a level that has no column


@dataclass(frozen=True)
class Groups:
    """The levels of a category: those with a column each, and the rarer ones, which share the column after these."""

    levels: dict[str, int]  # level -> rows; sorted
    rare: dict[str, int]

    def name(self, text: str) -> list[str]:
        """Name the columns."""
        return [*(f"{text}={level}" for level in self.levels), *([f"{text} (other)"] if self.rare else [])]

    @property
    def shares(self) -> Floats:
        """The share of the rows in each column, which a level never seen is given."""
        rows = [*self.levels.values(), *([sum(self.rare.values())] if self.rare else [])]
        return np.array(rows) / sum(rows)

    def find(self, labels: pl.Series) -> NDArray[np.int64]:
        """Find the column of each label: that of the rare ones also for a level never seen, if there is one."""
        indices = {level: index for index, level in enumerate(self.levels)} | dict.fromkeys(self.rare, len(self.levels))
        other = len(self.levels) if self.rare else UNKNOWN
        old, new = pl.Series(list(indices), dtype=pl.String), pl.Series(list(indices.values()), dtype=pl.Int64)
        found = labels.replace_strict(old, new, default=other, return_dtype=pl.Int64)
        return np.where(labels.is_null().to_numpy(), UNKNOWN, found.to_numpy())

    def assign(self, values: Floats) -> tuple[dict[str, float], float]:
        """Assign the values of the columns to the levels; return also that of a level never seen, or else the mean."""
        other = float(values[len(self.levels)]) if self.rare else float(self.shares @ values)
        found = dict(zip(self.levels, values[: len(self.levels)].tolist(), strict=True))
        return found | dict.fromkeys(self.rare, other), other


def group_levels(rows: Mapping[str, int], least: int) -> Groups:
    """Give each level with enough rows a column of its own."""
    ordered = sorted(rows.items())
    return Groups({k: n for k, n in ordered if n >= least}, {k: n for k, n in ordered if n < least})


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What all encodings have; where cells are filled and some are missing, the last column says which."""

    text: str  # the entry as it was given
    fills: bool  # whether a missing value contributes what was learned for it, and is no reject
    has_missing: bool  # whether some were missing
    value: Node | None = None
    label: Column | TimePart | None = None

    @property
    def columns(self) -> list[str]:
        """The columns that it reads."""
        return [name for node in (self.value, self.label) if node for name in find_columns(node)]

    @property
    def own(self) -> list[str]:
        """The names of its columns without that of missing cells."""
        raise NotImplementedError

    @property
    def names(self) -> list[str]:
        """The names of its columns."""
        return [*self.own, *([f"{self.text} (missing)"] if self.has_missing else [])]

    @property
    def centered(self) -> list[bool]:
        """Of each column, whether its weight is multiplied with the column less a center; else the center is 0."""
        return [True] * len(self.own) + [False] * self.has_missing

    def encode(self, into: Floats, value: Floats | None, label: pl.Series | None) -> None:
        """Write the columns of rows into an array of zeros."""
        raise NotImplementedError

    def decode(self, weights: Floats, centers: Floats) -> Term:
        """Make the fitted term of the weights of its columns."""
        raise NotImplementedError

    def mark_missing(self, into: Floats, missing: NDArray[np.bool_]) -> None:
        """Write into the last column which cells are missing; NaN into all where none may be."""
        if self.has_missing:
            into[:, -1] = missing
        elif not self.fills:
            into[missing] = np.nan

    def find_missing(self, contribution: float, weights: Floats) -> float | None:
        """Return what a missing value contributes: what its replacement does, and the weight that it was given."""
        if not self.fills:
            return None
        return contribution + float(weights[-1]) if self.has_missing else contribution


@dataclass(frozen=True, kw_only=True)
class NumberEncoding(Encoding):
    """A value as it is."""

    fill: float  # the value of a missing one: the mean

    @property
    def own(self) -> list[str]:
        return [self.text]

    def encode(self, into: Floats, value: Floats | None, label: pl.Series | None) -> None:
        values = np.asarray(value)
        missing = np.isnan(values)
        into[:, 0] = np.where(missing, self.fill, values)
        self.mark_missing(into, missing)

    def decode(self, weights: Floats, centers: Floats) -> Term:
        weight, center = float(weights[0]), float(centers[0])
        missing = self.find_missing((self.fill - center) * weight, weights)
        return Term(
            name=self.text, kind="number", value=_write(self.value), weight=weight, center=center, missing=missing
        )


@dataclass(frozen=True, kw_only=True)
class SplineEncoding(Encoding):
    """A natural cubic spline of a value, with as many columns as it has knots after the first."""

    fill: float
    knots: tuple[float, ...]

    @property
    def own(self) -> list[str]:
        return [f"{self.text} {number}" for number in range(1, len(self.knots))]

    def encode(self, into: Floats, value: Floats | None, label: pl.Series | None) -> None:
        values = np.asarray(value)
        missing = np.isnan(values)
        into[:, : len(self.own)] = encode_spline(self.knots, np.where(missing, self.fill, values))
        self.mark_missing(into, missing)

    def decode(self, weights: Floats, centers: Floats) -> Term:
        heights = weights[: len(self.own)]
        polynomials = to_polynomials(self.knots, heights.tolist(), -float(heights @ centers[: len(heights)]))
        filled = float(evaluate(self.knots, polynomials, np.array([self.fill]))[0])
        return Term(
            name=self.text,
            kind="spline",
            value=_write(self.value),
            knots=list(self.knots),
            polynomials=polynomials,
            missing=self.find_missing(filled, weights),
        )


@dataclass(frozen=True, kw_only=True)
class CategoryEncoding(Encoding):
    """A label: 1 in the column of its level, 0 in the others. For one that has no column each has its level's share."""

    groups: Groups

    @property
    def own(self) -> list[str]:
        return self.groups.name(self.text)

    @property
    def centered(self) -> list[bool]:
        return [True] * len(self.names)

    def encode(self, into: Floats, value: Floats | None, label: pl.Series | None) -> None:
        labels = pl.Series([], dtype=pl.String) if label is None else label
        missing = labels.is_null().to_numpy()
        _mark(into[:, : len(self.own)], self.groups, labels, np.ones(len(labels)), missing & self.has_missing)
        self.mark_missing(into, missing)

    def decode(self, weights: Floats, centers: Floats) -> Term:
        contributions = weights - float(weights @ centers)  # Their weighted mean over the rows is 0.
        levels, other = self.groups.assign(contributions[: len(self.own)])
        missing = (float(contributions[-1]) if self.has_missing else 0.0) if self.fills else None
        if not self.groups.rare:
            other = 0.0
        return Term(
            name=self.text, kind="category", label=_write(self.label), levels=levels, other=other, missing=missing
        )


@dataclass(frozen=True, kw_only=True)
class SlopesEncoding(Encoding):
    """A value with a slope for each level: the value less its mean in the column of the level, 0 in the others."""

    groups: Groups
    center: float

    @property
    def own(self) -> list[str]:
        return self.groups.name(self.text)

    @property
    def centered(self) -> list[bool]:
        return [False] * len(self.names)

    def encode(self, into: Floats, value: Floats | None, label: pl.Series | None) -> None:
        labels = pl.Series([], dtype=pl.String) if label is None else label
        values = np.asarray(value) - self.center
        missing = np.isnan(values) | labels.is_null().to_numpy()
        _mark(into[:, : len(self.own)], self.groups, labels, np.where(missing, 0.0, values), missing)
        self.mark_missing(into, missing)

    def decode(self, weights: Floats, centers: Floats) -> Term:
        levels, other = self.groups.assign(weights[: len(self.own)])
        return Term(
            name=self.text,
            kind="slopes",
            value=_write(self.value),
            label=_write(self.label),
            center=self.center,
            levels=levels,
            other=other,
            missing=self.find_missing(0.0, weights),
        )


def _write(node: Node | None) -> str:
    return write(node) if node else ""


def _mark(into: Floats, groups: Groups, labels: pl.Series, values: Floats, left_out: NDArray[np.bool_]) -> None:
    """Write the value of each row into the column of its level, and shares of it where there is none."""
    indices = groups.find(labels)
    rows = np.flatnonzero((indices != UNKNOWN) & ~left_out)
    into[rows, indices[rows]] = values[rows]
    rows = np.flatnonzero((indices == UNKNOWN) & ~left_out)
    into[rows] = values[rows, None] * groups.shares
