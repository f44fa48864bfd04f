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
NARROW = ["version", "matched", "MSE", "promised", "mean predictor", "bias", "in its interval"]
OF_BATCH = ["batch", "matched", "RMSE", "MAE", "bias", "in its interval"]  # each fits into a page of the UI
SHOWN = 50  # batches that the report names; the index has all


def make_cells(result: Performance, columns: list[str]) -> list[str]:
    """Write a result as the cells of a table with some columns."""
    cells = {
        "version": result.version,
        "batch": result.batch,
        "matched": f"{result.matched:,}",
        "MSE": number(result.mse),
        "promised": number(result.promise.mse),
        "mean predictor": number(result.mean_mse),
        "RMSE": number(result.rmse),
        "MAE": number(result.mae),
        "bias": number(result.bias),
        "in its interval": "-" if result.coverage is None else f"{result.coverage:.0%} of {result.interval}%",
    }
    return [cells[column] for column in columns]


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
        _tabulate(new, NARROW),
        "## All actuals so far",
        _tabulate(combine(everything, by_batch=False), NARROW),
        "The promise is the error on the version's own test rows. Errors are in the unit of the target, MSE in its "
        "square; a bias above 0 is a prediction that was too high.",
        "## By batch",
        _tabulate(batches, OF_BATCH),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _tabulate(results: Iterable[Performance], columns: list[str]) -> str:
    return as_table(columns, (make_cells(result, columns) for result in results))


@task("Report the actuals")
def report_actuals(entries: list[Entry]) -> None:
    """Show in the Prefect UI how good the predictions were, and log it in a line."""
    everything = read_performance(Store())
    show_markdown(write_markdown(entries, everything), key="actuals-report", description="How good predictions were")
    get_logger().info(count_rows(entries))


def summarize(results: list[Performance], location: str) -> str:
    """Write for the terminal how good each version was by all actuals so far; the last line is their folder alone."""
    rows = [HEAD, *(make_cells(result, HEAD) for result in combine(results, by_batch=False))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return (
        "\n".join(lines if len(rows) > 1 else ["No prediction is known to be right or wrong yet."]) + f"\n{location}\n"
    )
