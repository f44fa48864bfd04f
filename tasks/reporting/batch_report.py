"""The report of a batch."""

from collections.abc import Callable

from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.monitoring.drift import ALARMING
from linear_neuron.tasks.name import entitle
from linear_neuron.tasks.reporting.changes import explain_change, write_changes
from linear_neuron.tasks.reporting.histogram import TITLE, draw_histogram
from linear_neuron.tasks.reporting.page import as_picture, as_table, describe_interval, describe_models
from linear_neuron.tasks.scoring.manifest import MOST_UNSEEN, BatchRun, Counts, Drift, FileResult, Manifest
from linear_neuron.tasks.steps import get_logger, is_recorded, show_markdown, task
from linear_neuron.tasks.storage.store import MANIFEST
from linear_neuron.tasks.text import as_code, as_text, list_first, number, one_line, plural

SHOWN_LEVELS = 5  # levels not seen in training that are listed
SHOWN = 50  # files that the summary names; the manifest names all


def write_summary(manifest: Manifest, batch_run: BatchRun) -> str:
    """Write the batch in markdown: the outcome first, then reasons, the histogram, and where the files are."""
    settings, total, failed, location = manifest.settings, manifest.total, manifest.failed, batch_run.location
    files, rows = plural(len(manifest.inputs), "file"), plural(total.rows, "row")
    parts = [
        "# " + entitle(f"{files}, {rows}, {total.predicted:,} predicted"),
        f"By version `{manifest.version}` into {as_code(location)}.",
        *filter(None, [describe_models(batch_run.model)]),
    ]
    if failed:
        parts += [
            f"**{len(failed)} of {len(manifest.inputs)} files could not be predicted:**",
            "\n".join(map(_line, failed[:SHOWN])),
        ]
    if total.rejects:
        reasons = "\n".join(f"| {reason} | {count:,} |" for reason, count in sorted(total.rejects.items()))
        parts.append(f"## Rejected rows\n\n| Reason | Rows |\n| --- | ---: |\n{reasons}")
    if total.predicted:
        outside = total.histogram[0] + total.histogram[-1]
        parts += [
            "## Predictions",
            f"{total.extrapolated / total.predicted:.1%} were made outside the range that the model was trained on.",
            *[
                f"{sentence[0].upper()}{sentence[1:]}."
                for sentence in (describe_unseen(total, as_text), describe_filled(total, as_text))
                if sentence
            ],
            as_picture(TITLE, draw_histogram(batch_run.model, total.histogram), "svg+xml"),
            f"{outside:,} predictions lie beyond all training targets; the bars at both ends show their share.",
            *(
                [f"Expected before the actual values are known: {error}."]
                if (error := describe_expected(total))
                else []
            ),
            describe_interval(batch_run.model, manifest.settings.interval),
            *([f"It is {describe_factor(manifest)}."] if manifest.interval_factor != 1 else []),
        ]
        parts += write_drift(manifest.drift, batch_run.model)
        if change := explain_change(manifest, batch_run):
            heading, model = f"Since the batch by `{change[0]}`", batch_run.model
            parts += write_changes(change[1], heading, terms=bool(model.terms), logarithms=model.link == "log")
        if settings.shadow:
            parts.append(f"## Shadow\n\n`{settings.shadow}` {describe_shadow(total)}.")
    written = [f"- {as_code(f'{location}/{name}')}" for name in list(manifest.files)[:SHOWN]]
    if more := len(manifest.files) - len(written):
        written.append(f"- and {more:,} more: see {as_code(f'{location}/{MANIFEST}')}")
    parts += ["## Files", "\n".join(written)]
    return "\n\n".join(parts) + "\n"


def write_drift(drifts: list[Drift], model: ModelVersion) -> list[str]:
    """Write how the columns differ from the training rows, as a section; empty where the version does not know them."""
    if not drifts:
        return []
    head = ["column", "PSI", "by chance up to", "nulls", "nulls in training", ""]
    rows = [
        (
            drift.column,
            f"{drift.psi:.2f}",
            f"{drift.floor:.2f}",
            f"{drift.nulls:.1%}",
            f"{drift.known_nulls:.1%}",
            "drifted" if drift.drifted else "as before",
        )
        for drift in drifts
    ]
    return [
        "## Drift",
        as_table(head, rows),
        f"The population stability index (PSI) compares the rows with those that `{model.version}` was trained on, in "
        f"the ten bins of these. {ALARMING} and more is much, if it is also above what chance explains.",
    ]


def describe_shadow(total: Counts) -> str:
    """Say how far the predictions of the shadow are from those of the model."""
    moved = f"moves {total.shadow_moved:,} of {plural(total.predicted, 'row')} by more than half the interval"
    return f"{moved}, and can't predict {total.shadow_missing:,}"


def describe_factor(manifest: Manifest) -> str:
    """Say how wide the interval is that follows actual values."""
    return f"{manifest.interval_factor:.2f} times as wide as calibrated, by the actual values known so far"


def describe_unseen(total: Counts, show: Callable[[object], str] = one_line) -> str:
    """Say how many rows have levels that were not seen in training, and list the first; empty where none has.

    Of a category with very many of them only some are counted by name. `show` makes names from outside safe.
    """
    if not total.unseen_rows:
        return ""
    levels = [
        f"{show(category)} {show(level)} ({rows:,})"
        for category, found in total.unseen.items()
        for level, rows in sorted(found.items(), key=lambda item: -item[1])
    ]
    more = " or more" if any(len(found) >= MOST_UNSEEN for found in total.unseen.values()) else ""
    counted = plural(len(levels), "level") if not more else f"{len(levels):,}{more} levels"
    return f"{plural(total.unseen_rows, 'row')} with {counted} not seen in training: {list_first(levels, SHOWN_LEVELS)}"


def describe_expected(total: Counts) -> str:
    """Say which error the predictions are expected to have; empty where their version does not know it."""
    if total.expected_rmse is None:
        return ""
    beyond = f", but not for the {plural(total.extrapolated, 'row')} outside the range trained on"
    return f"RMSE {number(total.expected_rmse)}{beyond if total.extrapolated else ''}"


def describe_filled(total: Counts, show: Callable[[object], str] = one_line) -> str:
    """Say in which columns values were missing, and in how many rows; empty where none was."""
    columns = [f"{show(name)} {rows:,}" for name, rows in total.filled.items()]
    return f"rows predicted without a value, by column: {', '.join(columns)}" if columns else ""


DESCRIBED = (describe_unseen, describe_filled)


def _line(result: FileResult) -> str:
    return f"- {as_code(result.source.path)}: {as_text(result.error)}"


@task("Report the batch")
def report_batch(manifest: Manifest, batch_run: BatchRun) -> None:
    """Show the summary of what the run was asked for in the Prefect UI, where there is one, and log it in a line."""
    manifest = manifest.of_last_run()
    total = manifest.total
    if is_recorded():
        markdown = write_summary(manifest, batch_run)
        show_markdown(markdown, key="predict-report", description=f"Batch {manifest.batch}")
    files, rows = plural(len(manifest.inputs), "file"), plural(total.rows, "row")
    get_logger().info("%s, %s: %d predicted, %d rejected", files, rows, total.predicted, total.rejected)
    if unseen := describe_unseen(total):
        get_logger().warning("%s", unseen)


def summarize(manifest: Manifest, location: str) -> str:
    """Write a few lines for the terminal, the last one the batch's folder or URL alone."""
    manifest = manifest.of_last_run()
    total = manifest.total
    reasons = total.describe_rejects()
    shadow = f"Shadow        {manifest.settings.shadow} {describe_shadow(total)}\n" if manifest.settings.shadow else ""
    unseen = f"Unseen        {text}\n" if (text := describe_unseen(total)) else ""
    filled = f"Filled        {text}\n" if (text := describe_filled(total)) else ""
    drifted = [f"{drift.column} (PSI {drift.psi:.2f})" for drift in manifest.drift if drift.drifted]
    drift = f"Drifted       {', '.join(drifted)}\n" if drifted else ""
    wide = f"Interval      {describe_factor(manifest)}\n" if manifest.interval_factor != 1 else ""
    expected = f"Expected      {text}\n" if (text := describe_expected(total)) else ""
    rejected = f": {reasons}" if reasons else ""
    return f"""
Model         {manifest.version}
Files         {len(manifest.inputs):,}
Predicted     {plural(total.predicted, "row")}, {total.extrapolated:,} of them outside the range trained on
{expected}{unseen}{filled}{shadow}{drift}{wide}Rejected      {plural(total.rejected, "row")}{rejected}
{location}
"""
