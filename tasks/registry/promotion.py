"""Whether a challenger should serve: the comparison with the champion, the decision, and how it is carried out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from pydantic import BaseModel, ValidationError
from upath import UPath

from linear_neuron.tasks.dataset.design_matrix import predict_by
from linear_neuron.tasks.dataset.rows import Floats, Predictions, Split
from linear_neuron.tasks.errors import DamagedError, UserError
from linear_neuron.tasks.model import Kind, ModelVersion
from linear_neuron.tasks.name import command, entitle, get_name, name_champion
from linear_neuron.tasks.parameters import Promotion
from linear_neuron.tasks.registry.alarms import raise_alarm
from linear_neuron.tasks.registry.audit_log import is_logged, log_decision
from linear_neuron.tasks.registry.champion import (
    Champion,
    PromotionDecision,
    find_statuses,
    promote,
    read_champion,
    read_log,
    roll_back,
)
from linear_neuron.tasks.registry.change_limit import limit_change
from linear_neuron.tasks.registry.paired_errors import (
    FEW,
    PROVEN,
    RolledErrors,
    compare_served,
    find_detectable,
    find_unknown_rows,
    measure_certainty,
)
from linear_neuron.tasks.registry.slice_changes import watch_slices
from linear_neuron.tasks.registry.versions import list_versions, read_version, read_versions
from linear_neuron.tasks.steps import announce, get_logger, task
from linear_neuron.tasks.storage.store import Store, to_json
from linear_neuron.tasks.text import distinguish, plural

PENDING = "pending"  # folder of the store with decisions that are not carried out yet
EVENT = "linear-neuron.champion.changed"
MODES = {
    "manual": "promotion is manual; to promote it: {}.",
    "try": "it was only tried, as promotion.mode asked.",
    "always": "promotion.mode is always, so nothing was asked but finite numbers.",
}
NOT_FINITE = "its numbers are not all finite."
ANCHOR_SHARE = 0.5  # of the tolerance, towards the anchor
BUDGET = 2  # tolerances that all versions since the anchor may lose together
WITHIN = 0.95  # certainty that a challenger has not lost the budget


def decide(
    challenger: ModelVersion,
    predicted: Predictions,
    champion: ModelVersion | None,
    split: Split,
    promotion: Promotion,
    anchor: ModelVersion | None = None,
    rolled: RolledErrors | None = None,
) -> PromotionDecision:
    """Decide whether the challenger should serve, by both models' squared errors on the same test rows.

    Where these refuse it, what the two would have served may still promote it: see `paired_errors.py`.

    Args:
        challenger: the new version.
        predicted: what it predicts for the test rows.
        champion: the version that serves, if any.
        split: today's rows.
        promotion: the rules.
        anchor: the best version that served before the champion, if the champion is not proven to be better. Without
            it many small steps, each within the tolerance, could add up.
        rolled: the challenger's errors one period ahead; None where it has no times, or is not refitted.
    """
    found = compare_candidates(challenger, predicted, champion, split, promotion, anchor)
    finite = bool(np.isfinite([*challenger.weights, challenger.bias, *predicted]).all())
    if found.promote or promotion.mode in MODES or not finite or champion is None or rolled is None:
        return found
    served = None
    if not find_obstacle(challenger, champion, split):
        served = compare_served(rolled, champion, split, promotion.min_certainty)
    if served is None:
        return found
    figures = found.figures | served.figures
    if not served.promote:
        return replace(found, figures=figures)
    reason = f"{served.reason}. Its candidate, which had learned from older rows alone, was refused: {found.reason}"
    return replace(found, promote=True, reason=reason, figures=figures, anchor=None)


def compare_candidates(
    challenger: ModelVersion,
    predicted: Predictions,
    champion: ModelVersion | None,
    split: Split,
    promotion: Promotion,
    anchor: ModelVersion | None = None,
) -> PromotionDecision:
    """Decide by the candidates' squared errors on the same test rows; the parameters are those of `decide`."""
    actual = split.rows["test"].y
    challenger_errors = (predicted - actual) ** 2
    mean = float(split.rows["train"].y.mean()) if challenger.mean is None else challenger.mean
    error, mean_error = float(np.mean(challenger_errors)), float(np.mean((actual - mean) ** 2))
    figures: dict[str, float | None] = {"challenger_mse": error, "mean_mse": mean_error}

    def say(promote: bool, reason: str, best: str | None = None) -> PromotionDecision:
        return PromotionDecision(promote, reason, figures, champion.version if champion else None, best)

    if not np.isfinite([*challenger.weights, challenger.bias, *challenger_errors]).all():
        return say(False, NOT_FINITE)
    if promotion.mode in MODES:
        return say(
            promotion.mode == "always", MODES[promotion.mode].format(f"{command()} promote {challenger.version}")
        )
    if len(actual) < FEW or np.ptp(actual) == 0:
        return say(False, "the test rows are too few or all alike, so they prove nothing.")
    shown = distinguish(error**0.5, mean_error**0.5)
    if error >= mean_error:
        return say(False, f"its test RMSE {shown[0]} is no better than the mean predictor's {shown[1]}.")
    if champion is None:
        return say(True, f"it beats the mean predictor, RMSE {shown[0]} against {shown[1]}, and there was no champion.")
    if obstacle := find_obstacle(challenger, champion, split):
        return say(False, obstacle)
    compared = compare_with_both(challenger, challenger_errors, champion, anchor, split, promotion)
    figures |= compared.figures
    return say(compared.promote, compared.reason, compared.anchor)


def compare_with_both(
    challenger: ModelVersion,
    challenger_errors: Floats,
    champion: ModelVersion,
    anchor: ModelVersion | None,
    split: Split,
    promotion: Promotion,
) -> PromotionDecision:
    """Compare with the champion, and with the anchor where there is one that can be compared."""
    compared = compare_errors(challenger_errors, champion, split, promotion)
    if not compared.promote:
        hint = "" if compared.figures else f"; {by_hand(challenger)}"
        return replace(compared, reason=f"{compared.reason}{hint}.")
    promoted = replace(compared, reason=f"{compared.reason}.", anchor=_find_best(champion, compared))
    if anchor is None or find_obstacle(challenger, anchor, split):
        return promoted
    before = compare_with_anchor(challenger_errors, anchor, split, promotion)
    if not before.figures:
        return promoted
    figures = compared.figures | {f"anchor_{name}": value for name, value in before.figures.items()}
    if before.promote:
        return replace(promoted, figures=figures, anchor=_find_best(anchor, before))
    reason = f"{before.reason}. Promotions of slightly worse versions must not add up; {by_hand(challenger)}."
    return replace(before, reason=reason, figures=figures, champion=champion.version)


def compare_with_anchor(
    challenger_errors: Floats, anchor: ModelVersion, split: Split, promotion: Promotion
) -> PromotionDecision:
    """Compare with the best version that served before the champion, with a part of the tolerance.

    Few rows let slightly worse versions pass by chance, week after week. So these rows must also exclude that the
    challenger is worse than the anchor by the whole budget: a test of non-inferiority, at 5%.
    """
    stricter = promotion.model_copy(update={"tolerance": promotion.tolerance * ANCHOR_SHARE})
    whose = f"that of {anchor.version}, the best before it,"
    compared = compare_errors(challenger_errors, anchor, split, stricter, whose)
    if not compared.promote:
        return compared
    rows, budget = split.rows["test"], promotion.tolerance * BUDGET
    predicted = predict_by(anchor, split, rows)
    unknown = find_unknown_rows(anchor, split) & ~np.isnan(predicted)
    allowed = (1 + budget) * (predicted[unknown] - rows.y[unknown]) ** 2
    certainty, _ = measure_certainty(challenger_errors[unknown], allowed)
    figures = compared.figures | {"budget_certainty": certainty}
    reason = f"{compared.reason}; that it is less than {budget:.2%} worse is {certainty:.0%} certain, and 95% is asked"
    return replace(compared, promote=certainty >= WITHIN, reason=reason.replace(".00%", "%"), figures=figures)


def _find_best(version: ModelVersion, compared: PromotionDecision) -> str | None:
    """Name the version that challengers are compared with from now on; None where the challenger is proven better."""
    certainty = compared.figures.get("certainty")
    return version.version if certainty is not None and certainty < PROVEN else None


def by_hand(challenger: ModelVersion) -> str:
    """Write how people promote a version that may be good."""
    return f"to promote it by hand: {command()} promote {challenger.version}"


def compare_errors(
    challenger_errors: Floats,
    champion: ModelVersion,
    split: Split,
    promotion: Promotion,
    whose: str = "the champion's",
) -> PromotionDecision:
    """Compare the squared errors of both candidates on the test rows that neither has learned from.

    The models that serve may have learned from these rows. There are no figures if the rows are few.
    """
    unknown = find_unknown_rows(champion, split)
    rows = split.rows["test"]
    predicted = predict_by(champion, split, rows)
    unknown &= ~np.isnan(predicted)  # It may reject rows with missing cells.
    count = np.count_nonzero(unknown)
    if count < FEW:
        reason = f"the champion may have learned from all but {count:,} of the {len(unknown):,} test rows"
        return PromotionDecision(False, reason, {}, champion.version)
    challenger_errors = challenger_errors[unknown]
    champion_errors = (predicted[unknown] - rows.y[unknown]) ** 2
    error, known = float(np.mean(challenger_errors)), float(np.mean(champion_errors))
    shown = distinguish(error**0.5, known**0.5)
    certainty, method = measure_certainty(challenger_errors, champion_errors)
    seen = find_detectable(challenger_errors, champion_errors)
    reason = (
        f"test RMSE {shown[0]} against {whose} {shown[1]}{_describe_change(error, known)}, tolerance "
        + f"{promotion.tolerance:.2%}".replace(".00%", "%")
        + f", on {count:,} rows that neither has learned from; "
        f"the challenger was the better one in {certainty:.0%} of {method}"
    )
    figures: dict[str, float | None] = {"champion_mse": known, "certainty": certainty, "compared_rows": float(count)}
    if seen is not None:
        figures["detectable"] = seen
        reason += f", which show a difference of {seen:.1%} or more"
    if certainty < promotion.min_certainty:
        reason += f"; promotion.min_certainty asks for {promotion.min_certainty:.0%}"
    promote = error <= known * (1 + promotion.tolerance) and certainty >= promotion.min_certainty
    return PromotionDecision(promote, reason, figures, champion.version)


def _describe_change(error: float, known: float) -> str:
    """Write by how much a mean squared error is above another one, which is what the tolerance is for."""
    return f" (MSE {error / known - 1:+.1%})" if known else ""


def find_obstacle(challenger: ModelVersion, champion: ModelVersion, split: Split) -> str:
    """Explain why a challenger can't replace the champion; empty where it can."""
    if champion.target != challenger.target:
        return f"the champion predicts {champion.target}, so the two can't be compared; promote it by hand."
    if missing := [name for name in challenger.kinds if name not in champion.kinds]:
        return (
            f"the champion does not read {', '.join(missing)}, and every input file without it would fail; "
            f"{by_hand(challenger)}."
        )
    if gone := [name for name in champion.kinds if not split.has([name])]:
        return (
            f"the champion also reads {', '.join(gone)}, which this retrain does not, so the two can't be compared; "
            f"name terms that read {'it' if len(gone) == 1 else 'them'}; {by_hand(challenger)}."
        )
    if other := [name for name, kind in champion.kinds.items() if not can_read(kind, split.kinds[name])]:
        return (
            f"the champion reads {', '.join(other)} as something else than this retrain does, so the two can't be "
            f"compared; {by_hand(challenger)}."
        )
    return ""


def can_read(wanted: Kind, found: Kind) -> bool:
    """Whether a column can be read as something: numbers can be labels."""
    return wanted == found or (wanted == "category" and found == "number")


@task("Compare with the champion")
def compare(
    challenger: ModelVersion,
    predicted: Predictions,
    split: Split,
    promotion: Promotion,
    rolled: RolledErrors | None = None,
) -> PromotionDecision:
    """Compare challenger and champion on today's test rows, for which `predicted` is the challenger's answer.

    `rolled` are the challenger's errors one period ahead, which may promote it after a change. The decision is kept in
    the store until it is carried out.
    """
    store = Store()
    pointer = read_champion(store)
    champion = read_version(store, pointer.version) if pointer else None
    found = decide(challenger, predicted, champion, split, promotion, _read_anchor(store), rolled)
    limited = limit_change(found, challenger, champion, promotion)
    decision = watch_slices(limited, challenger, predicted, champion, split, promotion)
    keep_pending(store, challenger.version, decision, promotion)
    get_logger().info("To be %s: %s", "promoted" if decision.promote else "refused", decision.reason)
    return decision


class PendingDecision(BaseModel):
    """A decision, and the rules by which to decide again if the champion changes in between."""

    decision: PromotionDecision | None
    promotion: Promotion


def _file(store: Store, version: str) -> UPath:
    return store.root / PENDING / f"{version}.json"


def keep_pending(store: Store, version: str, decision: PromotionDecision, promotion: Promotion) -> None:
    """Keep a decision until it is carried out."""
    pending = PendingDecision(decision=decision, promotion=promotion)
    store.write(_file(store, version), to_json(pending.model_dump()))


def forget_pending(store: Store, version: str) -> None:
    """Forget a decision that is carried out and logged."""
    store.remove(_file(store, version))


def find_pending(store: Store, promotion: Promotion) -> dict[str, PendingDecision]:
    """Find the complete versions whose decision is not carried out yet, oldest first.

    Releases that kept no decisions left a version that the log does not know when their run was killed. Without a
    champion, such a version still needs a decision.

    Args:
        store: where the versions are.
        promotion: the rules for a version without a decision; the mode `try` decides nothing.
    """
    kept = {name.removesuffix(".json") for name in store.names(PENDING)}
    lost: set[str] = set()
    if promotion.mode != "try" and not read_champion(store):
        lost = set(list_versions(store)) - {entry["version"] for entry in read_log(store)}
    complete = list_versions(store) if kept | lost else []
    new = PendingDecision(decision=None, promotion=promotion)
    return {version: _read(store, version) or new for version in complete if version in kept | lost}


def _read(store: Store, version: str) -> PendingDecision | None:
    try:
        return PendingDecision.model_validate_json(store.read(_file(store, version)) or b"")
    except (DamagedError, ValidationError):
        return None


@task("Promote or refuse")
def apply_decisions(split: Split, promotion: Promotion) -> None:
    """Carry out every pending decision: this run's, and those of runs that were killed before they could."""
    store = Store()
    for version, pending in find_pending(store, promotion).items():
        if not is_logged(store, version):
            _apply(store, version, pending, split)
        forget_pending(store, version)


def _apply(store: Store, version: str, pending: PendingDecision, split: Split) -> None:
    """Promote or refuse a version; compare again if the champion has changed since the decision."""
    decision = pending.decision
    pointer = read_champion(store)
    champion = pointer.version if pointer else None
    try:
        challenger = read_version(store, version)
        if decision is None or (decision.promote and decision.champion != champion):
            decision = _compare_again(store, challenger, champion, split, pending.promotion)
    except UserError as error:
        decision = PromotionDecision(False, str(error), {}, champion)
    if decision.promote:
        announce_champion(promote(store, version, decision.reason, decision), decision.figures)
        return
    if pending.promotion.mode == "manual" and decision.reason != NOT_FINITE:
        raise_alarm(store, "approval.awaited", version, f"{version} waits to be promoted: {decision.reason}")
    elif pending.promotion.mode != "try":
        raise_alarm(store, "challenger.refused", version, f"{version} is not promoted: {decision.reason}")
    # The log comes last: a run that is killed before it leaves the decision pending, and the alarm is raised once.
    log_decision(store, "refused", version, decision.reason, key=version, figures=decision.figures)


def _compare_again(
    store: Store, challenger: ModelVersion, champion: str | None, split: Split, promotion: Promotion
) -> PromotionDecision:
    if challenger.target != split.target.name or not split.has(challenger.kinds):
        raise UserError(
            f"it predicts {challenger.target} from {', '.join(challenger.features)}, and not all of these are in the "
            f"dataset of today as they were; promote it by hand: {command()} promote {challenger.version}."
        )
    predicted = predict_by(challenger, split, split.rows["test"])
    present = read_version(store, champion) if champion else None
    found = decide(challenger, predicted, present, split, promotion, _read_anchor(store))
    limited = limit_change(found, challenger, present, promotion)
    return watch_slices(limited, challenger, predicted, present, split, promotion)


def _read_anchor(store: Store) -> ModelVersion | None:
    """Read the best version that served before the champion; None where there is none or it is gone or damaged."""
    pointer = read_champion(store)
    found = [model for model in read_versions(store, [pointer.anchor]) if model] if pointer and pointer.anchor else []
    return found[0] if found else None


def find_refusal(version: str) -> str:
    """Say why a version is not promoted; empty where it is."""
    status, reason = find_statuses(Store()).get(version, ("", ""))
    return f"{version} is not promoted: {reason}" if status == "refused" else ""


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
def promote_version(version: str, reason: str, by: str = "") -> str:
    """Make the version the champion, whatever its errors are."""
    return announce_champion(promote(Store(), version, reason, by=by))


@task("Roll back")
def roll_back_champion(reason: str, by: str = "") -> str:
    """Restore the previous champion."""
    return announce_champion(roll_back(Store(), reason, by))


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
