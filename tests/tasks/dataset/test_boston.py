"""Boston housing as its file has it."""

import io

import numpy as np
import pytest

from tasks.dataset.boston import COLUMNS, FILE, read_snapshot
from tasks.dataset.rows import Origin
from tasks.dataset.sources import download
from tasks.parameters import Dataset
from tasks.storage.store import Store


def test_the_source_reads_one_table_and_says_which(store: Store) -> None:
    snapshot = download.fn(Dataset(source="package"))
    assert snapshot.origin == Origin(FILE.sha256, "package")
    assert snapshot.values.shape == (506, len(COLUMNS))
    assert snapshot.values[0].tolist() == [
        0.00632, 18.0, 2.31, 0.0, 0.538, 6.575, 65.2, 4.09, 1.0, 296.0, 15.3, 396.9, 4.98, 24.0
    ]  # fmt: skip


def test_columns_say_what_they_mean_and_in_which_unit() -> None:
    assert [str(column) for column in COLUMNS if column.name in ("RM", "TAX")] == [
        "average number of rooms",
        "property tax [$ per $10K]",
    ]


def test_pickled_objects_are_refused() -> None:
    file = io.BytesIO()
    np.savez(file, x=np.array([object()]), y=np.array([1.0]))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_snapshot(file.getvalue(), Origin("0", "cache"))
