"""Every version against any actuals: what each would have been worth on the rows of a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.dataset.cleaning import clean_rows
from tasks.dataset.reading import find_source, read_names
from tasks.dataset.rows import Floats
from tasks.dataset.snapshot import Rejects
from tasks.errors import UserError
from tasks.model import ModelVersion
from tasks.parameters import Dataset
from tasks.parameters.base import read_bounds
from tasks.progress import progress
from tasks.registry.champion import read_champion
from tasks.registry.versions import read_versions
from tasks.storage.store import Store
from tasks.tables.inputs import list_files, plural

ERRORS = 1 << 20  # errors that are held at a time: rows times versions


@dataclass(frozen=True)
class Realised:
    """The mean squared error of each version on the same rows of a table, in target units."""

    mse: dict[str, float]  # version -> its error, where it could be measured
    reasons: dict[str, str]  # version -> why it could not
    rows: int = 0  # that were used
    mean_mse: float = 0  # of always predicting the mean of their targets
    left_out: int = 0  # rows in which a value is no number, or out of bounds, for some version
    first: str = ""  # of these: which, and why


def measure_versions(store: Store, versions: Sequence[str], source: str) -> Realised:
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
    reasons = {version: reason for version, reason in reasons.items() if reason}
    return _measure(measured, source, reasons) if measured else Realised({}, reasons)


def _find_reason(model: ModelVersion | None, target: str, columns: set[str]) -> str:
    """Say why a version can't be measured; empty if it can."""
    if model is None:
        return "it is damaged"
    if model.target != target:
        return f"it predicts {model.target}, and not {target}"
    missing = [name for name in (*model.features, target) if name not in columns]
    return f"the table has no column {', '.join(missing)}" if missing else ""


def _measure(models: list[ModelVersion], source: str, reasons: dict[str, str]) -> Realised:
    """Add up the squared errors of all versions, piece by piece of the table."""
    features, target = list(dict.fromkeys(name for model in models for name in model.features)), models[0].target
    table = Dataset().model_copy(
        update={"source": source, "features": features, "target": target, "bounds": _join_bounds(models)}
    )
    weights, bias = np.zeros((len(features), len(models))), np.array([model.bias for model in models])
    for place, model in enumerate(models):
        weights[[features.index(name) for name in model.features], place] = model.weights
    found, rejects, sums = find_source(table, [*features, target]), Rejects(allowed=0), _Sums(weights, bias)
    with progress(f"Reading {source}", found.size) as advance:
        for piece in found.read(advance):
            good, bad = clean_rows(piece, table)
            rejects.add(piece, bad)
            sums.add(good.select(features).to_numpy(), good[target].to_numpy())
    if not sums.rows:
        raise UserError(f"{rejects.first or source + ' has no rows'}; no version can be measured. Name another table.")
    mse = dict(zip((model.version for model in models), (sums.errors / sums.rows).tolist(), strict=True))
    return Realised(mse, reasons, sums.rows, sums.variance, rejects.count, rejects.first)


class _Sums:
    """Sums over rows: the squared errors of each version, and what the variance of the target takes."""

    def __init__(self, weights: Floats, bias: Floats) -> None:
        self.weights, self.bias = weights, bias  # shapes (features, versions) and (versions,)
        self.errors, self.rows = np.zeros(len(bias)), 0
        self.origin, self.total, self.squares = 0.0, 0.0, 0.0

    def add(self, x: Floats, y: Floats) -> None:
        """Add rows: `x` of the shape (n, features), `y` of the shape (n,). Features are rounded as in a prediction."""
        if not self.rows and len(y):
            self.origin = float(y[0])  # Taken off, since a large mean would cost the digits of a small variance.
        step = max(1, ERRORS // len(self.bias))
        for start in range(0, len(y), step):
            part = slice(start, start + step)
            errors = x[part].astype(np.float32) @ self.weights + (self.bias - y[part, None])
            self.errors += np.einsum("ij,ij->j", errors, errors)
        shifted = y - self.origin
        self.rows, self.total = self.rows + len(y), self.total + float(shifted.sum())
        self.squares += float(shifted @ shifted)

    @property
    def variance(self) -> float:
        """The mean squared error of always predicting the mean."""
        return self.squares / self.rows - (self.total / self.rows) ** 2


def _join_bounds(models: list[ModelVersion]) -> list[str]:
    """Join what the versions allow in their features, since what one of them rejects is left out for all."""
    joined: dict[str, tuple[float, float]] = {}
    for model in models:
        for name, (low, high) in map(read_bounds, model.dataset.get("bounds", [])):
            if name in model.features:
                least, greatest = joined.get(name, (-np.inf, np.inf))
                joined[name] = low, high = max(low, least), min(high, greatest)
                if low > high:
                    raise UserError(f"No value of {name} is in the bounds of all versions, so no row can compare them.")
    return [f"{name}={low!r}..{high!r}" for name, (low, high) in joined.items()]


def add_realised(rows: list[dict[str, Any]], realised: Realised) -> None:
    """Add to the rows of `models` what was measured, and why it was not."""
    for row in rows:
        mse = realised.mse.get(row["version"])
        row |= {
            "realised_mse": mse,
            "realised_rows": realised.rows if mse is not None else None,
            "realised_mean_mse": realised.mean_mse if mse is not None else None,
            "realised_left_out": realised.left_out if mse is not None else None,
            "realised_reason": realised.reasons.get(row["version"], ""),
        }


def describe_realised(realised: Realised, source: str) -> str:
    """Say which version would have been the best, beside the mean predictor, and what was left out."""
    if not realised.mse:
        reason = next(iter(realised.reasons.values()), "there is none")
        return f"No version can be measured on {source}: {reason}.\n"
    best = min(realised.mse, key=lambda version: realised.mse[version])
    text = (
        f"On {plural(realised.rows, 'row')} of {source} {best} would have been the best of "
        f"{plural(len(realised.mse), 'version')}: {realised.mse[best]:.2f}, beside {realised.mean_mse:.2f} for always "
        "predicting the mean of these rows.\n"
    )
    if realised.left_out:
        text += f"Left out for all: {plural(realised.left_out, 'row')}; the first is {realised.first}.\n"
    if realised.reasons:
        text += f"Not measured: {plural(len(realised.reasons), 'version')}; `--json` says why of each.\n"
    return text
