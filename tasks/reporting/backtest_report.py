"""The report of a backtest: a row and a point of the chart for each step, in `backtests/` of the store."""

import csv
import json
import math
import secrets
from dataclasses import asdict
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.name import entitle
from linear_neuron.tasks.parameters import Dataset, Period, Training
from linear_neuron.tasks.reporting.headline import describe_gain
from linear_neuron.tasks.reporting.page import (
    as_picture,
    as_table,
    describe_constraints,
    list_facts,
    render_page,
    show_time,
)
from linear_neuron.tasks.reporting.retrain_report import describe_recipe
from linear_neuron.tasks.reporting.worst_slices import read_slices, write_slices
from linear_neuron.tasks.steps import get_logger, show_markdown, show_table, task
from linear_neuron.tasks.storage.files import TEMPORARY, describe_file
from linear_neuron.tasks.storage.store import MANIFEST, Store, locate, to_json
from linear_neuron.tasks.text import as_text, draw_table, number, plural
from linear_neuron.tasks.training.backtest import PERCENT, Plan, StepResult, slice_steps, total_errors
from linear_neuron.tasks.training.describe import describe_lineage
from linear_neuron.tasks.training.metrics import MODELS

FOLDER = "backtests"
SECTIONS = ("period", "dataset", "training", "source", "lineage")  # of the manifest, that the report shows
HEAD = [
    "from",
    "rows",
    "rows known",
    *(f"{label.lower()} RMSE" for label in MODELS.values()),
    "MAE",
    f"in the {PERCENT}% interval",
]


def list_steps(plan: Plan, results: list[StepResult]) -> list[dict[str, Any]]:
    """Make a row for each step, as in `backtest.csv`; a skipped step has only its days."""
    measured = {result.step.start: result for result in results}
    return [
        {"from": str(step.start), "to": str(step.end), "rows": len(step.rows)}
        | (_describe(measured[step.start]) if step.start in measured else {})
        for step in plan.steps
    ]


def _describe(result: StepResult) -> dict[str, Any]:
    return {
        "known_rows": result.known,
        "fitted_rows": result.fitted,
        **{f"{name}_{error}": result.errors[name][error] for error in ("mse", "mae") for name in MODELS},
        f"held_{PERCENT}": result.coverage,
        "bias": result.model.bias,
        **{f"weight_{name}": weight for name, weight in result.weights.items()},
        "version": result.version,
        "snapshot": result.sha256,
    }


def write_steps(steps: list[dict[str, Any]]) -> str:
    """Write the rows as CSV; a column that a step's model left out is empty."""
    text = StringIO()
    names = dict.fromkeys([*max(steps, key=len), *(name for step in steps for name in step)])
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
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
            *(number(math.sqrt(step[f"{name}_mse"])) for name in MODELS),
            number(step.get("neuron_mae")),
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
    dataset, totals, cells = manifest["dataset"], find_totals(manifest), tabulate(manifest)
    typical = manifest.get("mae", {}).get("neuron")
    empty, read = name_empty(manifest), [*dataset.get("features", ["RM"]), *dataset.get("categories", [])]
    rows = sum(step["rows"] for step in manifest["steps"])
    neuron = number(totals["neuron"])
    parts = [
        "# " + entitle(f"Backtest of {as_text(dataset['target'])} from {', '.join(map(as_text, read))}"),
        *([f"Created {show_time(manifest['created_at'])}."] if "created_at" in manifest else []),
        f"Over {plural(len(cells), 'step')} and {plural(rows, 'row')} the neuron's RMSE is **{neuron}**"
        + ("" if typical is None else f" and its typical error (MAE) **{number(typical)}**")
        + f", beside an RMSE of {number(totals['mean'])} for always predicting the mean of the rows that were learned "
        f"from ({describe_gain(totals['neuron'], totals['mean'])} below it), and {number(totals['least_squares'])} for "
        f"least squares{describe_constraints(manifest['training'])}.",
        "Each line is a model trained on what was known on that day, and its errors on the rows from that "
        "day to the next line's. No version was published, and the champion stayed.",
        *([f"**Skipped, since they have no rows:** {empty}."] if empty else []),
        as_table(HEAD, cells),
        picture,
        *write_slices(read_slices(manifest), "the rows of all steps", "manifest.json"),
        *(f"## {name.capitalize()}\n\n{as_table(['', ''], list_section(manifest, name).items())}" for name in SECTIONS),
    ]
    return "\n\n".join(parts) + "\n"


def find_totals(manifest: dict[str, Any]) -> dict[str, float]:
    """Find each model's RMSE over the rows of all steps."""
    return {name: math.sqrt(mse) for name, mse in manifest["mse"].items()}


def list_section(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    """List the facts of a section of the report."""
    return describe_recipe(manifest[name]) if name == "training" else list_facts(manifest[name])


def summarize(manifest: dict[str, Any], location: str) -> str:
    """Write the table for the terminal; the last line is the report's folder or URL alone."""
    totals, table = find_totals(manifest), draw_table(HEAD, tabulate(manifest))
    empty = name_empty(manifest)
    gain = describe_gain(totals["neuron"], totals["mean"])
    typical = f"; typical error (MAE) {number(manifest['mae']['neuron'])}" if "mae" in manifest else ""
    skipped = f"Skipped       {empty}, without rows\n" if empty else ""
    return f"""
{chr(10).join(table)}

{skipped}RMSE of all   {number(totals["neuron"]):>9}  neuron, {gain} below the mean predictor's{typical}
              {number(totals["mean"]):>9}  mean predictor
              {number(totals["least_squares"]):>9}  least squares{describe_constraints(manifest["training"])}
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
    from linear_neuron.tasks.reporting.charts import draw_backtest

    store = Store()
    location = store.root / FOLDER / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    steps = list_steps(plan, results)
    manifest: dict[str, Any] = {
        "created_at": datetime.now(UTC).isoformat(),
        "period": period.model_dump(mode="json"),
        "dataset": dataset.model_dump(mode="json", exclude_defaults=True)
        | {"features": dataset.features, "target": dataset.target},
        "training": training.model_dump(mode="json"),
        "source": asdict(plan.origin),
        "lineage": describe_lineage(),
        "mse": total_errors(results),
        "mae": total_errors(results, "mae"),
        "slices": [one.model_dump() for one in slice_steps(results)],
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
