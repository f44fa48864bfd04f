"""What SELECTs of versions are made of: names, numbers, texts, subqueries and the interval."""

from typing import NamedTuple

import numpy as np

from linear_neuron.tasks.features.sql_terms import Dialect, write_double
from linear_neuron.tasks.model import ModelVersion

INFINITE = float.fromhex("0x1.ffffffp127")  # the least double that float32 rounds to infinity
LARGEST = float(np.nextafter(INFINITE, 0))
TINY = 2.0**-150  # the greatest double that float32 rounds to zero
LOST = 1e-200  # below it a value adds nothing, but PostgreSQL raises an error where its product becomes zero
HIGHEST, LOWEST = 89.0, -110.0  # their exponentials are infinite and zero in float32, and are no error in a database


class Parts(NamedTuple):
    """What a SELECT is made of."""

    source: str  # all from FROM on
    values: list[str]  # the prediction, and the bounds of its interval
    extrapolated: str  # whether a value is outside of what was learned from


class Ends:
    """The two bounds of the interval, as what is added to the prediction."""

    def __init__(self, model: ModelVersion, percent: int) -> None:
        half, bins = model.intervals[str(percent)], model.interval_bins
        self._edges = bins.edges if bins else []
        self._errors = [bins.lower[str(percent)], bins.upper[str(percent)]] if bins else [[half], [half]]
        self._signs = "++" if bins else "-+"
        self._floor = bins.floor if bins else None

    def write(self, total: str, kind: str = "") -> list[str]:
        """Write both bounds of a prediction, whose name is given; the errors are cast to a kind of number."""
        errors = [self._write_error(total, errors) for errors in self._errors]
        bounds = [f"({total} {sign} {error}{kind})" for sign, error in zip(self._signs, errors, strict=True)]
        if self._floor is None:
            return bounds
        floor = f"{single(self._floor)}{kind}"
        return [f"(CASE WHEN {bound} < {floor} THEN {floor} ELSE {bound} END)" for bound in bounds]

    def _write_error(self, total: str, errors: list[float | None]) -> str:
        """Write the error of the bin in which a prediction is; NULL where there were too few rows."""
        texts = ["NULL" if error is None else single(error) for error in errors]
        if len(set(texts)) == 1:
            return texts[0]
        pairs = zip(reversed(self._edges), reversed(texts[1:]), strict=True)
        cases = " ".join(f"WHEN {total} >= {single(edge)} THEN {text}" for edge, text in pairs)
        return f"(CASE {cases} ELSE {texts[0]} END)"


def quote(name: str) -> str:
    """Write a name so that no character in it means anything; all three databases do it alike."""
    return '"' + name.replace('"', '""') + '"'


def join(source: str, alias: str, values: list[str], end: str = "") -> tuple[str, list[str]]:
    """Name values in a subquery, so that they are written once; return all from FROM on, and the names."""
    columns = ",\n  ".join(f"{value} AS v{index}" for index, value in enumerate(values))
    names = [f"{alias}.v{index}" for index in range(len(values))]
    return f"{source}\nCROSS JOIN LATERAL (SELECT\n  {columns}{end}\n) AS {alias}", names


def flush(value: str) -> str:
    """Replace a double that becomes zero in float32 by a zero of its sign."""
    return f"{value} * (abs({value}) > f.tiny)::int"


def round_single(value: str) -> str:
    """Round a double to float32, and keep it as a double; NULL where that is not finite.

    GREATEST and LEAST pass over NULL, and take NaN for greater than any number.
    """
    within = f"GREATEST(LEAST({value}, f.infinite), -f.infinite)"
    return f"NULLIF(NULLIF({within}, -f.infinite), f.infinite)::real::float8"


def between(number: str, low: float, high: float) -> str:
    """Compare a number with both ends of a range, or with the one that is finite."""
    if np.isinf(low):
        return f"{number} <= {write_double(high)}"
    return (
        f"{number} >= {write_double(low)}"
        if np.isinf(high)
        else f"{number} BETWEEN {write_double(low)} AND {write_double(high)}"
    )


def find_greatest(value: float) -> float:
    """Find the greatest double that float32 rounds to what it rounds a value to."""
    end = np.float32(value)
    middle = (float(end) + float(np.nextafter(end, np.float32(np.inf)))) / 2  # above it float32 rounds up
    return middle if np.float32(middle) == end else float(np.nextafter(middle, -np.inf))


def single(value: float) -> str:
    """Write a number that is rounded to float32, so that it is read bit for bit."""
    return write_double(float(np.float32(value)))


def quote_text(text: str, dialect: Dialect) -> str:
    """Write a text as a constant, in which no character means anything, whatever a database is set to.

    A NUL is put between parts, since it would end the statement. PostgreSQL has none in any text, and gets NULL.
    """
    if dialect == "postgres":
        escaped = text.replace("\\", "\\\\").replace("'", "''")
        return "NULL" if "\0" in text else f"E'{escaped}'"
    nul = {"duckdb": " || chr(0) || ", "sqlite": " || char(0) || "}[dialect]
    parts = ["'" + part.replace("'", "''") + "'" for part in text.split("\0")]
    return parts[0] if len(parts) == 1 else f"({nul.join(parts)})"


def respond(model: ModelVersion, total: str, dialect: Dialect) -> str:
    """Write what a sum of the terms predicts; a NULL may become a number that float32 does not have."""
    low, high = ("max", "min") if dialect == "sqlite" else ("GREATEST", "LEAST")
    return f"exp({low}({high}({total}, {HIGHEST!r}), {LOWEST!r}))" if model.link == "log" else total


def end_postgres(source: str, total: str, ends: Ends) -> tuple[str, list[str]]:
    """Name a prediction, a double with the value of a float32, and write it and its interval; return all from FROM on.

    Without OFFSET, PostgreSQL would put all of it wherever the name is used, and compute it as often.
    """
    source, [total] = join(source, "model", [total], " OFFSET 0")
    bounds = [
        f"CASE WHEN abs({bound}) < f.infinite THEN {bound} ELSE {bound} * 'inf' END" for bound in ends.write(total)
    ]
    return source, [f"({value})::real" for value in [total, *bounds]]


def end_duckdb(source: str, total: str, ends: Ends) -> tuple[str, list[str]]:
    """Name a prediction, a float32, and write it and its interval."""
    source, [total] = join(source, "model", [total])
    values = [total, *ends.write(total, "::real")]
    return source, [f"CASE WHEN isfinite({total}) THEN {value} END" for value in values]


def clip_sqlite(total: str) -> str:
    """Write a double, or NULL where float32 would be infinite."""
    return f"nullif(nullif(max(min({total}, {INFINITE!r}), -{INFINITE!r}), -{INFINITE!r}), {INFINITE!r})"


def add_floats(source: str) -> str:
    """Add the numbers at which PostgreSQL's float32 would raise an error."""
    return f"{source}\nCROSS JOIN (SELECT {INFINITE!r}::float8 AS infinite, {TINY!r}::float8 AS tiny) AS f"


def read_duckdb(name: str) -> str:
    """Write a column as doubles: DuckDB would take true for 1 and 1_000 for 1000, which a batch rejects."""
    text = f"(typeof({name}) = 'VARCHAR' OR typeof({name}) LIKE 'ENUM%') AND contains(CAST({name} AS varchar), '_')"
    return f"CASE WHEN typeof({name}) = 'BOOLEAN' OR {text} THEN NULL ELSE TRY_CAST({name} AS double) END"


def read_sqlite(name: str) -> str:
    """Write a column as doubles: SQLite would take any text for a number."""
    return f"CASE WHEN typeof({name}) IN ('integer', 'real') THEN CAST({name} AS real) END"
