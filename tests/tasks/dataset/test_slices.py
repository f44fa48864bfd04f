"""Slices show for which rows a model is wrong."""

import numpy as np
import polars as pl
import pytest

from linear_neuron.tasks.dataset.slices import (
    LEVELS,
    MISSING,
    OTHERS,
    Slice,
    add_slices,
    group_labels,
    group_numbers,
    group_times,
    measure_slices,
)


def test_a_slice_has_its_own_error_bias_and_coverage() -> None:
    groups = group_labels("cut", pl.Series(["a", "b", "a", None]))
    predicted, actual = np.array([3, 5, 1, 7], np.float32), np.array([1.0, 5.0, 1.0, 8.0])
    assert measure_slices([groups], actual, predicted, np.array([False, True, True, False])) == [
        Slice(by="cut", level="a", rows=2, rmse=2**0.5, bias=1.0, coverage=0.5),
        Slice(by="cut", level=MISSING, rows=1, rmse=1.0, bias=-1.0, coverage=0.0),
        Slice(by="cut", level="b", rows=1, rmse=0.0, bias=0.0, coverage=1.0),
    ]
    assert {one.coverage for one in measure_slices([groups], actual, predicted, None)} == {None}


def test_rare_levels_of_many_are_one_slice() -> None:
    labels = [f"l{level:02}" for level in range(LEVELS) for _ in range(LEVELS - level)]
    assert len(group_labels("l", pl.Series(labels)).levels) == LEVELS
    groups = group_labels("l", pl.Series([*labels, "rare"]))
    assert groups.levels == [*(f"l{level:02}" for level in range(LEVELS - 1)), OTHERS]
    assert np.bincount(groups.codes).tolist() == [*range(LEVELS, 1, -1), 2]


def test_numbers_are_cut_into_ranges_of_thirty_rows() -> None:
    assert group_numbers("prediction", np.arange(59.0)).levels == ["all"]
    groups = group_numbers("prediction", np.arange(90.0))
    assert groups.levels == ["below 29.67", "29.67 to 59.33", "from 59.33 on"]
    assert np.bincount(groups.codes).tolist() == [30, 30, 30]
    assert len(group_numbers("prediction", np.arange(900.0)).levels) == 10
    assert group_numbers("prediction", np.ones(900)).levels == ["all"]
    assert group_numbers("prediction", np.zeros(0)).levels == ["all"]


def test_periods_are_the_longest_of_which_there_are_three() -> None:
    def name(*days: str) -> list[str]:
        return group_times(np.array(days, "datetime64[us]").astype(np.int64)).levels

    assert name("2024-05-01", "2025-01-01", "2026-01-01") == ["2024", "2025", "2026"]
    assert name("2025-11-30", "2025-12-01", "2026-01-31") == ["2025-11", "2025-12", "2026-01"]
    assert name("2026-01-01", "2026-01-02") == ["2026-01-01", "2026-01-02"]


def test_slices_of_different_rows_add_up() -> None:
    one = Slice(by="cut", level="a", rows=1, rmse=5.0, bias=5.0, coverage=0.0)
    other = Slice(by="cut", level="a", rows=3, rmse=1.0, bias=-1.0, coverage=1.0)
    apart = Slice(by="cut", level="b", rows=3, rmse=1.0, bias=-1.0, coverage=None)
    assert add_slices([one, apart, other]) == [
        Slice(by="cut", level="a", rows=4, rmse=7**0.5, bias=0.5, coverage=0.75),
        apart,
    ]
    many = [apart.model_copy(update={"level": str(level)}) for level in range(LEVELS + 5)]
    added = add_slices(many)
    assert (len(added), sum(it.rows for it in added), added[-1].level) == (LEVELS, 3 * (LEVELS + 5), OTHERS)


@pytest.mark.parametrize("unit", ["month", "year"])
def test_a_unit_of_time_can_be_given(unit: str) -> None:
    times = np.array(["2026-01-01", "2026-02-01"], "datetime64[us]").astype(np.int64)
    assert len(group_times(times, unit).levels) == {"month": 2, "year": 1}[unit]
