"""What a step asks of Prefect: to be a task, a logger, artifacts and events.

Inside a flow run all of it is recorded at the server. Outside of one, a step is a plain function, its log lines go to
the terminal, and artifacts and events are left out. Only this module knows the difference.
"""

import logging
import time
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

import prefect
from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext, TaskRunContext
from prefect.events import emit_event
from prefect.states import Completed
from prefect.utilities.timeout import timeout

from tasks.errors import UnavailableError, UserError

P = ParamSpec("P")
R = TypeVar("R")

PLAIN_LOGGER = logging.getLogger("linear_neuron")


def is_recorded() -> bool:
    """Whether this code runs inside a flow run that a server records."""
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def is_transient(error: BaseException) -> bool:
    """Whether asking again may help: it does not where the user has something to mend."""
    return isinstance(error, UnavailableError) or not isinstance(error, UserError)


class Step(Generic[P, R]):
    """A function that is a Prefect task inside a flow run, and itself elsewhere."""

    def __init__(self, fn: Callable[P, R], recorded: Task[P, R]) -> None:
        self.fn, self.recorded = fn, recorded
        update_wrapper(self, fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the step, recorded or plainly."""
        if is_recorded():
            return self.recorded(*args, **kwargs)
        for retries_left in range(self.recorded.retries, -1, -1):
            try:
                with timeout(self.recorded.timeout_seconds):
                    return self.fn(*args, **kwargs)
            except Exception as error:
                if not retries_left or not is_transient(error):
                    raise
                time.sleep(float(self.recorded.retry_delay_seconds))  # type: ignore[arg-type]
        raise AssertionError("the last try returns or raises")


def task(
    name: str, *, retries: int = 0, retry_delay_seconds: float = 1, timeout_seconds: float | None = None
) -> Callable[[Callable[P, R]], Step[P, R]]:
    """Make a step that goes by a human name, and whose arguments are not hashed for a cache that nobody reads.

    Args:
        name: what the UI and the logs call it.
        retries: how often it is tried again after an error that may pass.
        retry_delay_seconds: pause before each of these.
        timeout_seconds: after which it is given up.
    """

    def decorate(fn: Callable[P, R]) -> Step[P, R]:
        recorded = prefect.task(
            name=name,
            task_run_name=name,
            cache_policy=NO_CACHE,
            retries=retries,
            retry_delay_seconds=retry_delay_seconds,
            timeout_seconds=timeout_seconds,
            retry_condition_fn=_may_retry,
        )(fn)
        return Step(fn, recorded)

    return decorate


def _may_retry(task: Any, run: Any, state: Any) -> bool:
    error = state.result(raise_on_failure=False)
    return not isinstance(error, BaseException) or is_transient(error)


def get_logger() -> Any:
    """Return the run's logger, or the terminal's outside of a run."""
    return prefect.get_run_logger() if is_recorded() else PLAIN_LOGGER


def end_as(name: str, message: str, result: R) -> R:
    """Return what makes the flow's run end completed under another name; outside of a run, the result as it is."""
    if not is_recorded():
        PLAIN_LOGGER.info(message)
        return result
    # Prefect takes a returned state for the run's own, and its data for the result.
    return Completed(name=name, message=message, data=result)  # type: ignore[return-value]


def show_markdown(markdown: str, key: str, description: str) -> None:
    """Show a page among the artifacts of the run."""
    if is_recorded():
        from prefect.artifacts import create_markdown_artifact

        create_markdown_artifact(markdown, key=key, description=description)


def show_table(rows: list[dict[str, Any]], key: str, description: str) -> None:
    """Show a table among the artifacts of the run."""
    if is_recorded():
        from prefect.artifacts import create_table_artifact

        create_table_artifact(rows, key=key, description=description)


def announce(event: str, resource_id: str, resource_name: str, payload: dict[str, Any]) -> None:
    """Emit an event that automations can react to."""
    if is_recorded():
        resource = {"prefect.resource.id": resource_id, "prefect.resource.name": resource_name}
        emit_event(event, resource=resource, payload=payload)


def _plain(record: logging.LogRecord) -> bool:
    """Say a user's mistake in its sentence alone; a traceback would bury it."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, UserError):
        record.exc_info, record.msg, record.args = None, str(error).replace("%", "%%"), ()
    return True


for _name in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_name).addFilter(_plain)
