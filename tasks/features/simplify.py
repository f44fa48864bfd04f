"""Rewrite an expression into what all engines compute alike, and find how great and how small its values can be."""

import math
from typing import NamedTuple

from linear_neuron.tasks.features.expressions import Binary, Call, Column, Negative, Node, Number, TimePart

LARGEST = 1.7976931348623157e308  # the greatest double
SMALLEST = 5e-324  # the least double above zero
POWERS = (2.0, 3.0, 4.0)  # exponents of a column that are written as products, whose bits are the same everywhere
APART = 2.0**-53  # a difference of two doubles is 0, or at least this part of the smaller one


class Magnitudes(NamedTuple):
    """Between what the absolute values of an expression lie where they are not zero."""

    least: float
    most: float


FLOATS = Magnitudes(SMALLEST, 3.4028235677973362e38)  # of a column: what float32 has as a finite number


def simplify(node: Node) -> Node:
    """Write `clip` as `min` and `max`, and small powers of a column as products."""
    match node:
        case Negative(of):
            return Negative(simplify(of))
        case Binary("**", Column() as base, Number(power)) if power in POWERS:
            product: Node = base
            for _ in range(int(power) - 1):
                product = Binary("*", product, base)
            return product
        case Binary(operator, left, right):
            return Binary(operator, simplify(left), simplify(right))
        case Call("clip", (value, low, high)):
            return Call("min", (Call("max", (simplify(value), simplify(low))), simplify(high)))
        case Call(name, arguments):
            return Call(name, tuple(map(simplify, arguments)))
    return node


def measure(node: Node, columns: Magnitudes = FLOATS) -> Magnitudes:
    """Find between what the values of a simplified expression lie; `most` is infinite where they may overflow."""
    match node:
        case Number(value):
            return Magnitudes(abs(value) or 1.0, abs(value) or 1.0)
        case TimePart():
            return Magnitudes(1e-11, 1e7)
        case Negative(of):
            return measure(of, columns)
        case Binary(operator, left, right):
            return _measure_binary(operator, measure(left, columns), measure(right, columns), right)
        case Call(name, arguments):
            return _measure_call(name, [measure(argument, columns) for argument in arguments])
    return columns


def _measure_binary(operator: str, left: Magnitudes, right: Magnitudes, exponent: Node) -> Magnitudes:
    if operator == "*":
        return Magnitudes(left.least * right.least, left.most * right.most)
    if operator == "/":
        most = left.most / right.least if right.least else math.inf
        return Magnitudes(left.least / right.most, most)
    if operator == "**":
        return _measure_power(left, exponent)
    return Magnitudes(max(min(left.least, right.least) * APART, SMALLEST), left.most + right.most)


def _measure_power(base: Magnitudes, exponent: Node) -> Magnitudes:
    match exponent:
        case Number(value):
            power = value
        case Negative(Number(value)):
            power = -value
        case _:
            return Magnitudes(0.0, math.inf)
    ends = [_exp(power * math.log(end)) if 0 < end < math.inf else math.inf for end in base]
    return Magnitudes(min(ends), max(ends))


def _measure_call(name: str, arguments: list[Magnitudes]) -> Magnitudes:
    first = arguments[0]
    if name in ("log", "log1p"):
        return Magnitudes(min(1e-17, first.least / 2), 746.0)
    if name == "exp":
        return Magnitudes(_exp(-first.most), _exp(first.most))
    if name == "sqrt":
        return Magnitudes(math.sqrt(first.least), math.sqrt(first.most))
    return Magnitudes(min(item.least for item in arguments), max(item.most for item in arguments))


def _exp(value: float) -> float:
    """Compute the exponential function, infinite where it overflows."""
    return math.exp(value) if value < 709.78 else math.inf


def find_inexact(node: Node) -> list[str]:
    """Find the functions of an expression whose last digits differ between engines, by up to a millionth.

    What is left gives the same bits everywhere: + - * /, sqrt, abs, min, max, clip, parts of times and the squares,
    cubes and fourth powers of a column.
    """
    return sorted(set(_list_inexact(simplify(node))))


def _list_inexact(node: Node) -> list[str]:
    match node:
        case Negative(of):
            return _list_inexact(of)
        case Binary(operator, left, right):
            return [*(["**"] if operator == "**" else []), *_list_inexact(left), *_list_inexact(right)]
        case Call(name, arguments):
            inner = [found for argument in arguments for found in _list_inexact(argument)]
            return [*([name] if name in ("log", "log1p", "exp") else []), *inner]
    return []
