"""Report the actuals: each version's realized performance beside the expected one."""

import math
from collections.abc import Iterable

from linear_neuron.tasks.monitoring.performance import Entry, Performance, combine, read_performance
from linear_neuron.tasks.name import entitle
from linear_neuron.tasks.reporting.page import as_table
from linear_neuron.tasks.reporting.worst_slices import describe_worst_slice, write_slices
from linear_neuron.tasks.steps import get_logger, show_markdown, task
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.text import as_code, as_text, draw_table, number, plural

HEAD = ["version", "matched", "RMSE", "expected", "mean predictor", "MAE", "bias", "in its interval", "MSE"]
NARROW = ["version", "matched", "RMSE", "expected", "mean predictor", "MAE", "bias", "in its interval"]
OF_BATCH = ["batch", "matched", "RMSE", "expected", "MAE", "bias", "in its interval"]  # each fits into a page of the UI
SHOWN = 50  # batches that the report names; the index has all


def make_cells(result: Performance, columns: list[str]) -> list[str]:
    """Write a result as the cells of a table with some columns."""
    cells = {
        "version": result.version,
        "batch": result.batch,
        "matched": f"{result.matched:,}",
        "MSE": number(result.mse),
        "expected": number(_root(result.expected.mse if result.expected_mse is None else result.expected_mse)),
        "mean predictor": number(_root(result.mean_mse)),
        "RMSE": number(result.rmse),
        "MAE": number(result.mae),
        "bias": number(result.bias),
        "in its interval": "-" if result.coverage is None else f"{result.coverage:.0%} of {result.interval}%",
    }
    return [cells[column] for column in columns]


def _root(mse: float | None) -> float | None:
    return None if mse is None else math.sqrt(mse)


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
    combined = sorted(combine(everything, by_batch=False), key=lambda result: result.predicted_at)
    parts = [
        "# " + entitle(count_rows(entries)),
        *(f"- {as_code(entry.source)}: {as_text(entry.error)}" for entry in entries if entry.error),
        _tabulate(new, NARROW),
        "## All actuals so far",
        _tabulate(combine(everything, by_batch=False), NARROW),
        "Expected is the RMSE of these rows by level of their predictions, known before their actual values; it does "
        "not hold for rows outside the range trained on. Where a version does not know it, it is the RMSE on its test "
        "rows. MAE, the mean absolute error, is the typical error. Errors are in the unit "
        "of the target; a bias above 0 is a prediction that was too high.",
        *write_slices(
            combined[-1].slices if combined else [], "the newest version's matched rows", "actuals/index.json"
        ),
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
    combined = combine(results, by_batch=False)
    rows = [make_cells(result, HEAD) for result in combined]
    lines = draw_table(HEAD, rows) if rows else ["No prediction is known to be right or wrong yet."]
    if combined:
        newest = max(combined, key=lambda result: result.predicted_at)
        worst = describe_worst_slice(newest.slices, newest.rmse)
        lines += [f"Worst slice   {worst}"] if worst else []
    return "\n".join([*lines, location]) + "\n"
