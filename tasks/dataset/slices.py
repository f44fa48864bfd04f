"""Slices of rows: error, bias and coverage by level of a category, by level of the prediction and by period.

A mean over all rows hides those for which a model is wrong. Each row is in one slice of each kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from linear_neuron.tasks.dataset.raw_columns import MISSING_LABEL, RawColumns
from linear_neuron.tasks.dataset.rows import Floats, Rows
from linear_neuron.tasks.text import number

if TYPE_CHECKING:
    from linear_neuron.tasks.features.design import Design

PREDICTION, PERIOD = "prediction", "period"  # what rows are cut by, beside columns
LEVELS = 50  # slices of a column at most; the rows of all rarer levels are one
OTHERS, MISSING = "(all others)", "(missing)"
BINS, BIN_ROWS = 10, 30  # of predictions: slices at most, and rows of each at least
PERIODS = 3  # from which number on a longer unit of time is taken
UNITS = {"year": "Y", "month": "M", "week": "W", "day": "D"}  # as NumPy calls them


class Slice(BaseModel):
    """How good predictions are for some rows, in target units."""

    model_config = ConfigDict(frozen=True)

    by: str  # a category, a column, PREDICTION or PERIOD
    level: str  # label, range of predictions, or first day of the period
    rows: int
    rmse: float
    bias: float  # mean of prediction minus actual value
    coverage: float | None  # share of the actual values in the interval; None where there is none


class Groups(NamedTuple):
    """Rows cut into slices."""

    by: str
    levels: list[str]  # in their order
    codes: NDArray[np.int64]  # shape (n,): index of each row's level


def group_labels(by: str, labels: Any) -> Groups:
    """Cut rows by their labels, a series of text; the most frequent levels are slices, the rows of others are one."""
    from linear_neuron.tasks.dataset.level_codes import LevelBlock  # Polars takes a tenth of a second to import.

    block = LevelBlock(labels)
    counts = np.bincount(block.codes - MISSING_LABEL, minlength=len(block.levels) + 1)
    names = [MISSING, *block.levels]
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda code: (-counts[code], names[code]))
    kept = order if len(order) <= LEVELS else order[: LEVELS - 1]
    found = np.full(len(names), len(kept))
    found[kept] = np.arange(len(kept))
    levels = [names[code] for code in kept] + [OTHERS] * (len(order) > len(kept))
    return Groups(by, levels, found[block.codes - MISSING_LABEL])


def group_numbers(by: str, values: NDArray[np.floating[Any]], edges: Sequence[float] = ()) -> Groups:
    """Cut rows by level of a number, at the given edges or into up to ten ranges of as many rows each."""
    if not edges:
        shares = np.linspace(0, 1, max(1, min(BINS, len(values) // BIN_ROWS)) + 1)[1:-1]
        edges = np.unique(np.quantile(values, shares)).tolist() if len(shares) else []
    edges = [edge for edge in edges if len(values) and edge > values.min()]
    if not edges:
        return Groups(by, ["all"], np.zeros(len(values), np.int64))
    shown = [number(edge) for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(shown)]
    levels = [f"below {shown[0]}", *between, f"from {shown[-1]} on"]
    return Groups(by, levels, np.searchsorted(edges, values, side="right"))


def group_times(times: NDArray[np.int64], unit: str = "") -> Groups:
    """Cut rows by period: years, months, weeks or days, the longest of which there are three or else the days.

    Args:
        times: microseconds since 1970.
        unit: one of UNITS to take instead.
    """
    dates = times.astype("datetime64[us]")
    for code in [UNITS[unit]] if unit else UNITS.values():
        periods = dates.astype(f"datetime64[{code}]").astype(np.int64)
        counts = np.bincount(periods - periods.min())  # Sorting the periods of many rows would take a while.
        found = np.flatnonzero(counts)
        if len(found) >= PERIODS:
            break
    starts = (found + periods.min()).astype(f"datetime64[{code}]")
    return Groups(PERIOD, [str(start) for start in starts], (np.cumsum(counts > 0) - 1)[periods - periods.min()])


def cut_slices(
    raw: RawColumns | None, terms: Design | None, rows: Rows, predicted: NDArray[np.floating[Any]]
) -> list[Groups]:
    """Cut rows by each category, by the columns of `--dataset.by`, by prediction, and by period where they have times.

    Args:
        raw: what terms read, of all rows of the snapshot.
        terms: what is learned from, where that is more than columns of numbers.
        rows: some of these rows, by their numbers.
        predicted: for the rows.
    """
    if not len(rows):
        return []
    found = [group_labels(name, labels) for name, labels in _read_labels(raw, terms, rows)] if raw else []
    found.append(group_numbers(PREDICTION, predicted))
    return found if rows.time is None else [*found, group_times(rows.time)]


def _read_labels(raw: RawColumns, terms: Design | None, rows: Rows) -> Iterable[tuple[str, Any]]:
    """Read the labels of rows: those of the categories that are learned from, and of columns that no term reads."""
    categories = [it for it in terms.encodings if it.value is None] if terms else []
    kinds = terms.kinds if terms else {}
    by = [name for name in raw.labels if name not in kinds]
    if not categories and not by:
        return
    import polars as pl

    from linear_neuron.tasks.features.fitted import express_label

    labels = {it.text: express_label(it.label, kinds) for it in categories if it.label}
    labels |= {name: pl.col(name) for name in by}
    blocks = [frame.select(**labels) for _, frame in raw.read_blocks(rows.number, [*kinds, *by])]
    yield from ((series.name, series) for series in pl.concat(blocks))


def measure_slices(
    groups: Iterable[Groups], actual: Floats, predicted: NDArray[np.floating[Any]], inside: NDArray[np.bool_] | None
) -> list[Slice]:
    """Measure each slice that has rows.

    Args:
        groups: of these rows.
        actual: shape (n,).
        predicted: shape (n,).
        inside: whether an actual value is in its interval, shape (n,); None where there is none.
    """
    errors = predicted.astype(np.float64) - actual
    found = []
    for by, levels, codes in groups:
        rows, squares, sums = (np.bincount(codes, part, len(levels)) for part in (None, errors**2, errors))
        held = None if inside is None else np.bincount(codes, inside, len(levels))
        found += [
            Slice(
                by=by,
                level=level,
                rows=count,
                rmse=float(squares[at] / count) ** 0.5,
                bias=float(sums[at] / count),
                coverage=None if held is None else float(held[at] / count),
            )
            for at, (level, count) in enumerate(zip(levels, rows.tolist(), strict=True))
            if count
        ]
    return found


def add_slices(slices: Iterable[Slice]) -> list[Slice]:
    """Add up slices of different rows that have the same name; of too many the rarest become one."""
    groups: dict[tuple[str, str], list[Slice]] = {}
    for one in slices:
        groups.setdefault((one.by, one.level), []).append(one)
    kept: dict[tuple[str, str], list[Slice]] = {}
    for by, keys in groupby(sorted(groups, key=lambda key: key[0]), key=lambda key: key[0]):
        order = sorted(keys, key=lambda key: (-sum(one.rows for one in groups[key]), key))
        few = len(order) <= LEVELS or by in (PREDICTION, PERIOD)
        for at, key in enumerate(order):
            kept.setdefault(key if few or at < LEVELS - 1 else (by, OTHERS), []).extend(groups[key])
    return [_merge(key, parts) for key, parts in kept.items()]


def _merge(key: tuple[str, str], parts: Sequence[Slice]) -> Slice:
    rows = [part.rows for part in parts]
    held = [part.coverage for part in parts]
    return Slice(
        by=key[0],
        level=key[1],
        rows=sum(rows),
        rmse=float(np.average([part.rmse**2 for part in parts], weights=rows)) ** 0.5,
        bias=float(np.average([part.bias for part in parts], weights=rows)),
        coverage=None if None in held else float(np.average(cast(list[float], held), weights=rows)),
    )
