"""Look at a fit before it is trained: what the rows say of it, and what would help.

This takes place while the training process imports Keras, so that it costs next to no time.
"""

import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np

from linear_neuron.tasks.dataset.rows import Floats, Snapshot
from linear_neuron.tasks.dataset.snapshot import describe_table, find_keys
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import AutoTerms
from linear_neuron.tasks.parameters import Dataset
from linear_neuron.tasks.parameters.retrain_parameters import AUTO
from linear_neuron.tasks.steps import get_logger, task
from linear_neuron.tasks.text import plural
from linear_neuron.tasks.training.diagnostics import (
    MOST_COLUMNS,
    Diagnostics,
    Sample,
    diagnose_fit,
    find_numbers,
    leave,
    take_sample,
)
from linear_neuron.tasks.training.fit_data import FitData
from linear_neuron.tasks.training.suggestions import ROOM, Change, Suggestions, suggest

KEYED = 200_000  # rows of a table up to which it is read again for the keys of a few
POINTS = 2000  # of a picture
ENOUGH = 3  # train rows for each column


@dataclass(frozen=True)
class Points:
    """Train rows in a picture, at most POINTS of them; both have the shape (n,)."""

    name: str  # of what is on the x axis
    x: Floats
    y: Floats


@dataclass(frozen=True)
class Findings:
    """What was found."""

    suggestions: Suggestions
    flags: str = ""  # that make all suggested changes
    step_flags: tuple[str, ...] = ()  # those of each step alone
    diagnostics: Diagnostics | None = None
    lines: tuple[str, ...] = ()  # of the rows that move the fit most, in their files; empty where they are not known
    bent: Points | None = None  # partial residuals of the most curved term, where one is
    errors: Points | None = None  # over the prediction, where the variance is unequal

    def to_data(self) -> dict[str, Any]:
        """Return them as `metrics.json` has them."""
        found = self.suggestions
        steps = [
            {
                "changes": [change.text for change in step.changes],
                "flags": flags,
                "rmse": step.rmse,
                "rmse_alone": _finite(step.alone),
                "chance": step.chance,
            }
            for step, flags in zip(found.steps, self.step_flags, strict=True)
        ]
        suggested = {
            "tried": found.tried,
            "validation_rows": found.rows,
            "rmse": _finite(found.rmse),
            "rmse_log_target": _finite(found.log),
            "steps": steps,
            "flags": self.flags,
            "obstacle": found.obstacle,
        }
        if self.diagnostics is None:
            return {"suggestions": suggested}
        curves = [{"term": curve.change.text, "gain": curve.gain} for curve in found.curves]
        diagnostics = asdict(self.diagnostics) | {"curves": curves, "lines": list(self.lines)}
        return {"diagnostics": diagnostics, "suggestions": suggested}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


@task("Look for what would help")
def look(data: FitData, snapshot: Snapshot, dataset: Dataset, auto: AutoTerms | None) -> Findings | None:
    """Look at the fit of the train rows of a user's own table, and for what would lower its error.

    Args:
        data: what the candidate is fitted on.
        snapshot: of the table.
        dataset: with the terms named.
        auto: how they were chosen, where they were not named.

    Returns:
        What was found; None for the tutorial's dataset, and for the recipe notebook, which does not fit least squares.
    """
    if data.split.whole is None or not data.parts:
        return None
    if obstacle := find_obstacle(data):
        return Findings(Suggestions(obstacle=obstacle))
    sample = take_sample(data, ROOM)
    try:
        found, diagnostics = suggest(sample), diagnose_fit(sample)
    except np.linalg.LinAlgError:
        return Findings(Suggestions(obstacle="its columns are too ill-conditioned"))
    get_logger().debug(
        "Tried %d changes: %s", found.tried, ", ".join(change.text for change in found.changes) or "none"
    )
    bent, errors = take_points(sample, found, diagnostics)
    if dataset.key:
        hidden = tuple(replace(row, actual=None, predicted=None) for row in diagnostics.moving)
        diagnostics = replace(diagnostics, moving=hidden)
    return Findings(
        found,
        write_flags(found.changes, dataset, auto),
        tuple(write_flags(step.changes, dataset, auto) for step in found.steps),
        diagnostics,
        name_rows(snapshot, dataset, diagnostics),
        bent,
        errors,
    )


def find_obstacle(data: FitData) -> str:
    """Say why a fit is not looked at; empty where it is."""
    columns, rows = len(data.split.names), len(data.split.rows["train"])
    if data.constraints.l2 or data.constraints.signs:
        return "it keeps to a ridge or to signs, and only plain least squares is looked at"
    if columns > MOST_COLUMNS:
        return f"it has {columns:,} columns, and at most {MOST_COLUMNS} are looked at"
    if rows < ENOUGH * (columns + 1):
        return f"{plural(rows, 'train row')} are too few for {plural(columns, 'column')}"
    return ""


def write_flags(changes: Sequence[Change], dataset: Dataset, auto: AutoTerms | None) -> str:
    """Write the flags that make changes; empty without any."""
    targets = [change.text for change in changes if not change.term]
    terms = [change for change in changes if change.term]
    words = ["--dataset.target", *targets] if targets else []
    if terms:
        names = _name_kept(terms, dataset, auto)
        words += ["--dataset.features", *names, *(change.text for change in terms)]
    return shlex.join(words)


def _name_kept(terms: Sequence[Change], dataset: Dataset, auto: AutoTerms | None) -> list[str]:
    """Name the features that stay; `auto` where it chose them."""
    if auto is None:
        replaced = {change.term for change in terms if change.replaces}
        return [name for name in dataset.features if name not in replaced]
    chosen = {entry for choice in auto.columns if choice.kind != "role" for entry in choice.entries}
    return [AUTO, *(name for name in auto.features if name not in chosen)]


def name_rows(snapshot: Snapshot, dataset: Dataset, found: Diagnostics) -> tuple[str, ...]:
    """Name the files and lines of the rows that move the fit most, where a table of files is small and has a key.

    Keys and values are not named, since a report stays when the rows of a key are forgotten.
    """
    if not dataset.key or dataset.connection or snapshot.hashes is None or len(snapshot.values) > KEYED:
        return ()
    wanted = snapshot.hashes[[row.number for row in found.moving]]
    try:
        named = {hashed: PurePath(row).name for hashed, _, row in find_keys(describe_table(dataset), wanted)}
    except (UserError, OSError):  # The source is gone by now, which matters little.
        return ()
    return tuple(named.get(hashed, "") for hashed in wanted.tolist())


def take_points(sample: Sample, found: Suggestions, diagnostics: Diagnostics) -> tuple[Points | None, Points | None]:
    """Take the points of the two pictures."""
    learned = sample.split.learn(sample.train).y
    errors, _ = leave(sample, learned * sample.roots, np.zeros(len(sample.validation)))
    plain, step = errors / sample.roots, slice(None, None, max(1, -(-len(errors) // POINTS)))
    bent = None
    if found.curves:
        term = found.curves[0].change.term
        column = find_numbers(sample.split)[term]
        x = sample.train.x[:, column]
        weight = float(sample.spread[column] @ (sample.basis[:, 1:].T @ (learned * sample.roots)))
        bent = Points(term, x[step], (plain + weight * (x - x.mean()))[step])
    unequal = Points(sample.split.target.name, (learned - plain)[step], plain[step])
    return bent, unequal if diagnostics.spread.unequal else None
