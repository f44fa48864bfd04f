"""Predict rows in memory: a pandas or Polars frame in, the same kind out, with the numbers of a batch bit for bit."""

from typing import Any, TypeVar

import numpy as np
import pandas as pd
import polars as pl
from pandas.api.types import (
    is_bool_dtype,
    is_complex_dtype,
    is_datetime64_any_dtype,
    is_integer_dtype,
    is_numeric_dtype,
    is_object_dtype,
    is_string_dtype,
)

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import Kind, ModelVersion
from linear_neuron.tasks.scoring.expression import Bound, explain_all, express_interval
from linear_neuron.tasks.scoring.terms import make_predictor
from linear_neuron.tasks.tables.columns import check_names, check_texts, check_types, require_columns
from linear_neuron.tasks.tables.rejects import TEXT
from linear_neuron.tasks.text import end_sentence

Frame = TypeVar("Frame", pd.DataFrame, pl.DataFrame)
MICROSECONDS = "datetime64[us]"


def predict_frame(model: ModelVersion, frame: Frame, percent: int) -> Frame:
    """Predict the rows of a frame: a frame of the four columns that a batch adds, null where it would reject the row.

    Args:
        model: The version that predicts.
        frame: Rows with the columns that the model reads, as numbers, categories or times, or as text that is one. The
            others are left alone.
        percent: How many of 100 actual values the interval should hold, from 50 to 99.

    Raises:
        UserError: this is no frame, or a column is missing, there twice or holds something else.
    """
    if str(percent) not in model.intervals:
        raise UserError(f"There is no interval for {percent} percent; ask for one from 50 to 99.")
    rows, bound = _bind(model, frame)
    columns = {"prediction": bound.prediction, **express_interval(model, bound.prediction, percent)}
    columns["extrapolated"] = bound.extrapolated
    return _answer(frame, rows, bound.prediction, columns)


def explain_frame(model: ModelVersion, frame: Frame) -> Frame:
    """Explain the predictions of a frame's rows: a frame of `base_prediction` and a `contribution_` of each term.

    The former is the prediction at the means of the training rows; a contribution is the weight times how far the
    value is from that mean. In each row the prediction is the sum of all, but for how float32 rounds.

    Raises:
        UserError: as in `predict_frame`; or the version does not know the means.
    """
    rows, bound = _bind(model, frame)
    return _answer(frame, rows, bound.prediction, explain_all(model, bound))


def _bind(model: ModelVersion, frame: pd.DataFrame | pl.DataFrame) -> tuple[pl.DataFrame, Bound]:
    """Read the columns of a frame that a model needs, and bind the model to them."""
    if not isinstance(frame, pd.DataFrame | pl.DataFrame):
        raise UserError(f"Rows must be a pandas or Polars DataFrame, not {type(frame).__name__}.")
    kinds = model.kinds
    numbers = [name for name, kind in kinds.items() if kind == "number"]
    try:
        require_columns([name for name in frame.columns if isinstance(name, str)], list(kinds))
        check_names(list(kinds))
        if isinstance(frame, pd.DataFrame):
            rows = pl.DataFrame({name: _convert(name, frame[name], kind) for name, kind in kinds.items()})
        else:
            rows = frame.select(list(kinds))
        check_types(dict(rows.schema), numbers)
        check_texts(dict(rows.schema), [name for name in kinds if name not in numbers])
    except UserError as error:
        raise UserError(end_sentence(f"{model.version} can't predict this frame: {error}")) from None
    bound = make_predictor(model).bind(rows, list(kinds), {}, strip=True)
    return rows.hstack(bound.added) if bound.added else rows, bound


def _convert(name: str, column: "pd.Series[Any]", kind: Kind) -> pl.Series:
    """Convert a column of pandas, without PyArrow: numbers to float64, and what may be text to text."""
    if kind == "category" and isinstance(column.dtype, pd.CategoricalDtype):
        levels = _convert(name, column.cat.categories.to_series(), kind)
        codes = np.where(column.cat.codes < 0, len(levels), column.cat.codes)
        return levels.extend_constant(None, 1).gather(codes)
    if kind == "category" and (is_bool_dtype(column) or is_integer_dtype(column)):
        return _convert_values(column, bool if is_bool_dtype(column) else int, None)
    if kind == "time" and is_datetime64_any_dtype(column):
        return pl.Series(pd.to_datetime(column, utc=True).dt.tz_localize(None).to_numpy(MICROSECONDS))
    if is_numeric_dtype(column) and not is_complex_dtype(column) and not is_bool_dtype(column):
        return pl.Series(column.to_numpy("float64", na_value=np.nan))
    if is_object_dtype(column) or is_string_dtype(column):
        return _convert_values(column, str, TEXT)
    wanted = {"number": "numbers are", "category": "a category is", "time": "times are"}[kind]
    raise UserError(f"column {name!r} holds {column.dtype} where {wanted} needed")


def _convert_values(column: "pd.Series[Any]", to_type: type, dtype: pl.DataType | None) -> pl.Series:
    """Convert the values of a column one by one; a missing one is null."""
    pairs = zip(column, column.isna(), strict=True)
    return pl.Series([None if missing else to_type(value) for value, missing in pairs], dtype=dtype)


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
