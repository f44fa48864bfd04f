"""A challenger serves only if it deserves to."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from linear_neuron.tasks.dataset.rows import Column, Rows, Split
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Promotion, Retention
from linear_neuron.tasks.registry.alarms import read_alarms
from linear_neuron.tasks.registry.champion import PromotionDecision, promote, read_champion, read_log
from linear_neuron.tasks.registry.promotion import (
    PENDING,
    PendingDecision,
    apply_decisions,
    check_age,
    decide,
    find_pending,
    keep_pending,
    promote_version,
    roll_back_champion,
)
from linear_neuron.tasks.registry.retention import clean_store
from linear_neuron.tasks.registry.versions import version_folder
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_split, make_version


def a_split(rows: int = 40, spread: float = 1.0) -> Split:
    """Prices that are three times the rooms plus one, and then some noise; offers that are the prices."""
    rng = np.random.default_rng(3)
    rooms = rng.normal(6, 1, rows) if spread else np.full(rows, 6.0)
    prices = 3 * rooms + 1 + spread * rng.normal(0, 1, rows)
    table = Rows(np.column_stack([rooms, prices]), prices, np.arange(rows))
    return make_split((Column("RM", "rooms"), Column("OFFER", "offer")), Column("MEDV", "price"), table)


@pytest.fixture
def good(store: Store) -> ModelVersion:
    return make_version(store, "good")


def decision(
    challenger: ModelVersion, champion: ModelVersion | None, split: Split | None = None, **rules: object
) -> PromotionDecision:
    split = split or a_split()
    predicted = challenger.linear_model.predict(split.test.x[:, :1])
    return decide(challenger, predicted, champion, split, Promotion.model_validate(rules))


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
    assert decision(worse, good, tolerance=1, min_certainty=0).promote


def test_a_challenger_that_is_probably_worse_is_refused(good: ModelVersion) -> None:
    worse = good.model_copy(update={"bias": 1.08})
    rows = a_split(4000)
    refused = decision(worse, good, rows)
    assert refused.figures["challenger_mse"] < 1.01 * refused.figures["champion_mse"]  # type: ignore[operator]
    assert (refused.promote, refused.figures["certainty"] < 0.05) == (False, True)  # type: ignore[operator]
    assert refused.reason.endswith("promotion.min_certainty asks for 5%.")
    assert decision(worse, good, rows, min_certainty=0).promote


def test_a_decision_says_how_large_a_difference_shows(good: ModelVersion) -> None:
    other = good.model_copy(update={"weights": [3.1], "bias": 0.5})
    few, many = (decision(good, other, a_split(rows)) for rows in (200, 3200))
    assert few.figures["detectable"] / many.figures["detectable"] == pytest.approx(4, rel=0.3)  # type: ignore[operator]
    assert f"which show a difference of {few.figures['detectable']:.1%} or more" in few.reason


@pytest.mark.slow
@pytest.mark.parametrize(("count", "seeds"), [(1000, 3), (200, 2)])
def test_small_steps_down_do_not_add_up(good: ModelVersion, store: Store, count: int, seeds: int) -> None:
    """Challengers of 100 weeks are each 0.3 to 0.9% worse than the champion, on that many new rows a week."""
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        champion, anchor, level = make_slope(good, rng, 0.01), None, 0.01
        versions = {champion.version: champion}
        for week in range(100):
            worse = (1 + level) * (1 + rng.uniform(0.003, 0.009)) - 1
            challenger = make_slope(good, rng, worse, f"{seed}-{week}")
            x = rng.normal(size=(count, SIDES))
            rows = Rows(x, x.sum(axis=1) + rng.normal(size=count), np.arange(count))
            columns = tuple(Column(name, name) for name in challenger.features)
            predicted = challenger.linear_model.predict(x)
            found = decide(
                challenger, predicted, champion, make_split(columns, Column("MEDV", "price"), rows), Promotion(), anchor
            )
            if found.promote:
                champion, level = challenger, worse
                versions[champion.version] = champion
                anchor = versions[found.anchor] if found.anchor else None
        assert (1 + level) / 1.01 < 1.05


SIDES = 8


def make_slope(good: ModelVersion, rng: np.random.Generator, worse: float, version: str = "start") -> ModelVersion:
    """Make a version whose error on rows of unit noise is greater by a share than the least."""
    off = rng.normal(size=SIDES)
    weights = (1 + off * np.sqrt(worse / (off @ off))).tolist()
    features = [f"x{side}" for side in range(SIDES)]
    return good.model_copy(update={"version": version, "weights": weights, "bias": 0.0, "features": features})


def test_the_anchor_stays_until_a_challenger_is_proven_better(good: ModelVersion) -> None:
    rows = a_split(2000)
    equal = good.model_copy(update={"version": "equal", "bias": 1.0005})
    worse = good.model_copy(update={"version": "worse", "bias": 1.2})
    assert decision(equal, good, rows).anchor == "good"
    assert decision(good, worse, rows).anchor is None
    predicted = worse.linear_model.predict(rows.test.x[:, :1])
    refused = decide(worse, predicted, worse, rows, Promotion(), anchor=good)
    assert not refused.promote
    assert "against that of good, the best before it, " in refused.reason
    assert refused.reason.endswith("must not add up; to promote it by hand: linear-neuron promote worse.")
    assert refused.figures["anchor_certainty"] < 0.05  # type: ignore[operator]


def test_few_rows_that_do_not_exclude_the_loss_of_the_budget_promote_nothing(good: ModelVersion) -> None:
    """The challenger looks as good as the anchor, but on these rows it could be 2% worse."""
    rows = a_split(60)
    x = rows.test.x[:, :1]
    off = 2 * float(np.mean(rows.test.y - good.linear_model.predict(x)))
    other = good.model_copy(update={"version": "other", "bias": good.bias + off})
    champion = good.model_copy(update={"version": "champion", "weights": [3.3]})
    assert decision(other, champion, rows).promote
    found = decide(other, other.linear_model.predict(x), champion, rows, Promotion(), anchor=good)
    assert not found.promote
    assert found.figures["anchor_budget_certainty"] < 0.95  # type: ignore[operator]
    assert "that it is less than 2% worse is " in found.reason


def test_an_anchor_is_kept_in_the_pointer_and_by_retention(store: Store) -> None:
    for version in "abcz":
        make_version(store, version)
    promote(store, "a", "first")
    promote(store, "b", "equal", PromotionDecision(True, "equal", {}, "a", "a"))
    promote(store, "c", "equal", PromotionDecision(True, "equal", {}, "b", "a"))
    assert read_champion(store).anchor == "a"  # type: ignore[union-attr]
    assert clean_store(store, Retention(newest=1, days=0)) == []
    promote(store, "z", "by hand")
    assert read_champion(store).anchor is None  # type: ignore[union-attr]
    assert clean_store(store, Retention(newest=1, days=0)) == ["model a", "model b"]


def test_an_anchor_that_cannot_be_compared_gives_way_to_the_champion(good: ModelVersion) -> None:
    rows, anchor = a_split(2000), good.model_copy(update={"version": "anchor", "target": "RM"})
    predicted = good.linear_model.predict(rows.test.x[:, :1])
    found = decide(good, predicted, good.model_copy(update={"version": "champion"}), rows, Promotion(), anchor=anchor)
    assert (found.promote, found.anchor) == (True, "champion")


def test_an_anchor_is_kept_where_the_versions_cannot_be_compared(good: ModelVersion, store: Store) -> None:
    for version in "ab":
        make_version(store, version, target="RM" if version == "b" else "MEDV")
    promote(store, "a", "first")
    promote(store, "b", "equal", PromotionDecision(True, "equal", {}, "a", "a"))
    refused = decision(good, make_version(store, "c", target="RM"))
    assert "the champion predicts RM" in refused.reason
    keep_pending(store, "good", refused, Promotion())
    apply_decisions.fn(a_split(), Promotion())
    pointer = read_champion(store)
    assert pointer
    assert (pointer.version, pointer.anchor) == ("b", "a")


def test_an_equal_challenger_is_no_worse_and_its_certainty_is_even(good: ModelVersion) -> None:
    found = decision(good, good)
    assert found.promote
    assert found.figures["certainty"] == 0.5


def test_the_mean_predictor_is_that_of_the_train_rows_and_has_to_be_beaten(good: ModelVersion) -> None:
    x, number = np.zeros((2, 2)), np.arange(2)
    train, test = Rows(x, np.array([9.0, 11.0]), number), Rows(x, np.array([12.0, 14.0]), number)
    split = replace(a_split(), rows={"train": train, "validation": train, "test": test})
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


def test_numbers_that_are_not_finite_await_no_approval(good: ModelVersion, store: Store) -> None:
    make_version(store, "broken")
    refused = decision(good.model_copy(update={"bias": float("inf")}), None, mode="manual")
    rules = Promotion(mode="manual")
    keep_pending(store, "broken", refused, rules)
    apply_decisions.fn(a_split(), rules)
    found = [(alarm["action"], alarm["reason"]) for alarm in read_alarms(store) if alarm["version"] == "broken"]
    assert found == [("challenger.refused", "broken is not promoted: its numbers are not all finite.")]


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
    found = decide(wider, split.test.y.astype(np.float32), good, split, Promotion())
    assert not found.promote
    assert found.reason == (
        "the champion does not read OFFER, and every input file without it would fail; "
        "to promote it by hand: linear-neuron promote wide."
    )
    assert decide(wider, split.test.y.astype(np.float32), None, split, Promotion()).promote, "there is no champion yet"
    assert decide(wider, split.test.y.astype(np.float32), good, split, Promotion(mode="always")).promote


def test_a_version_that_is_only_tried_never_serves(good: ModelVersion) -> None:
    found = decision(good, None, mode="try")
    assert not found.promote
    assert found.reason == "it was only tried, as promotion.mode asked."


def test_only_rows_new_to_the_champion_are_compared(good: ModelVersion) -> None:
    split = a_split()
    timed = replace(split, rule="time", rows=split.rows | {"test": replace(split.test, time=np.arange(40))})
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
    assert "the champion also reads LOT, which this retrain does not" in decision(good, champion).reason


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
    said = [promote_version.fn("good", "by hand"), promote_version.fn("other", "better")]
    said.append(roll_back_champion.fn("worse after all"))
    assert [re.sub(r"since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", "since then", sentence) for sentence in said] == [
        "good is the champion since then: by hand",
        "other is the champion since then, before it good: better",
        "good is the champion since then: worse after all",
    ]


ROWS = Rows(np.array([[6.0], [7.0], [8.0]]), np.array([19.0, 22.0, 25.5]), np.arange(3))
SPLIT = make_split((Column("RM", "rooms"),), Column("MEDV", "price"), ROWS)
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


def test_the_alarm_of_a_refusal_comes_before_its_line_in_the_log(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed between them leaves the decision pending, and the next run alarms nobody again."""
    make_version(store, "a")
    keep_pending(store, "a", NO, Promotion())
    with monkeypatch.context() as patch:
        patch.setattr("linear_neuron.tasks.registry.promotion.log_decision", kill)
        with pytest.raises(KeyboardInterrupt):
            apply_decisions.fn(SPLIT, Promotion())
    assert (len(read_alarms(store)), read_log(store), len(store.names(PENDING))) == (1, [], 1)
    apply_decisions.fn(SPLIT, Promotion())
    assert entries(store) == [("refused", "a", "worse")]
    assert (len(read_alarms(store)), store.names(PENDING)) == (1, [])


def kill(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


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
    assert "against the champion's 0.2887 (MSE +0.0%), tolerance 1%" in promoted[2]
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
