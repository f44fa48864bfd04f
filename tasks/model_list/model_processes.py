"""Processes that run models one after another, each model as a flow run of its own."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any, cast

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model_list.read_models import Entry, Kind
from linear_neuron.tasks.name import find_store
from linear_neuron.tasks.process import start_linked
from linear_neuron.tasks.registry.last_runs import LastRun, record_run
from linear_neuron.tasks.steps import get_logger, is_recorded, task
from linear_neuron.tasks.storage.store import Store

PROGRAM = "linear_neuron.flows.model_process"
END_SECONDS = 8  # that a process has to report its end; a worker that is stopped has 12


class ModelProcess:
    """A process that imports the flows once and then runs models."""

    def __init__(self, kind: Kind, environment: dict[str, str]) -> None:
        self._process, self._link = start_linked(PROGRAM, kind, environment=environment)

    def run(self, model: Entry, context: bytes) -> LastRun:
        """Run the flow for a model; a process that dies meanwhile is a run that crashed."""
        began = datetime.now(UTC)
        try:
            self._link.send((model, context))
            state, message = cast("tuple[str, str]", self._link.recv())
        except (EOFError, OSError):
            self.kill()
            state, message = "Crashed", f"The process that ran it ended with status {self._process.wait()}."
        return LastRun(at=began, state=state, message=message)

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Let the process end after what it does, so that its log and its events arrive."""
        self._link.close()

    def stop(self) -> None:
        """Have the process end what it does, and report it as crashed."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process, at once if it does not end by itself."""
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._link.close()
        if self._process.stdin:
            self._process.stdin.close()


class ModelPool:
    """The processes of a run: as many as run at a time, each used again, and replaced when it has died."""

    def __init__(self, kind: Kind, count: int) -> None:
        self._kind, self._environment = kind, make_environment()
        self._idle: SimpleQueue[ModelProcess | None] = SimpleQueue()
        self._started: list[ModelProcess] = []
        for _ in range(count):
            self._idle.put(None)

    def run(self, model: Entry, context: bytes) -> LastRun:
        """Run a model in a process that is idle."""
        process = self._idle.get()
        if process is None or process.ended:
            process = ModelProcess(self._kind, self._environment)
            self._started.append(process)
        try:
            return process.run(model, context)
        finally:
            self._idle.put(process)

    def end(self, *, stop: bool) -> None:
        """End all processes; with `stop` whatever they are doing."""
        for process in self._started:
            process.stop() if stop else process.close()
        for process in self._started:
            process.kill()


@contextmanager
def open_pool(kind: Kind, count: int) -> Iterator[ModelPool]:
    """Make a pool, and end its processes: after their work, or at once where this run is ended."""
    pool, done = ModelPool(kind, count), False
    try:
        yield pool
        done = True
    finally:
        pool.end(stop=not done)


@task("Run the models")
def run_models(kind: Kind, models: Sequence[Entry], concurrency: int) -> dict[str, LastRun]:
    """Run the flow of a kind for each model, some at a time, and record in each store how it ended."""
    ended: dict[str, LastRun] = {}
    context = _pack_context()
    count = min(concurrency, len(models))
    with ThreadPoolExecutor(max(1, count)) as threads, open_pool(kind, count) as pool:
        waiting = {threads.submit(pool.run, model, context): model for model in models}
        try:
            for future in as_completed(waiting):
                name, run = waiting[future].name, future.result()
                ended[name] = run
                _record(name, kind, run)
                get_logger().info("%s: %s (%d of %d)", name, run.state, len(ended), len(models))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return ended


def _record(name: str, kind: Kind, run: LastRun) -> None:
    """Record a run in the model's store; where that can't be written, the run has said so."""
    try:
        record_run(Store(find_store(name)), kind, run)
    except UserError as error:
        get_logger().warning("%s: the run is not recorded, so it is due again: %s", name, error)


def make_environment() -> dict[str, str]:
    """Make the environment of the processes: ours, and where a server records this run, its settings of Prefect."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT__")}
    environment.pop("PREFECT_API_URL", None)
    if is_recorded():
        from prefect.settings import get_current_settings

        environment |= get_current_settings().to_environment_variables(exclude_unset=True, include_secrets=True)
    return environment


def _pack_context() -> bytes:
    """Pack what makes the runs of the models parts of this run; empty where it is not recorded."""
    if not is_recorded():
        return b""
    import cloudpickle
    from prefect.context import FlowRunContext, serialize_context

    running = FlowRunContext.get()
    tags = set(running.flow_run.tags) if running and running.flow_run else set()  # A step has none of them.
    context: dict[str, Any] = serialize_context() | {"task_run_context": {}, "tags_context": {"current_tags": tags}}
    return cast(bytes, cloudpickle.dumps(context))
