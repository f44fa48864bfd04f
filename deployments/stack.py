"""The whole product on one machine, in the foreground: a Prefect server, the deployments, and a worker."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING

from rich.console import Console

from linear_neuron.deployments.child import Child, run_child
from linear_neuron.deployments.server_settings import locate_up_file, prepare_server
from linear_neuron.tasks.errors import UserError, WorkError
from linear_neuron.tasks.name import FOLDERS, VARIABLE, find_base
from linear_neuron.tasks.storage.store import Store, make_folders

# Prefect reads its settings when it is imported, so it is imported only once they are set.
if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

DEPLOYMENT = "retrain/weekly-retrain"
QUEUE = "once"  # The worker looks into this one alone, so that it does not run what was missed before.
HEALTHY_SECONDS = 120  # A new database on a slow disk takes a while; a server that can't start exits sooner.
Show = Callable[[str], None]


def up(host: str, port: int, once: bool = False) -> None:
    """Run the stack until Ctrl-C or SIGTERM, then end the worker, its runs and the server, in that order.

    Where PREFECT_API_URL names a server, that one is used, and only the deployments and the worker are ours.

    Args:
        host: The address that the server listens on. Any but loopback needs PREFECT_SERVER_API_AUTH_STRING.
        port: The port of the API and the UI.
        once: Run weekly-retrain, print its summary, and end. Where the port is taken, any other will do.

    Raises:
        UserError: something is in the way, or the one run did not complete; what was started has been ended.
        KeyboardInterrupt: the one run was stopped.
    """
    # A shell's background job inherits an ignored Ctrl-C; both signals are to end us, whoever started us.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            last_words = _run(stack, host, port, once)
    except KeyboardInterrupt:
        if once:
            raise
        last_words = "Stopped. The history and the schedules are kept for the next start.\n"
    sys.stdout.write(last_words)


def _run(stack: ExitStack, host: str, port: int, once: bool) -> str:
    """Start everything. Returns the summary of the one run; otherwise it goes on until an exception."""
    name = os.environ.pop(VARIABLE, "")  # The worker gives each run the name of its deployment's model.
    if name and once:
        raise UserError("`up --once` runs the model without a name: leave out --name.")
    ours = "PREFECT_API_URL" not in os.environ
    home, sockets = prepare_server(stack, host, port, once) if ours else (None, [])
    _leave_users_folder(stack, home)
    os.environ.setdefault("PREFECT_WORKER_QUERY_SECONDS", "1")  # how long a click waits at most; the default is 10
    # Prefect reads its settings when it is imported, so it is imported after they are set.
    from linear_neuron.deployments import deploy

    deploy.read_deployments()
    if not once:
        make_folders(FOLDERS)
    with _status(lines=once) as show:
        show("Starting the Prefect server; the first start makes its database ...")
        server = stack.enter_context(_server(home, sockets)) if home else None
        show("Registering the schedules ...")
        if name:
            asyncio.run(deploy.deploy(name))
        lines = asyncio.run(deploy.deploy())
        if once:
            show("Waiting for the worker to run weekly-retrain ...")
            log = stack.enter_context((home / "worker.log").open("wb")) if home else None
            run = start()
            _keep_worker(server, lambda: follow(run, show), "--work-queue", QUEUE, log=log)
            return report(run)
    for line in lines:
        _say(line)
    _say(f"The UI is at {os.environ['PREFECT_API_URL'].removesuffix('/api')}; Ctrl-C stops everything.")
    _keep_worker(server, lambda: False)
    return ""


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def _status(lines: bool) -> Iterator[Show]:
    """Tell what is waited for: a terminal in one line that changes, anything else in lines if it wants them."""
    terminal = Console(stderr=True)
    if terminal.is_terminal:
        with terminal.status("") as status:
            yield status.update
    else:
        yield lambda text: terminal.print(text, soft_wrap=True) if lines and text.endswith("...") else None


def _leave_users_folder(stack: ExitStack, home: Path | None) -> None:
    """Go where no file can be taken for a module of ours: Prefect imports from the current folder first.

    Runs still find what the user names by a relative path, by LINEAR_NEURON_FOLDER.
    """
    os.environ.setdefault("LINEAR_NEURON_FOLDER", str(Path.cwd()))
    os.environ["LINEAR_NEURON_STORE"] = str(Store(find_base()).root)
    empty = home / "empty" if home else Path(stack.enter_context(TemporaryDirectory(prefix="linear-neuron-")))
    empty.mkdir(exist_ok=True)
    os.chdir(empty)


@contextmanager
def _server(home: Path, sockets: list[socket.socket]) -> Iterator[Child]:
    """Run a Prefect server on sockets that are open already, until it answers; its log is server.log in its folder."""
    log, url, up_file = home / "server.log", os.environ["PREFECT_API_URL"], locate_up_file(home)
    with (
        log.open("wb") as output,
        run_child("linear_neuron.deployments.server", log=output, umask=0o077, sockets=sockets) as server,
    ):
        if not _wait_until_healthy(server, url):
            reasons = re.findall(r"^[\w.]+(?:Error|Exception): .+", log.read_text(), re.MULTILINE)
            reason = reasons[-1] if reasons else "it does not answer"
            raise UserError(f"The Prefect server did not start: {reason}. Its log is {log}.")
        up_file.write_text(json.dumps({"url": url, "pid": os.getpid()}))
        try:
            yield server
        finally:
            up_file.unlink(missing_ok=True)


def _wait_until_healthy(server: Child, url: str) -> bool:
    import httpx

    deadline = time.monotonic() + HEALTHY_SECONDS
    with httpx.Client(timeout=5) as client:  # A new one for each request takes a third of a core from the server.
        while server.poll() is None and time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                if client.get(f"{url}/health").status_code < 500:
                    return True
            time.sleep(0.1)
    return False


def _keep_worker(
    server: Child | None, is_done: Callable[[], object], *options: str, log: IO[bytes] | None = None
) -> None:
    """Keep a worker going until it is done; where one is killed, start another.

    Raises:
        UserError: the server ended, or the worker does not start.
    """
    from linear_neuron.deployments.pools import POOL

    while True:
        started = time.monotonic()
        with run_child("prefect", "worker", "start", "--pool", POOL, *options, log=log) as worker:
            while worker.poll() is None:
                if server and server.poll() is not None:
                    raise UserError(
                        f"The server ended by itself; the reason is in {os.environ['PREFECT_HOME']}/server.log."
                    )
                if is_done():
                    return
                time.sleep(0.3)
        if worker.returncode >= 0 and time.monotonic() - started < 10:  # Not killed: it would end again and again.
            raise UserError("The worker ends as soon as it is started; the reason is in its lines above.")
        _say("The worker ended by itself; starting another.")


def start() -> "FlowRun":
    """Ask the server for a run of weekly-retrain with the default parameters, as a click on Run does.

    Raises:
        UserError: its runs are started on another work pool than ours.
    """
    from prefect.client.orchestration import get_client

    from linear_neuron.deployments.pools import POOL

    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(DEPLOYMENT)
        if deployment.work_pool_name != POOL:
            raise UserError(
                f"weekly-retrain is deployed on the work pool {deployment.work_pool_name}, and `up` has a worker for "
                f"{POOL} alone: run it there, or bring it back with `linear-neuron deploy --work-pool {POOL}`."
            )
        return client.create_flow_run_from_deployment(deployment.id, work_queue_name=QUEUE)


def follow(run: "FlowRun", show: Show) -> bool:
    """Show which task of a run is the newest. Returns whether the run has ended."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import TaskRunSort

    with get_client(sync_client=True) as client:
        run = client.read_flow_run(run.id)
        tasks = client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
            sort=TaskRunSort.EXPECTED_START_TIME_DESC,
            limit=1,
        )
    show(f"{run.name}: {tasks[0].name if tasks else run.state_name}")
    return bool(run.state and run.state.is_final())


def report(run: "FlowRun") -> str:
    """Return the summary that `linear-neuron retrain` prints of a run that has ended.

    Raises:
        WorkError: the run did not complete.
    """
    from prefect.client.orchestration import get_client

    from linear_neuron.tasks.registry.versions import list_versions, read_version
    from linear_neuron.tasks.reporting.retrain_report import summarize

    with get_client(sync_client=True) as client:
        run = client.read_flow_run(run.id)
    message = (run.state and run.state.message) or ""
    if not run.state or not run.state.is_completed():
        raise WorkError(f"The run {run.name} ended {run.state_name}: {message}")
    store = Store()
    unchanged = re.search(r"\d{8}T\d{6}Z-[0-9a-f]{6}", message) if run.state_name == "Unchanged" else None
    versions = [unchanged[0]] if unchanged else reversed(list_versions(store))
    models = (read_version(store, version) for version in versions)
    found = (model for model in models if unchanged or model.lineage.get("flow_run_id") == str(run.id))
    if (model := next(found, None)) is None:
        raise WorkError(f"The run {run.name} completed, but {store.root} has no version of it; another worker ran it.")
    return summarize(store, model, bool(unchanged))
