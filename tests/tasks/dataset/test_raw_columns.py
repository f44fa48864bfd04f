"""The columns that terms read."""

import numpy as np

from linear_neuron.tasks.dataset.raw_columns import BLOCK_ROWS, MISSING_TIME, Labels, RawColumns

RAW = RawColumns(
    {"area": np.array([1.0, np.nan, 3.0, 4.0])},
    {"cut": Labels(np.array([1, -1, 0, 1]), ("Fair", "Good"))},
    {"sold": np.array([5, 6, MISSING_TIME, 8])},
)


def test_missing_values_are_null() -> None:
    assert RAW.kinds == {"area": "number", "cut": "category", "sold": "time"}
    assert RAW.read(slice(1, 3), ["cut", "sold", "area"]).rows() == [(None, 6, None), ("Fair", None, 3.0)]


def test_rows_are_read_in_the_order_of_their_indices() -> None:
    blocks = list(RAW.read_blocks(np.array([3, 0, 2]), ["area", "cut"]))
    assert [part for part, _ in blocks] == [slice(0, 3)]
    assert blocks[0][1].rows() == [(4.0, "Good"), (1.0, "Good"), (3.0, "Fair")]
    assert [frame.rows() for _, frame in RAW.read_blocks(np.array([1, 2]), ["sold"])] == [[(6,), (None,)]]


def test_many_rows_are_read_in_blocks() -> None:
    raw = RawColumns({"x": np.arange(BLOCK_ROWS + 5.0)})
    found = [(part.start, part.stop, frame.height) for part, frame in raw.read_blocks(np.arange(BLOCK_ROWS + 5), ["x"])]
    assert found == [(0, BLOCK_ROWS, BLOCK_ROWS), (BLOCK_ROWS, BLOCK_ROWS + 5, 5)]
