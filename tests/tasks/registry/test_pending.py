"""What a killed run owes to a version is done by the next run, once."""

import numpy as np
import pytest

from tasks.dataset.rows import Column, Rows, Split
from tasks.parameters import Promotion
from tasks.registry.champion import PromotionDecision, promote, read_champion, read_log
from tasks.registry.pending import PENDING, PendingDecision, find_pending, keep_pending
from tasks.registry.promotion import apply_decisions
from tasks.registry.versions import version_folder
from tasks.storage.store import Store
from tests.helpers import make_version

ROWS = Rows(np.array([[6.0], [7.0], [8.0]]), np.array([19.0, 22.0, 25.5]), np.arange(3))
SPLIT = Split((Column("RM", "rooms"),), Column("MEDV", "price"), ROWS, ROWS, ROWS)
"""Rows that the made-up versions, three times the rooms plus one, are good at."""
YES = PromotionDecision(promote=True, reason="better", figures={"challenger_mse": 1.0}, champion=None)
NO = PromotionDecision(promote=False, reason="worse", figures={}, champion=None)


def entries(store: Store) -> list[tuple[str, str, str]]:
    return [(entry["action"], entry["version"], entry["reason"]) for entry in read_log(store)]


def test_a_decision_of_a_killed_run_is_carried_out_once(store: Store) -> None:
    make_version(store, "a")
    keep_pending(store, "a", YES, Promotion())
    for _ in range(2):
        apply_decisions(SPLIT, Promotion())
        assert entries(store) == [("promoted", "a", "better")]
        assert read_log(store)[0]["figures"] == {"challenger_mse": 1.0}
        assert store.names(PENDING) == []


def test_a_refusal_of_a_killed_run_is_logged_once(store: Store) -> None:
    make_version(store, "a")
    keep_pending(store, "a", NO, Promotion())
    apply_decisions(SPLIT, Promotion())
    keep_pending(store, "a", NO, Promotion())  # as it is left by a run that was killed after it had logged the refusal
    apply_decisions(SPLIT, Promotion())
    assert entries(store) == [("refused", "a", "worse")]
    assert store.names(PENDING) == []


def test_the_two_are_compared_anew_if_another_champion_came_in_between(store: Store) -> None:
    for version in "ab":
        make_version(store, version)
    make_version(store, "c", weights=[1.0])
    promote(store, "a", "by hand")
    for version in "bc":
        keep_pending(store, version, YES, Promotion())
    apply_decisions(SPLIT, Promotion(mode="try"))  # The rules are those of the run that was killed.
    (_, promoted, refused) = entries(store)
    assert promoted[:2] == ("promoted", "b")
    assert "against the champion's 0.08, tolerance 1%" in promoted[2]
    assert refused[:2] == ("refused", "c")


def test_a_version_that_is_not_published_is_owed_nothing_yet(store: Store) -> None:
    keep_pending(store, "a", YES, Promotion())
    apply_decisions(SPLIT, Promotion())
    assert entries(store) == []
    make_version(store, "a")
    assert find_pending(store, Promotion()) == {"a": PendingDecision(decision=YES, promotion=Promotion())}


@pytest.mark.parametrize("mode", ["auto", "manual"])
def test_a_store_without_champion_recovers_from_a_run_of_an_older_release(store: Store, mode: str) -> None:
    make_version(store, "a")
    apply_decisions(SPLIT, Promotion(mode="try"))
    assert read_log(store) == []
    apply_decisions(SPLIT, Promotion.model_validate({"mode": mode}))
    assert [entry[:2] for entry in entries(store)] == [("promoted" if mode == "auto" else "refused", "a")]
    make_version(store, "b")
    apply_decisions(SPLIT, Promotion())
    assert len(entries(store)) == (1 if mode == "auto" else 2)


def test_what_is_owed_to_a_damaged_version_stops_no_run(store: Store) -> None:
    for version in "ab":
        make_version(store, version)
        keep_pending(store, version, YES, Promotion())
    (version_folder(store, "a") / "model.json").write_bytes(b"{}")
    store.write(store.root / PENDING / "b.json", b"{")
    apply_decisions(SPLIT, Promotion())
    assert "model.json is not what its manifest says" in entries(store)[0][2]
    champion = read_champion(store)
    assert champion is not None
    assert champion.version == "b"


def test_a_version_of_another_dataset_is_left_to_people(store: Store) -> None:
    make_version(store, "a", features=["sugar"])
    apply_decisions(SPLIT, Promotion())
    assert entries(store) == [
        (
            "refused",
            "a",
            "it predicts MEDV from sugar, and not all of these are in the dataset of today as they were; "
            "promote it by hand: linear-neuron promote a.",
        )
    ]
