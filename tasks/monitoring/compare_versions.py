"""Every version against any actuals: what each would have been worth on the rows of a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from linear_neuron.tasks.dataset.rows import Floats
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.fitted import predict_frame
from linear_neuron.tasks.model import Kind, ModelVersion
from linear_neuron.tasks.registry.champion import read_champion
from linear_neuron.tasks.registry.versions import read_versions
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.tables.inputs import list_files
from linear_neuron.tasks.tables.read import read_names, read_rows
from linear_neuron.tasks.tables.spec import TableSpec
from linear_neuron.tasks.text import number, plural

ERRORS = 1 << 20  # errors that are held at a time: rows times versions


@dataclass(frozen=True)
class Realized:
    """The mean squared error of each version on the same rows of a table, in target units."""

    mse: dict[str, float]  # version -> its error, where it could be measured
    reasons: dict[str, str]  # version -> why it could not
    rows: int = 0  # that were used
    mean_mse: float = 0  # of always predicting the mean of their targets
    left_out: int = 0  # rows in which a value is no number, or out of bounds, for some version
    first: str = ""  # of these: which, and why


def measure_versions(store: Store, versions: Sequence[str], source: str) -> Realized:
    """Measure versions on a table that has features and target, in one pass and in bounded memory.

    They are those that predict what the champion predicts, or else the newest one.

    Args:
        store: Where the versions are.
        versions: Their names, oldest first.
        source: A file, folder, glob or URL of CSV or Parquet.

    Raises:
        UserError: there is no such table, or it can't be read, or no row of it can be used.
    """
    files = list_files(source)[1]
    shared = set.intersection(*(set(read_names(file)) for file in files)) if files else set()
    models = dict(zip(versions, read_versions(store, versions), strict=True))
    champion = read_champion(store)
    serving = models.get(champion.version) if champion else None
    first = serving or next((model for model in reversed(models.values()) if model), None)
    target = first.target if first else ""
    reasons = {version: _find_reason(model, target, shared) for version, model in models.items()}
    measured = [model for version, model in models.items() if model and not reasons[version]]
    for model in measured[:]:
        if other := _find_other_kinds(model, first):
            reasons[model.version] = (
                f"it reads {', '.join(other)} as something else than {first.version if first else ''}"
            )
            measured.remove(model)
    reasons = {version: reason for version, reason in reasons.items() if reason}
    return _measure(measured, source, reasons) if measured else Realized({}, reasons)


def _find_reason(model: ModelVersion | None, target: str, columns: set[str]) -> str:
    """Say why a version can't be measured; empty if it can."""
    if model is None:
        return "it is damaged"
    if model.target != target:
        return f"it predicts {model.target}, and not {target}"
    missing = [name for name in (*model.kinds, target) if name not in columns]
    return f"the table has no column {', '.join(missing)}" if missing else ""


def _find_other_kinds(model: ModelVersion, first: ModelVersion | None) -> list[str]:
    """Find the columns that one of two versions reads as times, and the other does not."""
    known = first.kinds if first else {}
    return [name for name, kind in model.kinds.items() if name in known and (kind == "time") != (known[name] == "time")]


def _measure(models: list[ModelVersion], source: str, reasons: dict[str, str]) -> Realized:
    """Add up the squared errors of all versions, some rows at a time."""
    kinds, target = _join_kinds(models), models[0].target
    numbers = [name for name in kinds if kinds[name] == "number"]
    spec = TableSpec(
        source,
        [*numbers, target],
        bounds=_join_bounds(models),
        categories=[name for name in kinds if kinds[name] == "category"],
        times=[name for name in kinds if kinds[name] == "time"],
        filled=frozenset(kinds)
        if any(term.missing is not None for model in models for term in model.terms)
        else frozenset(),
    )
    rows, sums = read_rows(spec), _Sums(models, numbers, kinds)
    for valid in rows:
        sums.add(valid, target)
    rejects = rows.rejects
    first = rejects.first or (f"one of {source} with a missing value that a version rejects" if sums.left_out else "")
    if not sums.rows:
        raise UserError(f"{first or source + ' has no rows'}; no version can be measured. Name another table.")
    mse = dict(zip((model.version for model in models), (sums.errors / sums.rows).tolist(), strict=True))
    return Realized(mse, reasons, sums.rows, sums.variance, rejects.count + sums.left_out, first)


def _join_kinds(models: list[ModelVersion]) -> dict[str, Kind]:
    """Join the columns that versions read; where one reads a number and another a label, numbers are read."""
    kinds: dict[str, Kind] = {}
    for model in models:
        kinds |= {name: kind for name, kind in model.kinds.items() if kinds.get(name) != "number"}
    return kinds


def _is_plain(model: ModelVersion) -> bool:
    """Whether predictions are sums of columns times weights."""
    return not model.terms and model.link == "identity"


def _find_base(model: ModelVersion) -> float:
    return model.base if model.centers else model.bias


class _Sums:
    """Sums over rows: the squared errors of each version, and what the variance of the target takes."""

    def __init__(self, models: list[ModelVersion], numbers: list[str], kinds: dict[str, Kind]) -> None:
        self.numbers, self.kinds = numbers, kinds
        self.plain = [index for index, model in enumerate(models) if _is_plain(model)]  # columns times weights
        self.others = {index: model for index, model in enumerate(models) if not _is_plain(model)}
        self.weights = np.zeros((len(numbers), len(self.plain)))  # of those without terms
        self.bias = np.array([models[index].bias for index in self.plain])
        self.rounded = np.array([models[index].arithmetic == "float32" for index in self.plain], bool)
        self.read = np.zeros((len(numbers), len(self.plain)), bool)  # which of them reads which number
        for place, index in enumerate(self.plain):
            at = [numbers.index(name) for name in models[index].features]
            self.weights[at, place], self.read[at, place] = models[index].weights, True
        self.errors, self.rows = np.zeros(len(models)), 0
        self.left_out = 0  # rows with a missing value that a version rejects
        self.origin, self.total, self.squares = 0.0, 0.0, 0.0

    def add(self, valid: pl.DataFrame, target: str) -> None:
        """Add rows; one that a version rejects for a missing value is left out for all."""
        predicted = {
            index: predict_frame(valid, model.all_terms, _find_base(model), self.kinds, model.link).astype(np.float64)
            for index, model in self.others.items()
        }
        x, y = valid.select(self.numbers).to_numpy(), valid[target].to_numpy()
        if predicted:
            usable = ~np.any([np.isnan(values) for values in predicted.values()], axis=0)
            usable &= ~np.isnan(x[:, self.read.any(axis=1)]).any(axis=1)
            self.left_out += int(np.count_nonzero(~usable))
            x, y = np.nan_to_num(x[usable]), y[usable]  # What is still missing has the weight 0.
            for index, values in predicted.items():
                self.errors[index] += float(np.sum((values[usable] - y) ** 2))
        self.add_numbers(x, y)

    def add_numbers(self, x: Floats, y: Floats) -> None:
        """Add rows: `x` of the shape (n, numbers), `y` of the shape (n,). Numbers are rounded as in predictions."""
        if not self.rows and len(y):
            self.origin = float(y[0])  # Taken off, since a large mean would cost the digits of a small variance.
        step = max(1, ERRORS // max(1, len(self.bias)))
        for start in range(0, len(y), step):
            part = slice(start, start + step)
            errors = self.bias - y[part, None]
            errors[:, self.rounded] += x[part].astype(np.float32) @ self.weights[:, self.rounded]
            errors[:, ~self.rounded] += x[part] @ self.weights[:, ~self.rounded]
            self.errors[self.plain] += np.einsum("ij,ij->j", errors, errors)
        shifted = y - self.origin
        self.rows, self.total = self.rows + len(y), self.total + float(shifted.sum())
        self.squares += float(shifted @ shifted)

    @property
    def variance(self) -> float:
        """The mean squared error of always predicting the mean."""
        return self.squares / self.rows - (self.total / self.rows) ** 2


def _join_bounds(models: list[ModelVersion]) -> dict[str, tuple[float, float]]:
    """Join what the versions allow in their features, since what one of them rejects is left out for all."""
    joined: dict[str, tuple[float, float]] = {}
    for model in models:
        for name, (low, high) in model.bounds.items():
            if name in model.kinds:
                least, greatest = joined.get(name, (-np.inf, np.inf))
                joined[name] = low, high = max(low, least), min(high, greatest)
                if low > high:
                    raise UserError(f"No value of {name} is in the bounds of all versions, so no row can compare them.")
    return joined


def add_realized(rows: list[dict[str, Any]], realized: Realized) -> None:
    """Add to the rows of `models` what was measured, and why it was not."""
    for row in rows:
        mse = realized.mse.get(row["version"])
        row |= {
            "realised_mse": mse,
            "realised_rows": realized.rows if mse is not None else None,
            "realised_mean_mse": realized.mean_mse if mse is not None else None,
            "realised_left_out": realized.left_out if mse is not None else None,
            "realised_reason": realized.reasons.get(row["version"], ""),
        }


def describe_realized(realized: Realized, source: str) -> str:
    """Say which version would have been the best, beside the mean predictor, and what was left out."""
    if not realized.mse:
        reason = next(iter(realized.reasons.values()), "there is none")
        return f"No version can be measured on {source}: {reason}.\n"
    best = min(realized.mse, key=lambda version: realized.mse[version])
    text = (
        f"On {plural(realized.rows, 'row')} of {source} {best} would have been the best of "
        f"{plural(len(realized.mse), 'version')}: RMSE {number(realized.mse[best] ** 0.5)}, beside "
        f"{number(realized.mean_mse**0.5)} for always "
        "predicting the mean of these rows.\n"
    )
    if realized.left_out:
        text += f"Left out for all: {plural(realized.left_out, 'row')}; the first is {realized.first}.\n"
    if realized.reasons:
        text += f"Not measured: {plural(len(realized.reasons), 'version')}; `--json` says why of each.\n"
    return text
