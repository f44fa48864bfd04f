"""Whether drift is told from chance."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tasks.dataset.contract import describe_column
from tasks.dataset.drift import Drift, compare_column, count_bins, measure, merge_bins
from tasks.dataset.rows import Floats

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
