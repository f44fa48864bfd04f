"""Split the rows into train, validation and test, those of the tutorial exactly as Keras does, and check them."""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from linear_neuron.tasks.dataset.design_matrix import encode, use_design
from linear_neuron.tasks.dataset.moments import Moments, measure_moments
from linear_neuron.tasks.dataset.rows import (
    Floats,
    Hashes,
    Origin,
    Recall,
    Rows,
    Snapshot,
    Split,
    open_records,
    pick_columns,
)
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.entries import Entries, parse_entries, parse_target
from linear_neuron.tasks.parameters import Dataset
from linear_neuron.tasks.steps import get_logger, task
from linear_neuron.tasks.text import plural, split_hint

SAME = 1 - 1e-12  # of a squared correlation: two columns that differ by rounding errors alone
DEPENDENT = 1e-10  # share of a column's spread that others leave, below which it is a combination of them
MIN_TEST = 2  # test rows
NEEDED = {"number": "numbers", "category": "labels", "time": "times"}


def find_entries(dataset: Dataset, columns: Collection[str]) -> Entries:
    """Parse the features and categories for a table with these columns.

    Raises:
        UserError: one can't be understood, or reads the target.
    """
    target = parse_target(dataset.target, columns).column
    entries = parse_entries(dataset.features, dataset.categories, columns, dataset.min_level_rows, dataset.missing)
    for entry in entries.entries:
        if target in entry.find_kinds():
            what = "be a feature too" if entry.is_column else f"be read by {entry.text}"
            raise UserError(f"{target} is the target and can't {what}; leave it out of the features.")
    return entries


def check_columns(snapshot: Snapshot, dataset: Dataset) -> Entries:
    """Parse the features and categories, and refuse names that the dataset does not have.

    Raises:
        UserError: an unknown feature or target, a target that is a feature too, or a column that holds something else.
    """
    kinds = snapshot.read_raw("").kinds
    known, entries = list(kinds), find_entries(dataset, kinds)
    target = parse_target(dataset.target, kinds).column
    for role, name in [("feature", name) for name in entries.kinds] + [("target", target)]:
        if name not in known:
            shown = ", ".join(known) + split_hint(name, known)
            raise UserError(f"There is no {role} {name!r} in {snapshot.name}; choose from {shown}.")
    for name, kind in entries.kinds.items():
        if kind != kinds[name] and not (kind == "category" and kinds[name] == "number"):
            raise UserError(f"Column {name!r} of {snapshot.name} holds no {NEEDED[kind]}; name another column.")
    return entries


def split_rows(snapshot: Snapshot, target: str, features: Sequence[str], validation_split: float) -> Split:
    """Split the rows of a snapshot into train, validation and test rows.

    Of a published dataset the test rows are cut off as by the `load_data` of `keras.datasets`: after a shuffle by
    NumPy's legacy generator under the source's seed, at the source's share. The validation rows are cut off as by
    `Model.fit(validation_split=...)`: they are the last share of the other rows, without a shuffle.

    A user's own table is sorted by time, and is cut where one time ends and the next begins. Without times it is sorted
    by hash, and is cut at a share of the hashes' range. So a test row stays a test row when rows are added, which a
    second shuffle would not ensure.

    Raises:
        UserError: the share, or too few different times, leave no row to fit.
    """
    rows = len(snapshot.values)
    order = np.arange(rows)
    if snapshot.seed is None:
        fitted, known = _cut(snapshot, validation_split)
    else:
        np.random.RandomState(snapshot.seed).shuffle(order)
        known = int(rows * snapshot.train_share)
        fitted = int(known * (1 - validation_split))
    if fitted < 1:
        raise UserError(_explain_empty(snapshot, known, validation_split))
    at = [column.name for column in snapshot.columns].index(target)
    others = [index for index in range(len(snapshot.columns)) if index != at]

    def take(start: int, stop: int) -> Rows:
        number = order[start:stop]
        part: Any = slice(start, stop) if snapshot.seed is None else number
        time = None if snapshot.times is None else snapshot.times[part]
        return Rows(pick_columns(snapshot.values[part], others), snapshot.values[part, at], number, time)

    parts = {"train": take(0, fitted), "validation": take(fitted, known), "test": take(known, rows)}
    names = list(features)
    recall = Recall(snapshot.path, target, names, validation_split) if snapshot.path else None
    columns = tuple(snapshot.columns[index] for index in others)
    whole = None if snapshot.seed is not None else take(0, rows)
    return Split(columns, snapshot.columns[at], names, parts, snapshot.rule, recall, whole, snapshot.read_raw(target))


def _cut(snapshot: Snapshot, validation_split: float) -> tuple[int, int]:
    """Find where the validation rows and the test rows of a user's own table begin."""
    shares = np.array([snapshot.train_share * (1 - validation_split), snapshot.train_share])
    if snapshot.times is not None:
        cuts = np.searchsorted(snapshot.times, snapshot.times[(len(snapshot.times) * shares).astype(int)])
    else:
        cuts = np.searchsorted(cast(Hashes, snapshot.hashes), (shares * 2.0**64).astype(np.uint64))
    return int(cuts[0]), int(cuts[1])


def _explain_empty(snapshot: Snapshot, known: int, validation_split: float) -> str:
    if snapshot.times is None:
        return f"A validation split of {validation_split} leaves no row of {known} to fit; lower it."
    return (
        f"The {len(snapshot.times):,} rows have {len(np.unique(snapshot.times)):,} different times, and no part may "
        "begin within one: none is left to fit. Take a finer time, more rows, or a lower validation split."
    )


def recall_split(recall: Recall) -> Split:
    """Split the rows of a user's own table again, from the file that holds them."""
    snapshot = open_records(recall.path, Origin("", ""))
    return split_rows(snapshot, recall.target, recall.features, recall.validation_split)


def example_inputs(split: Split, values: list[float]) -> Floats:
    """Make the inputs that people like to see a prediction for, shape (n, features).

    The first feature takes the given values or, without any, the column's own examples or five even steps over the
    training rows. The other features are at their mean.
    """
    train = split.train.x
    first = values or split.features[0].examples or np.linspace(train[:, 0].min(), train[:, 0].max(), 5)
    x = np.tile(train.mean(axis=0), (len(first), 1))
    x[:, 0] = first
    return x


def split_table(snapshot: Snapshot, dataset: Dataset, validation_split: float) -> Split:
    """Split the rows of a snapshot, with what the dataset says is learned from.

    Raises:
        UserError: as `check_columns` and `split_rows`.
    """
    entries = check_columns(snapshot, dataset)
    target = parse_target(dataset.target, snapshot.read_raw("").kinds)
    parts = replace(split_rows(snapshot, target.column, dataset.entries, validation_split), link=target.link)
    _check_positive(parts)
    return parts if entries.is_plain else replace(parts, entries=entries)


@task("Split the rows")
def split(snapshot: Snapshot, dataset: Dataset, validation_split: float) -> Split:
    """Check the names of the columns, and split the rows."""
    parts = split_table(snapshot, dataset, validation_split)
    train, validation, test = parts.rows.values()
    sizes: tuple[Any, Any] = (len(train) + len(validation), len(parts.columns)), test.x.shape
    if parts.entries:  # What these make is not known yet.
        sizes = len(train) + len(validation), len(test)
    first = ", ".join(f"{column.name} {value:g}" for column, value in zip(parts.columns, train.x[0], strict=True))
    get_logger().info("Rows to learn from: %s, to test on: %s", *sizes)
    get_logger().debug("The first row: %s; %s %g", first, parts.target.name, train.y[0])
    return parts


@task("Check the features")
def check_features(split: Split) -> Split:
    """Encode the terms, make sure that there is something to learn, and leave out with a warning what adds nothing."""
    checked, left_out = leave_out_dependent(encode(split))
    if left_out:
        counted = plural(len(left_out), "feature")
        get_logger().warning("%s left out for adding nothing new: %s", counted, _list_reasons(left_out))
    return replace(checked, left_out=left_out)


def _list_reasons(left_out: dict[str, str]) -> str:
    return "; ".join(f"{name} ({reason})" for name, reason in left_out.items())


def leave_out_dependent(split: Split) -> tuple[Split, dict[str, str]]:
    """Leave out each number that does not vary, or that is a combination of those before it, and constant terms.

    Returns:
        The split with the other features, and why each that is left out is.

    Raises:
        UserError: there are too few rows, nothing varies, or the target is a feature in other units.
    """
    _check_counts(split)
    train = split.train
    names, learned = [*split.names, split.target.name], split.learn(train)
    if learned is not train:
        _check_target(split, measure_moments(names, train.x, train.y).correlations[-1] ** 2)
    moments = measure_moments(names, train.x, learned.y)
    squares = moments.correlations**2
    _check_target(split, squares[-1])
    texts = split.terms.texts if split.terms else split.names
    indices = (
        split.terms.find_numbers() if split.terms else dict(zip(split.names, range(len(split.names)), strict=True))
    )
    curves = split.terms.find_curves() if split.terms else {}
    left_out = _find_dependent(indices, curves, moments, squares) | _find_constant(split, squares)
    if len(left_out) == len(texts):
        raise UserError(f"No feature varies in the rows to learn from: {_list_reasons(left_out)}; name others.")
    if split.terms and left_out:
        return use_design(split, split.terms.without(left_out)), left_out
    names = [name for name in split.names if name not in left_out]
    recall = split.recall and replace(split.recall, features=names)
    return replace(split, names=names, recall=recall), left_out


def _find_dependent(
    indices: dict[str, int], curves: dict[str, list[int]], moments: Moments, squares: Floats
) -> dict[str, str]:
    """Find the terms that do not vary, or are a combination of those before them; curves come before numbers.

    Args:
        indices: of the columns of numbers, by name.
        curves: the columns of each spline, by name.
        moments: of the train rows.
        squares: of all correlations.
    """
    left_out: dict[str, str] = {}
    found = np.zeros((len(moments.triangle) - 1, 0))  # orthonormal directions of the features that are kept
    for name, columns in curves.items():
        wider = _add_directions(found, moments, columns)
        if wider.shape == found.shape:
            left_out[name] = "it is a combination of the features before it"
        found = wider
    bent, kept = found.shape[1], dict[str, int]()
    for name, index in indices.items():
        wider = _add_directions(found, moments, [index])
        same = next((other for other, at in kept.items() if squares[index, at] > SAME), "")
        if np.isnan(squares[index, index]):
            left_out[name] = "it has one value in all rows to learn from"
        elif same:
            left_out[name] = f"it is {same} in other units"
        elif wider.shape == found.shape:
            within = bent and _add_directions(found[:, :bent], moments, [index]).shape[1] == bent
            left_out[name] = f"it is a combination of {'the splines' if within else 'the features before it'}"
        else:
            found = wider
            kept[name] = index
    return left_out


def _add_directions(found: Floats, moments: Moments, columns: Sequence[int]) -> Floats:
    """Add to orthonormal directions those that some columns have besides."""
    for index in columns:
        direction = _find_direction(moments.triangle[1:, 1 + index], found)
        found = found if direction is None else np.column_stack([found, direction])
    return found


def _find_constant(split: Split, squares: Floats) -> dict[str, str]:
    """Find the terms of several columns of which none varies."""
    if split.terms is None:
        return {}
    constant, numbers = np.isnan(np.diag(squares)), split.terms.find_numbers()
    return {
        text: "it has one level in all rows to learn from, or none that is frequent enough"
        for text, columns in zip(split.terms.texts, split.terms.ranges, strict=True)
        if text not in numbers and constant[columns].all()
    }


def _check_counts(split: Split) -> None:
    least = len(split.names) + 2
    if len(split.rows["train"]) < least or len(split.rows["test"]) < MIN_TEST:
        counts = ", ".join(f"{len(rows):,} to {verb}" for verb, rows in _name_parts(split))
        raise UserError(
            f"There are too few rows: {counts}; at least {least} are needed to learn from and {MIN_TEST} to test on. "
            f"Collect more{', or name fewer terms by --dataset.features' if len(split.names) > 1 else ''}."
        )


def _check_positive(split: Split) -> None:
    """Refuse the logarithm of a target that has none in some rows; of a user's own table these are rejects."""
    least = min(float(rows.y.min(initial=np.inf)) for rows in split.rows.values())
    if split.link == "log" and least <= 0:
        name = split.target.name
        raise UserError(f"{name} has no logarithm where it is {least:g}; take {name} itself as the target.")


def _check_target(split: Split, squares: Floats) -> None:
    """Refuse a target that does not vary, or that is a feature in other units, by their squared correlations."""
    target = split.target.name
    if np.isnan(squares[-1]):
        raise UserError(f"{target} has one value in all rows to learn from; wait for rows that vary.")
    for name, square in zip(split.names, squares, strict=False):
        if square > SAME:
            raise UserError(
                f"{target} is {name} in other units: nothing is left to learn, and the feature may not be known when "
                f"the target is not; leave it out, from auto by --dataset.without {shlex.quote(name)}."
            )


def _find_direction(column: Floats, found: Floats) -> Floats | None:
    """Find the direction of a column that others do not have, of length 1; None where that is rounding error."""
    left = column / (np.linalg.norm(column) or 1.0)
    for _ in range(2):  # The second time takes away what rounding left.
        left = left - found @ (found.T @ left)
    size = float(np.linalg.norm(left))
    return left / size if size > DEPENDENT else None


def _name_parts(split: Split) -> list[tuple[str, Any]]:
    return list(zip(("learn from", "validate", "test on"), split.rows.values(), strict=True))
