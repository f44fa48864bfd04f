"""Whether a challenger should serve: the comparison with the champion, and what follows from it."""

import numpy as np

from tasks.dataset.rows import Floats, Rows, Split
from tasks.model import ModelVersion
from tasks.parameters import Promotion
from tasks.registry.champion import Champion, PromotionDecision, log_decision, promote, read_champion, roll_back
from tasks.registry.versions import read_version
from tasks.steps import announce, get_logger, task
from tasks.storage.store import Store

EVENT = "linear-neuron.champion.changed"
RESAMPLES = 2000


def judge(
    challenger: ModelVersion, champion: ModelVersion | None, all_columns: Split, promotion: Promotion
) -> PromotionDecision:
    """Says whether the challenger should serve, by both models' squared errors on the same test rows.

    Args:
        everything: the rows with all columns, since the two may read different ones.
    """
    test = all_columns.test
    challenger_errors = _squared_errors(challenger, all_columns, test)
    spread = (_column(all_columns, test, challenger.target) - _mean(all_columns, challenger.target)) ** 2
    error, mean_error = float(np.mean(challenger_errors)), float(np.mean(spread))
    figures: dict[str, float | None] = {"challenger_mse": error, "mean_mse": mean_error}

    def say(promote: bool, reason: str) -> PromotionDecision:
        return PromotionDecision(promote, reason, figures, champion.version if champion else None)

    if not np.isfinite([*challenger.weights, challenger.bias, *challenger_errors]).all():
        return say(False, "its numbers are not all finite.")
    if promotion.mode == "manual":
        return say(False, f"promotion is manual; to promote it: linear-neuron promote {challenger.version}.")
    if promotion.mode == "always":
        return say(True, "promotion.mode is always, so nothing was asked but finite numbers.")
    if len(test) < 2 or np.ptp(_column(all_columns, test, challenger.target)) == 0:
        return say(False, "the test rows are too few or all alike, so they prove nothing.")
    if error >= mean_error:
        return say(False, f"its test error {error:.2f} is no better than the mean predictor's {mean_error:.2f}.")
    if champion is None:
        return say(
            True, f"it beats the mean predictor, {error:.2f} against {mean_error:.2f}, and there was no champion."
        )
    if champion.target != challenger.target:
        return say(False, f"the champion predicts {champion.target}, so the two can't be compared; promote it by hand.")
    champion_errors = _squared_errors(champion, all_columns, test)
    known, certainty = float(np.mean(champion_errors)), _certainty(challenger_errors, champion_errors)
    figures |= {"champion_mse": known, "certainty": certainty}
    message = (
        f"test error {error:.2f} against the champion's {known:.2f}, tolerance {promotion.tolerance:.0%}; "
        f"the challenger was the better one in {certainty:.0%} of {RESAMPLES} resamples of the test rows."
    )
    return say(error <= known * (1 + promotion.tolerance), message)


def _column(all_columns: Split, rows: Rows, name: str) -> Floats:
    return rows.x[:, all_columns.features.index(name)]


def _mean(all_columns: Split, target: str) -> float:
    return float(np.mean(_column(all_columns, all_columns.train, target)))


def _squared_errors(neuron: ModelVersion, all_columns: Split, rows: Rows) -> Floats:
    x = np.column_stack([_column(all_columns, rows, name) for name in neuron.features])
    errors: Floats = (neuron.linear_model.predict(x) - _column(all_columns, rows, neuron.target)) ** 2
    return errors


def _certainty(challenger_errors: Floats, champion_errors: Floats) -> float:
    """Paired bootstrap: the share of resamples of the rows in which `mine` have the lower mean, a tie counting half.

    Source: "An Introduction to the Bootstrap" (Chapman & Hall, 1993), chapter 16.
    """
    gain = champion_errors - challenger_errors
    rng = np.random.default_rng(0)
    means = np.array([gain[rng.integers(len(gain), size=len(gain))].mean() for _ in range(RESAMPLES)])
    return float(np.mean(means > 0) + np.mean(means == 0) / 2)


@task("Compare with the champion")
def compare(challenger: ModelVersion, all_columns: Split, promotion: Promotion) -> PromotionDecision:
    """Scores challenger and champion on today's test rows and says which should serve."""
    store = Store()
    champion = read_champion(store)
    decision = judge(challenger, read_version(store, champion.version) if champion else None, all_columns, promotion)
    get_logger().info("To be %s: %s", "promoted" if decision.promote else "refused", decision.reason)
    return decision


@task("Promote or refuse")
def apply_decision(version: str, decision: PromotionDecision) -> None:
    """Does what the verdict says, and notes it."""
    if decision.promote:
        announce_champion(promote(Store(), version, decision.reason, decision), decision.figures)
    else:
        log_decision(Store(), "refused", version, decision.reason, figures=decision.figures)


@task("Promote the version")
def promote_version(version: str, reason: str) -> str:
    """Makes the version the champion, whatever its errors are."""
    return announce_champion(promote(Store(), version, reason))


@task("Roll back")
def roll_back_champion(reason: str) -> str:
    """Makes the champion before the champion again."""
    return announce_champion(roll_back(Store(), reason))


def announce_champion(champion: Champion, figures: dict[str, float | None] | None = None) -> str:
    """Emits the event by which automations learn of a new champion, and returns one sentence for people."""
    payload = {**champion.model_dump(mode="json"), "figures": figures or {}}
    announce(EVENT, "linear-neuron.champion", champion.version, payload)
    before = f", before it {champion.previous}" if champion.previous else ""
    message = (
        f"{champion.version} is the champion since {champion.since:%Y-%m-%d %H:%M:%S} UTC{before}: {champion.reason}"
    )
    get_logger().info(message)
    return message
