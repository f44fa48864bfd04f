"""The report of a batch."""

from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.model import ModelVersion
from tasks.reporting.markdown import as_picture, describe_interval
from tasks.scoring.manifest import BatchRun, FileResult, Manifest
from tasks.steps import get_logger, show_markdown, task
from tasks.storage.store import MANIFEST

SHOWN = 50  # files that the summary names; the manifest names all


def write_summary(manifest: Manifest, neuron: ModelVersion, location: str, picture: bytes) -> str:
    """The batch in markdown: the outcome first, then reasons, the histogram, and where the files are."""
    total, failed = manifest.total, manifest.failed
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
        outside = total.histogram[0] + total.histogram[-1]
        parts += [
            "## Predictions",
            f"{total.extrapolated / total.predicted:.1%} were made outside the range that the model was trained on.",
            as_picture("Predictions beside the training targets", picture),
            f"{outside:,} predictions lie beyond all training targets and are not in the picture.",
            describe_interval(neuron, manifest.settings.interval),
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


@task("Draw the histogram")
def draw_predictions(manifest: Manifest, job: BatchRun) -> bytes:
    """Draw the histogram of a batch as a PNG."""
    from tasks.reporting.plots import draw_histogram  # Importing Matplotlib takes 0.35 s, which only this step needs.

    with TemporaryDirectory() as folder:
        path = Path(folder) / "histogram.png"
        draw_histogram(job.neuron, manifest.total.histogram, path)
        return path.read_bytes()


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
