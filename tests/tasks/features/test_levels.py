"""Cells of any type find the codes of their levels, also where no level of a block is known."""

import polars as pl
import pytest

from linear_neuron.tasks.features.levels import LevelIndex
from linear_neuron.tasks.model import Term

INDEX = LevelIndex([Term(name="city", kind="category", label="`city`", levels={"Bonn": 1, "Ulm": 2}, rows={"Bonn": 9})])
BONN, ULM, UNSEEN, MISSING = 0, 1, 2, 3


@pytest.mark.parametrize(
    ("cells", "codes"),
    [
        (["Bonn", "Ulm"], [BONN, ULM]),
        (["Bonn", " Ulm ", "Trier", None, " "], [BONN, ULM, UNSEEN, MISSING, MISSING]),
        (["Trier", "Mainz", "Trier"], [UNSEEN, UNSEEN, UNSEEN]),
        (["Trier", None, "Mainz"], [UNSEEN, MISSING, UNSEEN]),
        (["Trier", " ", "Mainz"], [UNSEEN, MISSING, UNSEEN]),
        ([" Ulm", " Bonn"], [ULM, BONN]),
        ([None, None], [MISSING, MISSING]),
        ([], []),
    ],
)
@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical])
def test_texts_find_the_codes_of_their_levels(cells: list[str | None], codes: list[int], dtype: pl.DataType) -> None:
    found = INDEX.find(pl.Series("city", cells, pl.String).cast(dtype))
    assert found.dtype == pl.UInt32
    assert found.name == "city"
    assert found.to_list() == codes


def test_numbers_of_no_known_level_are_unseen_or_missing() -> None:
    codes = INDEX.find_numbers(pl.Series("city", [5.0, None, float("nan"), 6.5]))
    assert codes.to_list() == [UNSEEN, MISSING, MISSING, UNSEEN]
    assert INDEX.find_numbers(pl.Series("city", [5.0, None, 6.5])).to_list() == [UNSEEN, MISSING, UNSEEN]
    assert INDEX.find(pl.Series("city", [5, 6])).to_list() == [UNSEEN, UNSEEN]
