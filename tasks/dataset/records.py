"""The file of a user's own table: one record a row, in the order in which the rows are dealt out.

A record has the features and the target as float64, the time in microseconds since 1970 if there is one, and the
64-bit hash of the row's key or values. NumPy's own format holds them, so that a process can map the file into its
memory and see any range of it as an array. Only NumPy is needed here, since the training process reads it too.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.dataset.rows import Column, Origin, Snapshot

TIME, HASH = "\0time", "\0hash"  # names that no column of a table has
SUFFIX = ".npy"
MAX_HEADER = 1 << 22  # bytes of names; NumPy asks to be told when it should read more than 10,000
TRAIN_SHARE = 0.8
Records = NDArray[Any]


def record_type(numbers: list[str], timed: bool) -> np.dtype[Any]:
    """Return the type of a record with these columns of numbers."""
    return np.dtype([*((name, "<f8") for name in numbers), *([(TIME, "<i8")] if timed else []), (HASH, "<u8")])


def open_records(path: Path, origin: Origin) -> Snapshot:
    """Open a snapshot, whose last column of numbers is the target; its rows stay on the disk until they are used."""
    records = np.load(path, mmap_mode="r", max_header_size=MAX_HEADER)
    names = [name for name in records.dtype.names if name not in (TIME, HASH)]
    words = records.dtype.itemsize // 8
    values = records.view("<f8").reshape(len(records), words)[:, : len(names)]
    timed = TIME in records.dtype.names
    return Snapshot(
        name=f"query on {origin.details['connection']}" if "connection" in origin.details else origin.source,
        origin=origin,
        columns=tuple(Column(name, name) for name in names),
        values=values,
        seed=None,
        train_share=TRAIN_SHARE,
        times=records[TIME] if timed else None,
        hashes=records[HASH],
        hashed=str(origin.details.get("key") or ", ".join(names)),
        path=path,
    )
