"""A version as one SELECT, for databases that predict where the rows already are."""

from collections.abc import Callable
from functools import reduce

import numpy as np

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.sql_terms import Dialect, write_double
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.scoring.sql_model import find_functions, write_terms
from linear_neuron.tasks.scoring.sql_text import (
    LARGEST,
    LOST,
    Ends,
    Parts,
    add_floats,
    between,
    clip_sqlite,
    end_duckdb,
    end_postgres,
    find_greatest,
    flush,
    join,
    quote,
    read_duckdb,
    read_sqlite,
    respond,
    round_single,
    single,
)
from linear_neuron.tasks.tables.columns import ADDED

EXACT = 2.0**24  # up to it float32 has every integer


def write_select(model: ModelVersion, dialect: Dialect, table: str = "inputs", percent: int = 90) -> str:
    """Write the SELECT that gives all columns of a table, and those that a batch adds.

    In PostgreSQL and DuckDB the numbers are the float32 of a batch bit for bit, but for exponentials, logarithms and
    powers, which differ by up to 1e-6 of their value; a comment names those that are used. SQLite has doubles alone, so
    they differ by the rounding of float32, about 1e-7 of the terms. They are NULL in a row that a batch rejects.
    PostgreSQL refuses a column of text that is no number, or no time.

    Args:
        model: The version that predicts.
        dialect: The database that reads it.
        table: The table with the columns that the version reads, by their names; `schema.table` for one of a schema.
        percent: How many of 100 actual values the interval should hold, from 50 to 99.

    Raises:
        UserError: the table has no name, or SQLite would differ by more than a trace.
    """
    if not all(table.split(".")):
        raise UserError(f"There can be no table {table!r}; name it as TABLE or SCHEMA.TABLE.")
    source = f"FROM {'.'.join(map(quote, table.split('.')))} AS t"
    ends = Ends(model, percent)
    if model.terms:
        parts = write_terms(model, source, ends, dialect)
    else:
        parts = WRITERS[dialect](model, source, [f"t.{quote(name)}" for name in model.features], ends)
    lines = zip([*parts.values, parts.extrapolated], ADDED, strict=True)
    select = ",\n  ".join(["SELECT t.*", *(f"{value} AS {name}" for value, name in lines)])
    return f"{_remark(model)}{select}\n{parts.source}\n"


def _remark(model: ModelVersion) -> str:
    """Write a comment that names the functions whose last digits differ from those of a batch."""
    functions = find_functions(model)
    return f"-- {', '.join(functions)}: within a millionth of what predict computes\n" if functions else ""


def _find_outside(model: ModelVersion, numbers: list[str]) -> str:
    """Write whether a number is outside of its range, which float32 has rounded."""
    ranges = zip(numbers, map(model.ranges.__getitem__, model.features), strict=True)
    inside = [between(number, -find_greatest(-low), find_greatest(high)) for number, (low, high) in ranges]
    return f"NOT ({' AND '.join(inside)})"


def _write_postgres(model: ModelVersion, source: str, columns: list[str], ends: Ends) -> Parts:
    """Write the parts for PostgreSQL, which raises an error where a float32 overflows or becomes zero.

    So the arithmetic is done in doubles, and each result is rounded. For products and sums of float32 that gives the
    bits of float32 arithmetic, since a double has more than twice the digits.
    """
    source, numbers = join(add_floats(source), "number", [f"CAST({name} AS float8)" for name in columns])
    if model.arithmetic == "float64":
        valid = [
            f"CASE WHEN abs({name}) < f.infinite THEN {name} * (abs({name}) > {LOST!r})::int END" for name in numbers
        ]
        source, features = join(source, "feature", valid)
        source, [total] = join(source, "total", [_add_up(model, features, "postgres")])
        total = round_single(flush(total))
    else:
        source, features = join(source, "feature", [round_single(flush(number)) for number in numbers])
        products = [f"({name} * {single(weight)})" for name, weight in zip(features, model.weights, strict=True)]
        source, terms = join(source, "term", [round_single(flush(product)) for product in products])
        total = reduce(lambda before, term: round_single(f"{before} + {term}"), [*terms, single(model.bias)])
    source, values = end_postgres(source, _check_bounds(total, model, numbers), ends)
    return Parts(source, values, _find_outside(model, numbers))


def _write_duckdb(model: ModelVersion, source: str, columns: list[str], ends: Ends) -> Parts:
    """Write the parts for DuckDB, whose float32 arithmetic is that of the processor."""
    source, numbers = join(source, "number", list(map(read_duckdb, columns)))
    if model.arithmetic == "float64":
        valid = [f"CASE WHEN isfinite(TRY_CAST({name} AS real)) THEN {name} END" for name in numbers]
        source, features = join(source, "feature", valid)
        total = f"TRY_CAST({_add_up(model, features, 'duckdb')} AS real)"
    else:
        pairs = zip(numbers, model.weights, strict=True)
        terms = [f"TRY_CAST({number} AS real) * {single(weight)}::real" for number, weight in pairs]
        total = " + ".join([*terms, f"{single(model.bias)}::real"])
    source, values = end_duckdb(source, _check_bounds(total, model, numbers), ends)
    return Parts(source, values, _find_outside(model, numbers))


def _write_sqlite(model: ModelVersion, source: str, columns: list[str], ends: Ends) -> Parts:
    """Write the parts for SQLite, which takes any text for a number, and can't name a value within a SELECT.

    Raises:
        UserError: the version's features are rounded to float32, and one is so large that this is more than a trace.
    """
    large = [name for name in model.features if max(map(abs, model.ranges[name])) > EXACT]
    if large and model.arithmetic != "float64":
        raise UserError(
            f"SQLite has no float32, to which {model.version} rounds {large[0]}, of up to "
            f"{max(map(abs, model.ranges[large[0]])):.4g}; use PostgreSQL or DuckDB, or retrain, since newer versions "
            "do not round features."
        )
    numbers = list(map(read_sqlite, columns))
    if model.arithmetic == "float64":
        total = _add_up(model, numbers, "sqlite")
    else:
        pairs = zip(numbers, model.weights, strict=True)
        total = " + ".join([*(f"{number} * {single(weight)}" for number, weight in pairs), single(model.bias)])
    total = _check_bounds(clip_sqlite(total), model, numbers, LARGEST)
    return Parts(source, [total, *ends.write(total)], _find_outside(model, numbers))


def _add_up(model: ModelVersion, numbers: list[str], dialect: Dialect) -> str:
    """Write the sum in doubles of centered numbers, in the order in which a batch adds them; or its exponential."""
    parts = zip(numbers, model.weights, model.centers, strict=True)
    terms = [f"({number} - {write_double(center)}) * {write_double(weight)}" for number, weight, center in parts]
    return respond(model, "(" + " + ".join([write_double(model.base), *terms]) + ")", dialect)


WRITERS: dict[Dialect, Callable[[ModelVersion, str, list[str], Ends], Parts]] = {
    "postgres": _write_postgres,
    "duckdb": _write_duckdb,
    "sqlite": _write_sqlite,
}


def _check_bounds(value: str, model: ModelVersion, numbers: list[str], largest: float = np.inf) -> str:
    """Replace a prediction from numbers that are out of bounds, or above the largest, by NULL."""
    checks = []
    for number, name in zip(numbers, model.features, strict=True):
        low, high = model.bounds.get(name, (-np.inf, np.inf))
        if not np.isinf(ends := (max(low, -largest), min(high, largest))).all():
            checks.append(between(number, *ends))
    return f"CASE WHEN {' AND '.join(checks)} THEN {value} END" if checks else value
