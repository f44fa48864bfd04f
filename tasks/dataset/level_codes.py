"""Codes for the labels of a column, whose levels are known only once all rows are read."""

from typing import Any

import numpy as np
import polars as pl

from linear_neuron.tasks.dataset.raw_columns import MISSING_LABEL, Integers
from linear_neuron.tasks.dataset.rows import Hashes, hash_keys
from linear_neuron.tasks.errors import UserError

MOST = 20_000  # levels of a column, far above what can be learned from
NO_LABEL = 0x6D697373  # the hash of a missing label


class LevelBlock:
    """The labels of some rows."""

    def __init__(self, labels: pl.Series) -> None:
        self.levels = labels.drop_nulls().unique(maintain_order=True).to_list()
        known = pl.Series(self.levels, dtype=pl.String), pl.Series(range(len(self.levels)), dtype=pl.Int64)
        codes = labels.replace_strict(*known, default=MISSING_LABEL, return_dtype=pl.Int64)
        self.codes: Integers = codes.to_numpy()

    @property
    def hashes(self) -> Hashes:
        """The hash of each row's label."""
        return np.append(hash_keys(self.levels), np.uint64(NO_LABEL))[self.codes]


class LevelCoder:
    """The levels of a column in the order in which they were first seen."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: dict[str, int] = {}

    def code(self, block: LevelBlock, chosen: Any) -> Integers:
        """Code the labels of the chosen rows of a block.

        Raises:
            UserError: there are too many levels.
        """
        codes = block.codes[chosen]
        found = np.full(len(block.levels) + 1, MISSING_LABEL)  # The last one is that of a missing label.
        for index in np.unique(codes[codes != MISSING_LABEL]).tolist():
            found[index] = self.seen.setdefault(block.levels[index], len(self.seen))
        if len(self.seen) > MOST:
            raise UserError(
                f"Column {self.name!r} has more than {MOST:,} different labels; leave it out of the categories, or "
                "group them in a column of its own."
            )
        return np.asarray(found[codes])

    @property
    def levels(self) -> list[str]:
        """The levels, sorted."""
        return sorted(self.seen)

    @property
    def ranks(self) -> Integers:
        """The index in the sorted levels of each code; of the last one, that of a missing label, -1."""
        at = {level: index for index, level in enumerate(self.levels)}
        return np.array([*(at[level] for level in self.seen), MISSING_LABEL])
