"""Where a model is wrong: its error, bias and coverage by slice of the rows, as a section of a report."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from linear_neuron.tasks.dataset.slices import Slice
from linear_neuron.tasks.reporting.page import as_table
from linear_neuron.tasks.text import number, one_line, plural, signed

SHOWN = 10  # rows of a table, the worst first
FEW = 20  # rows of a slice below which its error says little, so that it comes after the others
HEAD = ["slice", "rows", "RMSE", "bias", "in the interval"]


def read_slices(test: dict[str, Any]) -> list[Slice]:
    """Read the slices of the metrics of some rows; older versions have none."""
    return [Slice.model_validate(one) for one in test.get("slices", [])]


def order_slices(slices: Iterable[Slice]) -> list[Slice]:
    """Order slices, the greatest error first; those of few rows come last."""
    return sorted(slices, key=lambda one: (one.rows < FEW, -one.rmse))


def list_rows(slices: Sequence[Slice]) -> list[list[str]]:
    """List the cells below HEAD of the first slices."""
    return [
        [
            f"{one_line(one.by)} {one_line(one.level)}",
            f"{one.rows:,}",
            number(one.rmse),
            signed(one.bias, one.rmse),
            "-" if one.coverage is None else f"{one.coverage:.0%}",
        ]
        for one in slices[:SHOWN]
    ]


def write_slices(slices: Sequence[Slice], rows: str, where: str) -> list[str]:
    """Write the slices with the greatest errors as a section; nothing where there is one slice alone.

    Args:
        slices: of some rows.
        rows: which these are.
        where: the file that has all slices.
    """
    if len(slices) < 2:
        return []
    ordered = order_slices(slices)
    more = f" {plural(len(ordered) - SHOWN, 'more slice')} with smaller errors, or fewer than {FEW} rows:"
    text = (
        f"Slices of {rows} by category, prediction and period, the greatest error first. A bias above 0 is a "
        "prediction that was too high."
    )
    return [
        "## Where it is wrong",
        as_table(HEAD, list_rows(ordered)),
        f"{text}{more} see `{where}`." if len(ordered) > SHOWN else text,
    ]


def describe_worst_slice(slices: Sequence[Slice], rmse: float) -> str:
    """Name the slice with the greatest error in a line; empty where chance explains that it is worse than all rows.

    That is measured by the standard error of a mean of squared normal errors, with room for tens of slices.
    """
    worst = next((one for one in order_slices(slices) if one.rows >= FEW and _is_worse(one, rmse)), None)
    if worst is None:
        return ""
    errors = f"RMSE {number(worst.rmse)}, bias {signed(worst.bias, worst.rmse)}"
    return f"{errors} where {one_line(worst.by)} {one_line(worst.level)} ({plural(worst.rows, 'row')})"


def _is_worse(one: Slice, rmse: float) -> bool:
    return one.rmse**2 > rmse**2 * (1 + 3 * math.sqrt(2 / one.rows))
