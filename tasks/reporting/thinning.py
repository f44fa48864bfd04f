"""Fewer rows to draw: a plot of millions of points takes minutes and gigabytes, and shows no more than thousands."""

from dataclasses import replace

from tasks.dataset.rows import Rows, Split
from tasks.training.results import Evaluation

SHOWN = 5000  # rows of each part that are drawn


def thin_out(split: Split, evaluation: Evaluation) -> tuple[Split, Evaluation]:
    """Keep evenly spaced rows of each part, at most SHOWN of them."""
    steps = {name: slice(None, None, -(-len(rows) // SHOWN) or 1) for name, rows in split.parts.items()}
    parts = {name: _take(rows, steps[name]) for name, rows in split.parts.items()}
    predicted = {
        name: values[steps[name]] if name in steps else values for name, values in evaluation.predicted.items()
    }
    return replace(split, **parts), replace(evaluation, predicted=predicted)  # type: ignore[arg-type]


def _take(rows: Rows, step: slice) -> Rows:
    return Rows(rows.x[step], rows.y[step], rows.number[step], None if rows.time is None else rows.time[step])
