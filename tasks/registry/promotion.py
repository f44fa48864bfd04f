"""Whether a challenger should serve: the comparison with the champion, and what follows from it."""

import numpy as np
from prefect import get_run_logger
from prefect.events import emit_event

from tasks.dataset.rows import Floats, Rows, Split
from tasks.model import Neuron
from tasks.parameters import Promotion
from tasks.registry.champion import Champion, Verdict, note, promote, read_champion, roll_back
from tasks.steps import step
from tasks.storage.store import Store

EVENT = "linear-neuron.champion.changed"
RESAMPLES = 2000


def judge(challenger: Neuron, champion: Neuron | None, everything: Split, promotion: Promotion) -> Verdict:
    """Says whether the challenger should serve, by both models' squared errors on the same test rows.

    Args:
        everything: the rows with all columns, since the two may read different ones.
    """
    test = everything.test
    mine = _squared_errors(challenger, everything, test)
    spread = (_column(everything, test, challenger.target) - _mean(everything, challenger.target)) ** 2
    error, mean_error = float(np.mean(mine)), float(np.mean(spread))
    figures: dict[str, float | None] = {"challenger_mse": error, "mean_mse": mean_error}

    def say(promote: bool, reason: str) -> Verdict:
        return Verdict(promote, reason, figures, champion.version if champion else None)

    if not np.isfinite([*challenger.weights, challenger.bias, *mine]).all():
        return say(False, "its numbers are not all finite.")
    if promotion.mode == "manual":
        return say(False, f"promotion is manual; to promote it: linear-neuron promote {challenger.version}.")
    if promotion.mode == "always":
        return say(True, "promotion.mode is always, so nothing was asked but finite numbers.")
    if len(test) < 2 or np.ptp(_column(everything, test, challenger.target)) == 0:
        return say(False, "the test rows are too few or all alike, so they prove nothing.")
    if error >= mean_error:
        return say(False, f"its test error {error:.2f} is no better than the mean predictor's {mean_error:.2f}.")
    if champion is None:
        return say(
            True, f"it beats the mean predictor, {error:.2f} against {mean_error:.2f}, and there was no champion."
        )
    if champion.target != challenger.target:
        return say(False, f"the champion predicts {champion.target}, so the two can't be compared; promote it by hand.")
    theirs = _squared_errors(champion, everything, test)
    known, certainty = float(np.mean(theirs)), _certainty(mine, theirs)
    figures |= {"champion_mse": known, "certainty": certainty}
    told = (
        f"test error {error:.2f} against the champion's {known:.2f}, tolerance {promotion.tolerance:.0%}; "
        f"the challenger was the better one in {certainty:.0%} of {RESAMPLES} resamples of the test rows."
    )
    return say(error <= known * (1 + promotion.tolerance), told)


def _column(everything: Split, rows: Rows, name: str) -> Floats:
    return rows.x[:, everything.features.index(name)]


def _mean(everything: Split, target: str) -> float:
    return float(np.mean(_column(everything, everything.train, target)))


def _squared_errors(neuron: Neuron, everything: Split, rows: Rows) -> Floats:
    x = np.column_stack([_column(everything, rows, name) for name in neuron.features])
    errors: Floats = (neuron.line.predict(x) - _column(everything, rows, neuron.target)) ** 2
    return errors


def _certainty(mine: Floats, theirs: Floats) -> float:
    """Paired bootstrap: the share of resamples of the rows in which `mine` have the lower mean, a tie counting half.

    Source: "An Introduction to the Bootstrap" (Chapman & Hall, 1993), chapter 16.
    """
    gain = theirs - mine
    dice = np.random.default_rng(0)
    means = np.array([gain[dice.integers(len(gain), size=len(gain))].mean() for _ in range(RESAMPLES)])
    return float(np.mean(means > 0) + np.mean(means == 0) / 2)


@step("Compare with the champion")
def compare(challenger: Neuron, everything: Split, promotion: Promotion) -> Verdict:
    """Scores challenger and champion on today's test rows and says which should serve."""
    store = Store()
    champion = read_champion(store)
    verdict = judge(challenger, store.neuron(champion.version) if champion else None, everything, promotion)
    get_run_logger().info("To be %s: %s", "promoted" if verdict.promote else "refused", verdict.reason)
    return verdict


@step("Promote or refuse")
def settle(version: str, verdict: Verdict) -> None:
    """Does what the verdict says, and notes it."""
    if verdict.promote:
        announce(promote(Store(), version, verdict.reason, verdict), verdict.figures)
    else:
        note(Store(), "refused", version, verdict.reason, figures=verdict.figures)


@step("Promote the version")
def promote_version(version: str, reason: str) -> str:
    """Makes the version the champion, whatever its errors are."""
    return announce(promote(Store(), version, reason))


@step("Roll back")
def roll_back_champion(reason: str) -> str:
    """Makes the champion before the champion again."""
    return announce(roll_back(Store(), reason))


def announce(champion: Champion, figures: dict[str, float | None] | None = None) -> str:
    """Emits the event by which automations learn of a new champion, and returns one sentence for people."""
    payload = {**champion.model_dump(mode="json"), "figures": figures or {}}
    resource = {"prefect.resource.id": "linear-neuron.champion", "prefect.resource.name": champion.version}
    emit_event(EVENT, resource=resource, payload=payload)
    before = f", before it {champion.previous}" if champion.previous else ""
    told = f"{champion.version} is the champion since {champion.since:%Y-%m-%d %H:%M:%S} UTC{before}: {champion.reason}"
    get_run_logger().info(told)
    return told
