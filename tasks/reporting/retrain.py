"""The files of a version for people: tables, plots and a self-contained report, also as artifacts in the Prefect UI.

pandas and Matplotlib take 0.7 s to import. Only runs that train pay for that, while another process imports Keras; so
the steps here import what writes tables and plots themselves.
"""

import importlib
from pathlib import Path
from typing import Any

from tasks.dataset.rows import Split
from tasks.model import ModelVersion
from tasks.name import entitle
from tasks.parameters.retrain import RECIPES
from tasks.registry.champion import PromotionDecision, describe_standing, read_champion
from tasks.registry.versions import read_version, version_folder
from tasks.reporting.changes import write_challenge
from tasks.reporting.markdown import amount, as_picture, as_table, describe_interval, number, render_page
from tasks.reporting.thinning import thin_out
from tasks.steps import show_markdown, show_table, task
from tasks.storage.store import Store
from tasks.text import as_code, as_text
from tasks.training.metrics import MODELS
from tasks.training.process import cool_down, warm_up
from tasks.training.results import Evaluation


@task("Prepare training")
def prepare(needed: bool = True) -> None:
    """Start the process that will train, and import what else is needed while it imports Keras.

    Where it is not needed, end the process if it was started already.
    """
    if not needed:
        cool_down()
        return
    warm_up()
    importlib.import_module("tasks.reporting.csv_files")
    importlib.import_module("tasks.reporting.plots")


@task("Write the predictions")
def write_predictions(split: Split, evaluation: Evaluation, folder: Path) -> None:
    """Write `predictions_test.csv`, `predictions_table.csv` and `history.csv`."""
    from tasks.reporting.csv_files import write_csv_files

    write_csv_files(split, evaluation, folder)


@task("Draw the plots")
def draw(split: Split, evaluation: Evaluation, folder: Path) -> None:
    """Draw the plots into `plots/`."""
    from tasks.reporting.plots import draw_plots

    draw_plots(*thin_out(split, evaluation), folder / "plots")


def describe_distance(test: dict[str, Any]) -> str:
    """Say how far the neuron is from the mean predictor and from least squares, on the test rows."""
    if not test["rows"]:
        return "There are no test rows, so nothing is known of its error on rows it has not seen."
    neuron, mean, least = (test[name]["mse"] for name in MODELS)
    message = (
        f"On {test['rows']} test rows its mean squared error is **{neuron:.2f}**, beside {mean:.2f} for always "
        f"predicting the mean and {least:.2f} for least squares, the best line for the fitted rows. "
    )
    if neuron >= mean:
        return message + "**It is no better than the mean predictor: it should not serve.**"
    if neuron <= least * 1.02:
        return message + "It has reached least squares."
    closed = (mean - neuron) / (mean - least) if mean > least else 1.0
    far = "stops well above" if neuron > least * 1.2 else "is close to"
    return message + (
        f"It {far} least squares: its error is {neuron / least - 1:.0%} higher, "
        f"and it has covered {closed:.0%} of the way down from the mean predictor."
    )


def metric_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Make a row for each part of the rows and each model."""
    return [
        {"rows": f"{part} ({errors['rows']})", "model": label}
        | {key.upper(): number(value) for key, value in errors[name].items()}
        for part, errors in metrics.items()
        for name, label in MODELS.items()
    ]


def name_features(model: ModelVersion) -> str:
    """Name up to three features, and count more."""
    return ", ".join(map(as_text, model.features)) if len(model.features) <= 3 else f"{len(model.features)} features"


def describe_recipe(training: dict[str, Any]) -> dict[str, Any]:
    """Say how a version was trained."""
    converged = training.get("recipe") == "converged"
    optimizer = "gradient descent on standardised, decorrelated features" if converged else "RMSprop"
    whole = {"batch_size": "all rows"} if training["batch_size"] == RECIPES["converged"]["batch_size"] else {}
    return {"optimizer": optimizer, "loss": "mean squared error", **training, **whole}


def describe_weights(model: ModelVersion) -> list[str]:
    """Say what each of several features does, the one that moves the predictions most first."""
    if len(model.features) == 1 or not model.effects:
        return []
    weights = dict(zip(model.features, model.weights, strict=True))
    rows = [
        [name, number(weights[name]), f"{model.effects[name]:+.4g}", f"{share:.0%}"]
        for name, share in model.shares.items()
    ]
    return [
        "## Weights",
        as_table(["feature", "weight", "effect of one standard deviation", "share"], rows),
        "An effect is the weight times the feature's standard deviation, in the unit of the target: "
        f"{as_text(model.labels[model.target])}. A share is that of the sum of all effects, without their signs. Where "
        "features correlate, one may take the share of another.",
    ]


def describe_examples(model: ModelVersion, evaluation: Evaluation) -> str:
    """Make the table of predictions over the first feature, and say where any others stand."""
    pairs = zip(evaluation.examples[:, 0].tolist(), evaluation.predicted["examples"].tolist(), strict=True)
    target = model.labels[model.target]
    table = as_table([model.features[0], "predicted"], [[number(x), amount(y, target)] for x, y in pairs])
    if len(model.features) == 1:
        return table
    means = zip(map(as_text, model.features[1:]), map(number, evaluation.examples[0, 1:].tolist()), strict=True)
    return f"{table}\n\nThe others stand at their mean: {', '.join(map(' '.join, means))}."


def write_markdown(
    model: ModelVersion, evaluation: Evaluation, decision: PromotionDecision, pictures: list[str], change: list[str]
) -> str:
    """Write the whole report in markdown, the outcome first.

    The plots, and what a new champion would change, are in markdown already.
    """
    cells = metric_rows(model.metrics)
    formula = model.linear_model.formula(model.features, model.target)
    target = model.labels[model.target]
    facts = {
        "Recipe": describe_recipe(model.training),
        "Data": model.dataset,
        "Lineage": model.lineage,
    }
    parts = [
        "# " + entitle(f"{as_text(model.target)} from {name_features(model)}: version {model.version}"),
        f"The neuron is {as_code(formula)}. {describe_distance(model.metrics['test'])}",
        describe_interval(model, 90),
        *evaluation.result.remarks,
        f"**{'Promoted' if decision.promote else 'Not promoted'}:** {as_text(decision.reason)}",
        "## How good it is",
        as_table(list(cells[0]), [row.values() for row in cells]),
        f"Errors are in the unit of the target: {as_text(target)}; MSE in its square.",
        *describe_weights(model),
        *change,
        "## Predictions",
        describe_examples(model, evaluation),
        "## Plots",
        *pictures,
        *(f"## {heading}\n\n{as_table(['', ''], items.items())}" for heading, items in facts.items()),
        f"## Model summary\n\n```\n{evaluation.result.summary}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def summarize(store: Store, model: ModelVersion, unchanged: bool) -> str:
    """Say what came out, for the terminal; the last line is the version's folder or URL alone.

    Args:
        store: where the version is.
        model: the version.
        unchanged: whether it was there already, so that nothing was trained.
    """
    location, test = version_folder(store, model.version), model.metrics["test"]
    name, source = model.dataset["name"], model.dataset["source"]
    data = name if name == source else f"{name} ({source})"
    errors = {name: f"{number(test[name]['mse']):>9}" for name in MODELS}
    news = shares = ""
    if len(model.features) > 1 and model.effects:
        shares = "\nShares        " + ", ".join(f"{name} {share:.0%}" for name, share in model.shares.items())
    if unchanged:
        champion = read_champion(store)
        serving = f"{champion.version} is the champion." if champion else "There is no champion yet."
        news = f"Nothing has changed since {model.version}, so nothing was trained. {serving}\n"
    return f"""
{news}Data          {data}, {test["rows"]} test rows
Neuron        {model.linear_model.formula(model.features, model.target)}{shares}
Test MSE      {errors["neuron"]}  neuron
              {errors["mean"]}  mean predictor
              {errors["least_squares"]}  least squares
Standing      {describe_standing(store, model.version)}
Report        {location}/report.html
Predictions   {location}/predictions_test.csv
              {location}/predictions_table.csv
Plots         {location}/plots
{location}
"""


@task("Write the report")
def report(
    model: ModelVersion, evaluation: Evaluation, decision: PromotionDecision, all_columns: Split, folder: Path
) -> None:
    """Write `report.html`, and show the same in the Prefect UI as a markdown and a table artifact."""
    from tasks.reporting.plots import PLOTS

    pictures = [
        as_picture(plot.name, (folder / "plots" / f"{plot.name}.png").read_bytes()) + f"\n\n{plot.caption}"
        for plot in PLOTS
        if plot.suits(len(model.features))
    ]
    champion = decision.champion and read_version(Store(), decision.champion)
    change = write_challenge(model, champion, all_columns) if champion else []
    markdown = write_markdown(model, evaluation, decision, pictures, change)
    (folder / "report.html").write_text(
        render_page(markdown, entitle(f"linear-neuron {model.version}")), encoding="utf-8"
    )
    show_markdown(markdown, key="retrain-report", description=f"Report of version {model.version}")
    show_table(metric_rows(model.metrics), key="metrics", description=f"Metrics of {model.version}")
