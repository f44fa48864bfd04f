"""Rows are dealt out exactly as Keras deals them."""

import io
import os
from importlib import resources
from pathlib import Path

import keras
import numpy as np
import pytest

from tasks.dataset import boston
from tasks.dataset.rows import Rows, Split
from tasks.dataset.split import check_columns, read_rows, select_columns, split_rows
from tasks.errors import UserError
from tasks.parameters import Dataset

FILE = resources.files("tasks.dataset") / "data" / boston.FILE


@pytest.fixture
def rows() -> Rows:
    return read_rows(FILE.read_bytes())


def test_split_equals_that_of_keras_element_for_element(rows: Rows) -> None:
    cached = Path(os.environ["KERAS_HOME"]) / "datasets" / boston.FILE
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(FILE.read_bytes())
    (x, y), (x_test, y_test) = keras.datasets.boston_housing.load_data()
    train, validation, test = split_rows(rows, 0.3)
    assert np.array_equal(np.concatenate([train.x, validation.x])[:, :13], x)
    assert np.array_equal(np.concatenate([train.y, validation.y]), y)
    assert np.array_equal(test.x[:, :13], x_test)
    assert np.array_equal(test.y, y_test)


def test_validation_rows_are_the_last_share_as_keras_cuts_them(rows: Rows) -> None:
    assert [len(part) for part in split_rows(rows, 0.3)] == [282, 122, 102]
    assert [len(part) for part in split_rows(rows, 0)] == [404, 0, 102]


def test_row_numbers_lead_back_to_the_file(rows: Rows) -> None:
    _, _, test = split_rows(rows, 0.3)
    assert np.array_equal(rows.x[test.number], test.x)
    assert len(set(test.number.tolist())) == 102


def test_a_validation_split_that_leaves_no_row_is_refused(rows: Rows) -> None:
    few = Rows(rows.x[:10], rows.y[:10], rows.number[:10])
    with pytest.raises(UserError, match=r"0\.99 leaves no row of 8 to fit"):
        split_rows(few, 0.99)


def test_pickled_objects_are_refused() -> None:
    file = io.BytesIO()
    np.savez(file, x=np.array([object()]), y=np.array([1.0]))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_rows(file.getvalue())


def test_features_are_picked_by_name_in_the_order_asked_for(rows: Rows) -> None:
    split = Split(tuple(boston.COLUMNS), "MEDV", *split_rows(rows, 0.3))
    chosen = select_columns(split, ["LSTAT", "RM"], "MEDV")
    assert chosen.features == ("LSTAT", "RM")
    assert chosen.train.x.shape == (282, 2)
    assert np.array_equal(chosen.test.x[:, 1], split.test.x[:, 5])
    assert select_columns(split, ["RM"], "TAX").test.y[0] == split.test.x[0, 9]


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        (Dataset(features=["rooms"]), "no feature 'rooms' in Boston housing; choose from CRIM, ZN, .*LSTAT, MEDV"),
        (Dataset(target="price"), "no target 'price' in Boston housing"),
        (Dataset(features=["RM", "MEDV"]), "MEDV is the target and can't be a feature too"),
    ],
)
def test_names_that_the_dataset_lacks_are_refused_and_the_right_ones_listed(dataset: Dataset, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_columns(dataset)
