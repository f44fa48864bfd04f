"""The report of a batch."""

from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.dataset.drift import ALARMING, Drift
from tasks.model import ModelVersion
from tasks.name import entitle
from tasks.reporting.changes import write_changes
from tasks.reporting.markdown import as_picture, as_table, describe_interval
from tasks.scoring.changes import explain_change
from tasks.scoring.drift import find_batch_drift
from tasks.scoring.manifest import BatchRun, Counts, FileResult, Manifest
from tasks.steps import get_logger, is_recorded, show_markdown, task
from tasks.storage.files import TEMPORARY
from tasks.storage.store import MANIFEST
from tasks.tables.inputs import plural
from tasks.text import as_code, as_text

SHOWN = 50  # files that the summary names; the manifest names all


def write_summary(manifest: Manifest, batch_run: BatchRun, picture: bytes) -> str:
    """Write the batch in markdown: the outcome first, then reasons, the histogram, and where the files are."""
    settings, total, failed, location = manifest.settings, manifest.total, manifest.failed, batch_run.location
    files, rows = plural(len(manifest.inputs), "file"), plural(total.rows, "row")
    parts = [
        "# " + entitle(f"{files}, {rows}, {total.predicted:,} predicted"),
        f"By version `{manifest.version}` into {as_code(location)}.",
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
            as_picture("Predictions beside the training targets", picture),
            f"{outside:,} predictions lie beyond all training targets and are not in the picture.",
            describe_interval(batch_run.model, manifest.settings.interval),
        ]
        parts += write_drift(find_batch_drift(manifest, batch_run.model), batch_run.model)
        if change := explain_change(manifest, batch_run):
            parts += write_changes(change[1], f"Since the batch by `{change[0]}`")
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


def _line(result: FileResult) -> str:
    return f"- {as_code(result.source.path)}: {as_text(result.error)}"


def draw_predictions(manifest: Manifest, batch_run: BatchRun) -> bytes:
    """Draw the histogram of a batch as a PNG."""
    from tasks.reporting.plots import draw_histogram  # Importing Matplotlib takes 0.35 s, which only this step needs.

    with TemporaryDirectory(prefix=TEMPORARY) as folder:
        path = Path(folder) / "histogram.png"
        draw_histogram(batch_run.model, manifest.total.histogram, path)
        return path.read_bytes()


@task("Report the batch")
def report_batch(manifest: Manifest, batch_run: BatchRun) -> None:
    """Show the summary of what the run was asked for in the Prefect UI, where there is one, and log it in a line."""
    manifest = manifest.of_last_run()
    total = manifest.total
    if is_recorded():
        markdown = write_summary(manifest, batch_run, draw_predictions(manifest, batch_run))
        show_markdown(markdown, key="predict-report", description=f"Batch {manifest.batch}")
    files, rows = plural(len(manifest.inputs), "file"), plural(total.rows, "row")
    get_logger().info("%s, %s: %d predicted, %d rejected", files, rows, total.predicted, total.rejected)


def summarize(manifest: Manifest, model: ModelVersion, location: str) -> str:
    """Write a few lines for the terminal, the last one the batch's folder or URL alone."""
    manifest = manifest.of_last_run()
    total = manifest.total
    reasons = total.describe_rejects()
    shadow = f"Shadow        {manifest.settings.shadow} {describe_shadow(total)}\n" if manifest.settings.shadow else ""
    drifted = [f"{drift.column} (PSI {drift.psi:.2f})" for drift in find_batch_drift(manifest, model) if drift.drifted]
    drift = f"Drifted       {', '.join(drifted)}\n" if drifted else ""
    return f"""
Model         {manifest.version}
Files         {len(manifest.inputs):,}
Predicted     {plural(total.predicted, "row")}, {total.extrapolated:,} of them outside the range trained on
{shadow}{drift}Rejected      {plural(total.rejected, "row")}{f": {reasons}" if reasons else ""}
{location}
"""
