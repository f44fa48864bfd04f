"""What is shown of the actuals: how good each version's predictions turned out to be, beside what it promised."""

from collections.abc import Iterable

from tasks.actuals.performance import Entry, Performance, combine, read_performance
from tasks.name import entitle
from tasks.reporting.markdown import as_table, number
from tasks.steps import get_logger, show_markdown, task
from tasks.storage.store import Store
from tasks.tables.inputs import plural
from tasks.text import as_code, as_text

HEAD = ["version", "matched", "MSE", "promised", "mean predictor", "RMSE", "MAE", "bias", "in its interval"]
SHOWN = 50  # batches that the report names; the index has all


def make_cells(result: Performance) -> list[str]:
    """Write a result as the cells of a table under `HEAD`."""
    held = "-" if result.coverage is None else f"{result.coverage:.0%} of {result.interval}%"
    figures = [result.mse, result.promise.mse, result.mean_mse, result.rmse, result.mae, result.bias]
    return [result.version, f"{result.matched:,}", *map(number, figures), held]


def count_rows(entries: list[Entry]) -> str:
    """Say in a line how many rows were matched, and what became of the others."""
    rows, matched, rejected, unmatched, early = (
        sum(getattr(entry, name) for entry in entries) for name in ("rows", "matched", "rejected", "unmatched", "early")
    )
    others = {"not predicted": unmatched - early, "predicted only afterwards": early, "rejected": rejected}
    more = "".join(f", {count:,} {what}" for what, count in others.items() if count)
    return f"{plural(rows, 'row')} of actuals, {matched:,} matched{more}"


def write_markdown(entries: list[Entry], everything: list[Performance]) -> str:
    """Write the report: these files first, then all actuals so far, by version and by batch."""
    new = combine([result for entry in entries for result in entry.results], by_batch=False)
    batches = everything[-SHOWN:][::-1]
    parts = [
        "# " + entitle(count_rows(entries)),
        *(f"- {as_code(entry.source)}: {as_text(entry.error)}" for entry in entries if entry.error),
        _tabulate(new),
        "## All actuals so far",
        _tabulate(combine(everything, by_batch=False)),
        "The promise is the error on the version's own test rows. Errors are in the unit of the target, MSE in its "
        "square; a bias above 0 is a prediction that was too high.",
        "## By batch",
        as_table(["batch", "predicted (UTC)", *HEAD[1:]], map(_cells_of_batch, batches)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _tabulate(results: Iterable[Performance]) -> str:
    return as_table(HEAD, map(make_cells, results))


def _cells_of_batch(result: Performance) -> list[str]:
    return [result.batch, f"{result.predicted_at:%Y-%m-%d %H:%M}", *make_cells(result)[1:]]


@task("Report the actuals")
def report_actuals(entries: list[Entry]) -> None:
    """Show in the Prefect UI how good the predictions were, and log it in a line."""
    everything = read_performance(Store())
    show_markdown(write_markdown(entries, everything), key="actuals-report", description="How good predictions were")
    get_logger().info(count_rows(entries))


def summarize(results: list[Performance], location: str) -> str:
    """Write for the terminal how good each version was by all actuals so far; the last line is their folder alone."""
    rows = [HEAD, *map(make_cells, combine(results, by_batch=False))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return (
        "\n".join(lines if len(rows) > 1 else ["No prediction is known to be right or wrong yet."]) + f"\n{location}\n"
    )
