"""Find the columns of a table, and check their names and types."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

import polars as pl

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.tables.rejects import F32, TEXT
from linear_neuron.tasks.text import list_first, plural, split_hint

ADDED = {"prediction": F32, "prediction_low": F32, "prediction_high": F32, "extrapolated": pl.Boolean()}
PATTERN = re.compile(r"\*|\^.*\$", re.DOTALL)  # names that Polars takes for patterns of names
NO_NAME = re.compile(r"[:=@{}\\]")  # characters that the names of columns rarely have, and secrets often
SHOWN, LONGEST_NAME = 20, 100  # columns that an error names, and characters of each
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # a second
LONGEST = 2**63 - 1
YEARS = (-62_135_596_800, 253_402_300_799)  # the seconds since 1970 of the years 1 to 9999, that have a text


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
        UserError: one is missing or there twice, or a column has the name of one that is to be added.
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
        UserError: one is missing, and which other may be meant; or it is there twice.
    """
    for name in names:
        if name not in columns:
            shown, alike = _describe_columns(columns, name)
            hint = split_hint(name, columns) or (f"; did you mean {alike!r}?" if alike else "")
            raise UserError(f"there is no column {name!r} among {shown}{hint}")
        if columns.count(name) > 1:
            raise UserError(f"column {name!r} is there twice, so it would be ambiguous; rename one of them")


def _describe_columns(columns: list[str], wanted: str) -> tuple[str, str]:
    """Return the columns as an error shows them, and the one whose name is nearest; empty where none is near.

    The first line of what may be no table, such as a file of passwords, is not shown.
    """
    if any(NO_NAME.search(name) for name in columns) or (len(columns) == 1 and not columns[0].isalpha()):
        return f"the {plural(len(columns), 'column')} of a first line that does not look like names", ""
    shown = list_first([name[:LONGEST_NAME] for name in columns], SHOWN)
    alike = [name for name in columns if name.lower() == wanted.lower()] or get_close_matches(wanted, columns, 1)
    return shown, alike[0] if alike else ""


def check_names(columns: list[str]) -> None:
    """Refuse names that a Parquet file can't have twice, or that Polars takes for a pattern of names.

    Raises:
        UserError: names the column.
    """
    if patterns := [name for name in columns if PATTERN.fullmatch(name)]:
        raise UserError(f"column {patterns[0]!r} has a name that is a pattern of other names here; rename it")
    if twice := {name for name in columns if columns.count(name) > 1}:
        raise UserError(f"column {min(twice)!r} is there twice, which Parquet does not allow; ask for --format csv")


def check_types(schema: dict[str, pl.DataType], names: list[str]) -> None:
    """Make sure that the columns of a table, which says of what types they are, can be read as numbers.

    Raises:
        UserError: a column holds neither numbers nor text.
    """
    for name in names:
        if not schema[name].is_numeric() and schema[name] not in (TEXT, pl.Null()):
            raise UserError(f"column {name!r} holds {describe_type(schema[name])} where numbers are needed")


def check_texts(schema: dict[str, pl.DataType], names: list[str]) -> None:
    """Make sure that the columns of a table can be read as texts, as those of times and keys are.

    Raises:
        UserError: a column holds lists, bytes or durations.
    """
    for name in names:
        dtype = schema[name]
        if dtype.is_nested() or dtype in (pl.Binary, pl.Duration, pl.Object):
            raise UserError(f"column {name!r} holds {describe_type(dtype)} where text, numbers or times are needed")


def describe_type(dtype: pl.DataType) -> str:
    """Name a type, an enumeration without its values."""
    return "Enum" if dtype == pl.Enum else str(dtype)


def name_kind(dtype: pl.DataType) -> str:
    """Name what a column holds as databases do: integer, decimal, float, boolean or text; empty if it has no value."""
    if dtype.is_integer():
        return "integer" if dtype not in (pl.UInt64, pl.Int128) else "decimal"
    if dtype.is_float() or dtype.is_decimal():
        return "float" if dtype.is_float() else "decimal"
    return {pl.Null: "", pl.Boolean: "boolean"}.get(dtype.base_type(), "text")


def spell_out_far_times(series: pl.Series) -> pl.Series:
    """Write times as text where one of them is so far away that it has none; that one becomes its number."""
    if not isinstance(series.dtype, pl.Datetime) and series.dtype != pl.Date:
        return series
    seconds = TICKS[series.dtype.time_unit] if isinstance(series.dtype, pl.Datetime) else 1 / 86_400
    first, last = (max(-LONGEST, min(LONGEST, int(end * seconds))) for end in YEARS)
    numbers = series.to_physical()
    inside = numbers.is_between(first, last).fill_null(value=True)
    if inside.all():
        return series
    near = series.to_frame().select(pl.when(inside).then(pl.first())).to_series()
    return near.cast(TEXT).fill_null(numbers.cast(TEXT)).alias(series.name)
