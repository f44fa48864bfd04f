"""Why the mean prediction changed: by what came in, or by the weights."""

import math
from typing import NamedTuple

from tasks.errors import UserError
from tasks.model import ModelVersion
from tasks.registry.versions import read_version
from tasks.scoring.batch import read_manifest
from tasks.scoring.manifest import BatchRun, Counts, Manifest
from tasks.storage.store import Store, locate

Means = dict[str, float]  # feature -> its mean


class Change(NamedTuple):
    """What a feature, or the bias, adds to a change of the mean prediction, in target units."""

    name: str
    inputs: float
    weights: float


def split_change(old: ModelVersion, new: ModelVersion, before: Means, now: Means) -> list[Change]:
    """Split the change of the mean prediction between two models, each at the means of what it predicted.

    Inputs count by the old weight, and weights at the new mean: w1 * m1 - w0 * m0 = w0 * (m1 - m0) + (w1 - w0) * m1. A
    feature that only one of the models reads counts wholly as weights. The last one is the bias.
    """
    old_weights = dict(zip(old.features, old.weights, strict=True))
    new_weights = dict(zip(new.features, new.weights, strict=True))
    changes = []
    for name in dict.fromkeys([*new.features, *old.features]):
        if name in old_weights and name in new_weights:
            inputs = old_weights[name] * (now[name] - before[name])
            weights = (new_weights[name] - old_weights[name]) * now[name]
        else:
            inputs = 0.0
            weights = new_weights[name] * now[name] if name in new_weights else -old_weights[name] * before[name]
        changes.append(Change(name, inputs, weights))
    return [*changes, Change("bias", 0.0, new.bias - old.bias)]


def round_to_sum(parts: list[float], digits: int) -> list[float]:
    """Round parts to so many digits so that they sum to their rounded sum, by the largest remainders.

    Source: "Fair Representation" (Yale University Press, 1982), on apportionment by the largest remainders.
    """
    scaled = [part * 10.0**digits for part in parts]
    whole = list(map(math.floor, scaled))
    left = round(math.fsum(scaled)) - sum(whole)
    order = sorted(range(len(parts)), key=lambda place: whole[place] - scaled[place])
    for place in order[:left]:
        whole[place] += 1
    return [round(number / 10.0**digits, digits) for number in whole]


def find_means(total: Counts) -> Means:
    """Find the mean of each feature among predicted rows; none where an older run did not add them up."""
    return {feature: value / total.predicted for feature, value in total.sums.items()}


def find_earlier(manifest: Manifest, batch_run: BatchRun) -> Manifest | None:
    """Find the last finished batch of another version before this one, in the same place, of the same inputs.

    The end of a batch's name says which folder of inputs and which settings it has.
    """
    location = locate(batch_run.location)
    ending = location.name.removeprefix(batch_run.model.version)
    found = []
    for folder in location.parent.iterdir():
        if folder.name.endswith(ending) and folder.name != location.name:
            try:
                found.append(read_manifest(str(folder)))
            except (OSError, ValueError):
                continue  # Unfinished, or damaged, which `verify` tells.
    earlier = [other for other in found if other.created_at < manifest.created_at]
    return max(earlier, key=lambda other: other.created_at, default=None)


def explain_change(manifest: Manifest, batch_run: BatchRun) -> tuple[str, list[Change]] | None:
    """Say from which version's batch, and by what, the mean prediction changed; None where that can't be known."""
    now = find_means(manifest.of_last_run().total)
    if not now or (earlier := find_earlier(manifest, batch_run)) is None:
        return None
    before = find_means(earlier.of_last_run().total)
    try:
        old = read_version(Store(), earlier.version)
    except UserError:  # It was cleaned away.
        return None
    if not before or old.target != batch_run.model.target:
        return None
    return old.version, split_change(old, batch_run.model, before, now)
