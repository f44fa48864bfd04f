"""Whether a challenger should serve: the comparison with the champion, and what follows from it."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from tasks.dataset.rows import Floats, Predictions, Split
from tasks.dataset.split import select_features
from tasks.errors import UserError
from tasks.model import ModelVersion
from tasks.name import command, entitle, get_name, name_champion
from tasks.parameters import Promotion
from tasks.registry.alarms import raise_alarm
from tasks.registry.champion import Champion, PromotionDecision, promote, read_champion, roll_back
from tasks.registry.log import is_logged, log_decision
from tasks.registry.pending import PendingDecision, find_pending, forget_pending, keep_pending
from tasks.registry.versions import read_version
from tasks.steps import announce, get_logger, task
from tasks.storage.store import Store
from tasks.tables.inputs import plural

EVENT = "linear-neuron.champion.changed"
RESAMPLES = 2000
FEW, MANY = 2, 5000  # test rows: fewer prove nothing, and more are not resampled


def judge(
    challenger: ModelVersion,
    predicted: Predictions,
    champion: ModelVersion | None,
    all_columns: Split,
    promotion: Promotion,
) -> PromotionDecision:
    """Say whether the challenger should serve, by both models' squared errors on the same test rows.

    Args:
        challenger: the new version.
        predicted: what it predicts for the test rows.
        champion: the version that serves, if any.
        all_columns: the rows with all columns, since the champion may read other ones.
        promotion: the rules.
    """
    actual = all_columns.test.y
    challenger_errors = (predicted - actual) ** 2
    error, mean_error = float(np.mean(challenger_errors)), float(np.mean((actual - all_columns.train.y.mean()) ** 2))
    figures: dict[str, float | None] = {"challenger_mse": error, "mean_mse": mean_error}

    def say(promote: bool, reason: str) -> PromotionDecision:
        return PromotionDecision(promote, reason, figures, champion.version if champion else None)

    if not np.isfinite([*challenger.weights, challenger.bias, *challenger_errors]).all():
        return say(False, "its numbers are not all finite.")
    if promotion.mode == "manual":
        return say(False, f"promotion is manual; to promote it: {command()} promote {challenger.version}.")
    if promotion.mode == "try":
        return say(False, "it was only tried, as promotion.mode asked.")
    if promotion.mode == "always":
        return say(True, "promotion.mode is always, so nothing was asked but finite numbers.")
    if len(actual) < FEW or np.ptp(actual) == 0:
        return say(False, "the test rows are too few or all alike, so they prove nothing.")
    if error >= mean_error:
        return say(False, f"its test error {error:.2f} is no better than the mean predictor's {mean_error:.2f}.")
    if champion is None:
        return say(
            True, f"it beats the mean predictor, {error:.2f} against {mean_error:.2f}, and there was no champion."
        )
    if obstacle := find_obstacle(challenger, champion, all_columns):
        return say(False, obstacle)
    compared = compare_errors(challenger_errors, champion, all_columns, promotion)
    figures |= compared.figures
    hint = "" if compared.promote or compared.figures else f"; {by_hand(challenger)}"
    return say(compared.promote, f"{compared.reason}{hint}.")


def by_hand(challenger: ModelVersion) -> str:
    """Say how people promote a version that may be good."""
    return f"to promote it by hand: {command()} promote {challenger.version}"


def compare_errors(
    challenger_errors: Floats, champion: ModelVersion, all_columns: Split, promotion: Promotion
) -> PromotionDecision:
    """Compare the squared errors of both on the test rows that neither has learned from; no figures if they are few."""
    unknown = find_unknown_rows(champion, all_columns)
    count, champion_rows = np.count_nonzero(unknown), select_features(all_columns, champion.features).test
    if count < FEW:
        reason = f"the champion may have learned from all but {count:,} of the {len(unknown):,} test rows"
        return PromotionDecision(False, reason, {}, champion.version)
    challenger_errors = challenger_errors[unknown]
    champion_errors = (champion.linear_model.predict(champion_rows.x[unknown]) - champion_rows.y[unknown]) ** 2
    error, known = float(np.mean(challenger_errors)), float(np.mean(champion_errors))
    certainty, method = _certainty(challenger_errors, champion_errors)
    reason = (
        f"test error {error:.2f} against the champion's {known:.2f}, tolerance {promotion.tolerance:.0%}, on {count:,} "
        f"rows that neither has learned from; the challenger was the better one in {certainty:.0%} of {method}"
    )
    figures: dict[str, float | None] = {"champion_mse": known, "certainty": certainty, "compared_rows": float(count)}
    return PromotionDecision(error <= known * (1 + promotion.tolerance), reason, figures, champion.version)


def find_unknown_rows(champion: ModelVersion, split: Split) -> NDArray[np.bool_]:
    """Find the test rows that the champion has not learned from, shape (test rows,).

    Rows that were dealt out by another rule than the champion's may all be known to it.
    """
    unknown = np.ones(len(split.test), bool)
    if champion.dataset.get("rule", "shuffle") != split.rule:
        return ~unknown
    return unknown if split.test.time is None else split.test.time >= champion.dataset["until"]


def find_obstacle(challenger: ModelVersion, champion: ModelVersion, all_columns: Split) -> str:
    """Say why a challenger can't take over the champion's work; empty where it can."""
    if champion.target != challenger.target:
        return f"the champion predicts {champion.target}, so the two can't be compared; promote it by hand."
    if missing := [name for name in challenger.features if name not in champion.features]:
        return (
            f"the champion does not read {', '.join(missing)}, and every input file without it would fail; "
            f"{by_hand(challenger)}."
        )
    if gone := [name for name in champion.features if name not in all_columns.names]:
        return (
            f"the champion also reads {', '.join(gone)}, which today's rows do not have, so the two can't be compared; "
            f"{by_hand(challenger)}."
        )
    return ""


def _certainty(challenger_errors: Floats, champion_errors: Floats) -> tuple[float, str]:
    """Compute by a paired bootstrap in which share of resamples the challenger has the lower mean error, and of what.

    A tie counts half. Of many rows the resamples' means are normally distributed, and none need be drawn.

    Source: "An Introduction to the Bootstrap" (Chapman & Hall, 1993), chapter 16.
    """
    gain = champion_errors - challenger_errors
    if len(gain) > MANY:
        error = float(gain.std()) / math.sqrt(len(gain))
        z = float(gain.mean()) / error if error else 0.0
        return 0.5 * (1 + math.erf(z / math.sqrt(2))), "all resamples of these rows, by the normal approximation"
    rng = np.random.default_rng(0)
    means = np.array([gain[rng.integers(len(gain), size=len(gain))].mean() for _ in range(RESAMPLES)])
    return float(np.mean(means > 0) + np.mean(means == 0) / 2), f"{RESAMPLES} resamples of these rows"


@task("Compare with the champion")
def compare(
    challenger: ModelVersion, predicted: Predictions, all_columns: Split, promotion: Promotion
) -> PromotionDecision:
    """Compare challenger and champion on today's test rows, for which `predicted` is the challenger's answer.

    The decision is kept in the store until it is carried out.
    """
    store = Store()
    pointer = read_champion(store)
    champion = read_version(store, pointer.version) if pointer else None
    decision = judge(challenger, predicted, champion, all_columns, promotion)
    keep_pending(store, challenger.version, decision, promotion)
    get_logger().info("To be %s: %s", "promoted" if decision.promote else "refused", decision.reason)
    return decision


@task("Promote or refuse")
def apply_decisions(all_columns: Split, promotion: Promotion) -> None:
    """Carry out every decision that is owed: this run's, and those of runs that were killed before they could."""
    store = Store()
    for version, pending in find_pending(store, promotion).items():
        if not is_logged(store, version):
            _apply(store, version, pending, all_columns)
        forget_pending(store, version)


def _apply(store: Store, version: str, pending: PendingDecision, all_columns: Split) -> None:
    """Promote or refuse a version; the two are compared now if another champion came in between."""
    decision = pending.decision
    pointer = read_champion(store)
    champion = pointer.version if pointer else None
    try:
        challenger = read_version(store, version)
        if decision is None or (decision.promote and decision.champion != champion):
            decision = _compare_anew(store, challenger, champion, all_columns, pending.promotion)
    except UserError as error:
        decision = PromotionDecision(False, str(error), {}, champion)
    if decision.promote:
        announce_champion(promote(store, version, decision.reason, decision), decision.figures)
        return
    log_decision(store, "refused", version, decision.reason, key=version, figures=decision.figures)
    if pending.promotion.mode == "manual":
        raise_alarm(store, "approval.awaited", version, f"{version} waits to be promoted: {decision.reason}")
    elif pending.promotion.mode != "try":
        raise_alarm(store, "challenger.refused", version, f"{version} is not promoted: {decision.reason}")


def _compare_anew(
    store: Store, challenger: ModelVersion, champion: str | None, all_columns: Split, promotion: Promotion
) -> PromotionDecision:
    if challenger.target != all_columns.target.name or not set(challenger.features) <= set(all_columns.names):
        raise UserError(
            f"it predicts {challenger.target} from {', '.join(challenger.features)}, and not all of these are in the "
            f"dataset of today as they were; promote it by hand: {command()} promote {challenger.version}."
        )
    predicted = challenger.linear_model.predict(select_features(all_columns, challenger.features).test.x)
    present = read_version(store, champion) if champion else None
    return judge(challenger, predicted, present, all_columns, promotion)


@task("Check the champion's age")
def check_age(promotion: Promotion) -> None:
    """Raise an alarm, once, when the champion has served for more weeks than `max_weeks`."""
    store = Store()
    champion = read_champion(store)
    if champion and datetime.now(UTC) - champion.since > timedelta(weeks=promotion.max_weeks):
        reason = (
            f"{champion.version} is the champion since {champion.since:%Y-%m-%d}, for more than "
            f"{plural(promotion.max_weeks, 'week')}."
        )
        raise_alarm(store, "champion.old", champion.version, reason, key=f"{champion.since:%Y-%m-%d}")


@task("Promote the version")
def promote_version(version: str, reason: str) -> str:
    """Make the version the champion, whatever its errors are."""
    return announce_champion(promote(Store(), version, reason))


@task("Roll back")
def roll_back_champion(reason: str) -> str:
    """Make the champion before the champion again."""
    return announce_champion(roll_back(Store(), reason))


def announce_champion(champion: Champion, figures: dict[str, float | None] | None = None) -> str:
    """Emit the event by which automations learn of a new champion, and return one sentence for people."""
    name = get_name()
    payload = {"model": name, **champion.model_dump(mode="json"), "figures": figures or {}}
    announce(EVENT, name_champion(name), entitle(champion.version), payload)
    before = f", before it {champion.previous}" if champion.previous else ""
    message = (
        f"{champion.version} is the champion since {champion.since:%Y-%m-%d %H:%M:%S} UTC{before}: {champion.reason}"
    )
    get_logger().info(entitle(message))
    return entitle(message)
