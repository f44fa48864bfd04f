"""The report of a backtest: a row and a point of the chart for each step, in `backtests/` of the store."""

import csv
import json
import secrets
from dataclasses import asdict
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tasks.dataset.history import Plan
from tasks.errors import UserError
from tasks.name import entitle
from tasks.parameters import Dataset, Period, Training
from tasks.reporting.markdown import as_picture, as_table, number, render_page
from tasks.steps import get_logger, show_markdown, show_table, task
from tasks.storage.files import TEMPORARY, describe_file
from tasks.storage.store import MANIFEST, Store, locate, to_json
from tasks.tables.inputs import plural
from tasks.training.backtest import PERCENT, StepResult, total_errors
from tasks.training.describe import describe_lineage
from tasks.training.metrics import MODELS

FOLDER = "backtests"
HEAD = ["from", "rows", "rows known", *(label.lower() for label in MODELS.values()), f"in the {PERCENT}% interval"]


def list_steps(plan: Plan, results: list[StepResult], features: list[str]) -> list[dict[str, Any]]:
    """Make a row for each step, as `backtest.csv` has it; of a step that was passed over there are only the days."""
    measured = {result.step.start: result for result in results}
    return [
        {"from": str(step.start), "to": str(step.end), "rows": len(step.rows)}
        | (_describe(measured[step.start], features) if step.start in measured else {})
        for step in plan.steps
    ]


def _describe(result: StepResult, features: list[str]) -> dict[str, Any]:
    return {
        "known_rows": result.known,
        "fitted_rows": result.fitted,
        **{f"{name}_{error}": result.errors[name][error] for error in ("mse", "mae") for name in MODELS},
        f"held_{PERCENT}": result.coverage,
        "bias": result.model.bias,
        **{f"weight_{name}": weight for name, weight in zip(features, result.model.weights, strict=True)},
        "version": result.version,
        "snapshot": result.sha256,
    }


def write_steps(steps: list[dict[str, Any]]) -> str:
    """Write the rows as CSV."""
    text = StringIO()
    writer = csv.DictWriter(text, max(steps, key=len), lineterminator="\n")
    writer.writeheader()
    writer.writerows(steps)
    return text.getvalue()


def tabulate(manifest: dict[str, Any]) -> list[list[str]]:
    """Make the cells below HEAD for people, a row for each step that has rows."""
    return [
        [
            step["from"],
            f"{step['rows']:,}",
            f"{step['known_rows']:,}",
            *(number(step[f"{name}_mse"]) for name in MODELS),
            "-" if step[f"held_{PERCENT}"] is None else f"{step[f'held_{PERCENT}']:.0%}",
        ]
        for step in manifest["steps"]
        if step["rows"]
    ]


def name_empty(manifest: dict[str, Any]) -> str:
    """Name the steps without rows; empty where all have some."""
    return ", ".join(f"{step['from']} to {step['to']}" for step in manifest["steps"] if not step["rows"])


def write_markdown(manifest: dict[str, Any], picture: str) -> str:
    """Write the whole report in markdown, the outcome first; `picture` is the chart in markdown."""
    dataset, totals, cells = manifest["dataset"], manifest["mse"], tabulate(manifest)
    empty = name_empty(manifest)
    rows = sum(step["rows"] for step in manifest["steps"])
    parts = [
        "# " + entitle(f"Backtest of {dataset['target']} from {', '.join(dataset['features'])}"),
        f"Over {plural(len(cells), 'step')} and {plural(rows, 'row')} the neuron's mean squared error is "
        f"**{number(totals['neuron'])}**, beside {number(totals['mean'])} for always predicting the mean of the rows "
        f"that were learned from, and {number(totals['least_squares'])} for least squares.",
        "Each line is a model trained on what was known on that day, and its mean squared error on the rows from that "
        "day to the next line's. No version was published, and the champion stayed.",
        *([f"**Passed over, since they have no rows:** {empty}."] if empty else []),
        as_table(HEAD, cells),
        picture,
        *(f"## {name.capitalize()}\n\n{as_table(['', ''], manifest[name].items())}" for name in _GROUPS),
    ]
    return "\n\n".join(parts) + "\n"


_GROUPS = ("period", "dataset", "training", "source", "lineage")


def summarize(manifest: dict[str, Any], location: str) -> str:
    """Write the table for the terminal; the last line is the report's folder or URL alone."""
    totals, lines = manifest["mse"], [HEAD, *tabulate(manifest)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    empty = name_empty(manifest)
    passed = f"Passed over   {empty}, without rows\n" if empty else ""
    return f"""
{chr(10).join(table)}

{passed}MSE of all    {number(totals["neuron"]):>9}  neuron
              {number(totals["mean"]):>9}  mean predictor
              {number(totals["least_squares"]):>9}  least squares
Report        {location}/backtest.html
{location}
"""


def read_backtest(location: str) -> dict[str, Any]:
    """Read the manifest of a backtest, which has all figures.

    Raises:
        UserError: it is not there.
    """
    data = Store().read(path := locate(location) / MANIFEST)
    if data is None:
        raise UserError(f"{path} is missing; run the backtest again.")
    return dict(json.loads(data))


@task("Write the report", retries=2, retry_delay_seconds=5, timeout_seconds=600)
def report_backtest(plan: Plan, results: list[StepResult], period: Period, dataset: Dataset, training: Training) -> str:
    """Write table, chart and page into a folder of the store, manifest last, and show them in the Prefect UI.

    Returns:
        The folder or URL.
    """
    from tasks.reporting.chart import draw_backtest  # Matplotlib takes 0.35 s to import.

    store = Store()
    location = store.root / FOLDER / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    steps = list_steps(plan, results, dataset.features)
    manifest: dict[str, Any] = {
        "period": period.model_dump(mode="json"),
        "dataset": dataset.model_dump(mode="json", exclude_defaults=True) | {"target": dataset.target},
        "training": training.model_dump(mode="json"),
        "source": asdict(plan.origin),
        "lineage": describe_lineage(),
        "mse": total_errors(results),
        "steps": steps,
    }
    with TemporaryDirectory(prefix=TEMPORARY) as name:
        folder = Path(name)
        (folder / "backtest.csv").write_text(write_steps(steps), encoding="utf-8")
        draw_backtest(steps, dataset.target, folder / "backtest.png")
        markdown = write_markdown(manifest, as_picture("Error by step", (folder / "backtest.png").read_bytes()))
        page = render_page(markdown, entitle(f"linear-neuron backtest {location.name}"))
        (folder / "backtest.html").write_text(page, encoding="utf-8")
        for path in folder.iterdir():
            store.write(location / path.name, path.read_bytes())
        manifest["files"] = {path.name: describe_file(path) for path in sorted(folder.iterdir())}
    store.write(location / MANIFEST, to_json(manifest))
    show_markdown(markdown, key="backtest-report", description=f"Backtest {location.name}")
    show_table([dict(zip(HEAD, cells, strict=True)) for cells in tabulate(manifest)], "backtest", "Error by step")
    get_logger().info("Written to %s", location)
    return str(location)
