"""Write an expression for Polars."""

from collections.abc import Callable
from functools import reduce
from math import isinf
from operator import add, mul, sub

import polars as pl

from linear_neuron.tasks.features.expressions import Binary, Call, Column, Negative, Node, Number, Part, TimePart
from linear_neuron.tasks.features.simplify import measure, simplify

Read = Callable[[str], pl.Expr]
OPERATORS: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {"+": add, "-": sub, "*": mul, "**": pl.Expr.pow}
DAY = 86_400e6  # in microseconds
PARTS: dict[Part, Callable[[pl.Expr], pl.Expr]] = {
    "year": lambda time: time.dt.year(),
    "quarter": lambda time: time.dt.quarter(),
    "month": lambda time: time.dt.month(),
    "weekday": lambda time: time.dt.weekday(),
    "day": lambda time: time.dt.day(),
    "day_of_year": lambda time: time.dt.ordinal_day(),
    "hour": lambda time: time.dt.hour(),
}


def to_polars(node: Node, read: Read) -> pl.Expr:
    """Express the values of a node as float64.

    A value is null where a column is null, and where there is no finite number: the logarithm of what is not positive,
    the root of a negative number, a division by zero, an overflow, also within the expression.

    Args:
        node: the expression.
        read: a column's name -> its values: finite float64 of at most the greatest float32, or null; of a time the
            microseconds since 1970 in UTC, as Int64.
    """
    return _write(simplify(node), read)


def _write(node: Node, read: Read) -> pl.Expr:
    match node:
        case Column(name):
            return read(name)
        case Number(value):
            return pl.lit(value, pl.Float64)
        case Negative(of):
            return -_write(of, read)
        case Binary(operator, left, right):
            one, other = _write(left, read), _write(right, read)
            result = _divide(one, other) if operator == "/" else OPERATORS[operator](one, other)
            return _keep_finite(result) if operator in ("/", "**") or isinf(measure(node).most) else result
        case Call(name, arguments):
            return _call(node, name, [_write(argument, read) for argument in arguments])
        case TimePart(part, column):
            return express_part(part, read(column.name))


def express_part(part: Part, microseconds: pl.Expr) -> pl.Expr:
    """Express a part of times, given as microseconds since 1970 in UTC, as float64."""
    if part == "days":
        return _divide(microseconds.cast(pl.Float64), pl.lit(DAY))
    return PARTS[part](microseconds.cast(pl.Datetime("us"))).cast(pl.Float64)


def _call(node: Call, name: str, values: list[pl.Expr]) -> pl.Expr:
    """Express a function; min and max are null where one of their values is."""
    first = values[0]
    if name == "log":
        return pl.when(first > 0).then(first.log())
    if name == "log1p":
        return pl.when(first > -1).then(first.log1p())
    if name == "sqrt":
        return pl.when(first >= 0).then(first.sqrt())
    if name == "exp":
        return _keep_finite(first.exp())
    if name == "abs":
        return first.abs()
    known = [
        value.is_not_null() for value, of in zip(values, node.arguments, strict=True) if not isinstance(of, Number)
    ]
    found = pl.max_horizontal(values) if name == "max" else pl.min_horizontal(values)
    return pl.when(reduce(lambda one, other: one & other, known)).then(found) if known else found


def _divide(left: pl.Expr, right: pl.Expr) -> pl.Expr:
    """Divide with the bits of a division: by a single number Polars would multiply with its rounded inverse."""
    return left / (left * 0.0 + right)


def _keep_finite(value: pl.Expr) -> pl.Expr:
    return pl.when(value.is_finite()).then(value)
