"""No prediction moves by more than the proven worst case, which terms of one column reach."""

import math
from typing import Any

import numpy as np
import pytest

from linear_neuron.tasks.model import Term
from linear_neuron.tasks.registry import worst_case
from linear_neuron.tasks.registry.worst_case import find_worst_case
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version
from tests.tasks.registry.random_models import draw_rows, make_pair, make_row, measure_change

ROWS = 20_000  # python -m tests.benchmarks.worst_case draws a million for each of 20 pairs


@pytest.mark.parametrize("monotone", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_no_random_row_moves_by_more(store: Store, seed: int, monotone: bool) -> None:
    old, new = make_pair(store, seed, monotone=monotone)
    found = find_worst_case(old, new)
    change = measure_change(old, new, draw_rows(np.random.default_rng(seed), ROWS, filled=not monotone))
    assert np.nanmax(change) <= found.highest
    assert np.nanmin(change) >= found.lowest
    if monotone:
        assert found.exact
    if found.exact:
        for bound, point in ((found.lowest, found.lowest_at), (found.highest, found.highest_at)):
            (reached,) = measure_change(old, new, make_row(point))
            assert reached == pytest.approx(bound, rel=0.01, abs=0.01 * found.largest)


@pytest.mark.parametrize("links", [("log", "log"), ("identity", "log")])
@pytest.mark.parametrize("seed", [1, 2])
def test_logarithms_are_bounded_in_the_target_unit(store: Store, seed: int, links: tuple[Any, Any]) -> None:
    pair = make_pair(store, 2 * seed, monotone=True)
    old, new = (model.model_copy(update={"link": link}) for model, link in zip(pair, links, strict=True))
    found = find_worst_case(old, new)
    change = measure_change(old, new, draw_rows(np.random.default_rng(seed), ROWS, filled=False))
    assert np.nanmax(change) <= found.highest
    assert np.nanmin(change) >= found.lowest
    assert not found.exact


def make_plain(store: Store, name: str, **changes: Any) -> Any:
    plain = {"features": ["a", "b"], "ranges": {"a": (0.0, 10.0), "b": (-1.0, 1.0)}, "weights": [2.0, 1.0]}
    return make_version(store, name, **{**plain, **changes})


def test_corner_of_plain_columns_is_found(store: Store) -> None:
    old = make_plain(store, "old")
    new = make_plain(store, "new", weights=[2.5, -1.0], bias=3.0, ranges={"a": (1.0, 12.0), "b": (-1.0, 1.0)})
    found = find_worst_case(old, new)
    assert found.exact
    assert (found.highest, found.lowest) == pytest.approx((2 + 6 + 2, 2 - 2), abs=1e-4)
    assert found.highest_at == {"a": 12.0, "b": -1.0}
    assert (found.largest, found.at) == (found.highest, found.highest_at)


def test_stated_bounds_replace_the_learned_range(store: Store) -> None:
    old = make_plain(store, "old", dataset={"bounds": ["a=0..100"]})
    new = make_plain(store, "new", weights=[3.0, 1.0])
    found = find_worst_case(old, new)
    assert found.highest == pytest.approx(100, rel=1e-4)
    half = find_worst_case(make_plain(store, "half", dataset={"bounds": ["a=..4"]}), new)
    assert half.highest == pytest.approx(4, rel=1e-4)


def test_a_column_without_a_range_has_no_worst_case(store: Store) -> None:
    days = Term(name="days(t)", kind="number", value="days(`t`)", weight=1.0)
    old = make_version(store, "old", features=["days(t)"], terms=[days], columns={"t": "time"}, ranges={})
    found = find_worst_case(old, old)
    assert found.reason == "days(t) has no bounds"
    assert math.isinf(found.largest)
    gone = find_worst_case(make_plain(store, "a", ranges={"a": (0, 1)}), make_plain(store, "b", ranges={"a": (0, 1)}))
    assert gone.reason == "b has no bounds and no range"


def test_parts_of_one_time_are_an_upper_bound(store: Store) -> None:
    month = Term(name="month(t)", kind="number", value="month(`t`)", weight=1.0)
    quarter = Term(name="quarter(t)", kind="category", label="quarter(`t`)", levels={"1": 0.0, "4": 2.0})
    changes: dict[str, Any] = {"columns": {"t": "time"}, "ranges": {}, "features": ["month(t)", "quarter(t)"]}
    old = make_version(store, "old", terms=[], weights=[], **changes)
    new = make_version(store, "new", terms=[month, quarter], bias=0.0, **changes)
    old = old.model_copy(update={"features": [], "bias": 0.0})
    found = find_worst_case(old, new)
    assert found.highest == pytest.approx(14, rel=1e-5)
    assert found.highest_at == {"month(`t`)": 12.0, "quarter(`t`)": "4"}
    assert not found.exact


def test_many_combinations_are_bounded_apart(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worst_case, "MOST_CASES", 2)
    old, new = make_pair(store, 1, monotone=False)
    found = find_worst_case(old, new)
    change = measure_change(old, new, draw_rows(np.random.default_rng(1), ROWS, filled=True))
    assert np.nanmax(change) <= found.highest
    assert np.nanmin(change) >= found.lowest
    assert not found.exact


def test_rows_that_no_model_predicts_do_not_count(store: Store) -> None:
    root = Term(name="r", kind="number", value="sqrt(0 - `a` - 1)", weight=1.0)
    old = make_version(store, "o", features=["r"], terms=[root], columns={"a": "number"}, ranges={"a": (0.0, 1.0)})
    new = old.model_copy(update={"terms": [root.model_copy(update={"weight": 9.0})]})
    assert find_worst_case(old, new).largest == pytest.approx(0, abs=1e-5)
