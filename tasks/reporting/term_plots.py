"""The partial effect of each fitted term: a line or a curve over what it reads, or a bar for each level."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from linear_neuron.tasks.dataset.design_matrix import decode
from linear_neuron.tasks.dataset.raw_columns import Integers, RawColumns
from linear_neuron.tasks.dataset.rows import Floats, Split
from linear_neuron.tasks.features.expressions import Column, find_columns, parse, write
from linear_neuron.tasks.features.fitted import Kinds, contribute
from linear_neuron.tasks.model import Term
from linear_neuron.tasks.text import one_line
from linear_neuron.tasks.training.results import Evaluation

GRID = 200  # values over which a curve is drawn
MOST_BARS = 8  # of a panel: the most frequent levels
SHORT = 12  # characters of a level
ACROSS = 3  # panels side by side
MOST = 15  # panels


@dataclass(frozen=True)
class Effects:
    """What the terms contribute to some rows, in units of what is learned."""

    terms: list[Term]
    kinds: Kinds
    raw: RawColumns  # what the terms read
    number: Integers  # shape (n,): the rows, by their indices
    contributions: Floats  # shape (n, terms)
    residuals: Floats  # shape (n,): what all terms together leave

    @property
    def strongest(self) -> list[int]:
        """The indices of the terms that are drawn: those that move the predictions most come first."""
        spreads = np.nanstd(self.contributions, axis=0)
        return [int(index) for index in np.argsort(-spreads, kind="stable")[:MOST]]


def measure(split: Split, evaluation: Evaluation) -> Effects:
    """Measure what the terms of the candidate contribute to the fitted rows of a split, which may be some of all."""
    whole, line = evaluation.data.split, evaluation.result.linear_model
    if split.terms is None or split.raw is None:
        raise TypeError("the columns of this split are made of no terms")
    raw: RawColumns = split.raw
    terms, kinds, rows = decode(whole, line, whole.train), split.terms.kinds, split.train
    contributions = contribute(raw.read(rows.number, list(kinds)), terms, kinds)
    residuals = split.learn(rows).y - line.base - contributions.sum(axis=1)
    return Effects(terms, kinds, raw, rows.number, contributions, residuals)


def find_axis(term: Term, kinds: Kinds) -> str:
    """Find the column over which a term can be drawn: the only one that its value reads, where that is a number."""
    columns = find_columns(parse(term.value))
    return columns[0] if len(columns) == 1 and kinds[columns[0]] == "number" else ""


def trace(term: Term, values: Floats, axis: str) -> tuple[Floats, Floats]:
    """Trace the effect of a number or a spline: evenly spaced values of its column, or else of itself, and its effect.

    Args:
        term: a number or a spline.
        values: of that column, or of the term.
        axis: the column, or empty.
    """
    grid = np.linspace(np.nanmin(values), np.nanmax(values), GRID)
    name = axis or "value"
    plain = term if axis else term.model_copy(update={"value": write(Column(name))})
    frame = RawColumns({name: grid}).read(slice(None), [name])
    return grid, contribute(frame, [plain], {name: "number"})[:, 0]


def draw_terms(axes: Axes, effects: Effects, label: str, ink: str, points: str) -> None:
    """Draw a panel for each term, with partial residuals where it has a value, and the rows where it has levels.

    Source of these partial residuals: Larsen and McCleary, "The Use of Partial Residual Plots in Regression Analysis",
    Technometrics 14 (1972).

    Args:
        axes: are replaced by the panels.
        effects: what is drawn.
        label: of the effects, with their unit.
        ink: color of lines.
        points: color of points and bars.
    """
    axes.set_axis_off()
    strongest, spec = effects.strongest, cast(SubplotSpec, axes.get_subplotspec())
    across = min(ACROSS, len(strongest))
    grid = spec.subgridspec(-(-len(strongest) // across), across, wspace=0.6, hspace=0.45)
    panels = grid.subplots(squeeze=False).ravel()
    for panel in panels[len(strongest) :]:
        panel.remove()
    partial = effects.contributions[:, strongest] + effects.residuals[:, None]
    low, high = float(np.nanmin(partial)), float(np.nanmax(partial))
    for panel, index in zip(panels, strongest, strict=False):
        term = effects.terms[index]
        panel.set_xlabel(one_line(term.name)[:30], fontsize=9)
        panel.tick_params(labelsize=8)
        panel.locator_params(axis="x", nbins=4)
        if term.kind == "category":
            _draw_bars(panel, term, points)
        else:
            _draw_curve(panel, term, effects, partial[:, strongest.index(index)], ink, points)
            panel.set_ylim(low, high)
    cast(Figure, axes.figure).text(0.012, 0.5, label, rotation="vertical", va="center", color=ink)


def _draw_curve(panel: Axes, term: Term, effects: Effects, partial: Floats, ink: str, points: str) -> None:
    """Draw partial residuals over a column or a value, and the line or the curve; of slopes a line for each level."""
    axis = find_axis(term, effects.kinds)
    value = Term(name=term.name, kind="number", value=write(Column(axis)) if axis else term.value, weight=1.0)
    values = contribute(effects.raw.read(effects.number, list(effects.kinds)), [value], effects.kinds)[:, 0]
    panel.scatter(values, partial, marker="o", s=6, alpha=0.35, linewidths=0, color=points)
    for one in list_curves(term):
        grid, curve = trace(one, values, axis)
        panel.plot(grid, curve, color=ink, linewidth=1.8)


def list_curves(term: Term) -> Sequence[Term]:
    """List the curves of a term: one, or that of each of the most frequent levels."""
    if term.kind != "slopes":
        return [term]
    return [
        Term(name=level, kind="number", value=term.value, weight=term.levels[level], center=term.center)
        for level in list_levels(term)
    ]


def list_levels(term: Term) -> list[str]:
    """List the most frequent levels of a term, the most frequent first."""
    return sorted(term.rows, key=lambda level: -term.rows[level])[:MOST_BARS]


def _draw_bars(panel: Axes, term: Term, color: str) -> None:
    """Draw a bar for each of the most frequent levels, with its rows."""
    levels = list_levels(term)[::-1]
    panel.barh(range(len(levels)), [term.levels[level] for level in levels], color=color, height=0.7)
    panel.set_yticks(range(len(levels)), [f"{_shorten(level)} ({term.rows[level]:,})" for level in levels])
    panel.tick_params(axis="y", labelsize=6)
    panel.axvline(0, color=color, linewidth=0.8)
    panel.grid(visible=False, axis="y")


def _shorten(level: str) -> str:
    """Shorten a level in its middle, since many share how they begin."""
    text = one_line(level)
    return text if len(text) <= SHORT else f"{text[: SHORT // 2]}…{text[-(SHORT // 2 - 1) :]}"
