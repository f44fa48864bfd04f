"""Actuals: from files of what became known to how good the predictions were."""

from pathlib import PurePath

from prefect import flow, runtime

from tasks.actuals.promises import check_promises
from tasks.actuals.run import check_failures, find_actuals, look_up, read_actuals, record
from tasks.name import entitle
from tasks.parameters import Actuals
from tasks.reporting.actuals import report_actuals
from tasks.reporting.history import show_history
from tasks.steps import end_as


def run_name() -> str:
    """Name the run, such as `actuals sales-2026-11.csv`, so that runs can be told apart in a list."""
    inputs = runtime.flow_run.get_parameters()["actuals"].inputs
    more = f" and {len(inputs) - 1} more" if len(inputs) > 1 else ""
    return entitle(f"actuals {PurePath(inputs[0]).name}{more}")


@flow(name="actuals", flow_run_name=run_name)
def actuals(actuals: Actuals = Actuals()) -> str:
    """Compare what became known with each key's last prediction before, and keep how good that was.

    Args:
        actuals: Which files say what became known, and of which predictions.

    Returns:
        The folder or URL of all actuals in the store.
    """
    new = find_actuals(actuals)
    if not new.inputs:
        return end_as("Unchanged" if new.known else "Empty", "There are no new actuals.", new.location)
    truths, errors = read_actuals(new)
    entries = record(new, truths, errors, look_up(new, truths))
    check_promises(entries, actuals.tolerance)
    report_actuals(entries)
    show_history()
    check_failures(new, errors)
    return new.location
