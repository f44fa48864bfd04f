"""Extrapolated rows: whether more rows are out of the training range than chance explains.

The range is made of few rows itself, so the share that it should hold is a draw, and rows of a day are alike.
"""

from linear_neuron.tasks.dataset.rows import Floats
from linear_neuron.tasks.monitoring.sequential import Days, count_alike, list_windows, tail_of_share

ALARMING_SHARE = 0.02  # of rows out of the training range, above what chance explains
DAY_EFFECT_OF_SHARE = 0.003  # the same of a share of rows, as a correlation between the rows of a day


def compare_outside(
    rows: Floats, outside: Floats, trained: int, features: int, level: float
) -> tuple[int, float] | None:
    """Find the longest window in which more rows are out of the training range than chance explains, and their share.

    Of `n` training rows a new one is out of a feature's range with the probability 2 / (n + 1).

    Args:
        rows: Of each day.
        outside: Those of them that are out of the range of some feature.
        trained: Training rows.
        features: How many there are.
        level: Probability of a false alarm.
    """
    beyond = 2 * features
    sums = Days(rows, outside)
    for window in reversed(list_windows(len(rows), alone=False)) if trained > beyond else ():
        count = float(sums.rows(window))
        share = float(sums.sums(window)) / max(count, 1)
        if share < ALARMING_SHARE + beyond / (trained + 1):
            continue
        kept = count_alike(sums, window, DAY_EFFECT_OF_SHARE)
        if tail_of_share(kept - round(kept * share), kept, trained + 1 - beyond, beyond) < level:
            return window, share
    return None


def describe_outside(share: float, psi: dict[str, float]) -> str:
    """Describe the share of rows out of the training range, and the feature that differs most by its PSI."""
    name = max(psi, key=psi.__getitem__)
    return f"{share:.1%} of the rows out of the training range, most different is {name} (PSI {psi[name]:.2f})"
