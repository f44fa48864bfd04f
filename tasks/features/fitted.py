"""Predict by fitted terms: the contribution of each, as Polars expressions of the columns of a table."""

from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linear_neuron.tasks.features.entries import Entries
from linear_neuron.tasks.features.expressions import Column, Node, TimePart, parse
from linear_neuron.tasks.features.polars_terms import to_polars
from linear_neuron.tasks.features.simplify import measure, simplify
from linear_neuron.tasks.model import Kind, Link, Term
from linear_neuron.tasks.tables.cleaning import spell_number

GREATEST = float(np.finfo(np.float32).max)
Kinds = dict[str, Kind]


def express_value(node: Node) -> pl.Expr:
    """Express the value of a term as float64; null where it has none, or one beyond the greatest float32."""
    value = to_polars(node, pl.col)
    bounded = isinstance(node, Column) or measure(simplify(node)).most <= GREATEST
    return value if bounded else pl.when(value.abs() <= GREATEST).then(value)


def express_terms(entries: Entries) -> dict[str, pl.Expr]:
    """Express the values that a row must have to be learned from: those of expressions, by their text."""
    return {one.text: express_value(one.value) for one in entries.entries if one.value and not one.is_column}


def express_label(node: Column | TimePart, kinds: Kinds) -> pl.Expr:
    """Express the label of a term as text; numbers and parts of times are written as whole numbers where whole."""
    if isinstance(node, Column) and kinds[node.name] == "category":
        return pl.col(node.name)
    return spell_number(express_value(node))


def parse_label(text: str) -> Column | TimePart:
    """Parse the canonical text of labels."""
    node = parse(text)
    if not isinstance(node, Column | TimePart):
        raise TypeError(f"{text} has no labels")
    return node


def express_contribution(term: Term, kinds: Kinds) -> pl.Expr:
    """Express the contribution of a term in float64; null where the row is rejected for it."""
    if term.kind == "category":
        found = _look_up(express_label(parse_label(term.label), kinds), term)
    elif term.kind == "slopes":
        slope = _look_up(express_label(parse_label(term.label), kinds), term)
        found = (express_value(parse(term.value)) - term.center) * slope
    elif term.kind == "spline":
        found = express_curve(express_value(parse(term.value)), term)
    else:
        found = (express_value(parse(term.value)) - term.center) * term.weight
    return found if term.missing is None else found.fill_null(term.missing)


def _look_up(label: pl.Expr, term: Term) -> pl.Expr:
    """Look up what a level has; null where the label is."""
    levels = pl.Series(list(term.levels), dtype=pl.String)
    values = pl.Series(list(term.levels.values()), dtype=pl.Float64)
    found = label.replace_strict(levels, values, default=term.other, return_dtype=pl.Float64)
    return pl.when(label.is_not_null()).then(found)


def express_curve(value: pl.Expr, term: Term) -> pl.Expr:
    """Express the polynomial of a value's interval by Horner's rule; a knot belongs to the interval on its right."""
    starts = [term.knots[0], *term.knots]
    curves = [_express_polynomial(value - start, curve) for start, curve in zip(starts, term.polynomials, strict=True)]
    found = curves[-1]
    for knot, curve in zip(reversed(term.knots), reversed(curves[:-1]), strict=True):
        found = pl.when(value < knot).then(curve).otherwise(found)
    return found


def _express_polynomial(t: pl.Expr, coefficients: Sequence[float]) -> pl.Expr:
    a0, a1, a2, a3 = coefficients
    return ((a3 * t + a2) * t + a1) * t + a0


def express_prediction(terms: Sequence[Term], base: float, kinds: Kinds, link: Link = "identity") -> pl.Expr:
    """Express the prediction: base and contributions, summed in float64 from the left, rounded to float32 once.

    With the link `log` it is the exponential of the sum.
    """
    total = reduce(add, (express_contribution(term, kinds) for term in terms), pl.lit(base))
    return (total.exp() if link == "log" else total).cast(pl.Float32)


def predict_frame(
    frame: pl.DataFrame, terms: Sequence[Term], base: float, kinds: Kinds, link: Link = "identity"
) -> NDArray[np.float32]:
    """Predict rows whose columns are as RawColumns.read returns them, shape (n,); NaN where a row is rejected."""
    found = frame.select(express_prediction(terms, base, kinds, link)).to_series()
    return found.fill_null(np.nan).to_numpy()


def contribute(frame: pl.DataFrame, terms: Sequence[Term], kinds: Kinds) -> NDArray[np.float64]:
    """Return the contributions of the terms to the predictions of rows, shape (n, terms); NaN where one is rejected."""
    found = frame.select(express_contribution(term, kinds).alias(str(index)) for index, term in enumerate(terms))
    return found.fill_null(np.nan).to_numpy().reshape(frame.height, len(terms))
