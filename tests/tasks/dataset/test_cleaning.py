"""Hashes of rows stay what they are for ever, since the test rows of a table go by them."""

import numpy as np
import polars as pl

from tasks.dataset.cleaning import hash_keys, hash_rows, mix
from tasks.dataset.records import TIME, record_type


def test_words_are_mixed_as_splitmix64_does() -> None:
    assert mix(np.array([0, 1], np.uint64)).tolist() == [0xE220A8397B1DCDAF, 0x910A2DEC89025CC1]


def test_a_key_has_the_same_hash_for_ever() -> None:
    assert hash_keys(pl.Series(["a1", "ü"])).tolist() == [2012317400386921887, 3976460501203677525]


def test_a_row_has_the_same_hash_for_ever() -> None:
    records = np.zeros(2, record_type(["area", "price"], timed=True))
    records["area"], records["price"], records[TIME] = [50.5, 0], [200.25, 1], [5, 6]
    assert hash_rows(records).tolist() == [11156381671469846251, 13085129585941659551]
