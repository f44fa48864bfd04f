"""What a step needs of Prefect: to be a task, a logger, artifacts and events.

Inside a flow run all of it is recorded at the server. Outside, a step is a plain function, its log lines go to the
terminal, and artifacts and events are left out. Only this module knows the difference. It imports Prefect where it is
needed, since that takes a second that a command without a flow need not spend.
"""

import errno
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import cached_property, update_wrapper, wraps
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypedDict, TypeVar

from linear_neuron.tasks.errors import UnavailableError, UserError
from linear_neuron.tasks.name import entitle
from linear_neuron.tasks.parameters import (
    Actuals,
    Batch,
    Dataset,
    ExampleInputs,
    Parameters,
    Period,
    Promotion,
    Retention,
    Training,
)
from linear_neuron.tasks.text import list_first

if TYPE_CHECKING:
    from prefect import Task

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")

PLAIN_LOGGER = logging.getLogger("linear_neuron")
GROUPS: tuple[tuple[str, type[Parameters]], ...] = (
    ("batch", Batch),
    ("actuals", Actuals),
    ("period", Period),
    ("dataset", Dataset),
    ("training", Training),
    ("table", ExampleInputs),
    ("promotion", Promotion),
    ("retention", Retention),
)
FIELDS = {group: set(model.model_fields) for group, model in GROUPS}
RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
BEAT_SECONDS = 30  # between two heartbeats of a run; automations.yaml waits for three of them


def is_recorded() -> bool:
    """Whether this code runs inside a flow run that a server records."""
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext, TaskRunContext

    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def is_deployed() -> bool:
    """Whether this code runs for a deployment: by its schedule, by an automation, or by a click in the UI."""
    if not is_recorded():
        return False
    from prefect import runtime

    return runtime.deployment.id is not None


def is_transient(error: BaseException) -> bool:
    """Whether asking again may help: it does not help where the user has to fix something."""
    return isinstance(error, UnavailableError) or not isinstance(error, UserError)


REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EMFILE, errno.ENFILE, errno.EIO}


def _explain(fn: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function so that an error of the machine or of an object store becomes one sentence.

    Errors of the machine are a disk that is full, broken or read-only, and too many open files.
    """

    @wraps(fn)
    def explained(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return fn(*args, **kwargs)
        except Exception as error:
            if sentence := _find_sentence(error):
                raise sentence from error
            if isinstance(error, UserError) and is_deployed() and (names := name_fields(str(error), _list_groups())):
                error.args = (f"{error} In the form: {names}.",)
            raise

    return explained


def _list_groups() -> set[str]:
    """List the groups of parameters that the form of this run's flow has; a run below another one has no form."""
    from prefect import runtime

    if runtime.flow_run.get_parent_flow_run_id():
        return set()
    return set(runtime.flow_run.get_parameters())


def name_fields(message: str, groups: Collection[str]) -> str:
    """Name the fields of Prefect's form whose flags a message advises; empty where it was done before.

    Args:
        message: what went wrong.
        groups: those that the form has.
    """
    found: dict[str, None] = {}
    for group, flag in re.findall(r"--(?:(\w+)\.)?([a-z]+(?:-[a-z]+)*)", message):
        name = flag.replace("-", "_")
        for owner, fields in FIELDS.items():
            if owner in groups and name in fields and owner == (group or owner):
                found[f"{name.replace('_', ' ').title()} of {owner}"] = None
                break
    return "" if " In the form: " in message else ", ".join(found)


def _find_sentence(error: Exception) -> UserError | None:
    """Describe an error of the machine or of an object store in one sentence; None for any other error."""
    if isinstance(error, OSError) and error.errno in REFUSALS:
        reason = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
        return UserError(f"This machine can't go on: {reason}. Free disk space, or check permissions and limits.")
    # The S3 client is an optional extra, so its errors are recognized by their module; s3fs makes OSErrors of some.
    for known in (error, error.__cause__ if isinstance(error, OSError) else None):
        if "botocore" in type(known).__module__:
            return UnavailableError(f"The object store does not answer as it should: {error}. Try again when it does.")
    return None


class Limits(TypedDict):
    """How long, and how often, a step is tried."""

    retries: int  # after the first try, and only where the error may pass
    retry_delay_seconds: float  # before each of these
    timeout_seconds: float | None  # of each try


class _Call:
    """The arguments of a step, in an object that Prefect does not look into."""

    def __init__(self, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.args, self.named = args, named


class Step(Generic[P, R]):
    """A function that is a Prefect task inside a flow run, and itself elsewhere."""

    def __init__(self, name: str, fn: Callable[P, R], limits: Limits) -> None:
        self.name, self.fn, self.limits = name, _explain(fn), limits
        update_wrapper(self, fn)

    @cached_property
    def recorded(self) -> "Task[P, R]":
        """The Prefect task, whose arguments are not hashed for a cache that nobody reads."""
        return self._make_task(self.fn)

    @cached_property
    def _called(self) -> "Task[[_Call], R]":
        """The same task as that of a call as a whole: Prefect would look for futures in each value of the arguments."""

        def call(call: _Call) -> R:
            return self.fn(*call.args, **call.named)

        call.__name__, call.__qualname__, call.__module__ = self.fn.__name__, self.fn.__qualname__, self.fn.__module__
        return self._make_task(call)

    def _make_task(self, fn: Callable[Q, R]) -> "Task[Q, R]":
        import prefect
        from prefect.cache_policies import NO_CACHE

        return prefect.task(
            name=self.name,
            task_run_name=self.name,
            cache_policy=NO_CACHE,
            retry_condition_fn=_may_retry,
            **self.limits,
        )(fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the step, recorded or plainly."""
        if is_recorded():
            with without_tags():
                try:
                    return self._called(_Call(args, kwargs))
                except Exception:
                    _send_log()
                    raise
        for retries_left in range(self.limits["retries"], -1, -1):
            try:
                return self._try(*args, **kwargs)
            except Exception as error:
                if not retries_left or not is_transient(error):
                    raise
                time.sleep(self.limits["retry_delay_seconds"])
        raise AssertionError("the last try returns or raises")

    def _try(self, *args: P.args, **kwargs: P.kwargs) -> R:
        seconds = self.limits["timeout_seconds"]
        if seconds is None:
            return self.fn(*args, **kwargs)
        from prefect.utilities.timeout import timeout

        try:
            with timeout(seconds, StepTimeoutError):
                return self.fn(*args, **kwargs)
        except StepTimeoutError:
            raise UnavailableError(f"{self.name}: given up after {seconds:g} s.") from None


class StepTimeoutError(TimeoutError):
    """The step's own time-out, as opposed to those of what the step calls."""


def task(
    name: str, *, retries: int = 0, retry_delay_seconds: float = 1, timeout_seconds: float | None = None
) -> Callable[[Callable[P, R]], Step[P, R]]:
    """Make a function a step, which goes by a human name in the UI and in the logs."""
    limits = Limits(retries=retries, retry_delay_seconds=retry_delay_seconds, timeout_seconds=timeout_seconds)
    return lambda fn: Step(name, fn, limits)


@contextmanager
def without_tags() -> Iterator[None]:
    """Run tasks without the flow's tags, for which each task would ask the server for a slot before it starts."""
    from prefect.context import TagsContext

    with TagsContext(current_tags=set()):
        yield


def send_heartbeats(flow: Callable[P, R]) -> Callable[P, R]:
    """Send heartbeats while a recorded flow runs; the server takes a run for crashed whose heartbeats stop.

    Prefect's own thread sends them where its setting says how often, and a run waits up to a second for it to end. So
    whoever starts a run here turns that off, and this thread ends at once.
    """

    @wraps(flow)
    def beating(*args: P.args, **kwargs: P.kwargs) -> R:
        if not is_recorded():
            return flow(*args, **kwargs)
        from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY

        if PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is not None:
            return flow(*args, **kwargs)
        ended = threading.Event()
        context = copy_context()  # in which the events know the run, its deployment and its tags
        thread = threading.Thread(target=context.run, args=(_beat, ended), daemon=True, name="heartbeats of the run")
        thread.start()
        try:
            return flow(*args, **kwargs)
        finally:
            ended.set()
            thread.join(2)  # After the run's end a heartbeat would make the server wait for another.

    return beating


def _beat(ended: threading.Event) -> None:
    from prefect.events import emit_event
    from prefect.runtime import flow_run

    resource = {"prefect.resource.id": f"prefect.flow-run.{flow_run.get_id()}"}
    resource["prefect.resource.name"] = flow_run.get_name() or ""
    # Prefect adds the flow and the deployment, but not the tags, by which the automations know our runs.
    tags = [
        {"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in flow_run.get_tags()
    ]
    while True:
        try:
            emit_event("prefect.flow-run.heartbeat", resource=resource, related=tags)
        except Exception as error:  # noqa: BLE001, the next heartbeat may arrive
            get_logger().debug("A heartbeat can't be sent: %s", error)
        if ended.wait(BEAT_SECONDS):
            return


def _send_log() -> None:
    """Send all log lines to the server, which otherwise has the last ones up to two seconds after the run's end.

    The page of a run that has ended does not ask for more lines, so it would not show why the run failed.
    """
    from prefect.logging.handlers import APILogWorker

    APILogWorker.instance().drain()


def _may_retry(task: Any, run: Any, state: Any) -> bool:
    error = state.result(raise_on_failure=False)
    return not isinstance(error, BaseException) or is_transient(error)


def name_run(flow: str, describe: Callable[[dict[str, Any]], str] = lambda _: "") -> Callable[[], str]:
    """Return what names each run of a flow, such as `sales: predict inbox`, so that a list of runs can be read.

    Args:
        flow: What the name begins with.
        describe: Says in a few words what the run is about, from its parameters.
    """

    def name() -> str:
        from prefect import runtime

        return entitle(f"{flow} {describe(runtime.flow_run.get_parameters())}".rstrip())

    return name


def name_paths(paths: list[str]) -> str:
    """Name the first path without its folder, and count the others, such as `sales.csv and 2 more`."""
    return list_first([PurePath(path).name for path in paths], 1)


def get_logger() -> Any:
    """Return the run's logger, or the terminal's outside of a run."""
    if not is_recorded():
        return PLAIN_LOGGER
    from prefect import get_run_logger

    return get_run_logger()


def end_as(name: str, message: str, result: R) -> R:
    """Return what makes the flow's run end completed under another name; outside of a run, the result as it is.

    Prefect logs and shows the message with the state, so it is not logged here.
    """
    if not is_recorded():
        return result
    from prefect.states import Completed

    # Prefect takes a returned state for the run's own, and its data for the result.
    return Completed(name=name, message=message, data=result)  # type: ignore[return-value]


def show_markdown(markdown: str, key: str, description: str) -> None:
    """Show a page among the artifacts of the run; key and description say which model it is of."""
    if is_recorded():
        from prefect.artifacts import create_markdown_artifact

        _show(create_markdown_artifact, key, description, markdown=markdown)


def show_table(rows: list[dict[str, Any]], key: str, description: str) -> None:
    """Show a table among the artifacts of the run; key and description say which model it is of."""
    if is_recorded():
        from prefect.artifacts import create_table_artifact

        _show(create_table_artifact, key, description, table=rows)


def _show(create: Callable[..., object], key: str, description: str, **content: Any) -> None:
    """Make an artifact; where the server is gone the work goes on, since the files hold the same."""
    import httpx

    try:
        create(key=entitle(key, "-"), description=entitle(description), **content)
    except httpx.TransportError as error:
        get_logger().warning("The server does not answer (%s), so it does not show %s", error, key)


def announce(event: str, resource_id: str, resource_name: str, payload: dict[str, Any]) -> None:
    """Emit an event that automations can react to."""
    if is_recorded():
        from prefect.events import emit_event

        resource = {"prefect.resource.id": resource_id, "prefect.resource.name": resource_name}
        emit_event(event, resource=resource, payload=payload)


def _say_once(record: logging.LogRecord) -> bool:
    """Log a user's mistake once, as its sentence alone; a traceback would bury it.

    That a task is completed is not logged: the UI shows it elsewhere, and only the first twenty lines of a log at once.
    """
    if record.name == "prefect.task_runs" and record.getMessage() == "Finished in state Completed()":
        return False
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, UserError):
        return True
    record.exc_info, record.msg, record.args = None, str(error), ()
    said = hasattr(error, "said")  # by the task; the flow that it ends would log it again.
    error.said = True  # type: ignore[attr-defined]
    return not said


for _name in RUN_LOGGERS:
    logging.getLogger(_name).addFilter(_say_once)
