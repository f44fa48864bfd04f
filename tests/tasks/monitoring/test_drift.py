"""Whether drift is distinguished from chance."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from linear_neuron.tasks.dataset.profile import (
    BINS,
    count_bins,
    count_levels,
    describe_column,
    find_reference,
    group_by_frequency,
    merge_bins,
)
from linear_neuron.tasks.dataset.rows import Floats
from linear_neuron.tasks.monitoring.drift import compare_column, measure
from linear_neuron.tasks.scoring.manifest import Drift

Draw = Callable[[np.random.Generator, int], Floats]


def compare(known: dict[str, Any], values: Floats, nulls: int = 0) -> Drift:
    drift = compare_column("x", known, count_bins(values, known["deciles"]), nulls)
    assert drift
    return drift


def test_a_value_is_in_the_bin_whose_upper_edge_it_is() -> None:
    deciles = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    values = np.array([-5, 0.1, 0.11, 0.2, 0.95, 7], np.float32)
    assert count_bins(values, deciles) == [2, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert count_bins(values[:0], deciles) == [0] * 10


def test_bins_without_a_training_row_are_merged() -> None:
    assert merge_bins([1, 2, 3, 4], [5, 0, 0, 6]) == ([1, 9], [5, 6])
    assert merge_bins([1, 2, 3, 4], [0, 5, 6, 0]) == ([3, 7], [5, 6])


def test_psi_and_its_floor_are_those_of_the_definition() -> None:
    psi, floor = measure([10, 30], [20, 20])
    shares, known = [10.5 / 41, 30.5 / 41], [0.5, 0.5]
    assert psi == pytest.approx(sum((p - q) * np.log(p / q) for p, q in zip(shares, known, strict=True)))
    assert floor == pytest.approx(10.828 * (1 / 40 + 1 / 40))
    assert measure([40], [40]) == (0.0, 0.0)


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda rng, n: rng.normal(6, 0.7, n), id="normal"),
        pytest.param(lambda rng, n: rng.lognormal(0, 1, n), id="skewed"),
        pytest.param(lambda rng, n: rng.integers(1, 7, n).astype(float), id="discrete"),
        pytest.param(lambda rng, n: (rng.random(n) < 0.07).astype(float), id="rare"),
    ],
)
def test_chance_is_hardly_ever_taken_for_drift(draw: Draw) -> None:
    rng = np.random.default_rng(0)
    alarms = sum(compare(describe_column(draw(rng, 282)), draw(rng, 100)).drifted for _ in range(2_000))
    assert alarms <= 6, "0.3%"


def test_a_shift_of_one_standard_deviation_is_drift() -> None:
    rng = np.random.default_rng(0)
    assert all(
        compare(describe_column(rng.normal(6, 0.7, 282)), rng.normal(6.7, 0.7, 100)).drifted for _ in range(1_000)
    )


def test_nulls_are_drift_where_there_were_few() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=282)
    assert compare(describe_column(values), values[:80], nulls=20).drifted
    assert not compare(describe_column(values), values[:80], nulls=2).drifted
    known = compare(describe_column(values, nulls=0.2), values[:80], nulls=20)
    assert (known.nulls, known.known_nulls, known.drifted) == (0.2, 0.2, False)


def test_nothing_is_compared_with_what_is_not_known() -> None:
    known = describe_column(np.arange(100.0))
    assert compare_column("x", known, [0] * 10, 5) is None
    assert compare_column("x", {"deciles": known["deciles"]}, [1] * 10, 0) is None
    assert compare_column("x", {}, [1] * 10, 0) is None


CITIES = {"type": "category", "levels": {"a": 500, "b": 400, "c": 100}, "other": 0, "nulls": 0.0}


@pytest.mark.parametrize(
    ("counts", "nulls", "drifted"),
    [
        ([500, 400, 100, 0], 0, False),
        ([100, 400, 500, 0], 0, True),
        ([400, 300, 100, 200], 0, True),  # levels that were not seen
        ([500, 400, 100, 0], 1000, True),
    ],
)
def test_levels_that_change_are_drift(counts: list[int], nulls: int, drifted: bool) -> None:
    found = compare_column("city", CITIES, counts, nulls)
    assert found is not None
    assert found.drifted == drifted


def test_rare_levels_of_many_share_a_bin() -> None:
    known = {"type": "category", "levels": {f"l{n}": 10 + n for n in range(30)}, "other": 5, "nulls": 0.0}
    reference = find_reference(known)
    assert len(reference) == BINS
    assert reference[0] == 39
    assert sum(reference) == sum(10 + n for n in range(30)) + 5
    assert group_by_frequency(known, [0] * 29 + [7, 2]) == [7, *[0] * 8, 2]


def test_labels_are_counted_by_levels() -> None:
    assert count_levels(pl.Series(["a", "x", None, "a", "y"]), ["a", "b"]) == [2, 0, 2]
