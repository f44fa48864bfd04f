"""Split the rows exactly as Keras does, and pick the features."""

from dataclasses import replace

import numpy as np

from tasks.dataset.rows import Floats, Rows, Snapshot, Split
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
    if dataset.target in dataset.features:
        raise UserError(f"{dataset.target} is the target and can't be a feature too; leave it out of the features.")


def split_rows(snapshot: Snapshot, target: str, validation_split: float) -> Split:
    """Deal the rows out; every column but the target is a feature.

    The test rows are cut off as by the `load_data` of `keras.datasets`: after a shuffle by NumPy's legacy generator
    under the source's seed, at the source's share. The validation rows are cut off as by
    `Model.fit(validation_split=...)`: they are the last share of the other rows, without a shuffle.

    Raises:
        UserError: the share leaves no row to fit.
    """
    order = np.arange(len(snapshot.values))
    np.random.RandomState(snapshot.seed).shuffle(order)
    known = int(len(order) * snapshot.train_share)
    fitted = int(known * (1 - validation_split))
    if fitted < 1:
        raise UserError(f"A validation split of {validation_split} leaves no row of {known} to fit; lower it.")
    at = [column.name for column in snapshot.columns].index(target)
    x, y = np.delete(snapshot.values, at, axis=1), snapshot.values[:, at]
    train, validation, test = (Rows(x[part], y[part], part) for part in np.split(order, [fitted, known]))
    return Split(snapshot.columns[:at] + snapshot.columns[at + 1 :], snapshot.columns[at], train, validation, test)


def select_features(split: Split, names: list[str]) -> Split:
    """Return the same rows with `x` cut down to the named features, shape (n, names)."""
    places = [split.names.index(name) for name in names]
    train, validation, test = (replace(rows, x=rows.x[:, places]) for rows in split.parts.values())
    return Split(tuple(split.features[place] for place in places), split.target, train, validation, test)


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
    """Pick the chosen features by name."""
    return select_features(split, dataset.features)
