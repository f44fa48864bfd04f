"""Write an expression as SQL for PostgreSQL, DuckDB and SQLite."""

from collections.abc import Callable
from typing import Literal

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.expressions import (
    Binary,
    Call,
    Column,
    Negative,
    Node,
    Number,
    Part,
    TimePart,
    find_kinds,
)
from linear_neuron.tasks.features.simplify import FLOATS, LARGEST, SMALLEST, Magnitudes, measure, simplify

Dialect = Literal["postgres", "duckdb", "sqlite"]
Read = Callable[[str], str]
DOUBLE: dict[Dialect, str] = {"postgres": "float8", "duckdb": "double", "sqlite": "real"}
LONGEST = 200_000  # characters of an expression in SQL
DAY, HOUR = 86_400_000_000, 3_600_000_000  # in microseconds
# PostgreSQL ends a query where a result overflows, or where a product of other numbers than zero becomes zero.
OVERFLOW, UNDERFLOW = 709.78271289, -745.13  # logarithms beyond which it would
USUAL = (FLOATS, *(Magnitudes(1 / end, min(end, FLOATS.most)) for end in (1e75, 1e30, 1e15, 1e8, 1e5, 700.0)))
CHECKED = {  # of values l and r: NULL where there is no finite number, and zero where a result is smaller than any
    "+": "CASE WHEN (r > 0e0 AND l > {largest} - r) OR (r < 0e0 AND l < -{largest} - r) THEN NULL ELSE l + r END",
    "*": "CASE WHEN l = 0e0 OR r = 0e0 THEN l * r WHEN ln(abs(l)) + ln(abs(r)) > {over} THEN NULL "
    "WHEN ln(abs(l)) + ln(abs(r)) < {under} THEN 0e0 ELSE l * r END",
    "/": "CASE WHEN r = 0e0 THEN NULL WHEN l = 0e0 THEN l / r WHEN ln(abs(l)) - ln(abs(r)) > {over} THEN NULL "
    "WHEN ln(abs(l)) - ln(abs(r)) < {under} THEN 0e0 ELSE l / r END",
    "**": "CASE WHEN r = 0e0 THEN 1e0 + l * 0e0 WHEN l = 0e0 THEN CASE WHEN r > 0e0 THEN 0e0 END "
    "WHEN (l < 0e0 AND r <> floor(r)) OR abs(r) > 1e300 THEN NULL WHEN r * ln(abs(l)) > {over} THEN NULL "
    "WHEN r * ln(abs(l)) < {under} THEN 0e0 ELSE power(l, r) END",
    "exp": "CASE WHEN l > {over} THEN NULL WHEN l < {under} THEN 0e0 ELSE exp(l) END",
}


def to_sql(node: Node, read: Read, dialect: Dialect) -> str:
    """Write the values of a node as doubles: those of `to_polars`, and NULL where that is null.

    + - * /, sqrt, abs, min, max, clip, parts of times, and squares, cubes and fourth powers of a column give the same
    bits as Polars. log, log1p, exp and other powers differ in the last digits, by less than a millionth of the value:
    `find_inexact` names those of an expression. SQLite needs to be built with its mathematical functions for them.

    Args:
        node: the expression.
        read: a column's name -> SQL that is short, since it is repeated: doubles of at most the greatest float32, or
            NULL; of a time the microseconds since 1970 in UTC, as integers of 64 bits.
        dialect: the database.

    Raises:
        UserError: the SQL would be too long.
    """
    node = simplify(node)
    return _write_postgres(node, read) if dialect == "postgres" else _Writer(read, dialect).write(node)


def _write_postgres(node: Node, read: Read) -> str:
    """Write plain SQL for columns of usual sizes, and beside it slower SQL that fails for none, where that may be."""
    slow = _Writer(read, "postgres", None)
    for columns in USUAL:
        if not _may_fail(node, columns):
            plain = _Writer(read, "postgres", columns).write(node)
            if columns == FLOATS:
                return plain
            numbers = [read(name) for name, kind in find_kinds(node).items() if kind == "number"]
            ends = f"BETWEEN {write_double(columns.least)} AND {write_double(columns.most)}"
            usual = " AND ".join(f"({number} = 0e0 OR abs({number}) {ends})" for number in numbers)
            return f"CASE WHEN {usual} THEN {plain} ELSE {slow.write(node)} END"
    return slow.write(node)


def _may_fail(node: Node, columns: Magnitudes) -> bool:
    """Whether some result within an expression may be too great, or too small, for a double."""
    match node:
        case Negative(of):
            return _may_fail(of, columns)
        case Binary(operator, left, right):
            inner = _may_fail(left, columns) or _may_fail(right, columns)
        case Call(name, arguments):
            inner, operator = any(_may_fail(argument, columns) for argument in arguments), name
        case _:
            return False
    if inner or operator not in ("+", "-", "*", "/", "**", "exp"):
        return inner
    if operator == "**" and not _is_whole(node):
        return True
    least, most = measure(node, columns)
    return most > LARGEST or (least < SMALLEST and operator not in "+-")


def _is_whole(node: Node) -> bool:
    """Whether a power has a whole, positive exponent, which has a value for every number."""
    match node:
        case Binary("**", _, Number(power)):
            return power.is_integer() and power > 0
    return False


class _Writer:
    """Writes nodes for a database; for PostgreSQL with `columns` None so that no result can end the query."""

    def __init__(self, read: Read, dialect: Dialect, columns: Magnitudes | None = FLOATS) -> None:
        self.read, self.dialect, self.columns = read, dialect, columns

    def write(self, node: Node) -> str:
        """Write a node, so that it can be within any other SQL.

        Raises:
            UserError: the SQL would be too long, since some functions repeat their values.
        """
        text = self.write_node(node)
        if len(text) > LONGEST:
            raise UserError("This expression is too deep for SQL; use fewer functions within each other.")
        return text

    def write_node(self, node: Node) -> str:
        """Write a node, however long."""
        match node:
            case Column(name):
                return self.read(name)
            case Number(value):  # Of two constants PostgreSQL would compute decimals.
                return f"CAST({write_double(value)} AS {DOUBLE[self.dialect]})"
            case Negative(of):
                return f"(- {self.write(of)})"
            case Binary(operator, left, right):
                return self.write_binary(node, operator, left, right)
            case Call(name, arguments):
                return self.write_call(node, name, arguments)
            case TimePart(part, column):
                return write_part(part, self.read(column.name), self.dialect)

    def write_binary(self, node: Binary, operator: str, left: Node, right: Node) -> str:
        """Write two values with an operator between them."""
        if self.columns is None:
            minus = operator == "-"
            return self.check("+" if minus else operator, left, Negative(right) if minus else right)
        one, other = self.write(left), self.write(right)
        if operator == "/":
            other = f"NULLIF({other}, 0e0)"
        text = f"power({one}, {other})" if operator == "**" else f"({one} {operator} {other})"
        return self.keep_finite(text, node) if operator in ("**", "/") or measure(node).most > LARGEST else text

    def check(self, operator: str, left: Node, right: Node | None = None) -> str:
        """Write an operation of PostgreSQL that looks at its values first; OFFSET keeps them from being repeated."""
        case = CHECKED[operator].format(largest=write_double(LARGEST), over=OVERFLOW, under=UNDERFLOW)
        values = f"{self.write(left)} AS l" + (f", {self.write(right)} AS r" if right is not None else "")
        return f"(SELECT {case} FROM (SELECT {values} OFFSET 0) AS q)"  # noqa: S608 - of numbers and quoted names

    def keep_finite(self, text: str, node: Node) -> str:
        """Replace what is no finite number by NULL; PostgreSQL has none of that here, and SQLite has no NaN."""
        if self.dialect == "duckdb":
            return f"NULLIF(NULLIF(NULLIF({text}, 'inf'::double), '-inf'::double), 'nan'::double)"
        return f"NULLIF(NULLIF({text}, 9e999), -9e999)" if self.dialect == "sqlite" else text

    def write_call(self, node: Call, name: str, arguments: tuple[Node, ...]) -> str:
        """Write a function."""
        if name in ("min", "max"):
            return self.write_extreme(node, name, arguments)
        first = arguments[0]
        if name == "exp" and self.columns is None:
            return self.check("exp", first)
        value = self.write(first)
        greatest = "max" if self.dialect == "sqlite" else "GREATEST"
        if name == "log":
            return f"ln(NULLIF({greatest}({value}, 0e0), 0e0))"
        if name == "log1p":  # The logarithm of 1 + x loses the digits of an x near 0; the series has them.
            beyond = f"ln(NULLIF({greatest}(1e0 + {value}, 0e0), 0e0))"
            series = f"{value} * (1e0 - {value} * (0.5e0 - {value} / 3e0))"
            near = f"abs({value}) BETWEEN 1e-150 AND 1e-4"
            return f"CASE WHEN {near} THEN {series} WHEN abs({value}) < 1e-150 THEN {value} ELSE {beyond} END"
        if name == "sqrt":
            negative = write_double(-SMALLEST)  # the greatest number below zero
            return f"sqrt(NULLIF({greatest}({value}, {negative}), {negative}))"
        return self.keep_finite(f"exp({value})", node) if name == "exp" else f"abs({value})"

    def write_extreme(self, node: Node, name: str, arguments: tuple[Node, ...]) -> str:
        """Write the least or the greatest value; only SQLite gives NULL where one of them is NULL."""
        values = ", ".join(map(self.write, arguments))
        if self.dialect == "sqlite":
            return f"{name}({values})"
        known = " AND ".join(f"{value} IS NOT NULL" for value in dict.fromkeys(self.list_nulls(node)))
        extreme = f"{'GREATEST' if name == 'max' else 'LEAST'}({values})"
        return f"CASE WHEN {known} THEN {extreme} END" if known else extreme

    def list_nulls(self, node: Node) -> list[str]:
        """List the values that are NULL where, and only where, a node is."""
        match node:
            case Number():
                return []
            case Negative(of) | Call("abs", (of,)):
                return self.list_nulls(of)
            case Call("min" | "max", arguments):
                return [value for argument in arguments for value in self.list_nulls(argument)]
            case Binary("+" | "-" | "*", left, right) if measure(node).most <= LARGEST:
                return [*self.list_nulls(left), *self.list_nulls(right)]
        return [self.write(node)]


def write_part(part: Part, microseconds: str, dialect: Dialect) -> str:
    """Write a part of times, given as microseconds since 1970 in UTC, as doubles."""
    double = DOUBLE[dialect]
    if part == "days":
        return f"(CAST({microseconds} AS {double}) / {write_double(DAY)})"
    into_day = f"((({microseconds} % {DAY}) + {DAY}) % {DAY})"  # A remainder has the sign of the time.
    divide = "//" if dialect == "duckdb" else "/"
    if part == "hour":
        return f"CAST({into_day} {divide} {HOUR} AS {double})"
    days = f"(({microseconds} - {into_day}) {divide} {DAY})"
    if dialect == "sqlite":
        return _write_sqlite_part(part, days)
    field = {"weekday": "isodow", "day_of_year": "doy"}.get(part, part)
    return f"CAST(EXTRACT({field} FROM DATE '1970-01-01' + CAST({days} AS integer)) AS {double})"


def _write_sqlite_part(part: Part, days: str) -> str:
    form = {"year": "%Y", "month": "%m", "quarter": "%m", "weekday": "%w", "day": "%d", "day_of_year": "%j"}[part]
    value = f"CAST(strftime('{form}', {days} * 86400, 'unixepoch') AS integer)"
    if part == "quarter":
        value = f"(({value} + 2) / 3)"
    if part == "weekday":
        value = f"(({value} + 6) % 7 + 1)"
    return f"CAST({value} AS real)"


def write_double(value: float) -> str:
    """Write a double so that it is read bit for bit; without an exponent databases would take it for a decimal."""
    text = repr(float(value))
    return text if "e" in text else f"{text}e0"
