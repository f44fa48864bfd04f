"""What the rows say of a fit, and what would help: two sections of a report, with at most two pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from linear_neuron.tasks.dataset.rows import Floats
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.reporting.page import as_picture, as_table
from linear_neuron.tasks.text import as_code, as_text, list_first, number, one_line
from linear_neuron.tasks.training.diagnostics import AGREEING, Diagnostics
from linear_neuron.tasks.training.findings import Findings, Points

BINS = 25  # groups of rows along an axis, over which a picture has a smooth line
SHOWN = 3  # curves, and columns, that are named
TRIED = "curves of numeric terms, interactions of a number and a category, and the logarithm of the target"


def describe_fit(findings: Findings | None, model: ModelVersion, folder: Path) -> list[str]:
    """Describe what the rows say of the fit, with pictures that are drawn into the folder."""
    if findings is None or findings.diagnostics is None:
        return []
    found = findings.diagnostics
    return [
        "## What the rows say of the fit",
        _describe_rows(found),
        _describe_curves(findings),
        *_draw(findings.bent, model, folder / "curve.png", spread=False),
        _describe_spread(findings, found, model),
        *_draw(findings.errors, model, folder / "spread.png", spread=True),
        _describe_pairs(found),
        *_describe_moving(findings, found, model),
    ]


def describe_help(findings: Findings | None) -> list[str]:
    """Describe what would lower the error, with the flags to paste; or say that nothing does that was tried."""
    if findings is None:
        return []
    found, heading = findings.suggestions, "## What would help"
    if found.obstacle:
        return [heading, f"Nothing was tried: {as_text(found.obstacle)}."]
    if not found.steps:
        return [
            heading,
            f"Nothing of {found.tried} changes that were tried lowers the error on the {found.rows:,} validation rows "
            f"by more than 1% and by more than chance. They were {TRIED}.",
        ]
    rows = [
        [
            " with ".join(change.text for change in step.changes),
            number(step.alone),
            number(step.rmse),
            f"{1 - step.rmse / found.rmse:.0%}",
            "below 0.1%" if step.chance < 0.001 else f"{step.chance:.1%}",
        ]
        for step in found.steps
    ]
    alone = [f"- {as_code(flags)}" for flags in findings.step_flags] if len(rows) > 1 else []
    last = found.steps[-1].rmse
    return [
        heading,
        f"**RMSE {number(found.rmse)} → {number(last)} on {found.rows:,} validation rows, {1 - last / found.rmse:.0%} "
        f"lower**, with these flags in the place of those of the same name: {as_code(findings.flags)}",
        as_table(["change", "RMSE alone", "with those above", "lower by", "chance"], rows),
        *(["The flags of each alone:\n\n" + "\n".join(alone)] if alone else []),
        f"{found.tried} changes were tried: {TRIED}. They were chosen on the train rows and measured on the validation "
        "rows; test rows were not looked at. Chance is that of such a gain where there is none, with all that was "
        "measured taken into account.",
    ]


def _describe_rows(found: Diagnostics) -> str:
    looked = found.rows["train"] + found.rows["validation"]
    if looked == found.rows["of"]:
        return f"Of least squares on the {found.rows['train']:,} train rows."
    return (
        f"Of least squares on {found.rows['train']:,} train rows: with {found.rows['validation']:,} validation rows "
        f"they are an evenly spaced sample of {found.rows['of']:,}."
    )


def _describe_curves(findings: Findings) -> str:
    curves = findings.suggestions.curves
    if not curves:
        return "**Curves:** none of a numeric term lowers the error of rows that a fit has not seen by more than 1%."
    shown = list_first([f"{as_code(curve.change.text)} ({curve.gain:.1%})" for curve in curves], SHOWN)
    return (
        f"**Curves:** each of these alone lowers the error of rows that a fit has not seen, within the train rows, by "
        f"more than 1%: {shown}."
    )


def _describe_spread(findings: Findings, found: Diagnostics, model: ModelVersion) -> str:
    target, log = as_text(model.target), findings.suggestions.log
    typical = ", ".join(map(number, found.spread.typical))
    unit = f"log({target})" if model.link == "log" else target
    by_fifth = f"by fifth of the rows, lowest predictions first, the typical error of {unit} is {typical}"
    if not found.spread.unequal:
        return f"**Variance:** about equal; {by_fifth}."
    text = f"**Variance:** unequal, by more than chance (Koenker's test); {by_fifth}. Intervals by level allow for it."
    if log is None:
        return text
    rmse = findings.suggestions.rmse
    return (
        f"{text} The logarithm of {target} alone as the target has an RMSE of {number(log)} on validation rows, and "
        f"{target} itself {number(rmse)}."
    )


def _describe_pairs(found: Diagnostics) -> str:
    pairs = [f"{as_text(p.one)} and {as_text(p.other)} ({p.correlation:.2f})" for p in found.pairs]
    inflated = list_first(list(map(as_text, found.inflated)), 5)
    if not pairs and not inflated:
        return f"**Collinear columns:** none; no correlation is above {AGREEING:g}."
    text = "; ".join(
        filter(
            None,
            [
                f"nearly the same are {', '.join(pairs)}" if pairs else "",
                f"others nearly explain {inflated} (variance inflation above 10)" if inflated else "",
            ],
        )
    )
    return f"**Collinear columns:** {text}. Predictions do not suffer; single weights say little."


def _describe_moving(findings: Findings, found: Diagnostics, model: ModelVersion) -> Iterator[str]:
    if not found.moving:
        return
    strong = sum(abs(row.errors) > 1 for row in found.moving)
    named = findings.lines or tuple(str(row.number) for row in found.moving)
    counted = f"{strong} of them move" if strong != 1 else "one of them moves"
    yield (
        "**Rows that move the model most:** "
        + (f"{counted} a weight" if strong else "none of them moves a weight")
        + " by more than its standard error."
    )
    where = "line" if findings.lines else "row of the snapshot"
    heads = [where, "weight that moves", "by standard errors", "Cook's distance"]
    rows = [
        [name, row.column, f"{row.errors:+.2f}", f"{row.distance:.3f}"]
        for name, row in zip(named, found.moving, strict=True)
    ]
    if found.moving[0].actual is not None:
        heads += [model.target, "predicted"]
        rows = [
            [*cells, number(row.actual), number(row.predicted)] for cells, row in zip(rows, found.moving, strict=True)
        ]
    yield as_table(heads, rows)


def _draw(points: Points | None, model: ModelVersion, path: Path, *, spread: bool) -> list[str]:
    """Draw points with a smooth line; of errors the size that they have on both sides of 0."""
    if points is None:
        return []
    from linear_neuron.tasks.reporting.plots import BLUE, INK, POINTS, open_figure

    unit = f"log({model.target})" if model.link == "log" else model.target
    shown, name = one_line(unit)[:25], one_line(points.name)[:25]
    title = f"Errors of {shown} over its prediction" if spread else f"Change of {shown} with {name}"
    x, middle = _smooth(points.x, points.y**2 if spread else points.y)
    with open_figure(path, title) as axes:
        axes.scatter(points.x, points.y, color=BLUE, **POINTS | {"s": 9})
        if spread:
            for sign in (1, -1):
                axes.plot(x, sign * np.sqrt(middle), color=INK, label="size of the errors" if sign > 0 else None)
        else:
            axes.plot(x, middle, color=INK, label="mean of neighboring rows")
            ends: Any = np.array([points.x.min(), points.x.max()])
            slope, level = np.polyfit(points.x, points.y, 1) if np.ptp(points.x) else (0.0, 0.0)
            axes.plot(ends, slope * ends + level, color=INK, linestyle=":", label="as it is fitted")
        low, high = np.quantile(points.y, [0.001, 0.999])
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        axes.set(
            xlabel=f"Predicted {shown}" if spread else name,
            ylabel="Actual less predicted" if spread else f"Change of {shown}",
        )
        axes.legend()
    caption = (
        "Errors of train rows over what is predicted; the lines are the root mean square of neighboring rows."
        if spread
        else "Partial residuals: what the other terms leave of the target of train rows. The line that is fitted is "
        "dotted; where the other line leaves it, a curve fits better."
    )
    return [f"{as_picture(path.stem, path.read_bytes())}\n\n{caption}"]


def _smooth(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Average groups of neighboring points."""
    order = np.argsort(x, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    return np.array([x[part].mean() for part in parts]), np.array([y[part].mean() for part in parts])
