"""The files of a version for people: tables, plots and a self-contained report, also as artifacts in the Prefect UI.

pandas and Matplotlib take 0.7 s to import. Only runs that train pay for that, while the training process imports Keras;
so the functions here import them where they are needed.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linear_neuron.tasks.dataset.rows import Split, cut_rows
from linear_neuron.tasks.model import SHOWN, ModelVersion
from linear_neuron.tasks.name import entitle
from linear_neuron.tasks.parameters.retrain_parameters import RECIPES
from linear_neuron.tasks.registry.champion import PromotionDecision, describe_status, read_champion
from linear_neuron.tasks.registry.versions import read_version, version_folder
from linear_neuron.tasks.reporting.approval import link_promotion
from linear_neuron.tasks.reporting.changes import write_challenge, write_difference
from linear_neuron.tasks.reporting.chosen_terms import describe_columns, summarize_columns
from linear_neuron.tasks.reporting.diagnosis import describe_fit, describe_help
from linear_neuron.tasks.reporting.headline import (
    HEAD,
    describe_errors,
    draw_errors,
    find_rmse,
    find_unit,
    join_lines,
    list_cells,
)
from linear_neuron.tasks.reporting.page import (
    amount,
    as_picture,
    as_table,
    describe_constraints,
    describe_interval,
    describe_link,
    describe_models,
    list_facts,
    name_newest,
    render_page,
    shorten_reason,
    show_time,
)
from linear_neuron.tasks.reporting.plots import thin_out
from linear_neuron.tasks.reporting.uncertainty import describe_uncertainty
from linear_neuron.tasks.reporting.worst_slices import read_slices, write_slices
from linear_neuron.tasks.steps import is_recorded, show_markdown, show_table, task
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.text import as_code, as_text, list_first, number, one_line, signed
from linear_neuron.tasks.training.findings import Findings
from linear_neuron.tasks.training.metrics import MODELS
from linear_neuron.tasks.training.past import describe_choice
from linear_neuron.tasks.training.results import Evaluation

if TYPE_CHECKING:
    import pandas as pd

PAST = "past.png"  # the chart of how much of the past is learned from


def import_libraries() -> None:
    """Import what writes tables and plots, in the time in which the training process imports Keras."""
    importlib.import_module("pandas")
    importlib.import_module("linear_neuron.tasks.reporting.plots")


@task("Write the predictions")
def write_predictions(split: Split, evaluation: Evaluation, folder: Path) -> None:
    """Write `predictions_test.csv`, `predictions_table.csv` and `history.csv`.

    A float32 is written in the fewest digits that read back as the same float32.
    """
    import pandas as pd

    write_test_rows(split, evaluation, folder / "predictions_test.csv")
    tabulate_examples(split, evaluation).to_csv(folder / "predictions_table.csv", index=False)
    result = evaluation.result
    history = pd.DataFrame({"epoch": range(1, len(result.loss) + 1), "loss": result.loss})
    history["val_loss"] = result.val_loss or None
    history.to_csv(folder / "history.csv", index=False)


def write_test_rows(split: Split, evaluation: Evaluation, path: Path) -> None:
    """Write a line for each test row: its number, features, actual, predicted, and residual (actual less predicted).

    Polars takes a tenth of the time that pandas takes, which for 10,000,000 rows was more than all else.
    """
    from linear_neuron.tasks.tables.csv import write_columns, write_line

    rows, predicted = split.test, evaluation.predicted["test"]
    columns = [rows.number, *rows.x.T, rows.y, predicted, rows.y - predicted]
    with path.open("wb") as file:
        file.write(f"{write_line(['row', *split.names, 'actual', 'predicted', 'residual'])}\n".encode())
        for part in cut_rows(len(rows)):
            file.writelines(write_columns([column[part] for column in columns]))


def tabulate_examples(split: Split, evaluation: Evaluation) -> "pd.DataFrame":
    """Make a row for each example: the features, or the first term alone, and the predicted target."""
    import pandas as pd

    frame = pd.DataFrame(evaluation.examples, columns=evaluation.example_names or split.names)
    frame["predicted"] = evaluation.predicted["examples"]
    return frame


@task("Draw the plots")
def draw(split: Split, evaluation: Evaluation, folder: Path) -> None:
    """Draw the plots into `plots/`."""
    from linear_neuron.tasks.reporting.charts import draw_past
    from linear_neuron.tasks.reporting.plots import draw_plots

    draw_plots(*thin_out(split, evaluation), folder / "plots")
    if evaluation.data.choice.trials:
        draw_past(describe_choice(evaluation.data.choice), split.target.name, folder / "plots" / PAST)


def describe_distance(test: dict[str, Any], kept: str = "", unit: str = "") -> str:
    """Describe how far the neuron is from the mean predictor and from least squares, on the test rows.

    Args:
        test: the metrics of the test rows.
        kept: what all fits keep to, as `describe_constraints` says it.
        unit: of the target, where it is known.
    """
    if not test["rows"]:
        return "There are no test rows, so nothing is known of its error on rows it has not seen."
    neuron, mean, least = (test[name]["mse"] for name in MODELS)
    best = number(find_rmse(test["least_squares"]))
    message = f"{describe_errors(test, unit)}Least squares, the best line{kept} for the train rows, has {best}. "
    if neuron >= mean:
        return message + "**It is no better than the mean predictor: it should not serve.**"
    if neuron <= least * 1.02:
        return message + "It has reached least squares."
    if least == 0:
        return message + "Least squares is exact."
    closed = (mean - neuron) / (mean - least) if mean > least else 1.0
    far = "stops well above" if neuron > least * 1.2 else "is close to"
    return message + (
        f"It {far} least squares: its MSE is {neuron / least - 1:.0%} higher, "
        f"and it has covered {closed:.0%} of the way down from the mean predictor."
    )


def write_verdict(decision: PromotionDecision) -> list[str]:
    """Write what was decided when the version was made, and below it the figures of the comparison as a table."""
    verdict = f"**{'Promoted' if decision.promote else 'Not promoted'} when it was made:** "
    figures = decision.figures
    if (certainty := figures.get("certainty")) is None:
        return [verdict + as_text(decision.reason)]
    seen = figures.get("detectable")
    rows = f"{figures.get('compared_rows') or 0:,.0f}", f"{certainty:.0%}", "-" if seen is None else f"{seen:.1%}"
    heads = ["rows that neither has learned from", "resamples where it is better", "difference that they show"]
    return [verdict + as_text(shorten_reason(decision.reason)), as_table(heads, [rows])]


def metric_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Make a row for each part of the rows and each model."""
    return [
        {"rows": f"{part} ({errors['rows']:,})", "model": label}
        | dict(zip(HEAD, list_cells(errors, name), strict=True))
        for part, errors in metrics.items()
        for name, label in MODELS.items()
    ]


def name_features(model: ModelVersion) -> str:
    """Name up to three features, or else count them."""
    return ", ".join(map(as_text, model.features)) if len(model.features) <= 3 else f"{len(model.features)} features"


def describe_recipe(training: dict[str, Any]) -> dict[str, Any]:
    """Describe how a version was trained."""
    converged = training.get("recipe") == "converged"
    optimizer = "gradient descent on standardised, decorrelated features" if converged else "RMSprop"
    whole = {"batch_size": "all rows"} if training.get("batch_size") == RECIPES["converged"]["batch_size"] else {}
    return {"optimizer": optimizer, "loss": "mean squared error", **training, **whole}


def describe_weights(model: ModelVersion) -> list[str]:
    """Describe the weights of several features, the one that moves the predictions most first."""
    if len(model.features) == 1 or not model.effects:
        return []
    weights = {term.name: number(term.weight) if term.kind == "number" else "-" for term in model.all_terms}
    unit = as_text(f"log({model.target})" if model.link == "log" else model.labels[model.target])
    rows = [[name, weights[name], signed(model.effects[name]), f"{share:.0%}"] for name, share in model.shares.items()]
    return [
        "## Weights",
        as_table(["feature", "weight", "effect of one standard deviation", "share"], rows),
        f"An effect is the weight times the feature's standard deviation, in the unit of the target: {unit}. A share "
        "is that of the sum of all effects, without their signs. Where features correlate, one may take the share of "
        "another.",
    ]


def describe_signs(model: ModelVersion) -> list[str]:
    """Describe which signs are binding, and what they cost."""
    if not model.signs:
        return []
    signs = ", ".join(map(as_code, model.training["signs"]))
    bound = [[name, number(weight)] for name, weight in model.signs["bound"].items()]
    if not bound:
        return ["## Signs", f"The signs {signs} cost nothing: without them every weight has the sign that it may have."]
    return [
        "## Signs",
        f"Of the signs {signs} these are binding: the weight is 0, and would have the other sign.",
        as_table(["term", "weight without signs"], bound),
        f"They raise the mean squared error over the rows that were learned from to {number(model.signs['mse'])}, from "
        f"{number(model.signs['mse_without'])} without signs.",
    ]


def describe_past(model: ModelVersion, picture: str) -> list[str]:
    """Describe how much of the past the model learns from: the choice, the reason, and the errors of the grid."""
    if not model.past.get("trials"):
        return []
    rows = [[trial["past"], number(find_rmse(trial)), f"{trial['chance']:.0%}"] for trial in model.past["trials"]]
    head = ["past", f"RMSE on the next {model.past['unit']}", "chance of looking as good"]
    return [
        "## How much of the past",
        f"It learns from **{model.past['past']}**: {as_text(model.past['reason'])}. Test rows are not used to choose.",
        picture,
        as_table(head, rows),
    ]


def describe_examples(model: ModelVersion, evaluation: Evaluation) -> str:
    """Make the table of predictions over the first feature, and say what the others are."""
    target, (name, *others) = model.labels[model.target], evaluation.example_names or model.features
    rows = zip(evaluation.examples[:, 0].tolist(), evaluation.predicted["examples"].tolist(), strict=True)
    cells = [[one_line(x) if isinstance(x, str) else number(x), amount(y, target)] for x, y in rows]
    table = as_table([name, "predicted"], cells)
    if evaluation.example_names:
        return f"{table}\n\nThis is the effect of {as_text(name)} alone: every other term contributes nothing."
    if not others:
        return table
    means = zip(map(as_text, others), map(number, evaluation.examples[0, 1:].tolist()), strict=True)
    return f"{table}\n\nThe others are at their mean: {', '.join(map(' '.join, means))}."


def write_markdown(
    model: ModelVersion,
    evaluation: Evaluation,
    decision: PromotionDecision,
    pictures: list[str],
    change: list[str],
    past: str = "",
    fit: Sequence[str] = (),
    helps: Sequence[str] = (),
    approval: str = "",
) -> str:
    """Write the whole report in markdown, the outcome first.

    The plots, what a new champion would change, the chart of pasts, what the rows say of the fit, what would help and
    the link to promote are in markdown already.
    """
    cells = metric_rows(model.metrics)
    target, kept = model.labels[model.target], describe_constraints(model.training)
    facts = {
        "Recipe": describe_recipe(model.training),
        "Data": list_facts(model.dataset),
        "Lineage": list_facts(model.lineage),
    }
    parts = [
        "# " + entitle(f"{as_text(model.target)} from {name_features(model)}: version {model.version}"),
        f"Created {show_time(model.created_at)}.",
        f"The neuron is {as_code(model.formula)}. {describe_distance(model.metrics['test'], kept, find_unit(target))}",
        *filter(None, [describe_link(model), describe_models(model)]),
        describe_interval(model, 90),
        *evaluation.result.remarks,
        *evaluation.served_remarks,
        *write_verdict(decision),
        *filter(None, [approval]),
        "## How good it is",
        as_table(list(cells[0]), [row.values() for row in cells]),
        f"Errors are in the unit of the target: {as_text(target)}; MSE in its square. RMSE, the root of MSE, counts "
        "large errors most; the typical error is the mean of the errors without their signs; R² is the share of the "
        "target's variance that is explained.",
        *write_slices(read_slices(model.metrics["test"]), "the test rows", "metrics.json"),
        *describe_past(model, past),
        *describe_columns(model),
        *describe_weights(model),
        *describe_uncertainty(model),
        *describe_signs(model),
        *fit,
        *change,
        "## Predictions",
        describe_examples(model, evaluation),
        "## Plots",
        *pictures,
        *(f"## {heading}\n\n{as_table(['', ''], items.items())}" for heading, items in facts.items()),
        f"## Model summary\n\n```\n{evaluation.result.summary}\n```",
        *helps,
    ]
    return "\n\n".join(parts) + "\n"


def summarize(store: Store, model: ModelVersion, unchanged: bool) -> str:
    """Summarize the outcome for the terminal; the last line is the version's folder or URL alone.

    Args:
        store: where the version is.
        model: the version.
        unchanged: whether the version existed before, so nothing was trained.
    """
    location, test = version_folder(store, model.version), model.metrics["test"]
    name, source = model.dataset["name"], model.dataset["source"]
    data = name if name == source else f"{name} ({source})"
    errors = join_lines("Test errors", draw_errors(test))
    news = shares = learned = ""
    if len(model.features) > 1 and model.effects:
        listed = [f"{name} {share:.0%}" for name, share in model.shares.items()]
        shares = f"\nShares        {list_first(listed, SHOWN)}"
    if model.candidate and model.learned:
        newest = name_newest(model.learned.newest)
        learned = (
            f"\nLearned from  {model.learned.rows:,} rows{newest}, past {model.past['past']}; tested as a candidate "
        )
        learned += f"of {model.candidate.rows:,} rows{name_newest(model.candidate.newest)}"
    if unchanged:
        champion = read_champion(store)
        serving = f"{champion.version} is the champion." if champion else "There is no champion yet."
        news = f"Nothing has changed since {model.version}, so nothing was trained. {serving}\n"
    return f"""
{news}Data          {data}, {test["rows"]:,} test rows
{summarize_columns(model)}Neuron        {model.formula}{shares}{learned}
{errors}{describe_constraints(model.training)}
Status        {describe_status(store, model.version)}
Report        {location}/report.html
Predictions   {location}/predictions_test.csv
              {location}/predictions_table.csv
Plots         {location}/plots
{location}
"""


@task("Write the report")
def report(
    model: ModelVersion,
    evaluation: Evaluation,
    decision: PromotionDecision,
    split: Split,
    folder: Path,
    findings: Findings | None = None,
) -> None:
    """Write `report.html`, and show the same in the Prefect UI as a markdown and a table artifact."""
    from linear_neuron.tasks.reporting.plots import PLOTS

    pictures = [
        as_picture(plot.name, (folder / "plots" / f"{plot.name}.png").read_bytes()) + f"\n\n{plot.caption}"
        for plot in PLOTS
        if plot.suits(len(split.names))
    ]
    champion = decision.champion and read_version(Store(), decision.champion)
    change = [*write_difference(champion, model), *write_challenge(model, champion, split)] if champion else []
    chart = folder / "plots" / PAST
    past = as_picture("past", chart.read_bytes()) if chart.exists() else ""
    fit, helps = describe_fit(findings, model, folder / "plots"), describe_help(findings)
    approval = "" if decision.promote else link_promotion(model.version)
    markdown = write_markdown(model, evaluation, decision, pictures, change, past, fit, helps, approval)
    (folder / "report.html").write_text(
        render_page(markdown, entitle(f"linear-neuron {model.version}")), encoding="utf-8"
    )
    show_markdown(markdown, key="retrain-report", description=f"Report of version {model.version}")
    show_table(metric_rows(model.metrics), key="metrics", description=f"Metrics of {model.version}")


@task("Show the report")
def show_unchanged(version: str) -> None:
    """Show the report of a version that training would only repeat: its status, errors and plots."""
    if not is_recorded():
        return  # The summary in the terminal names the report.
    from linear_neuron.tasks.reporting.plots import PLOTS

    store = Store()
    model, folder = read_version(store, version), version_folder(store, version)
    plots = [(plot, store.read(folder / "plots" / f"{plot.name}.png")) for plot in PLOTS]
    rows = metric_rows(model.metrics)
    parts = [
        f"# {entitle(f'Nothing has changed since {version}')}",
        f"So nothing was trained. To train all the same, run with **force** in the form. Status: "
        f"{describe_status(store, version)}",
        f"`{model.formula}`",
        as_table(list(rows[0]), (row.values() for row in rows)),
        *(f"{as_picture(plot.name, data)}\n\n{plot.caption}" for plot, data in plots if data),
        f"The whole report is `{folder}/report.html`.",
    ]
    markdown = "\n\n".join(parts) + "\n"
    show_markdown(markdown, key="unchanged-report", description=f"Report of version {version}")
