"""The difference of two versions: weights, predictions on a file, and the proven worst case."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.fitted import predict_frame
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.registry.change_limit import describe_worst, find_spread, show_value
from linear_neuron.tasks.registry.worst_case import WorstCase, find_base, find_worst_case
from linear_neuron.tasks.tables.read import read_rows
from linear_neuron.tasks.tables.spec import TableSpec
from linear_neuron.tasks.text import as_text, distinguish, draw_table, number, plural, signed

SHOWN = 20  # weights that the terminal and a report show


@dataclass(frozen=True)
class WeightChange:
    """A weight in two versions; None where a version has none."""

    name: str
    old: float | None
    new: float | None
    errors: float | None  # standard errors between them; None where no version knows its standard error


@dataclass(frozen=True)
class Moves:
    """How predictions move on the rows of a file, new less old, in target units."""

    rows: int  # that both versions predict
    left_out: int  # that one of them rejects
    mean: float
    typical: float  # median of the changes without their signs
    high: float  # 95% of the changes without their signs are at most this
    largest: float  # the largest change, with its sign
    at: dict[str, Any]  # the columns of its row


@dataclass(frozen=True)
class Difference:
    """All that differs between two versions."""

    old: str
    new: str
    target: str
    weights: list[WeightChange]  # the one that moved by the most standard errors first
    worst: WorstCase
    spread: float | None  # of the target: from its 10% to its 90% quantile where the old version learned
    moves: Moves | None = None

    def dump(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        value = asdict(self)
        if self.worst.reason:
            value["worst"] |= {"lowest": None, "highest": None}
        return value


def compare(old: ModelVersion, new: ModelVersion, source: str = "") -> Difference:
    """Compare two versions, and their predictions on a file where one is named.

    Raises:
        UserError: they predict different targets, or the file can't be read.
    """
    if old.target != new.target:
        raise UserError(f"{old.version} predicts {old.target} and {new.version} {new.target}; name two of one target.")
    worst, moves = find_worst_case(old, new), measure_moves(old, new, source) if source else None
    return Difference(old.version, new.version, new.target, compare_weights(old, new), worst, find_spread(old), moves)


def compare_weights(old: ModelVersion, new: ModelVersion) -> list[WeightChange]:
    """Compare the weights of two versions, and by how many standard errors they moved.

    The standard error of a difference is taken as that of independent fits. Where the versions have learned from common
    rows, they differ by less by chance, so that the figure is rather too small.
    """
    known, found = _list_weights(old), _list_weights(new)
    changes = []
    for name in dict.fromkeys([*found, *known]):
        (before, error), (after, other) = known.get(name, (None, None)), found.get(name, (None, None))
        errors = None
        if before is not None and after is not None and (error or other):
            errors = (after - before) / math.hypot(error or 0.0, other or 0.0)
        changes.append(WeightChange(name, before, after, errors))
    return sorted(changes, key=lambda change: -abs(change.errors or 0.0))


def _list_weights(model: ModelVersion) -> dict[str, tuple[float | None, float | None]]:
    """List the weights with their standard errors; of a category what each level adds."""
    if model.uncertainty:
        return {name: (found.weight, found.error) for name, found in model.uncertainty.items()}
    found: dict[str, tuple[float | None, float | None]] = {}
    for term in model.all_terms:
        if term.kind == "number":
            found[term.name] = term.weight, None
        found |= {f"{term.name}={level}": (value, None) for level, value in term.levels.items()}
    return found


def measure_moves(old: ModelVersion, new: ModelVersion, source: str) -> Moves:
    """Measure how predictions move on the rows of a file, folder, glob or URL, in bounded memory but for the changes.

    Raises:
        UserError: it can't be read, or no row of it is predicted by both.
    """
    kinds = old.kinds | new.kinds
    names = {kind: [name for name, found in kinds.items() if found == kind] for kind in ("number", "category", "time")}
    bounds = {name: ends for model in (old, new) for name, ends in model.bounds.items() if name in kinds}
    filled = frozenset(kinds) if old.terms or new.terms else frozenset[str]()
    spec = TableSpec(
        source,
        names["number"],
        bounds=bounds,
        categories=names["category"],
        times=names["time"],
        filled=filled,
    )
    rows, changes, top = read_rows(spec), list[NDArray[np.float64]](), (0.0, dict[str, Any]())
    for frame in rows:
        change = _predict(new, frame) - _predict(old, frame)
        sizes = np.nan_to_num(np.abs(change), nan=-1.0)
        if len(sizes) and (index := int(sizes.argmax())) >= 0 and sizes[index] >= abs(top[0]):
            top = float(change[index]), frame.select(list(kinds)).row(index, named=True)
        changes.append(change)
    every = np.concatenate(changes) if changes else np.zeros(0)
    both = every[~np.isnan(every)]
    if not len(both):
        raise UserError(f"{rows.rejects.first or source + ' has no rows'}; no row can be compared. Name another file.")
    sizes = np.abs(both)
    left_out = len(every) - len(both) + rows.rejects.count
    high = float(np.quantile(sizes, 0.95))
    return Moves(len(both), left_out, float(both.mean()), float(np.median(sizes)), high, *top)


def _predict(model: ModelVersion, frame: pl.DataFrame) -> NDArray[np.float64]:
    if not model.terms:
        return model.linear_model.predict(frame.select(model.features).to_numpy()).astype(np.float64)
    return predict_frame(frame, model.terms, find_base(model), model.kinds, model.link).astype(np.float64)


def describe_moves(moves: Moves) -> str:
    """Describe how predictions move on a file."""
    at = ", ".join(f"{as_text(name)} {show_value(value)}" for name, value in moves.at.items())
    left = f" {plural(moves.left_out, 'row')} left out." if moves.left_out else ""
    return (
        f"On {plural(moves.rows, 'row')} predictions move by {signed(moves.mean)} on average, typically by "
        f"{number(moves.typical)}, 95% of them by at most {number(moves.high)}; the largest move is "
        f"{signed(moves.largest)} ({at}).{left}"
    )


def list_cells(difference: Difference) -> list[list[str]]:
    """List the cells of the weights that moved most: name, old, new, standard errors between them."""
    cells = []
    for change in difference.weights[:SHOWN]:
        shown = number(change.old), number(change.new)
        if change.old is not None and change.new is not None:
            shown = distinguish(change.old, change.new)
        cells.append([change.name, *shown, "-" if change.errors is None else f"{change.errors:+.1f}"])
    return cells


def render(difference: Difference) -> str:
    """Write a difference for the terminal."""
    heads = ["weight", difference.old, difference.new, "standard errors"]
    lines = draw_table(heads, list_cells(difference), left=["weight"])
    if more := len(difference.weights) - SHOWN:
        lines += [f"and {more:,} more; --json has all"] if more > 0 else []
    lines += ["", describe_worst(difference.worst, difference.spread)]
    lines += [describe_moves(difference.moves)] if difference.moves else []
    return "\n".join(lines) + "\n"
