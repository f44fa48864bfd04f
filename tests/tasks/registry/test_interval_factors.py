"""Intervals follow actual values: their coverage comes back, whatever has changed."""

import math

import numpy as np
import pytest

from linear_neuron.tasks.model import IntervalBins
from linear_neuron.tasks.registry.interval_factors import (
    FACTORS,
    STEP,
    Factor,
    Followed,
    follow,
    keep_factors,
    read_factor,
    read_factors,
    widen_interval,
)
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version

NORMAL_90 = 1.6449  # half the width of the interval of 90% of a normal variable


def test_each_value_moves_the_width_by_a_step() -> None:
    assert follow(np.array([]), 90) == 1
    assert follow(np.array([1.5]), 90) == pytest.approx(math.exp(0.9 * STEP))
    assert follow(np.array([1.0]), 90) == pytest.approx(math.exp(-0.1 * STEP)), "a bound is inside"
    assert follow(np.array([0.0, 1.5]), 80) == pytest.approx(math.exp(0.6 * STEP))


def test_a_factor_has_bounds() -> None:
    assert follow(np.full(10_000, 1e9), 90) == pytest.approx(20)
    assert follow(np.zeros(100_000), 90) == pytest.approx(1 / 20)


@pytest.mark.parametrize("growth", [3.0, 1.0, 0.5])
def test_coverage_comes_back_after_errors_have_changed(growth: float) -> None:
    """Errors are normal and change by a factor with the first value; 20 lives of 1,300 values, seed 0.

    The interval of a file is that of the actual values of the files before it, of 25 values each.
    """
    rng, inside, before = np.random.default_rng(0), [], []
    for _ in range(20):
        ratios = np.abs(rng.normal(0, growth, 1300)) / NORMAL_90
        factors = np.repeat([follow(ratios[:known], 90) for known in range(0, 1300, 25)], 25)
        inside.append((ratios <= factors)[300:])
        before.append((ratios <= 1)[300:])
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)
    if growth == 3:
        assert np.mean(before) < 0.45, "without it"


def test_the_middle_of_each_level_stays(store: Store) -> None:
    lower, upper = {"90": [-1.0, -4.0, None]}, {"90": [3.0, 2.0, 5.0]}
    bins = IntervalBins(edges=[1, 2], lower=lower, upper=upper, floor=0)
    model = make_version(store, "v1", interval_bins=bins, intervals={"90": 2.0, "99": None})
    wide = widen_interval(model, 2)
    assert wide.intervals == {"90": 4.0, "99": None}
    assert wide.interval_bins is not None
    assert wide.interval_bins.lower == {"90": [-3.0, -7.0, None]}
    assert wide.interval_bins.upper == {"90": [5.0, 5.0, 5.0]}
    assert wide.interval_bins.floor == 0
    assert widen_interval(model, 1) is model
    assert widen_interval(model.model_copy(update={"interval_bins": None}), 2).interval_bins is None


def test_factors_are_kept_for_versions_that_exist(store: Store) -> None:
    for version in ("v1", "v2"):
        make_version(store, version)
    assert read_factor(store, "v1", 90) == 1
    keep_factors(store, {"v1": Followed(actuals="a", factors={"90": Factor(factor=1.5, rows=3)})})
    keep_factors(store, {name: Followed(actuals="b", factors={}) for name in ("v2", "gone")})
    assert sorted(read_factors(store)) == ["v1", "v2"]
    assert [read_factor(store, "v1", percent) for percent in (90, 95)] == [1.5, 1]


@pytest.mark.parametrize("data", [b"null", b"[", b'{"v1": 3}', b""])
def test_damaged_factors_count_for_none(data: bytes, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    make_version(store, "v1")
    store.write(store.root / FACTORS, data)
    assert read_factor(store, "v1", 90) == 1
    assert "factors.json is damaged" in caplog.text
    keep_factors(store, {"v1": Followed(actuals="a", factors={"90": Factor(factor=1.5, rows=3)})})
    assert read_factor(store, "v1", 90) == 1.5
