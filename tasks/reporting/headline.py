"""How good a model is, in the unit of the target: the headline of a report and of a command."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from linear_neuron.tasks.text import draw_table, number
from linear_neuron.tasks.training.metrics import MODELS

TYPICAL = "typical error (MAE)"
BETTER = "below the mean's RMSE"
HEAD = ["RMSE", TYPICAL, "R²", BETTER, "MSE"]


def find_rmse(errors: Mapping[str, Any]) -> float | None:
    """Return the root mean squared error of some errors; older versions have only its square."""
    mse = errors.get("mse")
    return None if mse is None else math.sqrt(mse)


def describe_gain(rmse: float | None, mean: float | None) -> str:
    """Write by how many percent an error is below that of the mean predictor; a dash where that says nothing."""
    if rmse is None or not mean:
        return "-"
    share = 1 - rmse / mean
    return f"{share:.1%}" if 0 < abs(share) < 0.01 else f"{share:.0%}"


def list_cells(part: Mapping[str, Any], name: str) -> list[str]:
    """List the cells below HEAD for one of the MODELS on a part of the rows."""
    errors, rmse = part[name], find_rmse(part[name])
    gain = "-" if name == "mean" else describe_gain(rmse, find_rmse(part["mean"]))
    return [number(rmse), number(errors.get("mae")), _show_r2(errors.get("r2")), gain, number(errors.get("mse"))]


def _show_r2(r2: float | None) -> str:
    return "-" if r2 is None else f"{r2:.4f}"


def draw_errors(part: Mapping[str, Any]) -> list[str]:
    """Draw the errors on the test rows for the terminal, a line a model."""
    rows = [[*list_cells(part, name), label.lower()] for name, label in MODELS.items()]
    return draw_table([*HEAD, ""], rows, left=[""])


def describe_errors(test: Mapping[str, Any], unit: str) -> str:
    """Describe in a sentence the errors of the neuron on the test rows, beside the mean predictor's."""
    neuron, mean = test["neuron"], find_rmse(test["mean"])
    rmse, mae, r2 = find_rmse(neuron), neuron.get("mae"), neuron.get("r2")
    typical = "" if mae is None else f", its typical error (MAE) **{number(mae)}**"
    explained = "" if r2 is None else f", R² {_show_r2(r2)}"
    of = f" in {unit}" if unit else ""
    gain = describe_gain(rmse, mean)
    beside = "beside" if gain in ("-", "0%") else f"{gain.lstrip('-')} {'above' if gain.startswith('-') else 'below'}"
    return (
        f"On {test['rows']:,} test rows its RMSE is **{number(rmse)}**{of}{typical}{explained}, {beside} the "
        f"{number(mean)} of always predicting the mean. "
    )


def find_unit(label: str) -> str:
    """Find the unit that a label ends with: `$K` of `median price [$K]`; empty without one."""
    return label.rpartition(" [")[2].rstrip("]") if label.endswith("]") and " [" in label else ""


def join_lines(name: str, lines: Iterable[str]) -> str:
    """Join lines of a table below a name in the summary of a command."""
    first, *rest = lines
    return "\n".join([f"{name:<14}{first}", *(f"{'':14}{line}" for line in rest)])
