"""Slices of the test rows on which a challenger is worse than the champion by more than chance and tolerance.

Many slices are looked at, so one looks worse by chance alone. The mean of the paired differences of squared errors is
tested for each slice, and Holm's correction keeps the chance of naming any slice wrongly at 5% if rows are
independent.

Sources: "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6 (1979); a
normal deviate for Student's t: "Handbook of Mathematical Functions" (NBS, 1964), 26.7.8.
"""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np

from linear_neuron.tasks.dataset.design_matrix import predict_by
from linear_neuron.tasks.dataset.rows import Floats, Predictions, Rows, Split
from linear_neuron.tasks.dataset.slices import Groups, cut_slices
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.name import command
from linear_neuron.tasks.parameters import Promotion
from linear_neuron.tasks.registry.champion import PromotionDecision
from linear_neuron.tasks.registry.paired_errors import find_unknown_rows
from linear_neuron.tasks.text import distinguish, list_first, one_line, plural

LEVEL = 0.05  # chance of naming a slice where none is worse
FEW = 20  # rows of a slice below which nothing is said of it
SHOWN = 3


def watch_slices(
    found: PromotionDecision,
    challenger: ModelVersion,
    predicted: Predictions,
    champion: ModelVersion | None,
    split: Split,
    promotion: Promotion,
) -> PromotionDecision:
    """Name in a decision the slices that got worse; refuse if `promotion.slices` is `refuse`.

    Args:
        found: by the errors of all rows.
        challenger: the new version.
        predicted: what it predicts for the test rows.
        champion: the version that serves, if any.
        split: today's rows.
        promotion: the rules.
    """
    if champion is None or not found.promote or promotion.mode == "always":
        return found
    rows = split.rows["test"]
    known = predict_by(champion, split, rows)
    index = np.flatnonzero(find_unknown_rows(champion, split) & ~np.isnan(known) & ~np.isnan(predicted))
    if len(index) < FEW:
        return found
    chosen = Rows(rows.x[index], rows.y[index], rows.number[index], None if rows.time is None else rows.time[index])
    # By the mean of both predictions: by one alone, the other would look better where that one is extreme by chance.
    groups = cut_slices(split.raw, split.terms, chosen, (predicted[index].astype(np.float64) + known[index]) / 2)
    ours, theirs = ((part[index].astype(np.float64) - chosen.y) ** 2 for part in (predicted, known))
    worse = find_worse(groups, ours, theirs, promotion.tolerance)
    if not worse:
        return found
    text = f"worse by more than chance and tolerance on {plural(len(worse), 'slice')}: {list_first(worse, SHOWN, '; ')}"
    figures = found.figures | {"worse_slices": float(len(worse))}
    if promotion.slices == "report":
        return replace(found, reason=f"{found.reason} It is {text}.", figures=figures)
    reason = (
        f"it is {text}; promotion.slices is refuse; to promote it by hand: {command()} promote {challenger.version}. "
        f"By its errors on all rows it would be promoted: {found.reason}"
    )
    return replace(found, promote=False, reason=reason, figures=figures, anchor=None)


def find_worse(groups: list[Groups], challenger_errors: Floats, champion_errors: Floats, tolerance: float) -> list[str]:
    """Describe the slices in which squared errors rose by more than chance and by more than a share, surest first."""
    tested = []
    for by, levels, codes in groups:
        for code, level in enumerate(levels):
            at = np.flatnonzero(codes == code)
            if len(at) >= FEW:
                ours, theirs = challenger_errors[at], champion_errors[at]
                means = float(ours.mean()), float(theirs.mean())
                tested.append((_find_chance(ours - theirs), f"{by} {level}", *means, len(at)))
    worse = []
    for number, (chance, name, error, known, rows) in enumerate(sorted(tested)):
        if chance >= LEVEL / (len(tested) - number):
            break
        if error > known * (1 + tolerance):
            shown = distinguish(error**0.5, known**0.5)
            worse.append(f"{one_line(name)}, RMSE {shown[0]} against {shown[1]} on {plural(rows, 'row')}")
    return worse


def _find_chance(differences: Floats) -> float:
    """Return the chance of a mean this high or higher if the true one is 0."""
    error, freedom = float(differences.std(ddof=1)) / math.sqrt(len(differences)), len(differences) - 1
    if not error:
        return 0.0 if differences[0] > 0 else 1.0
    t = float(differences.mean()) / error
    return 1 - NormalDist().cdf(t * (1 - 1 / (4 * freedom)) / math.sqrt(1 + t**2 / (2 * freedom)))
