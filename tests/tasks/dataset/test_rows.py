"""Hashes of rows stay what they are for ever, since test rows go by them; mapped rows are read in bounded memory."""

from pathlib import Path

import numpy as np
import polars as pl

from linear_neuron.tasks.dataset.rows import (
    RANGE_ROWS,
    copy_column,
    hash_keys,
    hash_rows,
    mix,
    read_ranges,
    record_type,
)
from linear_neuron.tasks.tables.spec import TIME


def test_words_are_mixed_as_splitmix64_does() -> None:
    assert mix(np.array([0, 1], np.uint64)).tolist() == [0xE220A8397B1DCDAF, 0x910A2DEC89025CC1]


def test_a_key_has_the_same_hash_for_ever() -> None:
    assert hash_keys(pl.Series(["a1", "ü"])).tolist() == [2012317400386921887, 3976460501203677525]


def test_a_row_has_the_same_hash_for_ever() -> None:
    records = np.zeros(2, record_type(["area", "price"], timed=True))
    records["area"], records["price"], records[TIME] = [50.5, 0], [200.25, 1], [5, 6]
    assert hash_rows(records).tolist() == [11156381671469846251, 13085129585941659551]


def test_a_mapped_array_is_read_without_its_pages_kept(tmp_path: Path) -> None:
    kept = np.arange(4.0 * RANGE_ROWS).reshape(-1, 2)
    np.save(tmp_path / "rows.npy", kept)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert np.array_equal(mapped, kept)
    assert count_mapped("rows.npy") > 0
    assert np.array_equal(copy_column(mapped[5:, 1]), kept[5:, 1])
    assert count_mapped("rows.npy") == 0
    assert np.array_equal(mapped, kept), "the file still has what was given back"


def test_ranges_cover_an_array_in_memory_too() -> None:
    values = np.arange(2 * RANGE_ROWS + 7)
    assert np.concatenate([values for _, values in read_ranges(values)]).tolist() == values.tolist()


def count_mapped(name: str) -> int:
    """Count the kB of a mapped file that are in this process's memory."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    starts = [index for index, line in enumerate(lines) if line.endswith(name)]
    return sum(int(next(line for line in lines[index:] if line.startswith("Rss:")).split()[1]) for index in starts)
