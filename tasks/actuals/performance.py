"""How good predictions turned out to be: what the store keeps of it, by file of actuals, batch and version."""

import math
from collections.abc import Iterable
from datetime import datetime
from itertools import groupby
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.errors import UserError
from tasks.registry.verify import INDEX
from tasks.storage.store import Store, Tagged, to_json

FOLDER = "actuals"


class Promise(BaseModel):
    """What a version said of itself when it was made; None where it is no longer in the store, or did not say it."""

    model_config = ConfigDict(frozen=True)

    mse: float | None = None  # on its test rows
    test_rows: int = 0
    mean: float | None = None  # of the targets of its fitted rows: what the mean predictor always says
    validation_rows: int = 0  # of which its interval was made


class Performance(BaseModel):
    """The errors of a version's predictions in one batch, in target units, beside what its test rows promised."""

    model_config = ConfigDict(frozen=True)

    version: str
    batch: str
    predicted_at: datetime
    interval: int  # percent of the true values that it should hold
    matched: int  # predictions whose truth is known
    mse: float
    mae: float
    bias: float  # mean of prediction minus truth
    fourth: float  # mean of the errors' fourth power, by which the uncertainty of `mse` is known
    coverage: float | None  # share of the truths in the interval; None where the predictions have none
    mean_mse: float | None  # of always predicting the mean of the fitted rows; None where the version does not say it
    promise: Promise

    @property
    def rmse(self) -> float:
        """The root of the mean squared error, in target units."""
        return math.sqrt(self.mse)


class Entry(BaseModel):
    """A file of actuals as it was recorded."""

    source: str  # path, URL or query
    input: str  # the digest of the file, or the text of the query
    settings: dict[str, Any]  # key, target and known_at, as they were given
    recorded_at: datetime
    error: str = ""  # why nothing of it could be used
    rows: int = 0
    rejected: int = 0  # of the rows
    unmatched: int = 0  # of the others: no finished batch holds the key
    early: int = 0  # of the unmatched: such a key was predicted only after its truth was known
    replaced: int = 0  # rows that a later file says anew, and which count no more
    files: dict[str, dict[str, Any]] = {}  # name in the folder -> sha256 and bytes
    results: list[Performance] = []

    @property
    def identity(self) -> tuple[str, str]:
        """What a file that is recorded anew takes the place of."""
        return self.source, self.settings["target"]

    @property
    def matched(self) -> int:
        """Rows whose prediction is known."""
        return sum(result.matched for result in self.results)


class Index(BaseModel):
    """The content of `actuals/index.json`: which files of actuals count. Replacing it is what records a file."""

    entries: list[Entry] = []

    def names(self) -> set[str]:
        """List every file in the folder that an entry refers to."""
        return {name for entry in self.entries for name in entry.files}


def load_index(store: Store) -> tuple[Index, Tagged]:
    """Read the index together with what is needed to replace it.

    Raises:
        UserError: it is damaged.
    """
    path = store.root / FOLDER / INDEX
    tagged = store.load(path)
    if tagged.data is None:
        return Index(), tagged
    try:
        return Index.model_validate_json(tagged.data), tagged
    except ValidationError:
        raise UserError(
            f"{path} is damaged; restore it from a copy, or remove it and give the files of actuals again."
        ) from None


def swap_index(store: Store, expected: Tagged, index: Index) -> bool:
    """Replace the index, unless another run has done so since it was loaded."""
    return store.swap(store.root / FOLDER / INDEX, expected, to_json(index.model_dump(mode="json")))


def read_performance(store: Store) -> list[Performance]:
    """Read how good each batch turned out to be by all actuals so far, in the order of the predictions."""
    results = [result for entry in load_index(store)[0].entries for result in entry.results]
    return sorted(combine(results, by_batch=True), key=lambda result: (result.predicted_at, result.batch))


def combine(results: Iterable[Performance], *, by_batch: bool) -> list[Performance]:
    """Add up the results of each version and interval, or of each batch too; of several batches the newest is named."""

    def key(result: Performance) -> tuple[Any, ...]:
        return result.version, result.interval, result.batch if by_batch else ""

    groups = groupby(sorted(results, key=key), key)
    return [_add_up(list(group)) for _, group in groups]


def _add_up(results: list[Performance]) -> Performance:
    matched = sum(result.matched for result in results)

    def mean(name: str) -> float | None:
        values = [(getattr(result, name), result.matched) for result in results]
        if any(value is None for value, _ in values):
            return None
        return math.fsum(value * rows for value, rows in values) / matched

    means = {name: mean(name) for name in ("mse", "mae", "bias", "fourth", "coverage", "mean_mse")}
    newest = max(results, key=lambda result: result.predicted_at)
    return newest.model_copy(update={"matched": matched, **means})
