"""How the command line runs a flow: recorded at the Prefect server that it finds, or as plain functions here."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import httpx
from filelock import FileLock, Timeout
from prefect import Flow, tags
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    temporary_settings,
)
from pydantic_core import to_jsonable_python

from linear_neuron.deployments.server_settings import locate_up_file
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.name import get_name
from linear_neuron.tasks.steps import PLAIN_LOGGER, RUN_LOGGERS

R = TypeVar("R")

TAG = "linear-neuron"  # by which the automations know our runs from other people's
RETRIES = 2  # of each request; by Prefect's five a run waits for minutes for a server that is gone

NOT_RECORDED = "This run is not recorded, as no Prefect server is up: run `linear-neuron up`, or set PREFECT_API_URL.\n"


class Terminal(logging.Handler):
    """The log on standard error, each entry one line, and above the progress bar where there is one."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out that Prefect begins and ends a run; errors are for whoever catches them."""
        noise = record.levelno >= logging.ERROR or str(record.msg).startswith(("Beginning ", "Finished in state "))
        return _is_verbose() or not (noise and record.module in ("flow_engine", "task_engine"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write the entry to what standard error is by now; a traceback is for those who want to know all."""
        sys.stderr.write(f"{self.format(record) if _is_verbose() else record.getMessage()}\n")


def _is_verbose() -> bool:
    return PLAIN_LOGGER.level <= logging.DEBUG


for _name in ("prefect.events.clients", "prefect._internal.concurrency"):  # They tell of each event that is lost.
    logging.getLogger(_name).addFilter(lambda record: _is_verbose())


def run(flow: Flow[..., R], *arguments: Any, quiet: bool = False) -> R:
    """Run a flow, recorded where a Prefect server is found.

    Args:
        flow: one of ours.
        arguments: its parameters.
        quiet: whether its log is left out, since its result says the same.

    Raises:
        UserError: the API that is named does not answer; or whatever the flow raises.
    """
    logging.getLogger().handlers = [Terminal(logging.WARNING if quiet and not _is_verbose() else logging.NOTSET)]
    for name in RUN_LOGGERS:
        logging.getLogger(name).setLevel(PLAIN_LOGGER.level)
    logging.raiseExceptions = _is_verbose()  # As Prefect asks it, whether to tell of log lines that don't arrive.
    url = find_api()
    if url is None:
        sys.stderr.write(NOT_RECORDED)
        return flow.fn(*arguments)
    # The flows send heartbeats of their own; see steps.send_heartbeats.
    settings = {PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: RETRIES, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    # Prefect's own method imports FastAPI, which takes 0.2 s, and says the same of our parameters.
    flow.serialize_parameters = to_jsonable_python  # type: ignore[assignment,method-assign]
    with temporary_settings(settings), tags(*filter(None, (TAG, get_name()))), api_errors(url):
        try:
            return flow(*arguments)
        except httpx.TransportError:
            sys.stderr.write(
                f"linear-neuron: The Prefect server at {url} went away during the run, so its end is not recorded; "
                "`linear-neuron models` shows what it left in the store.\n"
            )
            sys.stderr.flush()
            os._exit(1)  # Prefect would stay for minutes, to tell a server that is gone each event of the run.


def find_api() -> str | None:
    """Find the API that PREFECT_API_URL or a Prefect profile names, or that of the stack that is up on this store.

    Raises:
        UserError: the API that is named does not answer, or refuses us.
    """
    url: str | None = PREFECT_API_URL.value() or _find_stack()
    if url:
        with temporary_settings({PREFECT_API_URL: url}), api_errors(url), get_client(sync_client=True) as client:
            client.read_flows(limit=1)
    return url


def _find_stack() -> str | None:
    """Read the address in UP_FILE; None where no stack holds its lock, or its server does not answer.

    Who holds the lock also holds the port, so nobody else can answer there and be sent the auth string.
    """
    up_file = locate_up_file(PREFECT_HOME.value())
    try:
        url = str(json.loads(up_file.read_text())["url"])
        with suppress(Timeout), FileLock(up_file.with_suffix(".lock"), timeout=0):
            return None
        httpx.get(f"{url}/health", timeout=5).raise_for_status()
    except (OSError, ValueError, LookupError, TypeError, httpx.HTTPError):
        return None
    return url


@contextmanager
def api_errors(url: str) -> Iterator[None]:
    """Turn what a Prefect API may answer into one sentence of the user's."""
    try:
        yield
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise UserError(
                f"The Prefect API at {url} refuses us (status {status}): set PREFECT_API_AUTH_STRING "
                "to what its PREFECT_SERVER_API_AUTH_STRING is."
            ) from error
        answer = error.response.text[:200]
        raise UserError(f"The Prefect API at {url} answers with status {status}: {answer}") from error
    except httpx.HTTPError as error:
        raise UserError(
            f"No Prefect API answers at {url} ({error or type(error).__name__}): start it, or correct PREFECT_API_URL, "
            "which `prefect config view` shows."
        ) from error
