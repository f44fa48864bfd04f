"""What the terms of two models together add to the change of a prediction, where columns lie in intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from linear_neuron.tasks.features.enclosure import Boxes, Enclosure, enclose
from linear_neuron.tasks.features.expressions import Column, Node, TimePart, parse, write
from linear_neuron.tasks.model import Term

GREATEST = 3.4028234663852886e38  # the greatest float32: beyond it a value is none
LEVEL = "\0"  # after the name of a column that is read as labels


@dataclass
class Group:
    """All terms of both models with the same value and the same label, as a function of these."""

    value: Node | None
    label: str
    terms: list[tuple[int, Term]] = field(default_factory=list)  # 1 for the new model, -1 for the old one

    def find_columns(self) -> list[str]:
        """Find what it reads: columns, and parts of times."""
        return [*(find_inputs(self.value) if self.value else []), *([self.label] if self.label else [])]

    def enclose(self, boxes: Boxes, levels: Mapping[str, str | None]) -> tuple[float, float] | None:
        """Enclose what the group adds to the change; None where a model predicts no row."""
        level = levels[self.label] if self.label else ""
        found = _clamp(enclose(self.value, boxes)) if self.value else Enclosure(0.0, 0.0)
        ends = self._trace(found, level) if found and level is not None else []
        if found is None or level is None or found.holes:
            ends += self._fill()
        return (min(ends), max(ends)) if ends else None

    def _fill(self) -> list[float]:
        """List what a missing value adds; nothing where a model rejects it."""
        if any(term.missing is None for _, term in self.terms):
            return []
        return [sum(sign * (term.missing or 0.0) for sign, term in self.terms)]

    def _trace(self, found: Enclosure, level: str) -> list[float]:
        """List the extreme values over an interval: at its ends, at knots, and where the slope of a cubic is 0."""
        lines = [_find_line(term, level) for _, term in self.terms]
        slope = sum(sign * line[0] for (sign, _), line in zip(self.terms, lines, strict=True))
        constant = sum(sign * line[1] for (sign, _), line in zip(self.terms, lines, strict=True))
        curves = [(sign, term) for sign, term in self.terms if term.kind == "spline"]
        knots = sorted({knot for _, term in curves for knot in term.knots if found.low < knot < found.high})
        ends = [found.low, *knots, found.high]
        flat = [x for pair in pairwise(ends) for x in _find_flat(curves, slope, *pair)] if curves else []
        return [slope * x + constant + _evaluate(curves, x) for x in (*ends, *flat)]


def _clamp(found: Enclosure | None) -> Enclosure | None:
    """Cut off values beyond the greatest float32, which count as none."""
    if found is None or found.low > GREATEST or found.high < -GREATEST:
        return None
    if found.low >= -GREATEST and found.high <= GREATEST:
        return found
    return Enclosure(max(found.low, -GREATEST), min(found.high, GREATEST), holes=True)


def _find_line(term: Term, level: str) -> tuple[float, float]:
    """Find slope and constant of a term that is a line for a level; both 0 for a spline."""
    if term.kind == "spline":
        return 0.0, 0.0
    if term.kind == "category":
        return 0.0, term.levels.get(level, term.other)
    weight = term.weight if term.kind == "number" else term.levels.get(level, term.other)
    return weight, -weight * term.center


def _find_piece(term: Term, value: float) -> tuple[float, list[float]]:
    """Find the polynomial of a spline at a value, and where it starts; a knot belongs to the interval on its right."""
    index = sum(knot <= value for knot in term.knots)
    return [term.knots[0], *term.knots][index], term.polynomials[index]


def _evaluate(curves: Sequence[tuple[int, Term]], value: float) -> float:
    total = 0.0
    for sign, term in curves:
        start, (a0, a1, a2, a3) = _find_piece(term, value)
        t = value - start
        total += sign * (((a3 * t + a2) * t + a1) * t + a0)
    return total


def _find_flat(curves: Sequence[tuple[int, Term]], slope: float, left: float, right: float) -> list[float]:
    """Find where the sum of cubics and a line is flat, between two neighboring knots."""
    a, b, c = 0.0, 0.0, slope  # of the derivative, a quadratic in u = value - left
    for sign, term in curves:
        start, (_, a1, a2, a3) = _find_piece(term, (left + right) / 2)
        t = left - start
        a += sign * 3 * a3
        b += sign * (2 * a2 + 6 * a3 * t)
        c += sign * (a1 + 2 * a2 * t + 3 * a3 * t * t)
    if a == 0:
        roots = [-c / b] if b else []
    else:
        square = b * b - 4 * a * c
        roots = [(-b + side * math.sqrt(square)) / (2 * a) for side in (1, -1)] if square >= 0 else []
    return [left + root for root in roots if 0 < root < right - left]


def find_inputs(node: Node) -> list[str]:
    """Find the columns and the parts of times that an expression reads."""
    if isinstance(node, Column):
        return [node.name]
    if isinstance(node, TimePart):
        return [write(node)]
    children = [getattr(node, name) for name in ("of", "left", "right") if hasattr(node, name)]
    children += list(getattr(node, "arguments", ()))
    return list(dict.fromkeys(name for child in children for name in find_inputs(child)))


def _name_label(text: str) -> str:
    node = parse(text)
    return (node.name if isinstance(node, Column) else text) + LEVEL


def collect_groups(old: Sequence[Term], new: Sequence[Term]) -> list[Group]:
    """Collect the terms of two models by what they read."""
    found: dict[tuple[str, str], Group] = {}
    for sign, terms in ((-1, old), (1, new)):
        for term in terms:
            label = _name_label(term.label) if term.label else ""
            key = (term.value, label)
            group = found.setdefault(key, Group(parse(term.value) if term.value else None, label))
            group.terms.append((sign, term))
    return list(found.values())
