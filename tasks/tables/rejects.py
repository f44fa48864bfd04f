"""Say why a row of a table is rejected: it is no record, a value is no finite number, or it is out of bounds."""

from collections.abc import Collection

import polars as pl

F32, F64, TEXT = pl.Float32(), pl.Float64(), pl.String()
Marks = dict[str, str]  # column -> its decimal mark, and behind it that of thousands; none is a point alone
THOUSANDS = {
    marks: rf"^[ \t\r\n\f\x0b]*[+-]?[0-9]{{1,3}}(?:[{marks[1]}][0-9]{{3}})+(?:[{marks[0]}][0-9]*)?[ \t\r\n\f\x0b]*$"
    for marks in (",.", ".,")
}
PolarsPanic = pl.exceptions.PanicException  # a fault of the engine over what is in a file; it is no Exception
BLANKS = " \t\r\n\f\v"  # what may be around a number; a no-break space is one byte in Latin-1, and two in UTF-8
LINE, RAW, LAST = "\0line", "\0raw", "\0last"  # names that no column of a file has
NO_REJECTS = pl.DataFrame(schema={"line": pl.Int64, "column": TEXT, "value": TEXT, "reason": TEXT, "raw": TEXT})


def read_number(name: str, *, strip: bool, marks: str = "") -> pl.Expr:
    """Read a column as float64, null where it is no number.

    In text, `strip` allows blanks around a number, and `marks` are the decimal one and that of thousands.
    """
    column = pl.col(name)
    if marks in THOUSANDS:
        plain = column.str.replace_all(marks[1], "", literal=True)
        column = pl.when(column.str.contains(THOUSANDS[marks])).then(plain).otherwise(column)
    if marks == ",.":
        column = column.str.replace_many([".", ","], ["?", "."])  # A point that is left is none of thousands.
    elif marks == ",":
        column = column.str.replace(",", ".", literal=True)
    return (column.str.strip_chars(BLANKS) if strip else column).cast(F64, strict=False)


def explain_broken(lines: pl.DataFrame, fields: pl.Series, expected: int) -> pl.DataFrame:
    """Return lines that are no records as rejects; `fields` says how many each has, 0 for a broken line."""
    found = pl.lit(fields)
    few_or_many = pl.when(found < expected).then(pl.lit("too few fields")).otherwise(pl.lit("too many fields"))
    return lines.select(
        pl.col(LINE).alias("line"),
        pl.lit("").alias("column"),
        pl.when((pl.col(RAW) != "") & (found > 0)).then(found.cast(TEXT)).otherwise(pl.lit("")).alias("value"),
        pl.when(pl.col(RAW) == "").then(pl.lit("empty line"))
        .when(found == 0).then(pl.lit("bad quoting")).otherwise(few_or_many).alias("reason"),
        pl.col(RAW).alias("raw"),
    )  # fmt: skip


Reason = tuple[str, pl.Expr, pl.Expr]  # a column, its value as text, and why it is rejected or null
Limits = dict[str, tuple[float, float] | None]  # column -> within what its values must lie, if that was said


def is_empty(name: str, dtype: pl.DataType) -> pl.Expr:
    """Say whether a cell has no value: it is null, or has no text but blanks."""
    column = pl.col(name)
    return (column.str.strip_chars(BLANKS) == "").fill_null(value=True) if dtype == TEXT else column.is_null()


def explain_number(name: str, *, strip: bool, marks: str = "", filled: bool = False) -> Reason:
    """Say why a value is no finite number; where it is filled, it may be missing or NaN."""
    text = pl.col(name).cast(TEXT).fill_null("")
    value = read_number(name, strip=strip, marks=marks)
    reason = (
        pl.when(text.str.strip_chars(BLANKS) == "").then(pl.lit("empty"))
        .when(value.is_null()).then(pl.lit("not a number"))
        .when(value.is_nan()).then(pl.lit("NaN"))
        .when(value.is_infinite() & text.str.contains("(?i)inf")).then(pl.lit("infinite"))
        .when(value.cast(F32).is_infinite()).then(pl.lit("overflow"))
    )  # fmt: skip
    return name, text, pl.when(~reason.is_in(["empty", "NaN"])).then(reason) if filled else reason


def explain_rejects(bad: pl.DataFrame, found: list[Reason], raw: pl.Expr) -> pl.DataFrame:
    """Return rows as line, column, value, reason and raw text; of several reasons the first counts."""
    return bad.select(
        pl.col(LINE).cast(pl.Int64).alias("line"),
        pl.coalesce(pl.when(reason.is_not_null()).then(pl.lit(name)) for name, _, reason in found).alias("column"),
        pl.coalesce(pl.when(reason.is_not_null()).then(text) for _, text, reason in found).alias("value"),
        pl.coalesce(reason for _, _, reason in found).alias("reason"),
        raw.alias("raw"),
    )


def show_as_json(schema: dict[str, pl.DataType] | pl.Schema, names: list[str]) -> pl.Expr:
    """Show a row's named columns as JSON; bytes as base64, since Polars writes none as JSON."""
    columns = [pl.col(name).bin.encode("base64") if schema[name] == pl.Binary else pl.col(name) for name in names]
    return pl.struct(columns).struct.json_encode()


def explain_bounds(name: str, value: pl.Expr, limits: tuple[float, float]) -> Reason:
    """Say that a number is out of bounds."""
    return name, pl.col(name).cast(TEXT), pl.when(~value.is_between(*limits)).then(pl.lit("out of bounds"))


def explain_numbers(
    schema: pl.Schema, limits: Limits, marks: Marks, filled: Collection[str] = frozenset()
) -> list[Reason]:
    """Say why a value of some columns is no finite number, or is not within its limits; a filled one may be missing."""
    found = [
        explain_number(name, strip=schema[name] == TEXT, marks=marks.get(name, ""), filled=name in filled)
        for name in limits
    ]
    return found + [
        explain_bounds(name, read_number(name, strip=schema[name] == TEXT, marks=marks.get(name, "")), ends)
        for name, ends in limits.items()
        if ends
    ]


def explain_unpredicted(bad: pl.DataFrame, limits: Limits, raw: pl.Expr, marks: Marks) -> pl.DataFrame:
    """Return rows without a finite prediction as rejects: a feature is not as it must be, or the sum is not finite."""
    if not bad.height:
        return NO_REJECTS  # By queries, this answer would take a small file a tenth of its time.
    found = explain_numbers(bad.schema, limits, marks)
    return explain_rejects(bad, [*found, ("prediction", pl.lit(""), pl.lit("overflow"))], raw)
