"""The terms of a version as SQL: levels as CASE, missing values as COALESCE, curves as polynomials of their intervals.

The values are those of `tasks/scoring/terms.py`, computed in the same order of operations. They are named in
subqueries, stage by stage: in PostgreSQL and DuckDB beside the table, in SQLite, which can't, within each result.
"""

from functools import cached_property

from linear_neuron.tasks.features.expressions import Column, Node, TimePart, find_columns, parse
from linear_neuron.tasks.features.fitted import GREATEST, parse_label
from linear_neuron.tasks.features.levels import LevelIndex
from linear_neuron.tasks.features.simplify import find_inexact
from linear_neuron.tasks.features.sql_terms import Dialect, to_sql, write_double
from linear_neuron.tasks.model import Kind, ModelVersion, Term
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
    quote_text,
    read_duckdb,
    read_sqlite,
    respond,
    round_single,
)
from linear_neuron.tasks.tables.cleaning import YEARS

NEAR = 1e-90  # below it the distance to a knot adds nothing to a curve, but PostgreSQL raises an error for its cube
BLANKS = {
    "postgres": r"E' \t\r\n\f\x0b'",
    "duckdb": "' ' || chr(9) || chr(13) || chr(10) || chr(12) || chr(11)",
    "sqlite": "char(32, 9, 13, 10, 12, 11)",
}
WHOLE, FIRST = r"^(-?\d+)\.0+$", r"\1"  # a whole number with decimals, and without them


def find_functions(model: ModelVersion) -> list[str]:
    """Find the functions of a version's terms whose last digits differ between engines."""
    values = {term.value for term in model.terms if term.value}
    found = {name for value in values for name in find_inexact(parse(value))}
    return sorted(found | ({"exp"} if model.link == "log" else set()))


def write_terms(model: ModelVersion, source: str, ends: Ends, dialect: Dialect) -> Parts:
    """Write the parts of a SELECT for a version with terms.

    Args:
        model: the version.
        source: the FROM of a table that is called t.
        ends: of the interval.
        dialect: the database.

    Raises:
        UserError: an expression is too deep for SQL.
    """
    return _TermWriter(model, dialect).write(source, ends)


class _TermWriter:
    """Writes the terms of a version for a database."""

    def __init__(self, model: ModelVersion, dialect: Dialect) -> None:
        self.model, self.dialect, self.kinds = model, dialect, model.kinds
        self.source, self.stages = "", ""  # all from FROM on; of SQLite what the results are made of
        self.raw: dict[str, str] = {}  # column -> its value as it was read
        self.features: dict[str, str] = {}  # the same, NULL where it is missing or wrong
        self.values: dict[str, str] = {}  # text of an expression -> its value
        self.codes: dict[str, str] = {}  # text of a category -> the code of its level

    def write(self, source: str, ends: Ends) -> Parts:
        """Write all parts."""
        self.source = add_floats(source) if self.dialect == "postgres" else source
        self.read_columns()
        self.read_values()
        self.read_codes()
        terms = self.name("term", [self.contribute(term) for term in self.model.terms])
        total = respond(self.model, f"({' + '.join([write_double(self.model.base), *terms])})", self.dialect)
        if self.dialect == "sqlite":
            [total] = self.name("model", [self.check(clip_sqlite(total))])
            values = [total, *ends.write(total), self.find_extrapolated()]
            *values, extrapolated = (f"(SELECT {value} FROM ({self.stages}) AS s)" for value in values)  # noqa: S608
            return Parts(source, values, extrapolated)
        if self.dialect == "postgres":
            [total] = self.name("total", [total])
            source, values = end_postgres(self.source, self.check(round_single(flush(total))), ends)
        else:
            source, values = end_duckdb(self.source, self.check(f"TRY_CAST({total} AS real)"), ends)
        return Parts(source, values, self.find_extrapolated())

    def name(self, alias: str, values: list[str]) -> list[str]:
        """Name values in a further subquery; return the names."""
        if not values:
            return []
        if self.dialect != "sqlite":
            self.source, names = join(self.source, alias, values)
            return names
        columns = ", ".join(f"{value} AS {alias}{index}" for index, value in enumerate(values))
        before = f" FROM ({self.stages}) AS s" if self.stages else ""
        self.stages = f"SELECT {'s.*, ' * bool(before)}{columns}{before}"
        return [f"s.{alias}{index}" for index in range(len(values))]

    # Columns

    @cached_property
    def filled(self) -> set[str]:
        """The columns whose cells may be missing: all terms that read one have a contribution for that."""
        return set(self.kinds) - {
            name
            for term in self.model.terms
            if term.missing is None
            for text in filter(None, (term.value, term.label))
            for name in find_columns(parse(text))
        }

    def read_columns(self) -> None:
        """Read the columns: numbers as doubles, times as microseconds, labels as text."""
        cells = [self.read(f"t.{quote(name)}", kind) for name, kind in self.kinds.items()]
        self.raw = dict(zip(self.kinds, self.name("raw", cells), strict=True))
        checked = [self.keep_valid(self.raw[name], kind) for name, kind in self.kinds.items()]
        self.features = dict(zip(self.kinds, self.name("feature", checked), strict=True))

    def read(self, cell: str, kind: Kind) -> str:
        """Write a cell as what it is read as."""
        if kind == "category":
            return self.read_label(cell)
        if kind == "time":
            return self.read_time(cell)
        if self.dialect == "postgres":
            return f"CAST({cell} AS float8)"
        return read_duckdb(cell) if self.dialect == "duckdb" else read_sqlite(cell)

    def trim(self, cell: str) -> str:
        """Write a cell as text without the blanks around it, NULL where nothing is left, whatever its collation."""
        text = {
            "postgres": f'btrim(CAST({cell} AS text) COLLATE "C", ',
            "duckdb": f"trim(CAST({cell} AS varchar) COLLATE C, ",
            "sqlite": f"trim(CAST({cell} AS text), ",
        }
        return f"NULLIF({text[self.dialect]}{BLANKS[self.dialect]}), '')"

    def read_label(self, cell: str) -> str:
        """Write a cell as a label: whole numbers of a type with decimals have none."""
        text, pattern, first = self.trim(cell), quote_text(WHOLE, self.dialect), quote_text(FIRST, self.dialect)
        if self.dialect == "sqlite":
            is_whole = f"typeof({cell}) = 'real' AND {cell} = CAST({cell} AS integer)"
            return f"CASE WHEN {is_whole} THEN CAST(CAST({cell} AS integer) AS text) ELSE {text} END"
        if self.dialect == "postgres":
            has_decimals = f"pg_typeof({cell}) = 'numeric'::regtype"
        else:
            has_decimals = f"NOT (typeof({cell}) = 'VARCHAR' OR typeof({cell}) LIKE 'ENUM%')"
        return f"CASE WHEN {has_decimals} THEN regexp_replace({text}, {pattern}, {first}) ELSE {text} END"

    def read_time(self, cell: str) -> str:
        """Write a cell with a time, or with ISO text, as microseconds since 1970 in UTC; PostgreSQL takes no text."""
        if self.dialect == "postgres":
            return f"CASE WHEN isfinite({cell}) THEN CAST(EXTRACT(epoch FROM {cell}) * 1000000 AS bigint) END"
        text = self.trim(cell)
        day = f"CASE length({text}) WHEN 4 THEN {text} || '-01-01' WHEN 7 THEN {text} || '-01' ELSE {text} END"
        if self.dialect == "sqlite":
            is_iso = f"{text} GLOB '[0-9][0-9][0-9][0-9]*'"
            return f"CASE WHEN {is_iso} THEN CAST(strftime('%s', {day}) AS integer) * 1000000 END"
        zoned = rf"regexp_matches({text}, ':.*(Z|[+-]\d\d(:?\d\d)?)$')"
        local, utc = f"epoch_us(TRY_CAST({text} AS timestamptz))", f"epoch_us(TRY_CAST({day} AS timestamp))"
        return f"CASE WHEN {zoned} THEN {local} ELSE {utc} END"

    def keep_valid(self, raw: str, kind: Kind) -> str:
        """Replace a number that is no finite float32, or a time of no year with four digits, by NULL."""
        if kind == "category":
            return raw
        if kind == "time":
            return f"CASE WHEN {raw} BETWEEN {YEARS[0]} AND {YEARS[1]} THEN {raw} END"
        finite = {
            "postgres": f"abs({raw}) < f.infinite",
            "duckdb": f"isfinite(TRY_CAST({raw} AS real))",
            "sqlite": f"abs({raw}) <= {LARGEST!r}",
        }
        return f"CASE WHEN {finite[self.dialect]} THEN {raw} END"

    def check(self, total: str) -> str:
        """Replace a prediction by NULL where a cell is out of bounds, or is wrong and not just missing."""
        checks = []
        for name, value in self.features.items():
            if self.kinds[name] != "category" and name in self.filled:
                checks.append(f"({value} IS NOT NULL OR {self.is_missing(name)})")
            if limits := self.model.bounds.get(name):
                inside = between(value, *limits)
                checks.append(f"({value} IS NULL OR {inside})" if name in self.filled else inside)
        return f"CASE WHEN {' AND '.join(checks)} THEN {total} END" if checks else total

    def is_missing(self, name: str) -> str:
        """Write whether a cell is NULL, has no text but blanks, or is NaN, which SQLite does not have."""
        cell, is_number = f"t.{quote(name)}", self.kinds[name] == "number"
        if self.dialect == "postgres":
            return f"{cell} IS NULL" + (f" OR {self.raw[name]} = 'NaN'" if is_number else "")
        nan = f" OR COALESCE(isnan({self.raw[name]}), false)" if is_number and self.dialect == "duckdb" else ""
        return f"{self.trim(cell)} IS NULL{nan}"

    # Terms

    def read_values(self) -> None:
        """Compute the expressions of the terms; NULL where one has no value, or is beyond the greatest float32."""
        nodes = {term.value: parse(term.value) for term in self.model.terms if term.value}
        values = self.name("value", [to_sql(node, self.features.__getitem__, self.dialect) for node in nodes.values()])
        kept = [self.keep_single(value, node) for value, node in zip(values, nodes.values(), strict=True)]
        self.values = dict(zip(nodes, self.name("kept", kept), strict=True))

    def keep_single(self, value: str, node: Node) -> str:
        """Replace a value beyond the greatest float32 by NULL, and in PostgreSQL one that adds nothing by zero."""
        if isinstance(node, Column) and self.dialect != "postgres":
            return value
        kept = f"{value} * (abs({value}) > {LOST!r})::int" if self.dialect == "postgres" else value
        return f"CASE WHEN abs({value}) <= {write_double(GREATEST)} THEN {kept} END"

    def read_codes(self) -> None:
        """Find the code of each label: the index of its level, or the number of levels for an unseen one."""
        nodes = {term.label: parse_label(term.label) for term in self.model.terms if term.label}
        labels = self.name("label", [to_sql(node, self.features.__getitem__, self.dialect) for node in nodes.values()])
        codes = [self.write_code(*pair, label) for pair, label in zip(nodes.items(), labels, strict=True)]
        self.codes = dict(zip(nodes, self.name("code", codes), strict=True))

    def index(self, text: str) -> LevelIndex:
        """Return the levels of a category."""
        return LevelIndex(term for term in self.model.terms if term.label == text)

    def write_code(self, text: str, node: Column | TimePart, label: str) -> str:
        """Write the code of a label, NULL where it is; labels of numbers are compared as numbers."""
        is_number = isinstance(node, TimePart) or self.kinds[node.name] == "number"
        levels = self.index(text).levels
        keys = [write_double(float(level)) if is_number else quote_text(level, self.dialect) for level in levels]
        cases = " ".join(f"WHEN {key} THEN {code}" for code, key in enumerate(keys))
        return f"CASE WHEN {label} IS NOT NULL THEN CASE {label} {cases} ELSE {len(levels)} END END"

    def look_up(self, term: Term) -> str:
        """Write what a term has for the level of a row; NULL where the label is."""
        code, levels = self.codes[term.label], self.index(term.label).levels
        values = [term.levels.get(level, term.other) for level in levels]
        own = [(number, value) for number, value in enumerate(values) if value != term.other]
        cases = " ".join(f"WHEN {number} THEN {write_double(value)}" for number, value in own)
        other = write_double(term.other)
        found = f"CASE {code} {cases} ELSE {other} END" if own else other
        return f"CASE WHEN {code} IS NOT NULL THEN {found} END"

    def contribute(self, term: Term) -> str:
        """Write the contribution of a term in doubles; NULL where a row is rejected for it."""
        value = self.values.get(term.value, "NULL")
        if term.kind == "category":
            found = self.look_up(term)
        elif term.kind == "slopes":
            found = f"({value} - {write_double(term.center)}) * {self.look_up(term)}"
        elif term.kind == "spline":
            found = self.write_curve(term, value)
        else:
            found = f"({value} - {write_double(term.center)}) * {write_double(term.weight)}"
        return found if term.missing is None else f"COALESCE({found}, {write_double(term.missing)})"

    def write_curve(self, term: Term, value: str) -> str:
        """Write the polynomial of a value's interval by Horner's rule; a knot belongs to the interval on its right."""
        starts = [term.knots[0], *term.knots]
        curves = [self.write_polynomial(value, *pair) for pair in zip(starts, term.polynomials, strict=True)]
        cases = [f"WHEN {value} < {write_double(k)} THEN {curve}" for k, curve in zip(term.knots, curves, strict=False)]
        return f"CASE {' '.join(cases)} WHEN {value} IS NOT NULL THEN {curves[-1]} END"

    def write_polynomial(self, value: str, start: float, coefficients: list[float]) -> str:
        """Write a polynomial of the distance from a knot."""
        t = f"({value} - {write_double(start)})"
        if self.dialect == "postgres":
            t = f"({t} * (abs({t}) > {NEAR!r})::int)"
        a0, a1, a2, a3 = map(write_double, coefficients)
        return f"(({a3} * {t} + {a2}) * {t} + {a1}) * {t} + {a0}"

    def find_extrapolated(self) -> str:
        """Write whether a number is outside of its range, or a level is none that was learned from; not if missing."""
        inside = [
            between(self.features[name], -find_greatest(-low), find_greatest(high))
            for name, (low, high) in self.model.ranges.items()
            if self.kinds.get(name) == "number"
        ]
        inside += [f"{code} < {self.index(text).learned}" for text, code in self.codes.items()]
        return f"NOT ({' AND '.join(f'COALESCE({check}, 1 = 1)' for check in inside)})" if inside else "1 = 0"
