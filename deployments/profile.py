"""Where the time of one run went, by the server's own record of it."""

import time
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TaskRun


def describe_phases(flow_run_id: UUID, began: float) -> str:
    """A line a phase: seconds since the command began at `began` (Unix time), start-up and every step.

    A step's seconds run from its start to the start of the next, so that what happens between two counts as well.
    """
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(flow_run_id)
        steps = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
    marks = sorted((_seconds(task), task.name) for task in steps if task.start_time)
    start = run.start_time.timestamp() if run.start_time else began
    marks = [(began, "Start-up: imports, and a server if there is none"), (start, "Enter the flow"), *marks]
    if run.end_time:
        marks.append((run.end_time.timestamp(), "After the flow"))
    ends = [mark for mark, _ in marks[1:]] + [time.time()]
    lines = [f"{end - mark:7.2f} s  {name}" for (mark, name), end in zip(marks, ends, strict=True)]
    return "\n".join(["Where the time went", *lines, f"{time.time() - began:7.2f} s  in all"]) + "\n"


def _seconds(task: TaskRun) -> float:
    return task.start_time.timestamp() if task.start_time else 0.0
