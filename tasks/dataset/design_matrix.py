"""Encode the rows of a split as the design matrix of its terms, and predict rows by the terms made of its weights.

What needs Polars is imported where there are terms: its import takes a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from linear_neuron.tasks.dataset.raw_columns import Integers, RawColumns
from linear_neuron.tasks.dataset.rows import Column, Floats, Predictions, Rows, Split, read_ranges
from linear_neuron.tasks.model import Kind, LinearModel, Link, ModelVersion, Term
from linear_neuron.tasks.storage.files import make_scratch

if TYPE_CHECKING:
    from linear_neuron.tasks.features.design import Design

MOST_EXAMPLES = 12  # levels that a table of predictions shows


def encode(split: Split) -> Split:
    """Return the split with the columns that its entries make; as it is where they are plain columns of numbers.

    The matrix is a scratch file, so that a table of any size is encoded in bounded memory.

    Raises:
        UserError: an entry has no value in rows that must have one, or there are too many levels.
    """
    if split.entries is None or split.raw is None:
        return split
    from linear_neuron.tasks.features.design import learn_design

    raw, rows = split.raw, np.arange(sum(map(len, split.rows.values())))
    kinds = {name: raw.kinds[name] for name in split.entries.kinds}
    design = learn_design(split.entries, kinds, (frame for _, frame in raw.read_blocks(rows, list(kinds))))
    return use_design(split, design)


def use_design(split: Split, design: Design) -> Split:
    """Return the split with the columns of a design."""
    names = design.names
    count = sum(map(len, split.rows.values()))
    folder = make_scratch("design-")
    matrix = np.lib.format.open_memmap(folder / "matrix.npy", "w+", np.float64, (count, len(names)))
    encode_rows(cast(RawColumns, split.raw), np.arange(count), design, into=matrix)

    def take(rows: Rows) -> Rows:
        first = int(rows.number[0]) if len(rows) else 0
        near = len(rows) == 0 or (split.whole is not None and int(rows.number[-1]) - first == len(rows) - 1)
        return replace(rows, x=matrix[first : first + len(rows)] if near else matrix[rows.number])

    return replace(
        split,
        columns=tuple(Column(name, name) for name in names),
        names=names,
        rows={part: take(rows) for part, rows in split.rows.items()},
        recall=None,
        whole=None if split.whole is None else take(split.whole),
        terms=design,
    )


def encode_rows(raw: RawColumns, number: Integers, design: Design, into: Floats | None = None) -> Floats:
    """Return the design matrix of rows, by their indices, which is written a block at a time."""
    matrix = np.empty((len(number), len(design.names))) if into is None else into
    for part, frame in raw.read_blocks(number, design.columns):
        matrix[part] = design.encode(frame)
    return matrix


def decode(split: Split, model: LinearModel, rows: Rows) -> list[Term]:
    """Make the terms of a linear model of the columns of a split, with the levels of the rows that it learned from."""
    if split.terms is None:
        return []
    blocks = cast(RawColumns, split.raw).read_blocks(rows.number, split.terms.columns)
    return split.terms.decode(model, split.terms.count_levels(frame for _, frame in blocks))


def measure_effects(raw: RawColumns, rows: Rows, terms: Sequence[Term], kinds: dict[str, Kind]) -> dict[str, float]:
    """Measure the standard deviation of each term's contribution in rows, with the sign of the weight of a number."""
    from linear_neuron.tasks.features.fitted import contribute

    sums = np.zeros((2, len(terms)))
    for _, frame in raw.read_blocks(rows.number, list(kinds)):
        contributions = contribute(frame, terms, kinds)
        sums += [contributions.sum(axis=0), (contributions**2).sum(axis=0)]
    means, squares = sums / len(rows)
    spreads = np.sqrt(np.maximum(squares - means**2, 0)) * [-1 if term.weight < 0 else 1 for term in terms]
    return dict(zip((term.name for term in terms), spreads.tolist(), strict=True))


def find_mean_contributions(version: ModelVersion, split: Split, rows: Rows) -> dict[str, float]:
    """Find the mean contribution of each term of a version to the predictions of rows of a split.

    A row that the version rejects counts for nothing.
    """
    from linear_neuron.tasks.features.fitted import contribute

    sums, raw, kinds = np.zeros(len(version.all_terms)), cast(RawColumns, split.raw), version.kinds
    count = 0
    for _, frame in raw.read_blocks(rows.number, list(kinds)):
        contributions = contribute(frame, version.all_terms, kinds)
        known = contributions[~np.isnan(contributions).any(axis=1)]
        sums, count = sums + known.sum(axis=0), count + len(known)
    return dict(zip((term.name for term in version.all_terms), (sums / max(count, 1)).tolist(), strict=True))


def find_ranges(raw: RawColumns, number: Integers, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Find the least and the greatest value of columns of numbers in rows, by their indices; none without one."""
    found = {}
    for name in names:
        values = raw.numbers[name][number]
        if not np.isnan(values).all():
            found[name] = float(np.nanmin(values)), float(np.nanmax(values))
    return found


def predict(split: Split, model: LinearModel, rows: Rows) -> Predictions:
    """Predict rows of a split by a linear model of its columns, by the terms that it becomes where there are any."""
    if split.terms is None:
        predicted = np.empty(len(rows), np.float32)
        for part, x in read_ranges(rows.x):
            predicted[part] = model.predict(x)
        return predicted
    terms, raw = split.terms.decode(model), cast(RawColumns, split.raw)
    return predict_rows(raw, rows, terms, model.base, split.terms.kinds, model.link)


def predict_effect(split: Split, model: LinearModel, values: list[float]) -> tuple[str, NDArray[Any], Predictions]:
    """Predict by one term alone, where all others contribute nothing: the first number or curve, else the first levels.

    Returns:
        What it reads, as text; values of that, shape (n, 1), without any given five even steps over the train rows,
        or the levels; and the predictions, shape (n,).
    """
    from linear_neuron.tasks.features.expressions import Column, parse, write
    from linear_neuron.tasks.features.fitted import contribute, express_value

    design, raw = cast("Design", split.terms), cast(RawColumns, split.raw)
    terms = design.decode(model)
    order = ("number", "spline", "category", "slopes")
    term = min(terms, key=lambda one: max(1, order.index(one.kind)))  # the first of those that are alike
    if not term.value:
        levels = list(term.levels)[:MOST_EXAMPLES]
        sums = model.base + np.array([term.levels[level] for level in levels])
        return term.name, np.array(levels, object)[:, None], model.respond(sums).astype(np.float32)
    node = parse(term.value)
    name = node.name if isinstance(node, Column) else write(node)
    if not values:
        blocks = (frame for _, frame in raw.read_blocks(split.train.number, design.columns))
        known = (frame.select(value=express_value(node))["value"].drop_nulls() for frame in blocks)
        ends = [float(end) for block in known if len(block) for end in (block.min(), block.max())]  # type: ignore[arg-type]
        values = np.linspace(min(ends), max(ends), 5).tolist()
    changes: dict[str, Any] = {"value": write(Column("value"))}
    if term.kind == "slopes":
        changes |= {"kind": "number", "label": "", "weight": float(np.mean(list(term.levels.values())))}
    frame = RawColumns({"value": np.array(values, float)}).read(slice(None), ["value"])
    added = contribute(frame, [term.model_copy(update=changes)], {"value": "number"})
    return name, np.array(values)[:, None], model.respond(model.base + added[:, 0]).astype(np.float32)


def predict_rows(
    raw: RawColumns, rows: Rows, terms: Sequence[Term], base: float, kinds: dict[str, Kind], link: Link
) -> Predictions:
    """Predict rows by fitted terms; NaN where a row is rejected for one."""
    from linear_neuron.tasks.features.fitted import predict_frame

    predicted = np.empty(len(rows), np.float32)
    for part, frame in raw.read_blocks(rows.number, list(kinds)):
        predicted[part] = predict_frame(frame, terms, base, kinds, link)
    return predicted


def predict_by(version: ModelVersion, split: Split, rows: Rows, *, candidate: bool = True) -> Predictions:
    """Predict rows of a split by a version; NaN where it rejects one.

    Args:
        version: any that reads columns of the split's dataset.
        split: encoded or not.
        rows: of the split, as they are in its parts.
        candidate: whether by the candidate, which has not learned from the test rows, or by the model that serves.
    """
    model = version.candidate_model if candidate else version.linear_model
    if version.terms:
        terms = version.candidate_terms if candidate else version.terms
        return predict_rows(cast(RawColumns, split.raw), rows, terms, model.base, version.kinds, version.link)
    if split.terms is None:
        return model.predict(split.pick(rows, version.features).x)
    numbers = cast(RawColumns, split.raw).numbers
    return model.predict(np.column_stack([numbers[name][rows.number] for name in version.features]))
