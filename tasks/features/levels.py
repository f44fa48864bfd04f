"""Find the levels of a model's categories in the columns of a table."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linear_neuron.tasks.features.expressions import Column, parse
from linear_neuron.tasks.model import Term
from linear_neuron.tasks.tables.cleaning import read_label, spell_number
from linear_neuron.tasks.tables.rejects import TEXT

CODE = pl.UInt32()


class LevelIndex:
    """The levels that some terms know of one category, each with a code: first those that they have learned from.

    Of 100,000 texts in 200 levels it takes 1.3 ms to cast them to an enumeration, which is what `find` does; Polars'
    `replace_strict` takes 2.1 ms, a join 2.0 ms, and `unique` alone 1.2 ms.
    """

    def __init__(self, terms: Iterable[Term]) -> None:
        listed = list(terms)
        learned = dict.fromkeys(level for term in listed for level in term.rows)
        others = [level for term in listed for level in term.levels if level not in learned]
        self.levels = list(dict.fromkeys([*learned, *others]))
        self.learned = len(learned)  # codes below it are of levels that were learned from
        self.unseen = len(self.levels)  # the code of any other level
        self.missing = self.unseen + 1  # the code of a missing label

    @cached_property
    def _enumeration(self) -> pl.Enum:
        return pl.Enum(self.levels)

    def find(self, cells: pl.Series) -> pl.Series:
        """Find the codes of cells as a source has them.

        Args:
            cells: text, or a type that `read_label` makes text of.
        """
        if cells.dtype not in (TEXT, pl.Categorical, pl.Enum):
            return self._find_by_values(cells, read_label(cells.name, cells.dtype))
        codes = self._find_texts(cells.cast(TEXT))
        if not codes.null_count():
            return codes
        if codes.null_count() == len(codes):
            return self._find_by_values(cells, read_label(cells.name, cells.dtype))
        rows = codes.is_null().arg_true()
        others = cells.gather(rows)
        return codes.scatter(rows, self._find_by_values(others, read_label(cells.name, cells.dtype)))

    def find_numbers(self, numbers: pl.Series) -> pl.Series:
        """Find the codes of numbers as float64, which are labels in their shortest form."""
        return self._find_by_values(numbers, spell_number(pl.col(numbers.name)))

    def _find_texts(self, texts: pl.Series) -> pl.Series:
        """Find the codes of texts that are a level as they are; null for others."""
        return texts.cast(self._enumeration, strict=False).to_physical().cast(CODE)

    def _find_labels(self, labels: pl.Series) -> pl.Series:
        """Find the codes of labels without blanks around them; null is a missing one."""
        missing = pl.select(pl.when(labels.is_null()).then(self.missing).otherwise(self.unseen).cast(CODE)).to_series()
        return pl.select(pl.coalesce(self._find_texts(labels), missing)).to_series()

    def _find_by_values(self, cells: pl.Series, label: pl.Expr) -> pl.Series:
        """Find the codes of cells each different value of which becomes a label once."""
        values = cells.unique().drop_nulls()
        codes = self._find_labels(values.to_frame().select(label.cast(TEXT)).to_series())
        if (codes == self.unseen).all():  # No level is known, as in a table of other places; there is nothing to join.
            known = pl.when(cells.is_null()).then(self.missing).otherwise(self.unseen)
            return pl.select(known.cast(CODE).alias(cells.name)).to_series()
        return cells.replace_strict(values, codes, default=self.missing, return_dtype=CODE)

    def look_up(self, term: Term, codes: pl.Series) -> pl.Series:
        """Look up what a term has for each code, as float64; null for a missing label."""
        found = [term.levels.get(level, term.other) for level in self.levels]
        return pl.Series([*found, term.other, None], dtype=pl.Float64).gather(codes)

    def is_unseen(self, codes: pl.Expr) -> pl.Expr:
        """Express whether a label is none that was learned from; a missing one is."""
        return codes.is_between(self.learned, self.unseen)

    def count(self, codes: pl.Series) -> NDArray[np.int64]:
        """Count each code, shape (levels + 2,)."""
        return np.bincount(codes.to_numpy(), minlength=self.missing + 1)


def name_label(terms: Sequence[Term]) -> str:
    """Name the category that some terms share: its column, or the first of them."""
    node = parse(terms[0].label)
    return node.name if isinstance(node, Column) else terms[0].name
