"""Pairs of random models over the same columns, and random rows within their bounds."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linear_neuron.tasks.features.fitted import predict_frame
from linear_neuron.tasks.features.spline import to_polynomials
from linear_neuron.tasks.model import ModelVersion, Term
from linear_neuron.tasks.registry.worst_case import Point, find_base
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version

RANGES = {"a": (-3.0, 5.0), "b": (0.5, 80.0), "c": (10.0, 11.0)}
LEVELS = {"k": ["x", "y", "z"], "m": ["1", "2"]}
KINDS: dict[str, Any] = {**dict.fromkeys(RANGES, "number"), **dict.fromkeys(LEVELS, "category")}
MONOTONE = ["`a`", "`c`", "log(`b`)"]
OTHERS = ["`a` ** 2", "`a` * `b`", "log(`b`) + `b`", "sqrt(`a`)", "`c` / `a`", "clip(`a`, -1, 1)", "exp(`a`) * `c`"]
NONE = Term(name="", kind="number")


def make_terms(random: np.random.Generator, *, monotone: bool) -> list[Term]:
    """Make terms: each reads columns that no other one does if they are to be monotone."""
    texts = MONOTONE if monotone else [*MONOTONE, *random.choice(OTHERS, 3, replace=False)]
    terms = [
        Term(
            name=text,
            kind="number",
            value=text,
            weight=random.normal(),
            center=random.normal(),
            missing=None if monotone else random.normal(),
        )
        for text in texts
    ]
    terms += [_make_category(random, name, "category", "") for name in LEVELS]
    if not monotone:
        terms.append(_make_category(random, "k", "slopes", "`b`"))
        knots = sorted(random.uniform(-2, 4, 4).tolist())
        curve = to_polynomials(knots, random.normal(size=3).tolist())
        terms.append(Term(name="s", kind="spline", value="`a`", knots=knots, polynomials=curve, missing=0.5))
    return terms


def _make_category(random: np.random.Generator, name: str, kind: Any, value: str) -> Term:
    levels = {level: random.normal() for level in LEVELS[name]}
    return Term(
        name=f"{value}:{name}",
        kind=kind,
        value=value,
        label=f"`{name}`",
        levels=levels,
        rows=dict.fromkeys(levels, 9),
        missing=0.1,
    )


def make_pair(store: Store, seed: int, *, monotone: bool) -> tuple[ModelVersion, ModelVersion]:
    """Make an old and a new model."""
    random = np.random.default_rng(seed)
    state = random.bit_generator.state
    pair = []
    for index in range(2):
        if not monotone:
            random.bit_generator.state = state  # the same expressions, other weights
        terms = make_terms(random, monotone=monotone)
        if index and not monotone:
            terms = [term.model_copy(update={"weight": term.weight + random.normal() / 9}) for term in terms]
        pair.append(
            make_version(
                store,
                f"{seed}-{index}",
                features=[term.name for term in terms],
                terms=terms,
                columns=KINDS,
                ranges=RANGES,
                base=random.normal(),
                arithmetic="float64",
            )
        )
    return pair[0], pair[1]


def draw_rows(random: np.random.Generator, rows: int, *, filled: bool) -> pl.DataFrame:
    """Draw rows within the ranges, some with missing values."""
    columns: dict[str, Any] = {name: random.uniform(*ends, rows) for name, ends in RANGES.items()}
    columns |= {name: random.choice(levels, rows) for name, levels in LEVELS.items()}
    frame = pl.DataFrame(columns)
    holes = {name: pl.Series(random.random(rows) < 0.1) for name in columns} if filled else {}
    return frame.with_columns(pl.when(~hole).then(pl.col(name)).alias(name) for name, hole in holes.items())


def measure_change(old: ModelVersion, new: ModelVersion, frame: pl.DataFrame) -> NDArray[np.float64]:
    """Measure by how much the predictions of rows change; NaN where a model rejects one."""
    predicted = [
        predict_frame(frame, model.all_terms, find_base(model), model.kinds, model.link).astype(np.float64)
        for model in (new, old)
    ]
    return predicted[0] - predicted[1]


def make_row(point: Point) -> pl.DataFrame:
    """Make the row at a point; a column that it does not name is in the middle."""
    middle = {name: sum(ends) / 2 for name, ends in RANGES.items()} | {name: one[0] for name, one in LEVELS.items()}
    schema = {name: pl.Float64 if kind == "number" else pl.String for name, kind in KINDS.items()}
    return pl.DataFrame({name: [value] for name, value in (middle | point).items()}, schema=schema)
