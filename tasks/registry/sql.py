"""A version as one SELECT, for databases that predict where the rows already are."""

from collections.abc import Callable
from functools import reduce
from typing import Literal, NamedTuple

import numpy as np

from tasks.errors import UserError
from tasks.model import ModelVersion
from tasks.parameters.base import read_bounds
from tasks.tables.contract import ADDED

Dialect = Literal["postgres", "duckdb", "sqlite"]
INFINITE = float.fromhex("0x1.ffffffp127")  # the least double that float32 rounds to infinity
LARGEST = float(np.nextafter(INFINITE, 0))
TINY = 2.0**-150  # the greatest double that float32 rounds to zero


class Parts(NamedTuple):
    """What a SELECT is made of."""

    source: str  # all from FROM on
    numbers: list[str]  # the features as doubles
    values: list[str]  # the prediction, and the bounds of its interval


def write_select(model: ModelVersion, dialect: Dialect, table: str = "inputs", percent: int = 90) -> str:
    """Write the SELECT that gives all columns of a table, and those that a batch adds.

    In PostgreSQL and DuckDB the numbers are the float32 of a batch to the bit; SQLite has doubles alone. They are NULL
    in a row that a batch rejects. PostgreSQL refuses a column of text that is no number.

    Args:
        model: The version that predicts.
        dialect: The database that reads it.
        table: Where the features stand, in columns of their names; `schema.table` for one of a schema.
        percent: How many of 100 true values the interval should hold, from 50 to 99.

    Raises:
        UserError: the table has no name.
    """
    if not all(table.split(".")):
        raise UserError(f"There can be no table {table!r}; name it as TABLE or SCHEMA.TABLE.")
    source = f"FROM {'.'.join(map(quote, table.split('.')))} AS t"
    half = model.intervals[str(percent)]
    ends = [f"{sign} {'NULL' if half is None else _single(half)}" for sign in "-+"]
    parts = WRITERS[dialect](model, source, [f"t.{quote(name)}" for name in model.features], ends)
    ranges = zip(parts.numbers, map(model.ranges.__getitem__, model.features), strict=True)
    inside = [_between(number, -_find_greatest(-low), _find_greatest(high)) for number, (low, high) in ranges]
    values = [*parts.values, f"NOT ({' AND '.join(inside)})"]
    lines = ["SELECT t.*", *(f"{value} AS {name}" for value, name in zip(values, ADDED, strict=True))]
    return ",\n  ".join(lines) + f"\n{parts.source}\n"


def quote(name: str) -> str:
    """Write a name so that no character in it means anything; all three databases do it alike."""
    return '"' + name.replace('"', '""') + '"'


def _write_postgres(model: ModelVersion, source: str, columns: list[str], ends: list[str]) -> Parts:
    """Write the parts for PostgreSQL, which raises an error where a float32 overflows or becomes zero.

    So the arithmetic is done in doubles, and each result is rounded. For products and sums of float32 that gives the
    bits of float32 arithmetic, since a double has more than twice the digits.
    """
    source += f"\nCROSS JOIN (SELECT {INFINITE!r}::float8 AS infinite, {TINY!r}::float8 AS tiny) AS f"
    source, numbers = _join(source, "number", [f"CAST({name} AS float8)" for name in columns])
    source, features = _join(source, "feature", [_round(_flush(number)) for number in numbers])
    products = [f"({name} * {_single(weight)})" for name, weight in zip(features, model.weights, strict=True)]
    source, terms = _join(source, "term", [_round(_flush(product)) for product in products])
    total = reduce(lambda before, term: _round(f"{before} + {term}"), [*terms, _single(model.bias)])
    # Without OFFSET, PostgreSQL would put all of it into every place where the name stands, and compute it as often.
    source, [total] = _join(source, "model", [_check_bounds(total, model, numbers)], " OFFSET 0")
    bounds = [f"({total} {end})" for end in ends]
    bounds = [f"CASE WHEN abs({bound}) < f.infinite THEN {bound} ELSE {bound} * 'inf' END" for bound in bounds]
    return Parts(source, numbers, [f"({value})::real" for value in [total, *bounds]])


def _write_duckdb(model: ModelVersion, source: str, columns: list[str], ends: list[str]) -> Parts:
    """Write the parts for DuckDB, whose float32 arithmetic is that of the processor."""
    source, numbers = _join(source, "number", [f"TRY_CAST({name} AS double)" for name in columns])
    pairs = zip(numbers, model.weights, strict=True)
    terms = [f"TRY_CAST({number} AS real) * {_single(weight)}::real" for number, weight in pairs]
    total = _check_bounds(" + ".join([*terms, f"{_single(model.bias)}::real"]), model, numbers)
    source, [total] = _join(source, "model", [total])
    values = [total, *(f"{total} {end}::real" for end in ends)]
    return Parts(source, numbers, [f"CASE WHEN isfinite({total}) THEN {value} END" for value in values])


def _write_sqlite(model: ModelVersion, source: str, columns: list[str], ends: list[str]) -> Parts:
    """Write the parts for SQLite, which takes any text for a number, and can't name a value within a SELECT."""
    numbers = [f"CASE WHEN typeof({name}) IN ('integer', 'real') THEN CAST({name} AS real) END" for name in columns]
    pairs = zip(numbers, model.weights, strict=True)
    total = " + ".join([*(f"{number} * {_single(weight)}" for number, weight in pairs), _single(model.bias)])
    finite = f"nullif(nullif(max(min({total}, {INFINITE!r}), -{INFINITE!r}), -{INFINITE!r}), {INFINITE!r})"
    total = _check_bounds(finite, model, numbers, LARGEST)
    return Parts(source, numbers, [total, *(f"{total} {end}" for end in ends)])


WRITERS: dict[Dialect, Callable[[ModelVersion, str, list[str], list[str]], Parts]] = {
    "postgres": _write_postgres,
    "duckdb": _write_duckdb,
    "sqlite": _write_sqlite,
}


def _join(source: str, alias: str, values: list[str], end: str = "") -> tuple[str, list[str]]:
    """Name values in a subquery, so that they are written once; return all from FROM on, and the names."""
    columns = ",\n  ".join(f"{value} AS v{place}" for place, value in enumerate(values))
    names = [f"{alias}.v{place}" for place in range(len(values))]
    return f"{source}\nCROSS JOIN LATERAL (SELECT\n  {columns}{end}\n) AS {alias}", names


def _flush(value: str) -> str:
    """Put a zero of its sign in the place of a double that becomes zero in float32."""
    return f"{value} * (abs({value}) > f.tiny)::int"


def _round(value: str) -> str:
    """Round a double to float32, and keep it as a double; NULL where that is not finite.

    GREATEST and LEAST pass over NULL, and take NaN for greater than any number.
    """
    within = f"GREATEST(LEAST({value}, f.infinite), -f.infinite)"
    return f"NULLIF(NULLIF({within}, -f.infinite), f.infinite)::real::float8"


def _check_bounds(value: str, model: ModelVersion, numbers: list[str], largest: float = np.inf) -> str:
    """Put NULL in the place of a prediction from numbers that are out of bounds, or above the largest."""
    limits = dict(map(read_bounds, model.dataset.get("bounds", [])))
    checks = []
    for number, name in zip(numbers, model.features, strict=True):
        low, high = limits.get(name, (-np.inf, np.inf))
        if not np.isinf(ends := (max(low, -largest), min(high, largest))).all():
            checks.append(_between(number, *ends))
    return f"CASE WHEN {' AND '.join(checks)} THEN {value} END" if checks else value


def _between(number: str, low: float, high: float) -> str:
    """Compare a number with both ends of a range, or with the one that is finite."""
    if np.isinf(low):
        return f"{number} <= {_write(high)}"
    return f"{number} >= {_write(low)}" if np.isinf(high) else f"{number} BETWEEN {_write(low)} AND {_write(high)}"


def _find_greatest(value: float) -> float:
    """Find the greatest double that float32 rounds to what it rounds a value to."""
    end = np.float32(value)
    middle = (float(end) + float(np.nextafter(end, np.float32(np.inf)))) / 2  # above it float32 rounds up
    return middle if np.float32(middle) == end else float(np.nextafter(middle, -np.inf))


def _single(value: float) -> str:
    """Write a number that is rounded to float32, so that it comes back to the bit."""
    return _write(float(np.float32(value)))


def _write(value: float) -> str:
    """Write a double so that it comes back to the bit; without an exponent DuckDB would take it for a decimal."""
    text = repr(float(value))
    return text if "e" in text else f"{text}e0"
