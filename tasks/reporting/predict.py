"""The report of a batch."""

import base64

from tasks.model import ModelVersion
from tasks.scoring.manifest import BatchRun, FileResult, Manifest
from tasks.steps import get_logger, show_markdown, task
from tasks.storage.store import MANIFEST

SHOWN = 50  # files that the summary names; the manifest names all


def write_summary(manifest: Manifest, neuron: ModelVersion, location: str, picture: bytes) -> str:
    """The batch in markdown: the outcome first, then reasons, the histogram, and where the files are."""
    total, failed = manifest.total, manifest.failed
    width = neuron.intervals[str(manifest.settings.interval)]
    parts = [
        f"# {len(manifest.inputs)} files, {total.rows:,} rows, {total.predicted:,} predicted",
        f"By version `{manifest.version}` into `{location}`.",
    ]
    if failed:
        parts += [
            f"**{len(failed)} of {len(manifest.inputs)} files could not be predicted:**",
            "\n".join(map(_line, failed[:SHOWN])),
        ]
    if total.rejects:
        rows = "\n".join(f"| {reason} | {count:,} |" for reason, count in sorted(total.rejects.items()))
        parts.append(f"## Rejected rows\n\n| Reason | Rows |\n| --- | ---: |\n{rows}")
    if total.predicted:
        uri = base64.b64encode(picture).decode()
        outside = total.histogram[0] + total.histogram[-1]
        parts += [
            "## Predictions",
            f"{total.extrapolated / total.predicted:.1%} were made outside the range that the model was trained on.",
            f"![Predictions beside the training targets](data:image/png;base64,{uri})",
            f"{outside:,} predictions lie beyond all training targets and are not in the picture.",
            _interval(manifest.settings.interval, width, neuron.coverage),
        ]
    files = [f"- `{location}/{name}`" for name in list(manifest.files)[:SHOWN]]
    more = len(manifest.files) - len(files)
    parts += [
        "## Files",
        "\n".join([*files, f"- and {more:,} more: see `{location}/{MANIFEST}`"][: len(files) + (more > 0)]),
    ]
    return "\n\n".join(parts) + "\n"


def _line(result: FileResult) -> str:
    return f"- `{result.source.path}`: {result.error}"


def _interval(percent: int, width: float | None, coverage: float | None) -> str:
    if width is None:
        return f"The model had too few validation rows for a {percent}% interval, so its columns are empty."
    held = "" if coverage is None else f"; on the model's test rows its 90% interval held {coverage:.0%} of the time"
    return f"The interval is the prediction ±{width:.2f} ({percent}%, split-conformal){held}."


@task("Report the batch")
def report_batch(manifest: Manifest, job: BatchRun, picture: bytes) -> None:
    """Shows the summary in the Prefect UI, and logs it in a line."""
    total = manifest.total
    markdown = write_summary(manifest, job.neuron, job.location, picture)
    show_markdown(markdown, key="predict-report", description=f"Batch {manifest.batch}")
    get_logger().info(
        "%d files, %d rows: %d predicted, %d rejected",
        len(manifest.inputs),
        total.rows,
        total.predicted,
        total.rejected,
    )


def summarize(manifest: Manifest, location: str) -> str:
    """A few lines for the terminal, the last one the batch's folder or URL alone."""
    total = manifest.total
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(total.rejects.items()))
    return f"""
Model         {manifest.version}
Files         {len(manifest.inputs):,}
Predicted     {total.predicted:,} rows, {total.extrapolated:,} of them outside the range trained on
Rejected      {total.rejected:,} rows{f": {reasons}" if reasons else ""}
{location}
"""
