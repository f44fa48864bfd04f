"""A challenger that could move a prediction too far is refused, with where that is."""

from typing import Any

import pytest

from linear_neuron.tasks.model import ModelVersion, Term
from linear_neuron.tasks.parameters import Promotion
from linear_neuron.tasks.registry.champion import PromotionDecision
from linear_neuron.tasks.registry.change_limit import describe_worst, find_spread, limit_change
from linear_neuron.tasks.registry.worst_case import WorstCase, find_worst_case
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version

YES = PromotionDecision(True, "it is better.", {"certainty": 1.0}, "a", "a")
PROFILE: dict[str, Any] = {"MEDV": {"deciles": [0.0, 10.0, *[15.0] * 7, 30.0, 50.0]}}


def make_pair(store: Store, **changes: Any) -> tuple[ModelVersion, ModelVersion]:
    champion = make_version(store, "a", contract=PROFILE, ranges={"RM": (4.0, 8.0)})
    return champion, make_version(store, "b", **{"weights": [3.5], "ranges": {"RM": (4.0, 8.0)}, **changes})


def test_a_move_beyond_the_limit_is_refused_with_its_corner(store: Store) -> None:
    champion, challenger = make_pair(store)
    found = limit_change(YES, challenger, champion, Promotion(max_change=0.1))
    assert not found.promote
    assert found.anchor is None
    assert found.reason == (
        "it could move a prediction by 4.00, 20.0% of the target's spread, at RM 8.00, and promotion.max_change allows "
        "10.0%; to promote it by hand: linear-neuron promote b. By its errors it would be promoted: it is better."
    )
    assert found.figures["change_share"] == pytest.approx(0.2, abs=1e-5)
    allowed = limit_change(YES, challenger, champion, Promotion(max_change=0.21))
    assert (allowed.promote, allowed.reason, allowed.anchor) == (True, "it is better.", "a")
    assert allowed.figures["largest_change"] == pytest.approx(4, abs=1e-4)


def test_no_limit_and_no_champion_change_nothing(store: Store) -> None:
    champion, challenger = make_pair(store)
    for mode, limit, present in (("auto", 0, champion), ("always", 0.1, champion), ("auto", 0.1, None)):
        assert limit_change(YES, challenger, present, Promotion(mode=mode, max_change=limit)) is YES
    no = PromotionDecision(False, "worse", {}, "a")
    assert limit_change(no, challenger, champion, Promotion(max_change=0.1)) is no


def test_what_is_not_proven_is_refused(store: Store) -> None:
    champion, challenger = make_pair(store)
    old = champion.model_copy(update={"contract": {}})
    assert find_spread(old) is None
    assert "does not know the spread" in limit_change(YES, challenger, old, Promotion(max_change=0.1)).reason
    open_ended = challenger.model_copy(update={"terms": [Term(name="d", kind="number", value="days(`t`)")]})
    reason = limit_change(YES, open_ended, champion, Promotion(max_change=0.1)).reason
    assert reason.startswith("promotion.max_change is not proven: days(t) has no bounds; to promote it by hand")


def test_worst_case_is_described(store: Store) -> None:
    worst = find_worst_case(*make_pair(store))
    assert describe_worst(worst, 20.0) == (
        "Within bounds no prediction moves by more than 4.00, 20.0% of the target's spread; moves are from +2.00 to "
        "+4.00. It is reached at RM 8.00."
    )
    upper = WorstCase(-1.0, 0.5, {"k": "x", "a": None}, {}, exact=False)
    assert describe_worst(upper, None) == (
        "Within bounds no prediction moves by more than 1.00; moves are from -1.00 to +0.5000. It is an upper bound, "
        "which may not be reached; it is near k x, a missing."
    )
    timed = WorstCase(0, 1.0, {}, {"weekday(`sold_on`)": 2.0}, exact=True)
    assert describe_worst(timed, None).endswith("It is reached at weekday(sold_on) 2.00.")
    assert describe_worst(WorstCase(0, 0, {}, {}, exact=False, reason="x"), 1.0) == "No worst case is proven: x."
    assert describe_worst(WorstCase(0, 0, {}, {}, exact=True), None).endswith("It is reached at any row.")
