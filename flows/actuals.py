"""Actuals: from files of what became known to how good the predictions were."""

from prefect import flow

from linear_neuron.tasks.lineage import note_actuals, trace
from linear_neuron.tasks.monitoring.check_performance import check_performance
from linear_neuron.tasks.monitoring.follow_actuals import follow_actuals
from linear_neuron.tasks.monitoring.record import check_failures, find_actuals, read_actuals, record
from linear_neuron.tasks.parameters import Actuals
from linear_neuron.tasks.reporting.actuals_report import report_actuals
from linear_neuron.tasks.reporting.history import show_history
from linear_neuron.tasks.steps import end_as, name_paths, name_run, send_heartbeats


@flow(name="actuals", flow_run_name=name_run("actuals", lambda given: name_paths(given["actuals"].inputs)))
@send_heartbeats
@trace
def actuals(actuals: Actuals = Actuals()) -> str:
    """Compare what became known with each key's last prediction before, and keep how good that was.

    Args:
        actuals: Which files say what became known, and of which predictions.

    Returns:
        The folder or URL of all actuals in the store.
    """
    new = find_actuals(actuals)
    if not new.inputs and not new.lookup:
        follow_actuals()  # a killed run may have recorded more than it followed and checked
        check_performance(actuals.tolerance)
        return end_as("Unchanged" if new.known else "Empty", "There are no new actuals.", new.location)
    values, errors = read_actuals(new)
    entries, errors = record(new, values, errors)
    note_actuals(entries, new)
    follow_actuals()
    check_performance(actuals.tolerance)
    report_actuals(entries)
    show_history()
    check_failures(new, errors)
    return new.location
