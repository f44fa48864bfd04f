"""Enclose the values of an expression where its columns lie in intervals: interval arithmetic.

Source: Moore, Kearfott and Cloud, "Introduction to Interval Analysis" (SIAM, 2009), chapters 2 and 5.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from linear_neuron.tasks.features.expressions import Binary, Call, Column, Negative, Node, Number, TimePart, write

FUNCTIONS: dict[str, tuple[Callable[[float], float], float, float]] = {
    "log": (math.log, 5e-324, math.inf),  # from the least float64 above 0 on
    "log1p": (math.log1p, math.nextafter(-1.0, 0.0), math.inf),
    "sqrt": (math.sqrt, 0.0, math.inf),
    "exp": (math.exp, -math.inf, 709.782712893384),  # of more it overflows
}  # name -> rising function, and between what it has a value


class Enclosure(NamedTuple):
    """All values that an expression may have lie from `low` to `high`; with holes it may also have none."""

    low: float
    high: float
    holes: bool = False


Boxes = Mapping[str, Enclosure | None]  # column, or canonical part of a time -> its values; None: it is null


def enclose(node: Node, boxes: Boxes) -> Enclosure | None:
    """Enclose the values of an expression; None where it has none anywhere."""
    match node:
        case Column(name):
            return boxes[name]
        case TimePart():
            return boxes[write(node)]
        case Number(value):
            return Enclosure(value, value)
        case Negative(of):
            found = enclose(of, boxes)
            return found and Enclosure(-found.high, -found.low, found.holes)
        case Binary(operator, left, right):
            one, other = enclose(left, boxes), enclose(right, boxes)
            return None if one is None or other is None else _combine(operator, one, other)
        case Call(name, arguments):
            enclosed = (enclose(argument, boxes) for argument in arguments)
            values = [found for found in enclosed if found is not None]
            return _call(name, values) if len(values) == len(arguments) else None


def _combine(operator: str, one: Enclosure, other: Enclosure) -> Enclosure | None:
    holes = one.holes or other.holes
    match operator:
        case "+":
            return Enclosure(one.low + other.low, one.high + other.high, holes)
        case "-":
            return Enclosure(one.low - other.high, one.high - other.low, holes)
        case "*":
            return _span([_multiply(a, b) for a in one[:2] for b in other[:2]], holes=holes)
        case "/":
            return _divide(one, other, holes=holes)
    return _raise(one, other, holes=holes)


def _span(values: list[float], *, holes: bool) -> Enclosure:
    return Enclosure(min(values), max(values), holes)


def _multiply(one: float, other: float) -> float:
    return 0.0 if one == 0 or other == 0 else one * other  # also where the other one is infinite


def _divide(one: Enclosure, other: Enclosure, *, holes: bool) -> Enclosure | None:
    if other.low == other.high == 0:
        return None
    if other.low <= 0 <= other.high:
        return Enclosure(-math.inf, math.inf, holes=True)
    return _span([a / b for a in one[:2] for b in other[:2]], holes=holes)


def _power(base: float, exponent: float) -> float:
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf if base > 0 or exponent % 2 == 0 else -math.inf


def _raise(one: Enclosure, other: Enclosure, *, holes: bool) -> Enclosure | None:
    if one.low > 0:
        return _span([_power(a, b) for a in one[:2] for b in other[:2]], holes=holes)
    if other.low != other.high:
        return Enclosure(-math.inf, math.inf, holes=True)
    if other.low < 0:
        below = _raise(one, Enclosure(-other.low, -other.low), holes=holes)
        return below and _divide(Enclosure(1.0, 1.0), below, holes=below.holes)
    return _raise_to(one, other.low, holes=holes)


def _raise_to(one: Enclosure, exponent: float, *, holes: bool) -> Enclosure | None:
    """Raise to a power of 0 or more."""
    if not exponent.is_integer():
        return _apply(lambda base: _power(base, exponent), 0.0, math.inf, one._replace(holes=holes))
    ends = [_power(one.low, exponent), _power(one.high, exponent)]
    return _span([*ends, 0.0] if one.low <= 0 <= one.high and exponent else ends, holes=holes)


def _call(name: str, values: list[Enclosure]) -> Enclosure | None:
    first, holes = values[0], any(value.holes for value in values)
    if name in FUNCTIONS:
        return _apply(*FUNCTIONS[name], first)
    if name == "abs":
        ends = [abs(first.low), abs(first.high)]
        return _span([*ends, 0.0] if first.low <= 0 <= first.high else ends, holes=holes)
    if name == "clip":
        return _choose(min, [_choose(max, values[:2], holes=holes), values[2]], holes=holes)
    return _choose(max if name == "max" else min, values, holes=holes)


def _apply(function: Callable[[float], float], least: float, most: float, values: Enclosure) -> Enclosure | None:
    """Apply a rising function that has a value from `least` to `most`."""
    if values.high < least or values.low > most:
        return None
    holes = values.holes or values.low < least or values.high > most
    return Enclosure(function(max(values.low, least)), function(min(values.high, most)), holes)


def _choose(choose: Callable[[Iterable[float]], float], values: list[Enclosure], *, holes: bool) -> Enclosure:
    return Enclosure(choose(value.low for value in values), choose(value.high for value in values), holes)
