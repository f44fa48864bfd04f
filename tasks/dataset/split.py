"""Split the rows, those of the tutorial exactly as Keras does, and pick the features."""

from dataclasses import replace
from typing import Any, cast

import numpy as np

from tasks.dataset.contract import check_rows
from tasks.dataset.records import open_records
from tasks.dataset.rows import Floats, Hashes, Origin, Recall, Rows, Snapshot, Split
from tasks.errors import UserError
from tasks.parameters import Dataset
from tasks.steps import get_logger, task


def check_columns(snapshot: Snapshot, dataset: Dataset) -> None:
    """Refuse names that the dataset does not have.

    Raises:
        UserError: an unknown feature or target, or a target that is a feature too.
    """
    known = [column.name for column in snapshot.columns]
    for role, name in [("feature", name) for name in dataset.features] + [("target", dataset.target)]:
        if name not in known:
            raise UserError(f"There is no {role} {name!r} in {snapshot.name}; choose from {', '.join(known)}.")
    check_roles(dataset)


def check_roles(dataset: Dataset) -> None:
    """Refuse a target that is a feature too.

    Raises:
        UserError: names it.
    """
    if dataset.target in dataset.features:
        raise UserError(f"{dataset.target} is the target and can't be a feature too; leave it out of the features.")


def split_rows(snapshot: Snapshot, target: str, validation_split: float) -> Split:
    """Deal the rows out; every column but the target is a feature.

    Of a published dataset the test rows are cut off as by the `load_data` of `keras.datasets`: after a shuffle by
    NumPy's legacy generator under the source's seed, at the source's share. The validation rows are cut off as by
    `Model.fit(validation_split=...)`: they are the last share of the other rows, without a shuffle.

    A user's own table stands in the order of its times, and is cut where one time ends and the next begins; or in that
    of its hashes, and is cut at a share of their range. So no row that was once for testing is ever learned from when
    rows are added, as would happen if they were shuffled anew.

    Raises:
        UserError: the share, or too few different times, leave no row to fit.
    """
    rows = len(snapshot.values)
    if snapshot.seed is None:
        order: Any = None
        fitted, known = _cut(snapshot, validation_split)
    else:
        order = np.arange(rows)
        np.random.RandomState(snapshot.seed).shuffle(order)
        known = int(rows * snapshot.train_share)
        fitted = int(known * (1 - validation_split))
    if fitted < 1:
        raise UserError(_explain_empty(snapshot, known, validation_split))
    at = [column.name for column in snapshot.columns].index(target)
    others = [place for place in range(len(snapshot.columns)) if place != at]

    def take(start: int, stop: int) -> Rows:
        part = slice(start, stop) if order is None else order[start:stop]
        number = np.arange(start, stop) if order is None else order[start:stop]
        time = None if snapshot.times is None else snapshot.times[part]
        return Rows(pick_columns(snapshot.values[part], others), snapshot.values[part, at], number, time)

    features = tuple(snapshot.columns[place] for place in others)
    train, validation, test = take(0, fitted), take(fitted, known), take(known, rows)
    recall = Recall(snapshot.path, target, tuple(c.name for c in features), validation_split) if snapshot.path else None
    return Split(features, snapshot.columns[at], train, validation, test, snapshot.rule, recall)


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


def pick_columns(values: Floats, places: list[int]) -> Floats:
    """Pick columns of an array of shape (n, columns): without a copy where they are neighbours, as in a big table."""
    if places and places == list(range(places[0], places[0] + len(places))):
        return values[:, places[0] : places[0] + len(places)]
    return values[:, places]


def select_features(split: Split, names: list[str]) -> Split:
    """Return the same rows with `x` cut down to the named features, shape (n, names)."""
    places = [split.names.index(name) for name in names]
    train, validation, test = (replace(rows, x=pick_columns(rows.x, places)) for rows in split.parts.values())
    recall = split.recall and replace(split.recall, features=tuple(names))
    features = tuple(split.features[place] for place in places)
    return replace(split, features=features, train=train, validation=validation, test=test, recall=recall)


def remake_split(recall: Recall) -> Split:
    """Make the split of a user's own table again from the file with its rows."""
    snapshot = open_records(recall.path, Origin("", ""))
    return select_features(split_rows(snapshot, recall.target, recall.validation_split), list(recall.features))


def example_inputs(split: Split, values: list[float]) -> Floats:
    """Make the inputs that people like to see a prediction for, shape (n, features).

    The first feature takes the given values or, without any, the column's own examples or five even steps over the
    training rows. The other features stand at their mean.
    """
    column = split.train.x[:, 0]
    first = values or split.features[0].examples or np.linspace(column.min(), column.max(), 5)
    x = np.tile(split.train.x.mean(axis=0), (len(first), 1))
    x[:, 0] = first
    return x


@task("Split the rows")
def split(snapshot: Snapshot, dataset: Dataset, validation_split: float) -> Split:
    """Check the names of the columns and deal the rows out, all columns still there."""
    check_columns(snapshot, dataset)
    rows = split_rows(snapshot, dataset.target, validation_split)
    known = np.concatenate([rows.train.x, rows.validation.x])
    first = ", ".join(f"{name} {value:g}" for name, value in zip(rows.names, known[0], strict=True))
    get_logger().info("Rows to learn from: %s, to test on: %s", known.shape, rows.test.x.shape)
    get_logger().debug("The first row: %s; %s %g", first, rows.target.name, rows.train.y[0])
    return rows


@task("Extract the features")
def extract_features(split: Split, dataset: Dataset) -> Split:
    """Pick the chosen features by name, and make sure that there is something to learn from them."""
    rows = select_features(split, dataset.features)
    check_rows(rows)
    return rows
