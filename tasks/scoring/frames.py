"""Rows in memory: a pandas or Polars frame in, the same kind out, with the numbers of a batch to the bit."""

from typing import Any, TypeVar

import numpy as np
import pandas as pd
import polars as pl
from pandas.api.types import is_complex_dtype, is_numeric_dtype, is_object_dtype, is_string_dtype

from tasks.errors import UserError
from tasks.model import ModelVersion
from tasks.scoring.expression import explain_all, express, express_interval, find_extrapolated
from tasks.tables.contract import TEXT, check_names, check_types, read_number, require_columns

Frame = TypeVar("Frame", pd.DataFrame, pl.DataFrame)


def predict_frame(model: ModelVersion, frame: Frame, percent: int) -> Frame:
    """Predict the rows of a frame: a frame of the four columns that a batch adds, null where it would reject the row.

    Args:
        model: The version that predicts.
        frame: Rows with a column for each feature, of numbers or of text that is one. The others are left alone.
        percent: How many of 100 true values the interval should hold, from 50 to 99.

    Raises:
        UserError: this is no frame, or a column is missing, stands twice or holds something else.
    """
    if str(percent) not in model.intervals:
        raise UserError(f"There is no interval for {percent} percent; ask for one from 50 to 99.")
    rows, values = _read(model, frame)
    prediction = express(model, values)
    columns = {"prediction": prediction, **express_interval(model, prediction, percent)}
    columns["extrapolated"] = find_extrapolated(model, values)
    return _answer(frame, rows, prediction, columns)


def explain_frame(model: ModelVersion, frame: Frame) -> Frame:
    """Explain the predictions of a frame's rows: a frame of `base_prediction` and a `contribution_` of each feature.

    The former is the prediction at the means of the training rows; a contribution is the weight times how far the
    value is from that mean. In each row the prediction is the sum of all, but for how float32 rounds.

    Raises:
        UserError: as in `predict_frame`; or the version does not know the means.
    """
    rows, values = _read(model, frame)
    return _answer(frame, rows, express(model, values), explain_all(model, values))


def _read(model: ModelVersion, frame: pd.DataFrame | pl.DataFrame) -> tuple[pl.DataFrame, list[pl.Expr]]:
    """Read the features of a frame, and express each as float64."""
    if not isinstance(frame, pd.DataFrame | pl.DataFrame):
        raise UserError(f"Rows must be a pandas or Polars DataFrame, not {type(frame).__name__}.")
    names = list(dict.fromkeys(model.features))
    try:
        require_columns([name for name in frame.columns if isinstance(name, str)], names)
        check_names(names)
        if isinstance(frame, pd.DataFrame):
            rows = pl.DataFrame({name: _convert(name, frame[name]) for name in names})
        else:
            rows = frame.select(names)
        check_types(dict(rows.schema), names)
    except UserError as error:
        raise UserError(f"{model.version} can't predict this frame: {error}.") from None
    return rows, [read_number(name, strip=rows.schema[name] == TEXT, decimal_comma=False) for name in model.features]


def _convert(name: str, column: "pd.Series[Any]") -> pl.Series:
    """Convert a column of pandas, without PyArrow: numbers to float64, and what may be text to text."""
    if is_numeric_dtype(column) and not is_complex_dtype(column) and column.dtype not in ("bool", "boolean"):
        return pl.Series(column.to_numpy("float64", na_value=np.nan))
    if is_object_dtype(column) or is_string_dtype(column):
        return pl.Series(
            [None if missing else str(value) for value, missing in zip(column, column.isna(), strict=True)], dtype=TEXT
        )
    raise UserError(f"column {name!r} holds {column.dtype} where numbers are needed")


def _answer(frame: Frame, rows: pl.DataFrame, prediction: pl.Expr, columns: dict[str, pl.Expr]) -> Frame:
    """Compute columns, null where the prediction is not finite, as the kind of frame that was given."""
    table = rows.select(pl.when(prediction.is_finite()).then(value).alias(name) for name, value in columns.items())
    if isinstance(frame, pl.DataFrame):
        return table
    answer = {
        column.name: pd.array(column.to_list(), dtype="boolean") if column.dtype == pl.Boolean else column.to_numpy()
        for column in table
    }
    return pd.DataFrame(answer, index=frame.index)
