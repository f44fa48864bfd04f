"""One run of weekly-retrain, asked for as a click on Run asks for it, and followed to its end."""

import re
from collections.abc import Callable

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import TaskRunSort

from tasks.errors import WorkError
from tasks.registry.versions import list_versions, read_version
from tasks.reporting.retrain import summarize
from tasks.storage.store import Store

DEPLOYMENT = "retrain/weekly-retrain"
QUEUE = "once"  # The worker looks into this one alone, so that it does not run what was missed before.


def start() -> FlowRun:
    """Ask the server for a run with the default parameters."""
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(DEPLOYMENT)
        return client.create_flow_run_from_deployment(deployment.id, work_queue_name=QUEUE)


def follow(run: FlowRun, show: Callable[[str], None]) -> bool:
    """Show which task of a run is the newest. Returns whether the run has ended."""
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(run.id)
        tasks = client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
            sort=TaskRunSort.EXPECTED_START_TIME_DESC,
            limit=1,
        )
    show(f"{run.name}: {tasks[0].name if tasks else run.state_name}")
    return bool(run.state and run.state.is_final())


def report(run: FlowRun) -> str:
    """Return the summary that `linear-neuron retrain` prints of a run that has ended.

    Raises:
        WorkError: the run did not complete.
    """
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(run.id)
    message = (run.state and run.state.message) or ""
    if not run.state or not run.state.is_completed():
        raise WorkError(f"The run {run.name} ended {run.state_name}: {message}")
    store = Store()
    unchanged = re.search(r"\d{8}T\d{6}Z-[0-9a-f]{6}", message)
    versions = [unchanged[0]] if unchanged else reversed(list_versions(store))
    models = (read_version(store, version) for version in versions)
    model = next(model for model in models if unchanged or model.lineage.get("flow_run_id") == str(run.id))
    return summarize(store, model, bool(unchanged))
