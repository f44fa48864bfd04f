"""Frames of pandas and of Polars are predicted as files are, and come back as they came."""

import io
import re
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import ModelVersion, Term
from linear_neuron.tasks.scoring.frames import explain_frame, predict_frame
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version
from tests.tasks.helpers import Scoring
from tests.tasks.scoring.term_models import draw_rows, is_extrapolated, make_term_version, predict_row

NUMBERS = ["prediction", "prediction_low", "prediction_high"]
COLUMNS = [*NUMBERS, "extrapolated"]


@pytest.fixture
def pair(store: Store) -> ModelVersion:
    """A version of two features, one of which has bounds, and whose training means are 6 and 2."""
    return make_version(
        store,
        "20260102T000000Z-bbbbbb",
        features=["RM", "LSTAT"],
        weights=[2.0, -0.5],
        ranges={"RM": (3.0, 9.0), "LSTAT": (0.0, 40.0)},
        contract={"RM": {"mean": 6.0}, "LSTAT": {"mean": 2.0}},
        dataset={"bounds": ["LSTAT=0..100"]},
    )


def test_a_frame_has_the_bits_of_a_batch(store: Store, score: Scoring) -> None:
    weights = [float(np.float32(weight)) for weight in (3.3427968, -0.61, 1e-9)]
    ranges = {"a": (-1.0, 1.0), "b": (-0.1, 0.1), "c": (-1e9, 1e9)}
    model = make_version(
        store, "v", features=list("abc"), weights=weights, bias=float(np.float32(1.2761)), ranges=ranges
    )
    rng = np.random.default_rng(1)
    x = rng.normal(size=(100_000, 3)) * 10.0 ** rng.integers(-45, 39, (100_000, 3))
    x[::7, 0], x[::11, 1], x[::13, 2] = np.nan, np.inf, 1e39
    frame = pl.DataFrame(x, schema=list("abc")).with_row_index("id")
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    score.neuron = model
    score(buffer.getvalue(), "a.parquet")
    batch = pl.read_parquet(score.read("a.predictions.parquet"))
    predicted = predict_frame(model, frame, 90)
    assert predicted.columns == COLUMNS
    assert 1000 < batch.height < 99_000
    good = predicted["prediction"].is_not_null()
    assert frame["id"].filter(good).equals(batch["id"])
    assert predicted.filter(good).equals(batch.select(COLUMNS))
    assert predicted.filter(~good).null_count().row(0) == (100_000 - batch.height,) * 4
    ours = predict_frame(model, pd.DataFrame(x, columns=list("abc")), 90)
    for name in NUMBERS:
        assert ours[name].dtype == "float32"
        assert np.array_equal(ours[name].to_numpy(), predicted[name].to_numpy(), equal_nan=True)
    assert ours["extrapolated"].equals(pd.Series(pd.array(predicted["extrapolated"].to_list(), dtype="boolean")))


def test_a_frame_of_pandas_keeps_its_index(neuron: ModelVersion) -> None:
    frame = pd.DataFrame({"RM": [6.0, None, 10.0], "id": [1, 2, 3]}, index=pd.Index(["x", "y", "y"], name="key"))
    expected = pd.DataFrame(
        {
            "prediction": np.array([13, np.nan, 21], np.float32),
            "prediction_low": np.array([12.5, np.nan, 20.5], np.float32),
            "prediction_high": np.array([13.5, np.nan, 21.5], np.float32),
            "extrapolated": pd.array([False, pd.NA, True], dtype="boolean"),
        },
        index=frame.index,
    )
    pd.testing.assert_frame_equal(predict_frame(neuron, frame, 90), expected)
    assert list(frame.columns) == ["RM", "id"]


@pytest.mark.parametrize(
    "values",
    [
        ["5", " 6 ", "n/a", None],
        pd.array(["5", "6", "six", pd.NA], dtype="string"),
        pd.array([5, 6, pd.NA, pd.NA], dtype="Int64"),
        [Decimal(5), 6, "", np.nan],
        np.array([5, 6, np.nan, np.inf], np.float32),
    ],
)
def test_what_is_no_number_is_null_in_pandas(neuron: ModelVersion, values: object) -> None:
    predicted = predict_frame(neuron, pd.DataFrame({"RM": values}), 90)
    assert predicted["prediction"].fillna(-1).tolist() == [11, 13, -1, -1]
    assert predicted["extrapolated"].isna().tolist() == [False, False, True, True]


@pytest.mark.parametrize("values", [["5", " 6 ", "n/a", None], [5, 6, None, None], [5.0, 6.0, float("nan"), 1e39]])
def test_what_is_no_number_is_null_in_polars(neuron: ModelVersion, values: list[object]) -> None:
    assert predict_frame(neuron, pl.DataFrame({"RM": values}), 90).rows() == [
        (11.0, 10.5, 11.5, False),
        (13.0, 12.5, 13.5, False),
        (None,) * 4,
        (None,) * 4,
    ]


def test_a_frame_without_rows_comes_back_without_rows(neuron: ModelVersion) -> None:
    assert predict_frame(neuron, pl.DataFrame({"RM": []}), 90).shape == (0, 4)
    assert predict_frame(neuron, pd.DataFrame({"RM": []}), 90).shape == (0, 4)


DAYS = pd.date_range("2026-01-01", periods=2)


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (pd.DataFrame({"rooms": [5], "rm": [6]}), "there is no column 'RM' among rooms, rm; did you mean 'rm'?"),
        (pl.DataFrame({"rooms": [5]}), "there is no column 'RM' among rooms."),
        (
            pd.DataFrame([[5, 6]], columns=["RM", "RM"]),
            "column 'RM' is there twice, so it would be ambiguous; rename one",
        ),
        (pd.DataFrame({"RM": [True, False]}), "column 'RM' holds bool where numbers are needed."),
        (
            pd.DataFrame({"RM": pd.array([True, None], "boolean")}),
            "column 'RM' holds boolean where numbers are needed.",
        ),
        (pd.DataFrame({"RM": DAYS}), "column 'RM' holds datetime64"),
        (pd.DataFrame({"RM": [1j]}), "column 'RM' holds complex128 where numbers are needed."),
        (pl.DataFrame({"RM": [True]}), "column 'RM' holds Boolean where numbers are needed."),
        (pl.DataFrame({"RM": [[1]]}), "column 'RM' holds List(Int64) where numbers are needed."),
    ],
)
def test_a_wrong_column_is_one_sentence(neuron: ModelVersion, frame: pd.DataFrame, sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"{neuron.version} can't predict this frame: {sentence}")):
        predict_frame(neuron, frame, 90)


def test_what_is_no_frame_is_one_sentence(neuron: ModelVersion) -> None:
    with pytest.raises(UserError, match=r"^Rows must be a pandas or Polars DataFrame, not LazyFrame\.$"):
        predict_frame(neuron, pl.LazyFrame({"RM": [5]}), 90)  # type: ignore[type-var]
    with pytest.raises(UserError, match=r"^There is no interval for 49 percent; ask for one from 50 to 99\.$"):
        predict_frame(neuron, pl.DataFrame({"RM": [5]}), 49)


def test_contributions_and_their_base_add_up_to_the_prediction(pair: ModelVersion) -> None:
    frame = pl.DataFrame({"LSTAT": [2.0, 10.0, 101.0, None], "RM": [6.0, 5.0, 6.0, 6.0]})
    explained = explain_frame(pair, frame)
    assert explained.columns == ["base_prediction", "contribution_RM", "contribution_LSTAT"]
    assert explained.rows() == [(12.0, 0.0, 0.0), (12.0, -2.0, -4.0), (None,) * 3, (None,) * 3]
    assert explained.sum_horizontal(ignore_nulls=False).equals(predict_frame(pair, frame, 90)["prediction"])
    ours = explain_frame(pair, pd.DataFrame({"LSTAT": [10.0], "RM": [5]}, index=["x"]))
    assert ours.to_dict("index") == {
        "x": {"base_prediction": 12.0, "contribution_RM": -2.0, "contribution_LSTAT": -4.0}
    }


def test_an_older_version_says_how_to_learn_its_means(neuron: ModelVersion) -> None:
    with pytest.raises(UserError, match=r"does not know the means of its training rows.*`retrain --force`\.$"):
        explain_frame(neuron, pl.DataFrame({"RM": [5]}))


def to_frame(rows: list[dict[str, Any]], kind: str) -> Any:
    """Make a frame of rows with terms: of text, or of the types that a frame has for what they are."""
    frame = pd.DataFrame(rows)
    if kind == "polars text":
        return pl.DataFrame([{name: None if v is None else str(v) for name, v in row.items()} for row in rows])
    if kind == "text":
        return pd.DataFrame([{name: None if v is None else f" {v} " for name, v in row.items()} for row in rows])
    if kind == "polars":
        sold = pl.col("sold").str.slice(0, 10).str.to_date()
        return pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.col("cut").cast(pl.Categorical), sold)
    if kind == "zones":
        frame["sold"] = (
            pd.to_datetime(frame["sold"], format="ISO8601").dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")
        )
        return frame.astype({"cut": "category", "rooms": "Float64"})
    if kind == "types":
        frame["sold"] = pd.to_datetime(frame["sold"], format="ISO8601")
        return frame.astype({"cut": "category", "rooms": "category", "carat": "float32"})
    return frame


@pytest.mark.parametrize("kind", ["objects", "text", "types", "zones", "polars", "polars text"])
def test_terms_have_the_bits_of_plain_arithmetic_in_a_frame(store: Store, kind: str) -> None:
    model = make_term_version(store)
    rows = draw_rows(500)
    if kind == "types":  # A category of numbers is none where the model reads numbers.
        rows = [{**row, "carat": row["carat"] and float(np.float32(row["carat"]))} for row in rows]
        columns = {**model.columns, "rooms": "category"}
        model = model.model_copy(update={"columns": columns, "ranges": {**model.ranges, "rooms": (0.0, 99.0)}})
    frame = to_frame(rows, kind)
    found = predict_frame(model, frame, 90)
    assert found["prediction"].to_list() == [predict_row(model, row) for row in rows]
    if kind != "types":
        assert found["extrapolated"].to_list() == [is_extrapolated(model, row) for row in rows]
    explained = explain_frame(model, frame)
    assert list(explained.columns) == ["base_prediction", *(f"contribution_{name}" for name in model.features)]


def test_terms_reject_in_a_frame_what_they_reject_in_a_file(store: Store) -> None:
    model = make_term_version(store, missing=False)
    rows = draw_rows(300)
    found = predict_frame(model, pl.DataFrame(rows, infer_schema_length=None), 90)
    assert found["prediction"].to_list() == [predict_row(model, row) for row in rows]
    assert 50 < found["prediction"].null_count() < 300
    assert found["extrapolated"].null_count() == found["prediction"].null_count()


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (pd.Series([True, False, None], dtype="boolean"), ["true", "false", None]),
        (pd.Series([True, False, True]), ["true", "false", "true"]),
        (pd.Series([7, 8, None], dtype="Int64"), ["7", "8", None]),
        (pd.Series([7.0, 8.5, np.nan]), ["7", "8.5", None]),
        (pd.Series([7, 8, 7], dtype="category"), ["7", "8", "7"]),
        (pd.Series(["a", " b ", ""], dtype="category"), ["a", "b", None]),
        (pd.Series([None, None, None], dtype="category"), [None, None, None]),
    ],
)
def test_columns_of_pandas_have_labels(store: Store, values: "pd.Series[Any]", labels: list[str | None]) -> None:
    levels = {level: float(index) for index, level in enumerate(filter(None, labels))}
    cut = Term(name="cut", kind="category", label="`cut`", levels=levels, rows=dict.fromkeys(levels, 1), missing=-9.0)
    model = make_term_version(store, terms=[cut], features=["cut"], columns={"cut": "category"}, ranges={}, base=0.0)
    found = predict_frame(model, pd.DataFrame({"cut": values}), 90)["prediction"].tolist()
    assert found == [levels.get(label or "", -9.0) for label in labels]


@pytest.mark.parametrize(
    ("column", "values", "problem"),
    [
        ("cut", pd.Series([1j]), "column 'cut' holds complex128 where a category is needed"),
        ("sold", pd.Series([True]), "column 'sold' holds bool where times are needed"),
    ],
)
def test_columns_of_pandas_that_cannot_be_read_are_named(
    store: Store, column: str, values: "pd.Series[Any]", problem: str
) -> None:
    frame = pd.DataFrame({**draw_rows(1)[0], column: values}, index=[0])
    with pytest.raises(UserError, match=problem):
        predict_frame(make_term_version(store), frame, 90)
