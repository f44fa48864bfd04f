"""Who makes something happen, as the logs of the store name it."""

import getpass
import os

from tasks.steps import is_recorded


def get_actor() -> str:
    """Name who makes this happen: the user of this process, and the flow run where it is recorded.

    Of a deployment's run, that is the deployment, and what started it: its schedule, an automation, or a person.
    """
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # A container's user may have no name.
        user = f"user {os.getuid()}"
    if not is_recorded():
        return user
    from prefect.runtime import deployment, flow_run

    if deployment.id is None:
        return f"{user}, run {flow_run.name}"
    return f"{deployment.name} {_find_cause()}, run {flow_run.name}"


def _find_cause() -> str:
    """Say what started this run of a deployment."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or run.created_by is None:
        return "by hand"
    names = {"SCHEDULE": "by its schedule", "AUTOMATION": f"by the automation {run.created_by.display_value}"}
    return names.get(run.created_by.type or "", "by hand")
