"""Why the mean prediction changed, as a table."""

import math
from typing import NamedTuple

import numpy as np

from linear_neuron.tasks.dataset.design_matrix import find_mean_contributions
from linear_neuron.tasks.dataset.rows import Split
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.levels import LevelIndex, name_label
from linear_neuron.tasks.features.spline import evaluate
from linear_neuron.tasks.model import ModelVersion, Term
from linear_neuron.tasks.monitoring.difference import compare, list_cells
from linear_neuron.tasks.registry.change_limit import describe_worst
from linear_neuron.tasks.registry.versions import read_version
from linear_neuron.tasks.reporting.page import as_table
from linear_neuron.tasks.scoring.batch import read_manifest
from linear_neuron.tasks.scoring.manifest import BatchRun, Counts, Manifest
from linear_neuron.tasks.storage.store import Store, locate

Means = dict[str, float]  # feature -> its mean
PLAIN_SPLIT = (
    "Inputs: the old weight times the change of the mean. Weights: the change of the weight times the new mean."
)
TERMS_SPLIT = (
    "Inputs: what the old terms add in the new rows less what they added in the old ones. Weights: what the new terms "
    "add in the new rows less what the old ones would."
)


class Change(NamedTuple):
    """What a term, or the bias, adds to a change of the mean prediction, in target units."""

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


class Batch(NamedTuple):
    """What was counted of the rows that a version predicted."""

    model: ModelVersion
    total: Counts

    def find_cells(self, term: Term) -> list[list[float]]:
        """Find the cells of a term: of a version without terms, the sum of the feature."""
        if term.name in self.total.cells:
            return self.total.cells[term.name]
        return [[self.total.predicted, self.total.sums[term.name], 0.0], [0, 0.0, 0.0]]

    def measure(self, term: Term) -> float:
        """Measure the mean contribution that a term of any version would have in these rows.

        Numbers and levels are exact, but for slopes of levels that this version had not seen. Of a curve with other
        knots the rows of each interval count as two values, as far from their mean as the standard deviation, by which
        it differs from the curve that was counted.
        """
        (own,) = (mine for mine in self.model.all_terms if mine.name == term.name)
        *cells, missing = self.find_cells(own)
        if term.kind == "number":
            # Without its center, which is part of the bias: it need not be the same in both versions.
            filled = missing[0] * ((term.missing or 0.0) + term.weight * term.center)
            return (cells[0][1] * term.weight + filled) / self.total.predicted
        if term.kind == "spline":
            found = [_add_up_curve(term, own, interval, cell) for interval, cell in enumerate(cells)]
        else:
            found = self._add_up_levels(term, own, cells)
        return math.fsum([*found, missing[0] * (term.missing or 0.0)]) / self.total.predicted

    def _add_up_levels(self, term: Term, own: Term, cells: list[list[float]]) -> list[float]:
        """Sum what a term adds in the rows of each level that its category has in this version."""
        sharing = [mine for mine in self.model.all_terms if mine.label == own.label]
        levels = LevelIndex(sharing).levels
        values = [term.levels.get(level, term.other) for level in levels]
        values.append(self._find_unseen(term, name_label(sharing), levels))
        amounts = [cell[0] if term.kind == "category" else cell[1] - cell[0] * term.center for cell in cells]
        return [value * amount for value, amount in zip(values, amounts, strict=True)]

    def _find_unseen(self, term: Term, name: str, levels: list[str]) -> float:
        """Find what a term has on average for the levels that this version does not know, but another may."""
        counts = {level: rows for level, rows in self.total.unseen.get(name, {}).items() if level not in levels}
        known = math.fsum(rows * term.levels.get(level, term.other) for level, rows in counts.items())
        return known / sum(counts.values()) if counts else term.other


def _add_up_curve(term: Term, own: Term, interval: int, cell: list[float]) -> float:
    """Sum a curve over the rows of an interval of the curve of the same name that was counted."""
    if not cell[0]:
        return 0.0
    exact = math.fsum(a * power for a, power in zip(own.polynomials[interval], cell, strict=True))
    if term.knots == own.knots:
        return math.fsum(a * power for a, power in zip(term.polynomials[interval], cell, strict=True))
    rows, total, squares, _ = cell
    left, middle = own.knots[max(interval - 1, 0)], total / rows
    spread = math.sqrt(max(squares / rows - middle**2, 0.0))
    both = [
        evaluate(curve.knots, curve.polynomials, left + np.array([middle - spread, middle + spread]))
        for curve in (term, own)
    ]
    return exact + rows * float((both[0] - both[1]).mean())


def split_terms(before: Batch, now: Batch) -> list[Change]:
    """Split the change of the mean prediction between two batches, of whose versions one has terms.

    Inputs are how the old term changed from the old rows to the new ones, and weights how the new term differs from the
    old one in the new rows. A term that only one version has counts wholly as weights. The last one is the bias.
    """
    old = {term.name: term for term in before.model.all_terms}
    new = {term.name: term for term in now.model.all_terms}
    changes = []
    for name in dict.fromkeys([*new, *old]):
        if name in old and name in new and old[name].kind == new[name].kind and old[name].label == new[name].label:
            middle = now.measure(old[name])
            changes.append(Change(name, middle - before.measure(old[name]), now.measure(new[name]) - middle))
        else:
            gone = before.measure(old[name]) if name in old else 0.0
            changes.append(Change(name, 0.0, (now.measure(new[name]) if name in new else 0.0) - gone))
    return [*changes, Change("bias", 0.0, find_bias(now.model) - find_bias(before.model))]


def find_bias(model: ModelVersion) -> float:
    """Find the prediction of a version where all its numbers are zero, and all other terms contribute nothing."""
    if not model.terms:
        return model.bias
    return model.base - math.fsum(term.weight * term.center for term in model.terms if term.kind == "number")


def round_to_sum(parts: list[float], digits: int) -> list[float]:
    """Round parts to a number of digits so that they sum to their rounded sum, by the largest remainders.

    Source: "Fair Representation" (Yale University Press, 1982), on apportionment by the largest remainders.
    """
    scaled = [part * 10.0**digits for part in parts]
    whole = list(map(math.floor, scaled))
    left = round(math.fsum(scaled)) - sum(whole)
    order = sorted(range(len(parts)), key=lambda index: whole[index] - scaled[index])
    for index in order[:left]:
        whole[index] += 1
    return [round(number / 10.0**digits, digits) for number in whole]


def find_means(total: Counts) -> Means:
    """Find the mean of each feature among predicted rows; none where an older run did not add them up."""
    return {feature: value / total.predicted for feature, value in total.sums.items()}


def find_earlier(manifest: Manifest, batch_run: BatchRun) -> Manifest | None:
    """Find the last finished batch of another version before this one, of the same inputs and in the same folder.

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
                continue  # Unfinished, or damaged, which `verify` reports.
    earlier = [other for other in found if other.created_at < manifest.created_at]
    return max(earlier, key=lambda other: other.created_at, default=None)


def explain_change(manifest: Manifest, batch_run: BatchRun) -> tuple[str, list[Change]] | None:
    """Say from which version's batch, and by what, the mean prediction changed; None where that can't be known."""
    now, model = manifest.of_last_run().total, batch_run.model
    if not _is_known(now) or (earlier := find_earlier(manifest, batch_run)) is None:
        return None
    before = earlier.of_last_run().total
    try:
        old = read_version(Store(), earlier.version)
    except UserError:  # It was cleaned away.
        return None
    if not _is_known(before) or (old.target, old.link) != (model.target, model.link):
        return None
    if old.terms or model.terms:
        return old.version, split_terms(Batch(old, before), Batch(model, now))
    return old.version, split_change(old, model, find_means(before), find_means(now))


def _is_known(total: Counts) -> bool:
    """Whether it is known what was predicted; an older run did not add it up."""
    return bool(total.predicted and (total.sums or total.cells))


def write_changes(changes: list[Change], heading: str, *, terms: bool = False, logarithms: bool = False) -> list[str]:
    """Write a section with a row for each term and the bias, whose shown digits sum to those of the total.

    Args:
        changes: what is shown.
        heading: of the section.
        terms: whether the changes are of terms, and not of columns with one weight each.
        logarithms: whether the logarithm of the target is learned, so that they are changes of logarithms.
    """
    parts = [part for change in changes for part in (change.inputs, change.weights)]
    greatest = max(map(abs, parts))
    digits = 3 - math.floor(math.log10(greatest)) if greatest > 0 else 0
    digits = min(max(digits, 0), 12)
    rounded = round_to_sum(parts, digits)
    inputs, weights = rounded[::2], rounded[1::2]
    names = [change.name for change in changes]
    rows = [*zip(names, inputs, weights, strict=True), ("all", math.fsum(inputs), math.fsum(weights))]
    total = math.fsum(rounded)
    mean = "mean logarithm of the predictions" if logarithms else "mean prediction"
    return [
        f"## {heading}",
        f"The {mean} changed by {total:+.{digits}f}.",
        as_table(["", "inputs", "weights"], [[name, f"{a:+.{digits}f}", f"{b:+.{digits}f}"] for name, a, b in rows]),
        TERMS_SPLIT if terms else PLAIN_SPLIT,
    ]


def write_difference(champion: ModelVersion, challenger: ModelVersion) -> list[str]:
    """Write how far a challenger can move predictions, and which weights changed; nothing for another target."""
    if champion.target != challenger.target:
        return []
    difference = compare(champion, challenger)
    known = any(change.errors is not None for change in difference.weights)
    head = ["weight", "champion", "challenger", *["standard errors between them"] * known]
    return [
        "## What it would change",
        describe_worst(difference.worst, difference.spread),
        as_table(head, [cells[: len(head)] for cells in list_cells(difference)]),
    ]


def write_challenge(challenger: ModelVersion, champion: ModelVersion, split: Split) -> list[str]:
    """Write what the challenger would change at the means of today's test rows; nothing where it can't be compared."""
    columns = list(dict.fromkeys([*challenger.kinds, *champion.kinds]))
    if (champion.target, champion.link) != (challenger.target, challenger.link):
        return []
    if not split.has(columns) or not len(split.rows["test"]):
        return []
    if challenger.terms or champion.terms:
        changes = _compare_terms(challenger, champion, split)
    else:
        x = split.design("test", columns).x
        means = dict(zip(columns, x.mean(axis=0).tolist(), strict=True))
        changes = split_change(champion, challenger, means, means)
    heading = f"Beside the champion {champion.version}, at the means of the test rows"
    terms, logarithms = bool(challenger.terms or champion.terms), champion.link == "log"
    return write_changes(changes, heading, terms=terms, logarithms=logarithms)


def _compare_terms(challenger: ModelVersion, champion: ModelVersion, split: Split) -> list[Change]:
    """Compare the mean contributions of two versions to the predictions of the test rows."""
    rows = split.rows["test"]
    new, old = (find_mean_contributions(version, split, rows) for version in (challenger, champion))
    changes = [Change(name, 0.0, new.get(name, 0.0) - old.get(name, 0.0)) for name in dict.fromkeys([*new, *old])]
    return [*changes, Change("bias", 0.0, find_base(challenger) - find_base(champion))]


def find_base(model: ModelVersion) -> float:
    """Find the prediction of a version to which its terms add."""
    return model.base if model.centers or model.terms else model.bias
