"""How a function becomes a step of a flow."""

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE

from tasks.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")


def step(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Makes a Prefect task that goes by a human name, and whose arguments are not hashed for a cache nobody reads."""
    return task(name=name, task_run_name=name, cache_policy=NO_CACHE)


def _plain(record: logging.LogRecord) -> bool:
    """Says a user's mistake in its sentence alone; a traceback would bury it."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, UserError):
        record.exc_info, record.msg, record.args = None, str(error).replace("%", "%%"), ()
    return True


for _name in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_name).addFilter(_plain)
