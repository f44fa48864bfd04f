"""The history of the versions: the expected and the realized error of each, which one served, and the alarms."""

import math
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from linear_neuron.tasks.errors import StoreError, UserError
from linear_neuron.tasks.monitoring.performance import Performance, read_performance
from linear_neuron.tasks.name import entitle
from linear_neuron.tasks.registry.alarms import read_alarms
from linear_neuron.tasks.registry.catalogue import list_history, list_models
from linear_neuron.tasks.reporting.page import as_picture, as_table, render_page, shorten_reason, show_time
from linear_neuron.tasks.steps import get_logger, is_recorded, show_markdown, task
from linear_neuron.tasks.storage.files import TEMPORARY
from linear_neuron.tasks.storage.store import Store, is_local, locate
from linear_neuron.tasks.text import as_text, number

if TYPE_CHECKING:
    from linear_neuron.tasks.reporting.charts import History

Rows = list[dict[str, Any]]  # as `list_models` has them

DRAWN = 300  # versions in the picture, the newest; a store of thousands must not slow a run
SHOWN = 30  # versions in the table of the artifact
HEAD = ["version", "predicts", "test RMSE", "least squares", "on actuals", "status"]
CAPTION = (
    "A dot is the root mean squared error (RMSE) of a version's candidate on its test rows, a cross that of one that "
    "was refused, and a dash that of least squares there. The black line is the champion. A diamond is a batch of "
    "predictions by the model that served, with its error on the actuals. Alarms are above: drift, and performance "
    "below what the test rows say."
)


def collect_history(store: Store, rows: Rows, results: list[Performance]) -> "History | None":
    """Collect the points of the chart, for the versions with the champion's target, or else with the newest one's.

    Returns:
        None where no version has a test error.
    """
    from linear_neuron.tasks.reporting.charts import History

    tested = [row for row in rows if row["test_mse"] is not None]
    if not tested:
        return None
    target = next((row["target"] for row in tested if row["status"] == "champion"), tested[-1]["target"])
    tested = [row | {"at": _read_time(row["created_at"])} for row in tested if row["target"] == target]
    errors, entries = {row["version"]: row["test_mse"] for row in tested}, list_history(store)
    served = [entry for entry in entries if entry["action"] != "refused" and entry["version"] in errors]
    refused = {entry["version"] for entry in entries} - {entry["version"] for entry in served}
    alarms = [(_read_time(alarm["at"]), alarm["action"]) for alarm in read_alarms(store)]
    alarms = [(at, kind) for at, kind in alarms if at >= tested[0]["at"]]
    return History(
        target=target,
        tested=[(row["at"], row["test_mse"]) for row in tested if row["version"] not in refused],
        refused=[(row["at"], row["test_mse"]) for row in tested if row["version"] in refused],
        least_squares=[(row["at"], row["floor_mse"]) for row in tested],
        served=[(_read_time(entry["at"]), errors[entry["version"]]) for entry in served],
        realized=[(result.predicted_at, result.mse) for result in results if result.version in errors],
        drifts=[at for at, kind in alarms if kind == "drift.detected"],
        failing=[at for at, kind in alarms if kind in ("coverage.low", "error.high")],
    )


def _read_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def write_history(store: Store, drawn: Rows, listed: Rows) -> str:
    """Write a chart of some versions, and a table of some, the newest first, in markdown.

    Raises:
        UserError: a log, or the index of the actuals, is damaged.
    """
    results = read_performance(store)
    parts = ["# " + entitle("The history of the versions"), f"Created {show_time(datetime.now(UTC))}."]
    if history := collect_history(store, drawn, results):
        from linear_neuron.tasks.reporting.charts import draw_history

        with TemporaryDirectory(prefix=TEMPORARY) as folder:
            draw_history(history, path := Path(folder) / "history.png")
            parts += [as_picture("Error of each version over time", path.read_bytes()), CAPTION]
    parts.append(_tabulate(listed[::-1], _add_up(results)))
    return "\n\n".join(parts) + "\n"


def _add_up(results: list[Performance]) -> dict[str, float]:
    """Compute the error of each version on all its actuals so far."""
    matched, total = Counter[str](), dict[str, float]()
    for result in results:
        matched[result.version] += result.matched
        total[result.version] = total.get(result.version, 0.0) + result.mse * result.matched
    return {version: total[version] / matched[version] for version in matched if matched[version]}


def _tabulate(rows: Rows, realized: dict[str, float]) -> str:
    """Write the table; the error on a table that was given by --on has a column where there is one."""
    given = any(row.get("realised_mse") is not None for row in rows)
    head = [*HEAD[:-1], *["on that table"] * given, HEAD[-1]]
    cells = [
        [
            row["version"],
            f"{row['target']} from {', '.join(row['features'])}" if row["features"] else "-",
            *map(_show_root, (row["test_mse"], row["floor_mse"], realized.get(row["version"]))),
            *[_show_root(row.get("realised_mse"))] * given,
            ": ".join(filter(None, (row["status"], shorten_reason(row["reason"] or "")))) or "-",
        ]
        for row in rows
    ]
    return as_table(head, cells)


def _show_root(mse: float | None) -> str:
    return number(None if mse is None else math.sqrt(mse))


def write_page(store: Store, rows: Rows, said: str, file: str) -> None:
    """Write chart and table as one self-contained page.

    Args:
        store: Where the versions are.
        rows: The table's versions, oldest first.
        said: Lines of text below the table.
        file: The path or URL to write.

    Raises:
        UserError: it can't be written, or a log or the index of the actuals is damaged.
    """
    lines = "".join(f"\n{as_text(line)}\n" for line in said.splitlines())
    page = render_page(write_history(store, list_models(store, DRAWN), rows) + lines, entitle("linear-neuron history"))
    path = locate(file)
    try:
        if is_local(path) and not Path(path.parent.path).is_dir():
            raise StoreError("there is no such folder")
        Store(str(path.parent)).write(path, page.encode())
    except UserError as error:
        reason = (error.__cause__ and getattr(error.__cause__, "strerror", None)) or error
        raise UserError(f"{file} can't be written: {reason}. Name a file in a folder that is there.") from error


@task("Show the history")
def show_history() -> None:
    """Show the picture and the newest versions as an artifact in the Prefect UI; a damaged log only warns."""
    if not is_recorded():
        return
    store = Store()
    try:
        rows = list_models(store, DRAWN)
        markdown = write_history(store, rows, rows[-SHOWN:])
    except UserError as error:
        get_logger().warning("The history is not shown: %s", error)
    else:
        show_markdown(markdown, key="history", description="Errors, champions and alarms of all versions over time")
