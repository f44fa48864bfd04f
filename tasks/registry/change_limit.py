"""The limit on how far a new champion may move predictions, and the sentences about the proven worst case."""

from dataclasses import replace

from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.name import command
from linear_neuron.tasks.parameters import Promotion
from linear_neuron.tasks.registry.champion import PromotionDecision
from linear_neuron.tasks.registry.worst_case import WorstCase, find_worst_case, show_column
from linear_neuron.tasks.text import as_text, number, signed


def limit_change(
    found: PromotionDecision, challenger: ModelVersion, champion: ModelVersion | None, promotion: Promotion
) -> PromotionDecision:
    """Refuse a challenger that could move a prediction by more than `promotion.max_change` of the target's spread."""
    if champion is None or not found.promote or not promotion.max_change or promotion.mode == "always":
        return found
    worst, spread = find_worst_case(champion, challenger), find_spread(champion)
    hint = f"to promote it by hand: {command()} promote {challenger.version}"
    if worst.reason or spread is None:
        why = worst.reason or "the champion does not know the spread of its target"
        return replace(found, promote=False, reason=f"promotion.max_change is not proven: {why}; {hint}.", anchor=None)
    share = worst.largest / spread
    figures = found.figures | {"largest_change": worst.largest, "change_share": share}
    if share <= promotion.max_change:
        return replace(found, figures=figures)
    reason = (
        f"it could move a prediction by {number(worst.largest)}, {share:.1%} of the target's spread, at "
        f"{_describe_point(worst)}, and promotion.max_change allows {promotion.max_change:.1%}; {hint}. By its errors "
        f"it would be promoted: {found.reason}"
    )
    return replace(found, promote=False, reason=reason, figures=figures, anchor=None)


def find_spread(model: ModelVersion) -> float | None:
    """Find the spread of the target, from its 10% to its 90% quantile in the rows that a model has learned from.

    None where an older version does not know it, or where it is 0.
    """
    deciles = model.contract.get(model.target, {}).get("deciles")
    return (deciles[9] - deciles[1] or None) if deciles else None


def describe_worst(worst: WorstCase, spread: float | None) -> str:
    """Describe the worst case in two sentences."""
    if worst.reason:
        return f"No worst case is proven: {as_text(worst.reason)}."
    share = f", {worst.largest / spread:.1%} of the target's spread" if spread else ""
    kind = "It is reached at" if worst.exact else "It is an upper bound, which may not be reached; it is near"
    return (
        f"Within bounds no prediction moves by more than {number(worst.largest)}{share}; moves are from "
        f"{signed(worst.lowest)} to {signed(worst.highest)}. {kind} {_describe_point(worst)}."
    )


def _describe_point(worst: WorstCase) -> str:
    return (
        ", ".join(f"{as_text(show_column(name))} {show_value(value)}" for name, value in worst.at.items()) or "any row"
    )


def show_value(value: float | str | None) -> str:
    """Write a value of a column for people."""
    if value is None:
        return "missing"
    return as_text(value) if isinstance(value, str) else number(value)
