"""What the rows say of a least squares fit: unequal variance, rows that move it, and columns that nearly agree.

Looked at are train and validation rows alone, and of many rows evenly spaced ones. In the orthonormal directions of
the fitted columns a row's leverage is the sum of its squares, so an error without the row itself costs no other fit.

Source: Belsley, Kuh and Welsch, "Regression Diagnostics" (Wiley, 1980), for leverage and DFBETAS; Cook, "Detection of
Influential Observation in Linear Regression", Technometrics 19 (1977); Koenker, "A Note on Studentizing a Test for
Heteroscedasticity", Journal of Econometrics 17 (1981), here on the prediction and its square.
"""

from dataclasses import dataclass

import numpy as np

from linear_neuron.tasks.dataset.moments import Moments, measure_moments
from linear_neuron.tasks.dataset.rows import Floats, Rows, Split
from linear_neuron.tasks.training.fit_data import FitData
from linear_neuron.tasks.training.inference import FULL, decompose

MOST_ROWS = 100_000  # train and validation rows that are looked at
MOST_CELLS = 6_000_000  # the same, times their columns, which is what time and memory go with
MOST_COLUMNS = 400  # of a fit that is looked at
MOVING = 5  # rows that are listed
CERTAIN = 0.001  # chance of a test that is not worth a sentence above it
UNEQUAL = 1.5  # times the least typical error of a fifth of the rows, from which on the greatest is worth a sentence
AGREEING = 0.9  # correlation of columns that nearly agree
PAIRS = 5  # of such columns that are listed


@dataclass(frozen=True)
class Sample:
    """Rows that are looked at, and directions in which the fitted columns of the train rows are orthonormal."""

    split: Split
    rows: int  # train and validation rows of which they are taken
    train: Rows  # x: the columns of the fit, y: the target
    validation: Rows
    roots: Floats  # shape (train rows,): of their weights
    moments: Moments  # of the train rows, with the target as it is learned
    spread: Floats  # of directions to weights, shape (columns, directions)
    inflations: Floats  # shape (columns,): variance inflation factors
    basis: Floats  # shape (train rows, directions + 1): the constant and the directions, times the roots
    beyond: Floats  # shape (validation rows, directions + 1): the same for these

    @property
    def share(self) -> float:
        """Which share of the rows is looked at."""
        return (len(self.train) + len(self.validation)) / self.rows


@dataclass(frozen=True)
class Spread:
    """Whether the size of the errors depends on the prediction."""

    chance: float  # of a test statistic like this one where the variance is equal
    typical: tuple[
        float, ...
    ]  # mean absolute error by fifth of the prediction, lowest first, in units of what is learned
    unequal: bool  # whether that is worth a sentence


@dataclass(frozen=True)
class Moving:
    """A row that moves the fit, and how far."""

    number: int  # index of the row in the snapshot
    actual: float | None  # None where rows have keys, by which their values can be forgotten
    predicted: float | None
    distance: float  # Cook's
    column: str  # whose weight moves most
    errors: float  # by how many of its standard errors it moves


@dataclass(frozen=True)
class Pair:
    """Two columns that nearly agree."""

    one: str
    other: str
    correlation: float


@dataclass(frozen=True)
class Diagnostics:
    """What is found of a fit."""

    rows: dict[str, int]  # that are looked at: train, validation; and `of`, all of these parts
    spread: Spread
    moving: tuple[Moving, ...]
    pairs: tuple[Pair, ...]
    inflated: tuple[str, ...]  # columns with a variance inflation factor above 10 that is finite


def take_sample(data: FitData, room: int = 0) -> Sample:
    """Take train and validation rows, evenly spaced where there are too many, and fit the train rows.

    Args:
        data: what the candidate is fitted on.
        room: columns that will be tried beside those of the fit.
    """
    split = data.split
    total = len(split.rows["train"]) + len(split.rows["validation"])
    most = min(MOST_ROWS, MOST_CELLS // (len(split.names) + room))
    train, validation = (
        _thin(split.design(part, split.names), most / total if total > most else 1.0)
        for part in ("train", "validation")
    )
    weights = data.past.weigh(train)
    roots = np.ones(len(train)) if weights is None else np.sqrt(weights)
    moments = measure_moments([*split.names, split.target.name], train.x, split.learn(train).y, weights)
    spread, inflations = decompose(moments)
    basis, beyond = (
        np.column_stack([np.full(len(rows), moments.weight**-0.5), (rows.x - moments.means[:-1]) @ spread])
        for rows in (train, validation)
    )
    basis *= roots[:, None]
    return Sample(split, total, train, validation, roots, moments, spread, inflations, basis, beyond)


def _thin(rows: Rows, share: float) -> Rows:
    """Take evenly spaced rows, the last among them."""
    if share == 1 or not len(rows):
        return rows
    index = np.linspace(0, len(rows) - 1, max(2, round(share * len(rows)))).astype(np.int64)
    return Rows(rows.x[index], rows.y[index], rows.number[index], None if rows.time is None else rows.time[index])


def leave(sample: Sample, inside: Floats, outside: Floats) -> tuple[Floats, Floats]:
    """Return what the fitted columns do not explain of others.

    Args:
        sample: with the fitted columns.
        inside: shape (train rows, columns) or (train rows,), times the roots.
        outside: the same columns of the validation rows, as they are.
    """
    for _ in range(2):  # The second time takes away what rounding left.
        found = sample.basis.T @ inside
        inside, outside = inside - sample.basis @ found, outside - sample.beyond @ found
    return inside, outside


def diagnose_fit(sample: Sample) -> Diagnostics:
    """Find what the train rows say of the fit."""
    learned = sample.split.learn(sample.train).y
    errors, _ = leave(sample, learned * sample.roots, np.zeros(len(sample.validation)))
    plain = errors / sample.roots
    return Diagnostics(
        {"train": len(sample.train), "validation": len(sample.validation), "of": sample.rows},
        examine_spread(learned - plain, plain),
        find_moving(sample, errors, learned),
        find_pairs(sample),
        tuple(
            name
            for name, value in zip(sample.split.names, sample.inflations.tolist(), strict=True)
            if 10 < value < np.inf
        ),
    )


def examine_spread(predicted: Floats, errors: Floats) -> Spread:
    """Test whether the variance of errors depends on the prediction and its square; both have the shape (n,).

    The statistic, n times the share of the squared errors' variance that is explained, has a chi-squared distribution
    with two degrees of freedom where it does not, also where errors have heavy tails.
    """
    scale = float(predicted.std()) or 1.0
    place = (predicted - predicted.mean()) / scale
    squares = errors**2 - np.mean(errors**2)
    design = np.column_stack([place, place**2])
    design -= design.mean(axis=0)
    found, *_ = np.linalg.lstsq(design, squares, rcond=None)
    total = float(squares @ squares)
    explained = 1 - float(np.sum((squares - design @ found) ** 2)) / total if total else 0.0
    chance = float(np.exp(-len(errors) * max(explained, 0.0) / 2))
    fifths = np.array_split(np.abs(errors)[np.argsort(predicted, kind="stable")], 5)
    typical = tuple(float(part.mean()) if len(part) else 0.0 for part in fifths)
    return Spread(chance, typical, chance < CERTAIN and max(typical) > UNEQUAL * min(typical))


def find_moving(sample: Sample, errors: Floats, learned: Floats) -> tuple[Moving, ...]:
    """Find the rows with the greatest Cook's distance, and the weight that each moves most.

    The weight of a level of a category is what it adds beside the average row, as in the table of weights.
    """
    count, rank = sample.basis.shape
    leverage = np.minimum(np.sum(sample.basis**2, axis=1), FULL)
    total = float(errors @ errors)
    if count <= rank + 1 or not total:
        return ()
    distances = errors**2 * leverage / (1 - leverage) ** 2 / (rank * total / (count - rank))
    split, means = sample.split, sample.moments.means[:-1]
    spread = sample.spread.copy()
    for group in find_levels(split):
        spread[group] -= means[group] @ sample.spread[group]
    sizes = np.sqrt(np.sum(spread**2, axis=1))
    sizes[sizes == 0] = np.inf
    found = []
    for index in np.argsort(-distances, kind="stable")[:MOVING].tolist():
        left = errors[index] / (1 - leverage[index])
        scale = (max(total - errors[index] * left, 0.0) / (count - rank - 1)) ** 0.5 or np.inf
        moved = spread @ sample.basis[index, 1:] * left / sizes / scale
        most = int(np.abs(moved).argmax())
        predicted = learned[index] - errors[index] / sample.roots[index]
        found.append(
            Moving(
                int(sample.train.number[index]),
                float(sample.train.y[index]),
                float(np.exp(predicted)) if split.link == "log" else float(predicted),
                float(distances[index]),
                split.names[most],
                float(moved[most]),
            )
        )
    return tuple(found)


def find_levels(split: Split) -> list[slice]:
    """Find the columns of the levels of each category."""
    if split.terms is None:
        return []
    pairs = zip(split.terms.encodings, split.terms.ranges, strict=True)
    return [columns for encoding, columns in pairs if encoding.value is None]


def find_numbers(split: Split) -> dict[str, int]:
    """Find the column of each term that is a number."""
    return split.terms.find_numbers() if split.terms else {name: index for index, name in enumerate(split.names)}


def find_pairs(sample: Sample) -> tuple[Pair, ...]:
    """Find the pairs of numeric terms that nearly agree, those that agree most first."""
    numbers = find_numbers(sample.split)
    names, columns = list(numbers), list(numbers.values())
    found = np.nan_to_num(np.triu(sample.moments.correlations[np.ix_(columns, columns)], 1))
    order = np.argsort(-np.abs(found), axis=None, kind="stable")[:PAIRS]
    pairs = [Pair(names[index // len(names)], names[index % len(names)], float(found.flat[index])) for index in order]
    return tuple(pair for pair in pairs if abs(pair.correlation) >= AGREEING)
