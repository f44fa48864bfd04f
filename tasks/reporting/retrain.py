"""The report: one self-contained page, and the same content as artifacts in the Prefect UI."""

import base64
from typing import Any

from tasks.dataset import boston
from tasks.model import ModelVersion
from tasks.registry.champion import PromotionDecision
from tasks.registry.versions import NewVersion
from tasks.reporting.markdown import _flat, as_table, number, render_page
from tasks.steps import show_markdown, show_table, task
from tasks.training.results import TrainingResult

CAPTIONS = {
    "feature": "The rows that the neuron learned from, and those it was validated on.",
    "loss": "Mean squared error by epoch; the dotted line is what the closed form reaches on the fitted rows.",
    "fit_train": "The model over the rows it was fitted on.",
    "fit_test": "The model over rows it has never seen.",
    "residuals": "Errors on the test rows; a pattern here is something that a straight line can't say.",
}
NAMES = {"neuron": "Neuron", "mean": "Mean predictor", "least_squares": "Closed form"}


def describe_distance(test: dict[str, Any]) -> str:
    """In words: how far the neuron is from the mean predictor and from the floor, on the test rows."""
    if not test["rows"]:
        return "There are no test rows, so nothing is known of its error on rows it has not seen."
    neuron, mean, floor = (test[name]["mse"] for name in NAMES)
    message = (
        f"On {test['rows']} test rows its mean squared error is **{neuron:.2f}**, beside {mean:.2f} for always "
        f"predicting the mean and {floor:.2f} for the closed form, the floor for a line fitted to the same rows. "
    )
    if neuron >= mean:
        return message + "**It is no better than the mean predictor: it should not serve.**"
    if neuron <= floor * 1.02:
        return message + "It has reached the floor."
    closed = (mean - neuron) / (mean - floor) if mean > floor else 1.0
    far = "stops well above" if neuron > floor * 1.2 else "is close to"
    return message + (
        f"It {far} that floor: its error is {neuron / floor - 1:.0%} higher, "
        f"and it has covered {closed:.0%} of the way down from the mean predictor."
    )


def describe_interval(neuron: ModelVersion) -> str:
    """In words: how wide the 90% prediction interval is, and how often it held on the test rows."""
    width = neuron.intervals["90"]
    if width is None or neuron.coverage is None:
        return "There are too few validation rows for a 90% prediction interval."
    return (
        f"Nine in ten predictions should be within ±{width:.2f} of the truth (split-conformal, from the validation "
        f"rows); on the test rows {neuron.coverage:.0%} were."
    )


def metric_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each part of the rows and each model."""
    return [
        {"rows": f"{part} ({scores['rows']})", "model": label}
        | {key.upper(): number(value) for key, value in scores[name].items()}
        for part, scores in metrics.items()
        for name, label in NAMES.items()
    ]


def write_markdown(
    neuron: ModelVersion,
    trained: TrainingResult,
    table: list[dict[str, float]],
    decision: PromotionDecision,
    pictures: dict[str, bytes],
) -> str:
    """The whole report in markdown, outcome first, pictures (name of a plot -> its PNG) inside as data URIs."""
    cells = metric_rows(neuron.metrics)
    formula = neuron.linear_model.formula(neuron.features, neuron.target)
    recipe = {"optimizer": "RMSprop", "loss": "mean squared error", **neuron.training}
    parts = [
        f"# {neuron.target} from {', '.join(neuron.features)}: version {neuron.version}",
        f"The neuron is `{formula}`. {describe_distance(neuron.metrics['test'])}",
        describe_interval(neuron),
        f"**{'Promoted' if decision.promote else 'Not promoted'}:** {decision.reason}",
        "## How good it is",
        as_table(list(cells[0]), [list(row.values()) for row in cells]),
        f"Errors are in the unit of the target: {boston.COLUMNS[neuron.target]}; MSE in its square.",
        "## Predictions",
        as_table(list(table[0]), [[number(value) for value in row.values()] for row in table]),
        "## Plots",
    ]
    for name, png in pictures.items():
        uri = base64.b64encode(png).decode()
        parts.append(f"![{name}](data:image/png;base64,{uri})\n\n{CAPTIONS[name]}")
    for heading, facts in {"Recipe": recipe, "Data": neuron.dataset, "Lineage": neuron.lineage}.items():
        parts += [f"## {heading}", as_table(["", ""], [[key, _flat(value)] for key, value in facts.items()])]
    parts += ["## Model summary", f"```\n{trained.summary}\n```"]
    return "\n\n".join(parts) + "\n"


def summarize(location: str, neuron: ModelVersion, standing: str) -> str:
    """What came out, for the terminal; the last line is the version's folder or URL alone."""
    test = neuron.metrics["test"]
    errors = {name: f"{number(test[name]['mse']):>9}" for name in NAMES}
    return f"""
Data          {neuron.dataset["name"]} ({neuron.dataset["source"]}), {test["rows"]} test rows
Neuron        {neuron.linear_model.formula(neuron.features, neuron.target)}
Test MSE      {errors["neuron"]}  neuron
              {errors["mean"]}  mean predictor
              {errors["least_squares"]}  closed form, the floor
Standing      {standing}
Report        {location}/report.html
Predictions   {location}/predictions_test.csv
              {location}/predictions_table.csv
Plots         {location}/plots
{location}
"""


@task("Write the report")
def report(
    draft: NewVersion,
    neuron: ModelVersion,
    trained: TrainingResult,
    table: list[dict[str, float]],
    decision: PromotionDecision,
) -> None:
    """Writes `report.html`, and shows the same in the Prefect UI as a markdown and a table artifact."""
    pictures = {name: (draft.folder / "plots" / f"{name}.png").read_bytes() for name in CAPTIONS}
    markdown = write_markdown(neuron, trained, table, decision, pictures)
    (draft.folder / "report.html").write_text(
        render_page(markdown, f"linear-neuron {neuron.version}"), encoding="utf-8"
    )
    show_markdown(markdown, key="retrain-report", description=f"Report of version {neuron.version}")
    show_table(metric_rows(neuron.metrics), key="metrics", description=f"Metrics of {neuron.version}")
