"""What the columns and rows of a table must be, for both wings, and why a row is rejected."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

import polars as pl

from tasks.errors import UserError

F32, F64, TEXT = pl.Float32(), pl.Float64(), pl.String()
ADDED = {"prediction": F32, "prediction_low": F32, "prediction_high": F32, "extrapolated": pl.Boolean()}
PATTERN = re.compile(r"\*|\^.*\$", re.DOTALL)
SHOWN, LONGEST_NAME = 20, 100  # columns that an error names, and characters of each
BLANKS = " \t\r\n\f\v"  # what may stand around a number; a no-break space is one byte in Latin-1, and two in UTF-8
LINE, RAW, LAST = "\0line", "\0raw", "\0last"  # names that no column of a file has
NO_REJECTS = pl.DataFrame(schema={"line": pl.Int64, "column": TEXT, "value": TEXT, "reason": TEXT, "raw": TEXT})


def read_number(name: str, *, strip: bool, decimal_comma: bool) -> pl.Expr:
    """Read a column as float64, null where it is no number.

    In text, `strip` allows blanks around a number, and `decimal_comma` the comma of 6,5 as well as the point of 6.5.
    """
    column = pl.col(name)
    if decimal_comma:
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


def explain_number(name: str, *, strip: bool, decimal_comma: bool) -> Reason:
    """Say why a value is no finite number."""
    text = pl.col(name).cast(TEXT).fill_null("")
    value = read_number(name, strip=strip, decimal_comma=decimal_comma)
    reason = (
        pl.when(text.str.strip_chars(BLANKS) == "").then(pl.lit("empty"))
        .when(value.is_null()).then(pl.lit("not a number"))
        .when(value.is_nan()).then(pl.lit("NaN"))
        .when(value.is_infinite() & text.str.contains("(?i)inf")).then(pl.lit("infinite"))
        .when(value.cast(F32).is_infinite()).then(pl.lit("overflow"))
    )  # fmt: skip
    return name, text, reason


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


def explain_numbers(schema: pl.Schema, limits: Limits, *, decimal_comma: bool) -> list[Reason]:
    """Say why a value of some columns is no finite number, or is not within its limits."""
    style = {name: {"strip": schema[name] == TEXT, "decimal_comma": decimal_comma} for name in limits}
    found = [explain_number(name, **style[name]) for name in limits]
    return found + [
        explain_bounds(name, read_number(name, **style[name]), ends) for name, ends in limits.items() if ends
    ]


def explain_unpredicted(bad: pl.DataFrame, limits: Limits, raw: pl.Expr, *, decimal_comma: bool) -> pl.DataFrame:
    """Return rows without a finite prediction as rejects: a feature is not as it must be, or the sum is not finite."""
    if not bad.height:
        return NO_REJECTS  # By queries, this answer would take a small file a tenth of its time.
    found = explain_numbers(bad.schema, limits, decimal_comma=decimal_comma)
    return explain_rejects(bad, [*found, ("prediction", pl.lit(""), pl.lit("overflow"))], raw)


def find_columns(
    columns: list[str], features: list[str], mapping: dict[str, list[str]], added: Iterable[str]
) -> list[str]:
    """Find the columns of the features, in the model's order.

    Args:
        columns: those of the file.
        features: those of the model.
        mapping: feature -> other names that it may go by, of which the first that the file has is taken.
        added: the names of those that are to be added.

    Raises:
        UserError: one is missing or stands twice, or a column has the name of one that is to be added.
    """
    names = [_find_column(columns, feature, mapping.get(feature, [])) for feature in features]
    check_names(list(dict.fromkeys(names)))
    if twice := {name for name in columns if name in added or (name in names and columns.count(name) > 1)}:
        raise UserError(f"column {min(twice)!r} is there already, so it would be ambiguous; rename it")
    return names


def _find_column(columns: list[str], feature: str, names: list[str]) -> str:
    for name in (*names, feature):
        if name in columns:
            return name
    wanted = " or ".join(repr(name) for name in names or [feature])
    shown, alike = _describe_columns(columns, feature)
    raise UserError(
        f"there is no column {wanted} among {shown}; name the one that holds it by "
        f"--columns {feature}={alike or 'COLUMN'}, or add the line of column names if it is missing"
    )


def require_columns(columns: list[str], names: list[str]) -> None:
    """Make sure that a table has the columns, and each of them once.

    Raises:
        UserError: one is missing, and which other may be meant; or it stands twice.
    """
    for name in names:
        if name not in columns:
            shown, alike = _describe_columns(columns, name)
            hint = f"; did you mean {alike!r}?" if alike else ""
            raise UserError(f"there is no column {name!r} among {shown}{hint}")
        if columns.count(name) > 1:
            raise UserError(f"column {name!r} is there twice, so it would be ambiguous; rename one of them")


def _describe_columns(columns: list[str], wanted: str) -> tuple[str, str]:
    """Return the columns as an error shows them, and the one whose name is nearest; empty where none is near."""
    shown = ", ".join(name[:LONGEST_NAME] for name in columns[:SHOWN]) + (
        f" and {len(columns) - SHOWN} more" if len(columns) > SHOWN else ""
    )
    alike = [name for name in columns if name.lower() == wanted.lower()] or get_close_matches(wanted, columns, 1)
    return shown, alike[0] if alike else ""


def check_names(columns: list[str]) -> None:
    """Refuse names that a Parquet file can't have twice, or that Polars takes for a pattern of names.

    Raises:
        UserError: names the column.
    """
    if patterns := [name for name in columns if PATTERN.fullmatch(name)]:
        raise UserError(f"column {patterns[0]!r} has a name that stands for other columns here; rename it")
    if twice := {name for name in columns if columns.count(name) > 1}:
        raise UserError(f"column {min(twice)!r} is there twice, which Parquet does not allow; ask for --format csv")


def check_types(schema: dict[str, pl.DataType], names: list[str]) -> None:
    """Make sure that the columns of a table, which says of what types they are, can be read as numbers.

    Raises:
        UserError: a column holds neither numbers nor text.
    """
    for name in names:
        if not schema[name].is_numeric() and schema[name] not in (TEXT, pl.Null()):
            raise UserError(f"column {name!r} holds {_describe_type(schema[name])} where numbers are needed")


def check_texts(schema: dict[str, pl.DataType], names: list[str]) -> None:
    """Make sure that the columns of a table can be read as texts, as those of times and keys are.

    Raises:
        UserError: a column holds lists, bytes or durations.
    """
    for name in names:
        dtype = schema[name]
        if dtype.is_nested() or dtype in (pl.Binary, pl.Duration, pl.Object):
            raise UserError(f"column {name!r} holds {_describe_type(dtype)} where text, numbers or times are needed")


def _describe_type(dtype: pl.DataType) -> str:
    """Name a type, an enumeration without its values."""
    return "Enum" if dtype == pl.Enum else str(dtype)
