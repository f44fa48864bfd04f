"""Why the mean prediction changed, as a table."""

import math

from tasks.dataset.rows import Split
from tasks.dataset.split import select_features
from tasks.model import ModelVersion
from tasks.reporting.markdown import as_table
from tasks.scoring.changes import Change, round_to_sum, split_change


def write_changes(changes: list[Change], heading: str) -> list[str]:
    """Write a section with a row for each feature and the bias, whose shown digits sum to those of the total."""
    parts = [part for change in changes for part in (change.inputs, change.weights)]
    greatest = max(map(abs, parts))
    digits = 3 - math.floor(math.log10(greatest)) if greatest > 0 else 0
    digits = min(max(digits, 0), 12)
    rounded = round_to_sum(parts, digits)
    inputs, weights = rounded[::2], rounded[1::2]
    names = [change.name for change in changes]
    rows = [*zip(names, inputs, weights, strict=True), ("all", math.fsum(inputs), math.fsum(weights))]
    total = math.fsum(rounded)
    return [
        f"## {heading}",
        f"The mean prediction changed by {total:+.{digits}f}.",
        as_table(["", "inputs", "weights"], [[name, f"{a:+.{digits}f}", f"{b:+.{digits}f}"] for name, a, b in rows]),
        "Inputs: the old weight times the change of the mean. Weights: the change of the weight times the new mean.",
    ]


def write_challenge(challenger: ModelVersion, champion: ModelVersion, all_columns: Split) -> list[str]:
    """Write what the challenger would change at the means of today's test rows; nothing where it can't be compared."""
    features = list(dict.fromkeys([*challenger.features, *champion.features]))
    names = set(all_columns.names)
    if champion.target != challenger.target or not names.issuperset(features) or not len(all_columns.test):
        return []
    x = select_features(all_columns, features).test.x
    means = dict(zip(features, x.mean(axis=0).tolist(), strict=True))
    changes = split_change(champion, challenger, means, means)
    return write_changes(changes, f"Beside the champion {champion.version}, at the means of the test rows")
