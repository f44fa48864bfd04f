"""Drift: whether values are still distributed as the training rows were, by the population stability index (PSI).

A batch's report compares that batch alone. An alarm pools the days that the version has predicted, counts every look
at them, and needs both a large difference and one that chance does not explain: see `sequential.py`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from upath import UPath

from linear_neuron.tasks.dataset.design_matrix import predict_by
from linear_neuron.tasks.dataset.profile import (
    BINS,
    count_bins,
    count_levels,
    find_reference,
    group_by_frequency,
    merge_bins,
)
from linear_neuron.tasks.dataset.raw_columns import RawColumns
from linear_neuron.tasks.dataset.rows import Floats, Rows, Snapshot, Split
from linear_neuron.tasks.errors import DamagedError, StoreError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.monitoring.extrapolated import compare_outside, describe_outside
from linear_neuron.tasks.monitoring.sequential import (
    BUDGET,
    Days,
    chi_square_quantile,
    estimate_effects,
    list_windows,
    spend,
    t_square_quantile,
)
from linear_neuron.tasks.parameters import Dataset
from linear_neuron.tasks.registry.alarms import Alarm, Round, count_look, open_round, raise_alarm, read_alarms
from linear_neuron.tasks.registry.champion import read_champion
from linear_neuron.tasks.registry.versions import read_version
from linear_neuron.tasks.scoring.manifest import Counts, Drift, Manifest
from linear_neuron.tasks.steps import get_logger, show_markdown, task
from linear_neuron.tasks.storage.store import MANIFEST, Store
from linear_neuron.tasks.text import as_text, plural

ALARM: Alarm = "drift.detected"
ALARMING = 0.2  # the usual limit: "Credit Risk Scorecards" (Wiley, 2006), chapter 9
SHARES = {"days": 0.4, "table": 0.1}  # of BUDGET, for what is predicted and for the rows of a retrain
DAY_EFFECT = 0.05  # PSI between a day and all days that is assumed until days have been seen: 5% of the variance
TABLE_DAYS = 20  # days that the rows of a table without times are taken to be of
PREDICTION, EXTRAPOLATED = "prediction", "extrapolated"  # their names among the columns
# Quantiles 0.999 of the chi-square distribution with 1 to 9 degrees of freedom: NIST/SEMATECH e-Handbook of
# Statistical Methods, section 1.3.6.7.4.
CHI_SQUARE = (10.828, 13.816, 16.266, 18.467, 20.515, 22.458, 24.322, 26.125, 27.877)


class Change(NamedTuple):
    """A column that is no longer as the training rows were."""

    column: str
    days: int  # of the window that shows it best
    psi: float  # or the share of extrapolated rows
    what: str  # such as: RM (PSI 0.35)


@task("Compare the batch with the training rows")
def find_batch_drift(manifest: Manifest, model: ModelVersion) -> Manifest:
    """Return the manifest with how all that the last run was asked for differs from the model's training rows."""
    total = manifest.of_last_run().total
    return manifest.model_copy(update={"drift": find_drift(model, total.bins, total.missing, total.prediction_bins)})


@task("Look for drift")
def watch_batch(manifest: Manifest, elsewhere: bool = False) -> None:
    """Raise an alarm where the days that the champion predicted are not as its training rows were."""
    try:
        _watch_days(Store(), manifest)
    except StoreError as error:
        if not elsewhere:  # Otherwise the store need only be read.
            raise
        get_logger().warning("Drift raises no alarm: %s", error)


def _watch_days(store: Store, manifest: Manifest) -> None:
    if (opened := _open(store, manifest.version)) is None:
        return
    model, round_ = read_version(store, manifest.version), opened
    manifests = {it.batch: it for it in read_manifests(store, manifest.version)} | {manifest.batch: manifest}
    days = list_days(list(manifests.values()), round_.since)
    _watch(store, model, days, "days", round_)


@task("Compare the rows with the champion's")
def watch_rows(snapshot: Snapshot, split: Split, dataset: Dataset) -> None:
    """Compare today's rows, and what the champion predicts for them, with those that it has learned from.

    They are the rows that came since, of a table with times. Those of a day gone by, or with another target, say
    nothing about it.
    """
    store = Store()
    champion = read_champion(store)
    if champion is None or dataset.as_of:
        return
    model = read_version(store, champion.version)
    if model.target != split.target.name:
        return
    if round_ := open_round(store, ALARM, model.version):
        counts = count_table(model, split, find_later_rows(model, split), snapshot.origin.details.get("missing", {}))
        _watch(store, model, [counts], "table", round_)
    else:
        warn_of_missing_rows(store, model, split, find_later_rows(model, split))


def _open(store: Store, version: str) -> Round | None:
    """Open a round of alarms if the version is the champion.

    Of a version that has been replaced nobody needs to know, and a run that the alarm starts can't start another.
    """
    champion = read_champion(store)
    return open_round(store, ALARM, version) if champion and champion.version == version else None


def _watch(store: Store, model: ModelVersion, days: Sequence[Counts], kind: str, round_: Round) -> None:
    """Look at the counts of days, or of a table, and raise the alarm if something has changed."""
    if not any(day.predicted for day in days):
        return
    data = json.dumps([day.model_dump(mode="json") for day in days]).encode()
    look = count_look(store, f"{ALARM} {kind}", model.version, data)
    changes, psi = find_changes(model, days, BUDGET * SHARES[kind], look, TABLE_DAYS if kind == "table" else 1)
    if not changes:
        return
    days_seen = max(change.days for change in changes)
    span = "the last day" if days_seen == 1 else f"the last {plural(days_seen, 'day')}"
    subject = "today's table" if kind == "table" else f"what came in on {span}"
    reason = (
        f"{subject} is not like the rows that {model.version} "
        f"was trained on: {', '.join(change.what for change in changes)}. By chance alone an alarm of drift is raised "
        f"in at most {BUDGET * sum(SHARES.values()):.1%} of a champion's years."
    )
    raise_alarm(store, ALARM, model.version, reason, round_.key, figures=psi)


def read_manifests(store: Store, version: str) -> list[Manifest]:
    """Read the manifests of a version's batches in the store; damaged ones are left out, which `verify` reports."""
    folders = [store.root / "predictions" / name for name in store.names("predictions") if name.startswith(version)]
    return [manifest for manifest in store.each(partial(_read_manifest, store), folders) if manifest]


def _read_manifest(store: Store, folder: UPath) -> Manifest | None:
    try:
        data = store.read(folder / MANIFEST)
        return None if data is None else Manifest.model_validate_json(data)
    except (ValidationError, DamagedError):
        return None


def list_days(manifests: list[Manifest], since: datetime | None) -> list[Counts]:
    """Add up what batches of a version counted, for each day (UTC) on which files were predicted, oldest first.

    Args:
        manifests: Of batches of one version; of an input that changed, the latest result counts.
        since: Days up to that of this moment are left out.
    """
    days: dict[str, Counts] = {}
    for manifest in manifests:
        for result in manifest.inputs:
            at = result.predicted_at or manifest.created_at
            if not result.error and (since is None or at.date() > since.date()):
                days.setdefault(at.date().isoformat(), Counts()).add(result)
    return [days[day] for day in sorted(days)]


def count_table(model: ModelVersion, split: Split, rows: Rows, missing: dict[str, float]) -> Counts:
    """Count rows of a table as those of a batch are counted.

    Args:
        model: In whose bins they are counted.
        split: The table.
        rows: Its rows that are counted, with all columns.
        missing: Column -> share of its rows without a value.
    """
    counts = Counts()
    outside = np.zeros(len(rows), bool)
    for name, kind in model.kinds.items():
        if kind == "category" and split.has([name]) and "levels" in model.contract.get(name, {}):
            labels = cast(RawColumns, split.raw).read(rows.number, [name])[name]
            counts.bins[name] = count_levels(labels, list(model.contract[name]["levels"]))
            counts.nulls[name] = round(missing.get(name, 0.0) * len(rows)) + labels.null_count()
    numbers = [name for name, kind in model.kinds.items() if kind == "number"]
    for name in numbers:
        if split.has([name]) and "deciles" in model.contract.get(name, {}):
            values = split.pick(rows, [name]).x[:, 0]
            known = values[~np.isnan(values)]
            counts.bins[name] = count_bins(known, model.contract[name]["deciles"])
            counts.nulls[name] = round(missing.get(name, 0.0) * len(values)) + len(values) - len(known)
            counts.predicted = len(values)
            low, high = model.ranges[name]
            values = values.astype(np.float32)
            outside |= (values < np.float32(low)) | (values > np.float32(high))
    if split.has(model.kinds) and counts.bins.keys() >= set(numbers):
        counts.predicted = len(rows)
        counts.extrapolated = int(np.count_nonzero(outside))
        if model.predictions:
            predicted = predict_by(model, split, rows, candidate=False)
            counts.prediction_bins = count_bins(predicted[~np.isnan(predicted)], model.predictions["deciles"])
    return counts


def find_later_rows(model: ModelVersion, split: Split) -> Rows:
    """Find today's rows, with all columns, that are newer than what a version has learned from.

    Without times they are all rows, and for a version that has learned from train rows alone they are the train rows.
    """
    if split.whole is None or not model.is_refitted:
        return split.rows["train"]
    newest = model.learned.newest if model.learned else None
    if split.whole.time is None or newest is None:
        return split.whole
    first = int(
        np.searchsorted(
            split.whole.time, (newest - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1), side="right"
        )
    )
    return replace(
        split.whole,
        x=split.whole.x[first:],
        y=split.whole.y[first:],
        number=split.whole.number[first:],
        time=split.whole.time[first:],
    )


def warn_of_missing_rows(store: Store, model: ModelVersion, split: Split, rows: Rows) -> None:
    """Warn that a retrain can't learn from what has drifted, where the table has none of it.

    None came since the version was trained, or those that did are as its training rows in each column of the alarm.
    """
    raised = [entry for entry in read_alarms(store) if (entry["action"], entry["version"]) == (ALARM, model.version)]
    columns = [
        name
        for name, psi in (raised[-1].get("figures", {}) if raised else {}).items()
        if psi >= ALARMING and split.has([name]) and "deciles" in model.contract.get(name, {})
    ]
    found = [
        compare_column(name, known, count_bins(split.pick(rows, [name]).x[:, 0], known["deciles"]), 0)
        for name, known in ((name, model.contract[name]) for name in columns)
    ]
    if not found or any(drift is not None and drift.psi >= ALARMING for drift in found):
        return
    text = (
        f"The table has none of the rows that have drifted since {model.version} was trained ({', '.join(columns)}), "
        "so this training can't learn from them. Add their actual values to the table."
    )
    get_logger().warning(text)
    show_markdown(f"**{ALARM}**: {as_text(text)}", key="alarms", description=f"Alarm of {model.version}")


def find_changes(
    model: ModelVersion, days: Sequence[Counts], budget: float, look: int, days_each: int = 1
) -> tuple[list[Change], dict[str, float]]:
    """Find the columns that have changed, by a look that spends its part of the budget.

    Args:
        model: The version, whose profile the days are compared with; an older one does not know enough.
        days: What was counted, oldest first.
        budget: Probability of a false alarm by all looks.
        look: The number of this one, from 1.
        days_each: How many days each of `days` is taken to span.

    Returns:
        The changes; and the PSI of every feature and the predictions over the window that shows its change best, or
        over all days.
    """
    names, counts, known, used = _tabulate(model, days)
    tests = len(list_windows(len(days))) * (len(names) + 1)
    level, changes, psi = spend(budget, look, tests), dict[str, Change](), dict[str, float]()
    for window, index, value, changed in compare_bins(counts, known, used, level, days_each):
        name, nulls = names[index]
        if changed and (name not in changes or value > changes[name].psi):
            what = f"missing values of {name} (PSI {value:.2f})" if nulls else f"{name} (PSI {value:.2f})"
            changes[name] = Change(name, window, value, what)
        if not nulls:
            psi[name] = value  # The last window has all days.
    psi |= {name: change.psi for name, change in changes.items()}
    if change := _find_outside(model, days, level, psi):
        changes[EXTRAPOLATED] = change
    return list(changes.values()), {name: round(value, 4) for name, value in psi.items()}


def _tabulate(model: ModelVersion, days: Sequence[Counts]) -> tuple[list[tuple[str, bool]], Floats, Floats, Floats]:
    """Put the bins of all columns, and the nulls of the features, in arrays.

    Returns:
        Name, and whether it is about nulls, of each column; counts of shape (days, columns, BINS); those of the
        training rows, of shape (columns, BINS); which bins are used.
    """
    columns = {name: model.contract.get(name, {}) for name in model.kinds} | {PREDICTION: model.predictions}
    parts = [part for name, it in columns.items() if find_reference(it) for part in _tabulate_column(name, it, days)]
    names = [(name, nulls) for name, nulls, *_ in parts]
    counts = np.reshape([[_pad(day) for day in it] for *_, it, _, _ in parts], (len(names), len(days), BINS))
    known = np.reshape([_pad(it) for *_, it, _ in parts], (-1, BINS))
    used = np.reshape([_pad([1] * it) for *_, it in parts], (-1, BINS))
    return names, counts.swapaxes(0, 1), known, used


def _tabulate_column(
    name: str, profile: dict[str, Any], days: Sequence[Counts]
) -> list[tuple[str, bool, list[list[int]], list[int], int]]:
    """List the bins of a column, and the nulls of a feature: name, whether nulls, counts a day, training rows, bins."""
    reference = find_reference(profile)
    bins = [day.prediction_bins if name == PREDICTION else day.bins.get(name, []) for day in days]
    merged = [merge_bins(group_by_frequency(profile, it) or [0] * len(reference), reference) for it in bins]
    parts = [(name, False, [now for now, _ in merged], merged[0][1], len(merged[0][1]))]
    if name != PREDICTION:
        missing = round(profile["nulls"] * sum(reference))
        nulls = [[sum(it), day.missing.get(name, 0)] for it, day in zip(bins, days, strict=True)]
        parts.append((name, True, nulls, [sum(reference) - missing, missing], 2))
    return parts


def _pad(values: list[int]) -> list[float]:
    return [*map(float, values), *[0.0] * (BINS - len(values))]


def compare_bins(
    counts: Floats, known: Floats, used: Floats, level: float, days_each: int
) -> list[tuple[int, int, float, bool]]:
    """Compare every window of days with the training rows: window, column, PSI, whether it has changed.

    By chance the PSI is a chi-square variable of the bins less one, times 1 / rows + 1 / training rows, and one of a
    single degree of freedom for what the days have in common, whose variance is estimated. Half of the level is spent
    on each.
    """
    if not len(known):
        return []
    days = Days(counts.sum(-1), counts)
    compared = compare_windows(days, known, used, level, days_each)
    return [(window, *it) for window, *found in compared for it in zip(range(len(known)), *found, strict=True)]


def compare_windows(
    days: Days, known: Floats, used: Floats, level: float, days_each: int
) -> Iterator[tuple[int, Floats, NDArray[np.bool_]]]:
    """Compare the bins of every window of days with the training rows.

    Args:
        days: Counts of shape (days, ..., columns, BINS).
        known: Those of the training rows, of shape (..., columns, BINS).
        used: Which bins are used, of shape (..., columns, BINS).
        level: Probability of a false alarm in one column and window.
        days_each: How many days each of `days` is taken to span.

    Yields:
        Window; PSI of each column; whether it has changed.
    """
    then = np.where(used, known + 0.5, 0)
    shares = np.where(used, then / then.sum(-1, keepdims=True), 1)
    bins, trained = used.sum(-1), known.sum(-1)
    freedom = np.maximum(bins - 1, 1)
    for window in list_windows(days.count):
        rows = np.maximum(days.rows(window), 1)
        now = np.where(used, days.sums(window) + 0.5, 0)
        now_shares = np.where(used, now / now.sum(-1, keepdims=True), 1)
        psi = np.sum((now_shares - shares) * np.log(now_shares / shares), axis=-1)
        large = (psi >= ALARMING) & (bins > 1)
        if not large.any():
            yield window, psi, large
            continue
        inside, outside, weight, seen = days.spread(window)
        # Where more rows are in a bin, their number also differs more; this is no day effect.
        differing = (2 * inside / (shares + now_shares) + outside / shares).sum(-1)
        day, certainty = estimate_effects(differing, freedom, weight, seen, bins > 2, DAY_EFFECT)
        chance = (1 / rows + 1 / trained) * chi_square_quantile(freedom, level / 2)
        chance += day * days.concentration(window) / days_each * t_square_quantile(certainty, level / 2)
        yield window, psi, large & (psi > chance)


def _find_outside(model: ModelVersion, days: Sequence[Counts], level: float, psi: dict[str, float]) -> Change | None:
    """Find whether more rows are out of the training range than chance explains."""
    numbers = [name for name, kind in model.kinds.items() if kind == "number"]
    trained = min((sum(model.contract.get(name, {}).get("counts", [])) for name in numbers), default=0)
    rows = np.array([float(day.predicted) for day in days])
    outside = np.array([float(day.extrapolated) for day in days])
    if found := compare_outside(rows, outside, trained, len(numbers), level):
        window, share = found
        return Change(
            EXTRAPOLATED, window, share, describe_outside(share, {name: psi.get(name, 0) for name in numbers})
        )
    return None


def find_drift(
    model: ModelVersion, bins: dict[str, list[int]], nulls: dict[str, int], predictions: list[int]
) -> list[Drift]:
    """Compare the features, and then the predictions, with those of the training rows.

    Args:
        model: the version that predicts; an older one does not know enough, and nothing is compared.
        bins: column -> counts in its ten bins, or by its levels.
        nulls: column -> rows without a value.
        predictions: counts of the predictions in their ten bins.
    """
    found = [
        compare_column(name, model.contract.get(name, {}), counts, nulls.get(name, 0)) for name, counts in bins.items()
    ]
    found.append(compare_column(PREDICTION, model.predictions, predictions, 0))
    return [drift for drift in found if drift]


def measure(counts: list[int], known: list[int]) -> tuple[float, float]:
    """Compute the PSI of counts against those of the training rows, and what it exceeds by chance once in a thousand.

    Half a row is added to each bin, so that none is empty. Source of the second: "Statistical properties of
    the population stability index", Journal of Risk Model Validation 14(4), 2020.
    """
    if len(counts) < 2:
        return 0.0, 0.0
    now, then = np.array(counts) + 0.5, np.array(known) + 0.5
    now_shares, then_shares = now / now.sum(), then / then.sum()
    psi = float(np.sum((now_shares - then_shares) * np.log(now_shares / then_shares)))
    return psi, CHI_SQUARE[len(counts) - 2] * (1 / sum(counts) + 1 / sum(known))


def compare_column(column: str, known: dict[str, Any], counts: list[int], nulls: int) -> Drift | None:
    """Compare a column with what is known of its training rows.

    It has drifted if the PSI of its bins, or that of its nulls, is alarming and above what chance explains.

    Args:
        column: its name.
        known: what `describe_column` says of the training rows; older versions do not know the counts.
        counts: of its values, in the ten bins, or by the levels of the profile, others last.
        nulls: rows without a value.

    Returns:
        None where there is nothing to compare.
    """
    if not sum(counts) or not (reference := find_reference(known)):
        return None
    rows, trained, share = sum(counts) + nulls, sum(reference), known["nulls"]
    missing = round(share * trained)
    psi, floor = measure(*merge_bins(group_by_frequency(known, counts), reference))
    null_psi, null_floor = measure([rows - nulls, nulls], [trained - missing, missing])
    drifted = (psi >= ALARMING and psi > floor) or (null_psi >= ALARMING and null_psi > null_floor)
    return Drift(column=column, psi=psi, floor=floor, nulls=nulls / rows, known_nulls=share, drifted=drifted)
