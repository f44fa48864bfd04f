"""Rows for fitting, validating and testing, dealt out exactly as Keras does."""

import io
from typing import cast

import numpy as np
from upath import UPath

from tasks.dataset import boston
from tasks.dataset.rows import Download, Floats, Rows, Split
from tasks.errors import UserError
from tasks.parameters import Dataset
from tasks.steps import task


def read_rows(data: bytes) -> Rows:
    """All rows of the npz file, in the file's order; `x` has the 13 features and the target as its last column.

    Pickled objects are refused, since unpickling would run whatever code the file brings.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        x, y = cast(Floats, arrays["x"]), cast(Floats, arrays["y"])
    return Rows(x=np.column_stack([x, y]), y=y, number=np.arange(len(y)))


def split_rows(rows: Rows, validation_split: float) -> tuple[Rows, Rows, Rows]:
    """Train, validation and test rows.

    The cut between the first two and the test rows is that of `keras.datasets.boston_housing.load_data`: a shuffle
    by NumPy's legacy generator with seed 113, then the first 80%. The cut between train and validation is that of
    `Model.fit(validation_split=...)`: the last share of the rows, without a shuffle.

    Raises:
        UserError: the share leaves no row to fit.
    """
    order = np.arange(len(rows))
    np.random.RandomState(boston.SHUFFLE_SEED).shuffle(order)
    known = int(len(rows) * boston.TRAIN_SHARE)
    fitted = int(known * (1 - validation_split))
    if fitted < 1:
        raise UserError(f"A validation split of {validation_split} leaves no row of {known} to fit; lower it.")
    train, validation, test = np.split(order, [fitted, known])
    return _take(rows, train), _take(rows, validation), _take(rows, test)


def _take(rows: Rows, places: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Rows:
    return Rows(x=rows.x[places], y=rows.y[places], number=rows.number[places])


@task("Split the rows")
def split(download: Download, dataset: Dataset, validation_split: float) -> Split:
    """Reads the verified file and deals its rows out, all columns still there."""
    check_columns(dataset)
    train, validation, test = split_rows(read_rows(UPath(download.path).read_bytes()), validation_split)
    return Split(tuple(boston.COLUMNS), dataset.target, train, validation, test)


def check_columns(dataset: Dataset) -> None:
    """Refuses names that the dataset does not have.

    Raises:
        UserError: an unknown feature or target, or a target that is a feature too.
    """
    for role, name in [("feature", name) for name in dataset.features] + [("target", dataset.target)]:
        if name not in boston.COLUMNS:
            raise UserError(f"There is no {role} {name!r} in {boston.NAME}; choose from {', '.join(boston.COLUMNS)}.")
    if dataset.target in dataset.features:
        raise UserError(f"{dataset.target} is the target and can't be a feature too; leave it out of the features.")


def select_columns(split: Split, features: list[str], target: str) -> Split:
    """The same rows with `x` cut down to the named features, shape (n, features), and `y` to the target."""
    places = [split.features.index(name) for name in features]
    aim = split.features.index(target)

    def narrow(rows: Rows) -> Rows:
        return Rows(x=rows.x[:, places], y=rows.x[:, aim], number=rows.number)

    return Split(tuple(features), target, narrow(split.train), narrow(split.validation), narrow(split.test))


@task("Extract the features")
def extract_features(split: Split, dataset: Dataset) -> Split:
    """Picks the chosen features and target by name."""
    return select_columns(split, dataset.features, dataset.target)
