"""A challenger serves only if it deserves to."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from tasks.dataset.rows import Column, Rows, Split
from tasks.model import ModelVersion
from tasks.parameters import Promotion
from tasks.registry.alarms import read_alarms
from tasks.registry.champion import PromotionDecision, promote
from tasks.registry.pending import keep_pending
from tasks.registry.promotion import apply_decisions, check_age, judge, promote_version, roll_back_champion
from tasks.storage.store import Store
from tests.helpers import make_version


def a_split(rows: int = 40, spread: float = 1.0) -> Split:
    """Prices that are three times the rooms plus one, and then some noise; offers that are the prices."""
    rng = np.random.default_rng(3)
    rooms = rng.normal(6, 1, rows) if spread else np.full(rows, 6.0)
    prices = 3 * rooms + 1 + spread * rng.normal(0, 1, rows)
    table = Rows(np.column_stack([rooms, prices]), prices, np.arange(rows))
    return Split((Column("RM", "rooms"), Column("OFFER", "offer")), Column("MEDV", "price"), table, table, table)


@pytest.fixture
def good(store: Store) -> ModelVersion:
    return make_version(store, "good")


def decision(
    challenger: ModelVersion, champion: ModelVersion | None, split: Split | None = None, **rules: object
) -> PromotionDecision:
    split = split or a_split()
    predicted = challenger.linear_model.predict(split.test.x[:, :1])
    return judge(challenger, predicted, champion, split, Promotion.model_validate(rules))


def test_the_first_that_beats_the_mean_predictor_is_promoted(good: ModelVersion) -> None:
    found = decision(good, None)
    assert found.promote
    assert "there was no champion" in found.reason
    assert found.figures["challenger_mse"] < found.figures["mean_mse"]  # type: ignore[operator]
    assert found.figures["mean_mse"] == pytest.approx(np.var(a_split().test.y))


def test_a_worse_challenger_is_refused_and_a_better_one_promoted(good: ModelVersion) -> None:
    worse = good.model_copy(update={"weights": [3.2], "version": "worse"})
    refused = decision(worse, good)
    assert not refused.promote
    assert "0% of 2000 resamples" in refused.reason
    promoted = decision(good, worse)
    assert promoted.promote
    assert promoted.champion == "worse"
    assert promoted.figures["certainty"] == 1


def test_tolerance_decides_how_much_worse_is_no_worse(good: ModelVersion) -> None:
    worse = good.model_copy(update={"bias": 1.3})
    assert not decision(worse, good, tolerance=0).promote
    assert decision(worse, good, tolerance=1).promote


def test_an_equal_challenger_is_no_worse_and_its_certainty_is_even(good: ModelVersion) -> None:
    found = decision(good, good)
    assert found.promote
    assert found.figures["certainty"] == 0.5


def test_the_mean_predictor_is_that_of_the_train_rows_and_has_to_be_beaten(good: ModelVersion) -> None:
    x, number = np.zeros((2, 2)), np.arange(2)
    train, test = Rows(x, np.array([9.0, 11.0]), number), Rows(x, np.array([12.0, 14.0]), number)
    split = replace(a_split(), train=train, test=test)
    for always, promoted in ((10.0, False), (10.5, True)):
        found = decision(good.model_copy(update={"weights": [0.0], "bias": always}), None, split)
        assert found.promote == promoted
        assert found.figures["mean_mse"] == 10.0


def test_one_that_does_not_beat_the_mean_predictor_is_refused(good: ModelVersion) -> None:
    found = decision(good.model_copy(update={"bias": 50.0}), None)
    assert not found.promote
    assert "no better than the mean predictor" in found.reason


@pytest.mark.parametrize("mode", ["auto", "always", "manual"])
def test_numbers_that_are_not_finite_are_refused_in_every_mode(good: ModelVersion, mode: str) -> None:
    found = decision(good.model_copy(update={"weights": [float("nan")]}), None, mode=mode)
    assert not found.promote
    assert found.reason == "its numbers are not all finite."


def test_degenerate_test_rows_prove_nothing(good: ModelVersion) -> None:
    for split in (a_split(1), a_split(40, spread=0)):
        found = decision(good, None, split)
        assert not found.promote
        assert "too few or all alike" in found.reason


def test_manual_leaves_it_to_people_and_always_asks_nothing(good: ModelVersion) -> None:
    bad = good.model_copy(update={"bias": 50.0})
    assert decision(bad, good, mode="always").promote
    found = decision(good, bad, mode="manual")
    assert not found.promote
    assert "linear-neuron promote good" in found.reason


def test_a_champion_with_other_features_is_compared_and_one_with_another_target_is_not(good: ModelVersion) -> None:
    clairvoyant = good.model_copy(update={"features": ["OFFER", "RM"], "weights": [1.0, 0.0], "bias": 0.0})
    beaten = decision(good, clairvoyant)
    assert not beaten.promote
    assert beaten.figures["champion_mse"] == pytest.approx(0, abs=1e-9)
    other = good.model_copy(update={"target": "RM", "version": "other"})
    found = decision(good, other)
    assert not found.promote
    assert "the champion predicts RM" in found.reason


def test_auto_promotes_nothing_that_reads_new_columns(good: ModelVersion) -> None:
    wider = good.model_copy(update={"features": ["RM", "OFFER"], "weights": [0.0, 1.0], "bias": 0.0, "version": "wide"})
    split = a_split()
    found = judge(wider, split.test.y.astype(np.float32), good, split, Promotion())
    assert not found.promote
    assert found.reason == (
        "the champion does not read OFFER, and every input file without it would fail; "
        "to promote it by hand: linear-neuron promote wide."
    )
    assert judge(wider, split.test.y.astype(np.float32), None, split, Promotion()).promote, "there is no champion yet"
    assert judge(wider, split.test.y.astype(np.float32), good, split, Promotion(mode="always")).promote


def test_a_version_that_is_only_tried_never_serves(good: ModelVersion) -> None:
    found = decision(good, None, mode="try")
    assert not found.promote
    assert found.reason == "it was only tried, as promotion.mode asked."


def test_only_rows_new_to_the_champion_are_compared(good: ModelVersion) -> None:
    split = a_split()
    timed = replace(split, rule="time", test=replace(split.test, time=np.arange(40)))
    champion = good.model_copy(update={"dataset": good.dataset | {"rule": "time", "until": 30}, "version": "old"})
    assert decision(good, champion, timed).figures["compared_rows"] == 10
    assert decision(good, champion, timed).figures["champion_mse"] == pytest.approx(
        np.mean((champion.linear_model.predict(split.test.x[30:, :1]) - split.test.y[30:]) ** 2)
    )
    known = champion.model_copy(update={"dataset": champion.dataset | {"until": 39}})
    refused = decision(good, known, timed)
    assert not refused.promote
    assert "may have learned from all but 1 of the 40 test rows; to promote it by hand" in refused.reason


def test_rows_dealt_by_another_rule_prove_nothing(good: ModelVersion) -> None:
    refused = decision(good, good, replace(a_split(), rule="hash of id"))
    assert not refused.promote
    assert "may have learned from all but 0 of the 40 test rows" in refused.reason


def test_a_column_that_is_gone_is_named(good: ModelVersion) -> None:
    champion = good.model_copy(update={"features": ["RM", "LOT"], "weights": [3.0, 0.1]})
    assert "the champion also reads LOT, which today's rows do not have" in decision(good, champion).reason


def test_many_rows_are_not_resampled(good: ModelVersion) -> None:
    worse = good.model_copy(update={"bias": 1.02})
    few, many = (decision(good, worse, a_split(rows)).figures["certainty"] for rows in (5000, 5001))
    assert few is not None
    assert few == pytest.approx(many, abs=0.02)
    assert decision(good, good, a_split(5001)).figures["certainty"] == 0.5


@pytest.mark.parametrize(
    ("mode", "alarms"),
    [
        ("auto", [("challenger.refused", "worse is not promoted: because.")]),
        ("manual", [("approval.awaited", "worse waits to be promoted: because.")]),
        ("try", []),
    ],
)
def test_a_version_that_does_not_serve_is_an_alarm(
    mode: str, alarms: list[tuple[str, str]], good: ModelVersion, store: Store
) -> None:
    make_version(store, "worse")
    rules = Promotion.model_validate({"mode": mode})
    keep_pending(store, "worse", PromotionDecision(False, "because.", {}, None), rules)
    promote(store, "good", "first")
    apply_decisions.fn(a_split(), rules)
    assert [(alarm["action"], alarm["reason"]) for alarm in read_alarms(store)] == alarms


def test_an_old_champion_is_an_alarm_once(good: ModelVersion, store: Store) -> None:
    check_age.fn(Promotion())
    champion = promote(store, "good", "first").model_copy(update={"since": datetime(2020, 1, 2, tzinfo=UTC)})
    check_age.fn(Promotion())
    assert read_alarms(store) == []
    store.write(store.root / "champion.json", champion.model_dump_json().encode())
    for _ in range(2):
        check_age.fn(Promotion(max_weeks=1))
    (alarm,) = read_alarms(store)
    assert alarm["reason"] == "good is the champion since 2020-01-02, for more than 1 week."


def test_a_new_champion_is_told_in_a_sentence(good: ModelVersion, store: Store) -> None:
    make_version(store, "other")
    told = [promote_version.fn("good", "by hand"), promote_version.fn("other", "better")]
    told.append(roll_back_champion.fn("worse after all"))
    assert [re.sub(r"since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", "since then", sentence) for sentence in told] == [
        "good is the champion since then: by hand",
        "other is the champion since then, before it good: better",
        "good is the champion since then: worse after all",
    ]
