"""What the models are fitted on: the rows of the chosen past, and their moments, from one pass over the snapshot."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from linear_neuron.tasks.dataset.moments import Moments, find_origin, measure_moments, merge_moments
from linear_neuron.tasks.dataset.rows import Rows, Split
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import LinearModel
from linear_neuron.tasks.parameters import Training
from linear_neuron.tasks.steps import get_logger, task
from linear_neuron.tasks.text import plural
from linear_neuron.tasks.training.constraints import FREE, Constraints, read_constraints
from linear_neuron.tasks.training.past import ALL, Choice, Past, Periods, decide_past, find_unit, measure_periods

ENOUGH = 3  # rows that count, for each weight that is fitted


@dataclass(frozen=True)
class FitData:
    """The rows and moments that the candidate and the served model are fitted on."""

    split: Split  # its train rows are those of the past that the candidate learns from
    choice: Choice
    parts: dict[str, Moments] = field(default_factory=dict)  # of train, validation, test; none for the notebook recipe
    served: Rows | None = None  # with the features alone: what the served model learns from, where it is refitted
    served_moments: Moments | None = None
    periods: Periods | None = None  # of all rows, the test rows included
    constraints: Constraints = FREE  # that every fit keeps to

    @property
    def past(self) -> Past:
        """The chosen past."""
        return self.choice.past

    def solve(self, moments: Moments) -> LinearModel:
        """Fit least squares under the constraints; what it predicts is in target units."""
        return replace(self.constraints.solve(moments), link=self.split.link)


@task("Choose the past")
def prepare_fit(split: Split, training: Training) -> FitData:
    """Measure the moments of the rows, and choose how much of the past to learn from.

    Raises:
        UserError: the past that was asked for has too few rows, or the recipe can't learn from a part of it.
    """
    numbers = split.entries.numbers if split.entries else [column.name for column in split.columns]
    constraints = read_constraints(training, split.names, numbers)
    if training.recipe != "converged":
        if training.past not in ("all", "auto"):
            raise UserError("The recipe notebook learns from all train rows: leave --training.past out.")
        if split.link == "log":
            raise UserError(
                f"The recipe notebook learns {split.target.name} itself, and not its logarithm: take that as the "
                "target, or --training.recipe converged."
            )
        return FitData(split, Choice(ALL, "the recipe notebook learns from all train rows"))
    data = _measure(split, training, constraints)
    if data.choice.unit or training.past not in ("all", "auto"):
        get_logger().info("Of the past it learns from %s: %s", data.past, data.choice.reason)
    return data


def _measure(split: Split, training: Training, constraints: Constraints) -> FitData:
    """Measure all moments in one pass; the rows of a shorter past are measured once more, with their weights."""
    names = [*split.names, split.target.name]
    parts = {name: split.learn(rows) for name, rows in split.parts.items() if len(rows)}
    by_part = _measure_periods(names, parts, training)
    before = join_periods([by_part[name] for name in by_part if name != "test"])
    choice = decide_past(training.past, before, constraints)
    moments = {name: merge_moments(periods.moments) for name, periods in by_part.items()}
    moments = moments or _measure_parts(names, parts)
    refitted = split.whole is not None and training.refit == "auto"
    tables, whole = {"train": parts["train"]}, None
    if split.whole is not None and refitted:
        whole = split.pick(split.whole, split.names)
        tables["whole"] = split.learn(whole)
        moments["whole"] = merge_moments(list(moments.values()))
    choice = _check_past(choice, list(tables.values()), training)
    if choice.past != ALL:
        moments |= {name: measure_past(names, rows, choice.past) for name, rows in tables.items()}
    served = moments.pop("whole", None)
    return FitData(
        replace(split, rows=split.rows | {"train": choice.past.select(split.rows["train"])}),
        choice,
        moments,
        choice.past.select(whole) if whole is not None else None,
        served,
        join_periods(list(by_part.values())),
        constraints,
    )


def _measure_parts(names: Sequence[str], parts: dict[str, Rows]) -> dict[str, Moments]:
    origin = find_origin(parts["train"].x, parts["train"].y)
    return {name: measure_moments(names, rows.x, rows.y, origin=origin) for name, rows in parts.items()}


def _measure_periods(names: Sequence[str], parts: dict[str, Rows], training: Training) -> dict[str, Periods]:
    """Measure the periods of each part; none where there are no times, or too few periods to compare.

    Raises:
        UserError: a past was asked for, and there are no times.
    """
    times = [rows.time for name, rows in parts.items() if name != "test" and rows.time is not None]
    if not times and training.past not in ("all", "auto"):
        raise UserError(f"--training.past {training.past} needs --dataset.time, the column with the times.")
    unit = find_unit(times) if times else ""
    return {name: measure_periods(names, [rows], unit) for name, rows in parts.items()} if unit else {}


def measure_past(names: Sequence[str], rows: Rows, past: Past) -> Moments:
    """Measure the moments of the rows of a past, each with the weight that it has there."""
    chosen = past.select(rows)
    return measure_moments(names, chosen.x, chosen.y, past.weigh(chosen))


def _check_past(choice: Choice, tables: Sequence[Rows], training: Training) -> Choice:
    """Take all rows where a past has too few to fit.

    Raises:
        UserError: it was asked for.
    """
    least = ENOUGH * (tables[0].x.shape[1] + 1)
    counts = [count_rows(choice.past, rows) for rows in tables]
    if choice.past == ALL or min(counts) >= least:
        return choice
    few = f"{choice.past} has the weight of {plural(int(min(counts)), 'row')}, and at least {least} are needed"
    if training.past != "auto":
        raise UserError(f"--training.past {few}; take a longer past, or all.")
    return replace(choice, past=ALL, reason=f"{few}; before that, {choice.reason}")


def count_rows(past: Past, rows: Rows) -> float:
    """Count the rows of a past; of rows with weights, how many of one weight would say as much."""
    chosen = past.select(rows)
    weights = past.weigh(chosen)
    return float(len(chosen)) if weights is None else float(weights.sum() ** 2 / np.sum(weights**2))


def join_periods(parts: Sequence[Periods]) -> Periods | None:
    """Join the periods of parts; a period that is cut in two becomes one."""
    if not parts:
        return None
    found: dict[int, list[Moments]] = {}
    for periods in parts:
        for number, moments in zip(periods.numbers, periods.moments, strict=True):
            found.setdefault(number, []).append(moments)
    numbers = sorted(found)
    return Periods(parts[0].unit, tuple(numbers), tuple(merge_moments(found[number]) for number in numbers))


def condense(split: Split, train: Moments, watched: Moments | None) -> Split:
    """Put the few rows that have the moments of all in the place of the rows, so that no others need to be sent."""
    few = train.condense()
    empty = Rows(few.x[:0], few.y[:0], few.number[:0])
    rows = {"train": few, "validation": watched.condense() if watched else empty, "test": few}
    return Split(split.features, split.target, split.names, rows)
