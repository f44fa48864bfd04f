"""Boston housing as Keras publishes it, and all that is particular to it: address, digest, columns and split.

Source: `keras.datasets.boston_housing` (https://keras.io/api/datasets/boston_housing/), which also warns of column B.
"""

import io

import numpy as np

from tasks.dataset.download import PublishedFile
from tasks.dataset.rows import Column, Origin, Snapshot

FILE = PublishedFile(
    name="boston_housing.npz",
    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/boston_housing.npz",
    sha256="f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5",
)
COLUMNS = (
    Column("CRIM", "crimes per capita"),
    Column("ZN", "land zoned for large lots", "%"),
    Column("INDUS", "non-retail business land", "%"),
    Column("CHAS", "bounds the Charles River", "0 or 1"),
    Column("NOX", "nitric oxides", "parts per 10 million"),
    Column("RM", "average number of rooms", examples=(3, 4, 5, 6, 7)),
    Column("AGE", "homes built before 1940", "%"),
    Column("DIS", "distance to employment centres", "weighted miles"),
    Column("RAD", "access to radial highways", "index"),
    Column("TAX", "property tax", "$ per $10K"),
    Column("PTRATIO", "pupils per teacher"),
    Column("B", "column B (see the README's warning)"),
    Column("LSTAT", "lower-status population", "%"),
    Column("MEDV", "median price", "$K"),
)


def read_snapshot(data: bytes, origin: Origin) -> Snapshot:
    """Read the file: arrays `x` of shape (506, 13) and `y` of shape (506,), which become one table.

    Seed and share are those of `keras.datasets.boston_housing.load_data`. Pickled objects are refused, since unpickling
    runs whatever code the file brings.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        values = np.column_stack([arrays["x"], arrays["y"]])
    return Snapshot("Boston housing", origin, COLUMNS, values, seed=113, train_share=0.8)
