"""A model with terms: the columns it reads of rows, what it predicts of them, and what is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from typing import Any

import numpy as np
import polars as pl

from linear_neuron.tasks.dataset.profile import count_bins
from linear_neuron.tasks.features.expressions import Column, TimePart, find_columns, parse
from linear_neuron.tasks.features.fitted import express_curve, express_value, parse_label
from linear_neuron.tasks.features.levels import LevelIndex, name_label
from linear_neuron.tasks.model import ModelVersion, Term
from linear_neuron.tasks.scoring.expression import Bound, Columns, PlainModel, respond
from linear_neuron.tasks.scoring.manifest import add_levels
from linear_neuron.tasks.tables.cleaning import YEARS, explain_null, explain_time, read_label, read_time, spell_number
from linear_neuron.tasks.tables.rejects import F32, TEXT, Marks, Reason, explain_numbers, is_empty, read_number

USABLE = "usable"
ADDED, BESIDE = "\0term ", "\0beside "  # what the names of columns begin with that rows need; of the shadow
LONGEST_LEVEL = 100  # characters of an unseen level that are kept


@dataclass(frozen=True)
class Label:
    """A category that terms read: a column or a part of a time, and the levels that they know of it."""

    name: str  # as people know it
    node: Column | TimePart
    index: LevelIndex
    is_number: bool  # whether its labels are numbers, and not cells as a source has them

    def express(self, cells: pl.Series) -> pl.Expr:
        """Express cells as labels."""
        return spell_number(pl.col(cells.name)) if self.is_number else read_label(cells.name, cells.dtype)

    def find(self, cells: pl.Series) -> pl.Series:
        """Find the codes of cells."""
        return self.index.find_numbers(cells) if self.is_number else self.index.find(cells)


class TermModel:
    """The terms of a model, each parsed once.

    `read` computes what they need as columns: `v0` and so on are the values of expressions, `c0` the codes of labels,
    `l0` what terms look up for these, `n0` raw numbers and times, and `usable` is false where a row is rejected for
    one of these.
    """

    def __init__(self, model: ModelVersion) -> None:
        self.model, self.terms, self.kinds = model, model.all_terms, model.kinds
        self.raw = {name: kind for name, kind in self.kinds.items() if kind != "category"}
        self.values = {term.value: parse(term.value) for term in self.terms if term.value}
        self.labels = {text: self._make_label(text) for text in dict.fromkeys(t.label for t in self.terms if t.label)}

    def _make_label(self, text: str) -> Label:
        terms = [term for term in self.terms if term.label == text]
        node = parse_label(text)
        is_number = isinstance(node, TimePart) or self.kinds[node.name] == "number"
        return Label(name_label(terms), node, LevelIndex(terms), is_number)

    def _list_columns(self, term: Term) -> list[str]:
        label = self.labels[term.label].node if term.label else None
        return [*(find_columns(self.values[term.value]) if term.value else []), *(find_columns(label) if label else [])]

    @cached_property
    def filled(self) -> set[str]:
        """The columns whose cells may be missing: all terms that read one have a contribution for that."""
        strict = {name for term in self.terms if term.missing is None for name in self._list_columns(term)}
        return set(self.kinds) - strict

    @cached_property
    def value_keys(self) -> dict[str, str]:
        """The text of each value -> the name of its column."""
        return {text: f"v{index}" for index, text in enumerate(self.values)}

    @cached_property
    def raw_keys(self) -> dict[str, str]:
        """The name of each raw number or time -> that of its column: of a value where that is the column itself."""
        plain = {node.name: self.value_keys[text] for text, node in self.values.items() if isinstance(node, Column)}
        return {name: plain.get(name, f"n{index}") for index, name in enumerate(self.raw)}

    @cached_property
    def label_keys(self) -> dict[str, str]:
        """The text of each category -> the name of the column of its codes."""
        return {text: f"c{index}" for index, text in enumerate(self.labels)}

    def read(self, rows: pl.DataFrame, names: dict[str, str], marks: Marks, *, strip: bool) -> Columns:
        """Read what the terms need of rows.

        Args:
            rows: as their source has them.
            names: column of the model -> column of the rows.
            marks: of the numbers in text.
            strip: whether blanks around a number in text are allowed.
        """
        raw = self._read_raw(rows, names, marks, strip=strip)
        usable = raw.select(pl.all_horizontal(self._list_checks())).to_series() if self._list_checks() else None
        raw, spoiled = self._fill(raw, rows, names)
        if spoiled is not None:
            usable = ~spoiled if usable is None else usable & ~spoiled
        found = {key: raw[name] for name, key in self.raw_keys.items()}
        computed = {
            self.value_keys[text]: express_value(node)
            for text, node in self.values.items()
            if not isinstance(node, Column)
        }
        if computed:
            found |= raw.select(**computed).to_dict()
        for number, (text, label) in enumerate(self.labels.items()):
            cells = self._find_cells(label, rows, names, raw)
            found[self.label_keys[text]] = codes = label.find(cells)
            unseen = codes.is_between(label.index.learned, label.index.unseen)
            if unseen.any():
                found[f"u{number}"] = pl.select(pl.when(unseen).then(cells)).to_series()
        for number, term in enumerate(self.terms):
            if term.label:
                found[f"l{number}"] = self.labels[term.label].index.look_up(term, found[self.label_keys[term.label]])
        if usable is not None:
            found[USABLE] = usable
        return found

    def _read_raw(self, rows: pl.DataFrame, names: dict[str, str], marks: Marks, *, strip: bool) -> pl.DataFrame:
        """Read the numbers as float64 and the times as microseconds, by the names of the model."""
        schema = rows.schema
        read = {
            name: read_time(names[name], schema[names[name]])
            if kind == "time"
            else read_number(names[name], strip=strip and schema[names[name]] == TEXT, marks=marks.get(names[name], ""))
            for name, kind in self.raw.items()
        }
        return rows.select(value.alias(name) for name, value in read.items()) if read else pl.DataFrame()

    def _list_checks(self) -> list[pl.Expr]:
        """List what the raw numbers and times must be; null where one is missing and may not be."""
        checks = []
        for name, kind in self.raw.items():
            column = pl.col(name)
            found = [column.is_between(*YEARS) if kind == "time" else column.cast(F32).is_finite()]
            if limits := self.model.bounds.get(name):
                found.append(column.is_between(*limits))
            missing = column.is_null() | (column.is_nan() if kind == "number" else pl.lit(value=False))
            checks += [check | missing for check in found] if name in self.filled else found
        return checks

    def _fill(
        self, raw: pl.DataFrame, rows: pl.DataFrame, names: dict[str, str]
    ) -> tuple[pl.DataFrame, pl.Series | None]:
        """Make missing numbers null, where they may be; and find the rows where one is wrong instead."""
        spoiled = None
        for name in self.filled.intersection(self.raw):
            if raw[name].null_count():
                column = names[name]
                wrong = raw[name].is_null() & ~rows.select(is_empty(column, rows.schema[column])).to_series()
                spoiled = wrong if spoiled is None else spoiled | wrong
        numbers = [name for name in self.filled if self.kinds[name] == "number"]
        return raw.with_columns(pl.col(name).fill_nan(None) for name in numbers) if numbers else raw, spoiled

    def _find_cells(self, label: Label, rows: pl.DataFrame, names: dict[str, str], raw: pl.DataFrame) -> pl.Series:
        """Find the cells of a category as the source has them, or the numbers that are its labels."""
        if label.is_number:
            return raw.select(express_value(label.node)).to_series()
        return rows[names[label.name]]

    def bind(
        self,
        rows: pl.DataFrame,
        names: Sequence[str],
        marks: Marks,
        *,
        strip: bool,
        known: dict[str, pl.Expr] | None = None,
    ) -> Bound:
        """Bind the model to rows, as `PlainModel.bind` does; what it needs of them is computed at once."""
        prefix = ADDED if known is None else BESIDE
        found = self.read(rows, dict(zip(self.kinds, names, strict=True)), marks, strip=strip)
        columns = {key: pl.col(f"{prefix}{key}") for key in found}
        parts = [self._contribute(term, number, columns) for number, term in enumerate(self.terms)]
        total = respond(self.model, reduce(add, parts, pl.lit(self.model.base)))
        return Bound(
            prediction=pl.when(columns[USABLE]).then(total) if USABLE in found else total,
            extrapolated=self._find_extrapolated(columns),
            counted=columns,
            explain=lambda: (pl.lit(self.model.base), dict(zip(self.model.features, parts, strict=True))),
            added=[column.alias(f"{prefix}{key}") for key, column in found.items()],
            numbers={},
        )

    def _contribute(self, term: Term, number: int, columns: dict[str, pl.Expr]) -> pl.Expr:
        """Express the contribution of a term in float64, in the order of operations of `Term`."""
        value = columns[self.value_keys[term.value]] if term.value else pl.lit(None)
        if term.kind == "category":
            found = columns[f"l{number}"]
        elif term.kind == "slopes":
            found = (value - term.center) * columns[f"l{number}"]
        elif term.kind == "spline":
            found = express_curve(value, term)
        else:
            found = (value - term.center) * term.weight
        return found if term.missing is None else found.fill_null(term.missing)

    def _find_extrapolated(self, columns: dict[str, pl.Expr]) -> pl.Expr:
        """Express whether a number is out of its range, or a level is none that was learned from; not if missing."""
        outside = [
            ~columns[self.raw_keys[name]].cast(F32).is_between(pl.lit(low, F32), pl.lit(high, F32))
            for name, (low, high) in self.model.ranges.items()
            if self.kinds.get(name) == "number"
        ]
        outside += [label.index.is_unseen(columns[self.label_keys[text]]) for text, label in self.labels.items()]
        return pl.any_horizontal(check.fill_null(value=False) for check in outside) if outside else pl.lit(value=False)

    def explain_rejects(
        self, rows: pl.DataFrame, names: Sequence[str], marks: Marks
    ) -> tuple[list[pl.Series], list[Reason]]:
        """Say why rows are rejected, as `PlainModel.explain_rejects` does."""
        schema, at = rows.schema, dict(zip(self.kinds, names, strict=True))
        numbers = {at[name]: self.model.bounds.get(name) for name, kind in self.kinds.items() if kind == "number"}
        reasons = explain_numbers(schema, numbers, marks, {at[name] for name in self.filled})
        for name, kind in self.kinds.items():
            column = at[name]
            if kind == "category" and name not in self.filled:
                reasons.append(explain_null(column, read_label(column, schema[column]), "empty"))
            if kind == "time":
                time = read_time(column, schema[column])
                reasons.append(explain_time(column, time, YEARS[1], filled=name in self.filled))
        found = self.read(rows, at, marks, strip=True)
        for term in self.terms:
            if term.missing is None and term.value and not isinstance(self.values[term.value], Column):
                nothing = pl.col(f"{ADDED}{self.value_keys[term.value]}").is_null()
                reasons.append((term.name, pl.lit(""), pl.when(nothing).then(pl.lit("no finite value"))))
        return [column.alias(f"{ADDED}{key}") for key, column in found.items()], reasons

    def count(self, found: Columns, rows: int) -> dict[str, Any]:
        """Count what the summary says of predicted rows, from the columns that `read` returned for them."""
        return {
            "cells": {term.name: self._count_cells(term, found, rows) for term in self.terms},
            "bins": self._count_bins(found),
            "filled": self._count_filled(found),
            **self._count_unseen(found),
        }

    def _count_cells(self, term: Term, found: Columns, rows: int) -> list[list[float]]:
        """Add up the values of a term, and their squares, by cell; the last cell is that of missing values.

        The cells are levels as the index has them, unseen ones last; or the intervals of a spline, where values count
        from the left knot and are cubed too; or one.
        """
        if not term.value:
            return [
                [count] for count in self.labels[term.label].index.count(found[self.label_keys[term.label]]).tolist()
            ]
        series = found[self.value_keys[term.value]]
        if term.kind == "number":
            single = series.drop_nulls().to_numpy()
            squares = float((single * single).sum())  # A dot product would keep the threads of BLAS waiting.
            return [[len(single), float(single.sum()), squares], [rows - len(single), 0.0, 0.0]]
        values, known = series.to_numpy(), series.is_not_null().to_numpy()
        if term.knots:
            cells, count = np.searchsorted(term.knots, values, side="right"), 1 + len(term.knots)
            values = values - np.array([term.knots[0], *term.knots])[cells]
        else:
            index = self.labels[term.label].index
            cells, count = found[self.label_keys[term.label]].to_numpy().astype(np.intp), index.missing
            known = known & (cells != index.missing)
        if not known.all():
            values, cells = values[known], cells[known]
        powers = [None, values, values**2, *([values**3] if term.knots else [])]
        sums = [np.bincount(cells, of, count).tolist() for of in powers]
        return [*map(list, zip(*sums, strict=True)), [rows - len(cells), *([0.0] * (len(powers) - 1))]]

    def _count_bins(self, found: Columns) -> dict[str, list[int]]:
        """Count raw numbers in the ten bins of the training rows, and labels by the levels of the profile."""
        bins = {}
        for name, kind in self.kinds.items():
            profile = self.model.contract.get(name, {})
            if kind == "number" and profile.get("deciles"):
                values = found[self.raw_keys[name]].drop_nulls().cast(F32).to_numpy()
                bins[name] = count_bins(values, profile["deciles"])
        for text, label in self.labels.items():
            if isinstance(label.node, Column) and "levels" in self.model.contract.get(label.node.name, {}):
                levels = list(self.model.contract[label.node.name]["levels"])
                at = {level: position for position, level in enumerate(levels)}
                into = [at.get(level, len(levels)) for level in label.index.levels] + [len(levels), len(levels) + 1]
                counts = label.index.count(found[self.label_keys[text]])
                bins[label.node.name] = np.bincount(into, counts, len(levels) + 2).astype(int).tolist()[:-1]
        return bins

    def _count_filled(self, found: Columns) -> dict[str, int]:
        """Count the rows in which a column is missing, or in which it is not, but an expression has no value."""
        counts = {name: found[self.raw_keys[name]].null_count() for name in self.raw}
        for text, label in self.labels.items():
            if isinstance(label.node, Column):
                counts[label.node.name] = int((found[self.label_keys[text]] == label.index.missing).sum())
        for term in self.terms:
            if term.value and not isinstance(node := self.values[term.value], Column):
                counts[term.name] = self._count_undefined(found[self.value_keys[term.value]], find_columns(node), found)
        return {name: count for name, count in counts.items() if count}

    def _count_undefined(self, value: pl.Series, columns: list[str], found: Columns) -> int:
        """Count the rows in which the columns of an expression are known, and its value is not."""
        nothing = value.is_null()
        for name in columns if value.null_count() else ():
            nothing = nothing & found[self.raw_keys[name]].is_not_null()
        return int(nothing.sum())

    def _count_unseen(self, found: Columns) -> dict[str, Any]:
        """Count the rows with levels that were not seen in training, and these levels."""
        unseen, rows = {}, pl.Series([False])
        for number, label in enumerate(self.labels.values()):
            cells = found.get(f"u{number}", pl.Series(dtype=TEXT)).alias("cell")
            if cells.null_count() < len(cells):
                rows = rows | cells.is_not_null()
                groups = cells.drop_nulls().to_frame().group_by("cell", maintain_order=True).len("rows")
                labels = groups.select(label.express(cells).str.slice(0, LONGEST_LEVEL), "rows")
                unseen[label.name] = dict[str, int]()
                add_levels(unseen[label.name], labels.iter_rows())
        return {"unseen": unseen, "unseen_rows": int(rows.sum())}


def make_predictor(model: ModelVersion) -> PlainModel | TermModel:
    """Make what predicts rows by a version."""
    return TermModel(model) if model.terms else PlainModel(model)
