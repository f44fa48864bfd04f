"""A challenger that is better on the whole may be worse on a slice, which is named and can be refused."""

from dataclasses import replace

import numpy as np

from linear_neuron.tasks.dataset.raw_columns import Labels, RawColumns
from linear_neuron.tasks.dataset.rows import Column, Rows, Split
from linear_neuron.tasks.dataset.slices import Groups
from linear_neuron.tasks.parameters import Promotion
from linear_neuron.tasks.registry.champion import PromotionDecision, read_champion
from linear_neuron.tasks.registry.champion import promote as make_champion
from linear_neuron.tasks.registry.promotion import compare
from linear_neuron.tasks.registry.slice_changes import FEW, find_worse
from linear_neuron.tasks.registry.versions import read_version
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_split, make_version

NAME = "north\n*side*"
OTHERS = 200


def a_split() -> Split:
    """Prices of three times the rooms plus one; in the north, a column that is no feature, 5 less."""
    rng = np.random.default_rng(3)
    rooms, north = rng.uniform(2, 9, 2 * OTHERS + 40), np.arange(2 * OTHERS + 40) < 40
    prices = 3 * rooms + np.where(north, -4, 1) + rng.normal(0, 1, len(rooms))
    split = make_split(
        (Column("RM", "rooms"),), Column("MEDV", "price"), Rows(rooms[:, None], prices, np.arange(len(rooms)))
    )
    labels = {"side": Labels(north.astype(np.int64), ("other", NAME))}
    return replace(split, raw=RawColumns({"RM": rooms}, labels))


def decide(store: Store, **rules: object) -> PromotionDecision:
    split = a_split()
    if not read_champion(store):
        make_version(store, "a", bias=-0.5)
        make_version(store, "b", bias=1.0)
        make_champion(store, "a", "first")
    challenger = read_version(store, "b")
    return compare(challenger, challenger.linear_model.predict(split.test.x), split, Promotion.model_validate(rules))


def test_a_slice_that_got_worse_is_named(store: Store) -> None:
    found = decide(store)
    assert found.promote
    assert "It is worse by more than chance and tolerance on 1 slice: side north *side*, RMSE 5." in found.reason
    assert found.reason.endswith(" on 40 rows.")
    assert found.figures["worse_slices"] == 1


def test_a_slice_that_got_worse_can_be_refused(store: Store) -> None:
    found = decide(store, slices="refuse")
    assert not found.promote
    assert found.anchor is None
    assert "promotion.slices is refuse; to promote it by hand: linear-neuron promote b. By its errors" in found.reason
    assert decide(store, slices="refuse", mode="always").promote
    assert decide(store, slices="refuse", tolerance=9.0).promote, "it is within the tolerance"


def test_chance_and_few_rows_name_no_slice() -> None:
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(20), 40)
    errors = [rng.normal(0, 1, 800) ** 2 for _ in range(2)]
    assert find_worse([Groups("a", [str(code) for code in range(20)], codes)], errors[0], errors[1], 0.0) == []
    few = Groups("a", ["few", "rest"], (np.arange(800) >= FEW - 1).astype(np.int64))
    worse = np.where(np.arange(800) < FEW - 1, 100.0, 1.0) + rng.uniform(0, 1, 800)
    assert find_worse([few], worse, np.full(800, 2.0), 0.0) == []


def test_slices_are_corrected_for_their_number() -> None:
    rng = np.random.default_rng(5)
    known = np.full(800, 2.0)
    ours = known + rng.normal(0, 1, 800)
    ours[:40] += 0.37 - ours[:40].mean() + 2  # a chance of about 1%
    alone = Groups("a", ["x", "rest"], (np.arange(800) >= 40).astype(np.int64))
    among = Groups("a", [str(code) for code in range(20)], np.repeat(np.arange(20), 40))
    assert len(find_worse([alone], ours, known, 0.01)) == 1
    assert find_worse([among], ours, known, 0.01) == []
