"""The worker: Prefect's process worker, plus what a run needs after downtime and at shutdown."""

import os
import signal
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import get_cancelled_exc_class, move_on_after
from httpx import HTTPError
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled, Crashed
from prefect.utilities.processutils import command_to_string
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from linear_neuron.deployments.fork_server import TRAIN, ForkServer
from linear_neuron.tasks.name import FOLDERS, VARIABLE, check_name, find_base, name_folder
from linear_neuron.tasks.storage.store import Store, make_folders

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.responses import DeploymentResponse, WorkerFlowRunResponse

TRAINING = "linear_neuron.flows.retrain.retrain"  # entrypoint of the flow that trains
READS = {
    "linear_neuron.flows.predict.predict": ("inbox",),
    "linear_neuron.flows.actuals.actuals": ("actuals",),
}  # folders that a flow looks into
ENGINE = "linear_neuron.deployments.engine"  # program of each run
STOP_SECONDS = 12  # How long a stopped worker may take to end its runs and say so.


class NeuronJob(ProcessJobConfiguration):
    """How one run is started: this interpreter on the installed flows, whatever the run or its deployment ask for."""

    def prepare_for_flow_run(
        self, flow_run: FlowRun, deployment: "DeploymentResponse | None" = None, *args: Any, **kwargs: Any
    ) -> None:
        """Set the command, the folder and the environment, so that no run can choose them.

        A command of ours also spares Prefect a process that would prepare a workspace (1.5 s a run). The folder is a
        new and empty one for each run, since Python would import what lies there. The deployment's name says whose
        model's store is used, since nobody can change that name.

        Raises:
            UserError: no model can have the name that the deployment's begins with.
        """
        name = _find_name(deployment)
        folder = os.environ.get("LINEAR_NEURON_FOLDER") or str(Path.cwd())
        # A worker that serves metrics holds their port, its settings go before those in `env`, and a run would crash.
        quiet = ["env", "PREFECT_CLIENT_METRICS_ENABLED=false"]
        trains = [TRAIN] if deployment is not None and deployment.entrypoint == TRAINING else []
        self.command = command_to_string([*quiet, sys.executable, "-P", "-m", ENGINE, *trains])
        self.working_dir = None
        self.env = {
            "LINEAR_NEURON_STORE": str(Store(find_base()).root),
            "LINEAR_NEURON_FOLDER": folder,
            VARIABLE: name,
        }
        looked_into = READS.get(deployment.entrypoint or "", ()) if deployment else ()  # People see where files go.
        make_folders(f"{folder.rstrip('/')}/{name_folder(own, name)}" for own in (FOLDERS if name else looked_into))
        super().prepare_for_flow_run(flow_run, deployment, *args, **kwargs)


def _find_name(deployment: "DeploymentResponse | None") -> str:
    """Find the model that a deployment is of: sales for `sales.weekly-retrain`, and the unnamed one without a dot."""
    if deployment is None or "." not in deployment.name:
        return ""
    return check_name(deployment.name.partition(".")[0] or deployment.name)


class NeuronWorker(ProcessWorker):
    """A process worker that runs only the newest of several missed runs, and never leaves a run Running behind."""

    type = "linear-neuron"
    job_configuration = NeuronJob
    _display_name = "Linear neuron"
    _description = "Runs flows as subprocesses; of several missed runs of a deployment only the newest."
    _fork_server: ForkServer | None = None
    _going = 0  # number of runs
    _trained = False  # whether a run trained since no run was going

    @classmethod
    def get_default_base_job_template(cls) -> dict[str, Any]:
        """Return a template without variables, so that the server refuses a run that sets one."""
        return {
            "job_configuration": {"stream_output": True},  # Prefect wants some.
            "variables": {"type": "object", "additionalProperties": False},
        }

    async def teardown(self, *exc_info: Any) -> None:
        """Tear down, and end in time even if the server no longer answers: each request is tried for minutes."""
        deadline = threading.Timer(STOP_SECONDS, _end_at_once)
        deadline.daemon = True
        deadline.start()
        await super().teardown(*exc_info)
        if self._fork_server:
            self._fork_server.close()

    async def _get_scheduled_flow_runs(self) -> "list[WorkerFlowRunResponse]":
        """Poll the pool. Where something is due, cancel first what is superseded: an idle poll is a single request."""
        due = await super()._get_scheduled_flow_runs()
        while due and await supersede(self.client, self._work_pool_name):
            due = await super()._get_scheduled_flow_runs()  # A page of runs at a time; a long downtime leaves more.
        return due

    async def run(self, flow_run: FlowRun, configuration: Any, task_status: Any = None) -> ProcessWorkerResult:
        """Run a flow in a subprocess; a run whose worker is stopped meanwhile ends Crashed with that reason.

        A fork server forks it, if there was another run within the last ten minutes.
        """
        self._going += 1
        self._trained |= TRAIN in configuration.command.split()
        if self._fork_server:
            configuration.command = f"{configuration.command} {self._fork_server.address}"
        try:
            result = await super().run(flow_run, configuration, task_status)
        except get_cancelled_exc_class():
            # Prefect ends the subprocess here, but leaves the run Running and its concurrency slot taken.
            with move_on_after(10, shield=True), suppress(HTTPError):  # The server may be gone as well.
                stopped: State = Crashed(message="The worker was stopped while this run was going. Run it again.")
                await self.client.set_flow_run_state(flow_run.id, stopped)
            raise
        finally:
            self._going -= 1
        if not self._going:  # A fork server's imports take all of a core for a while, and no run waits now.
            self._keep_fork_server([TRAIN] if self._trained else [])
            self._trained = False
        return result

    def _keep_fork_server(self, arguments: list[str]) -> None:
        """Have a fork server for the next run, where processes can be forked safely."""
        if self._fork_server and self._fork_server.ended:
            self._fork_server.close()
            self._fork_server = None
        if sys.platform == "linux" and not self._fork_server:
            with suppress(OSError):  # Such as a full disk. Then each run imports for itself.
                self._fork_server = ForkServer(arguments)


def _end_at_once() -> None:
    if os.getpid() == os.getpgrp():  # The runs are in our process group; in another's, there may be others.
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


async def supersede(client: PrefectClient, pool: str) -> int:
    """Cancel every missed scheduled run of a pool but each deployment's newest. Returns how many it cancelled.

    Runs that a person or an automation asked for are left alone: somebody wants each of them.
    """
    # What Prefect's DateTime is depends on the version of Python; validation makes one of a datetime on all of them.
    due = FlowRunFilterNextScheduledStartTime.model_validate({"before_": datetime.now(UTC)})
    missed = await client.read_flow_runs(
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Scheduled", "Late"])),
            next_scheduled_start_time=due,
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
    )
    newest: dict[UUID | None, FlowRun] = {}
    cancelled = 0
    for run in missed:
        if not run.auto_scheduled:
            continue
        kept = newest.setdefault(run.deployment_id, run)
        if kept is not run:
            reason = (
                f"Missed while nothing was running it; superseded by the run due {kept.expected_start_time:%F %R %Z}."
            )
            await client.set_flow_run_state(run.id, Cancelled(name="Superseded", message=reason))
            cancelled += 1
    return cancelled
