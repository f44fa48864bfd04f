"""The chart of a backtest, in the style of the plots."""

from pathlib import Path
from typing import Any

import numpy as np

from tasks.reporting.plots import BLUE, GREY, ORANGE, open_figure

LINES = (
    ("neuron", "neuron", BLUE, "-", "o"),
    ("mean", "mean predictor", GREY, ":", "s"),
    ("least_squares", "least squares", ORANGE, "--", "^"),  # last, since it often lies on the neuron's line
)


def draw_backtest(steps: list[dict[str, Any]], target: str, path: Path) -> None:
    """Draw the error of each model by the day it was trained on; a step without rows leaves a gap."""
    days = [np.datetime64(step["from"]) for step in steps]
    with open_figure(path, "Error on the rows that came after the training") as axes:
        for name, label, colour, line, marker in LINES:
            errors = [step.get(f"{name}_mse", np.nan) ** 0.5 for step in steps]
            axes.plot(days, errors, label=label, color=colour, linestyle=line, marker=marker)
        axes.set(xlabel="Trained on what was known on this day", ylabel=f"Root mean squared error of {target}")
        axes.set_ylim(bottom=0)
        axes.legend()
