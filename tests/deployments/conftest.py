"""Real parts that the tests share: killed runs, a server on PostgreSQL, a browser."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.deployments.helpers import (
    LONG,
    MEASURED,
    RUNNING,
    Server,
    Stack,
    eventually,
    report_missing,
    start_beating_run,
)


@pytest.fixture(scope="session")
def silenced(stack: Stack) -> dict[str, datetime]:
    """Two runs that ended without a word, one as the whole machine died, one as its worker did: their ids, and when.

    The tests of restarts and of the UI have this come first: the server needs its time to notice, and they need theirs.
    Those of several models do without: so they are a group of their own, which runs beside on a stack of its own.
    """
    powerless = start_beating_run(stack, "powerless-retrain")
    stack.kill()
    killed = {powerless: datetime.now(UTC)}
    eventually(stack.ended, "all of it is dead")
    stack.start()
    workerless = start_beating_run(stack, "workerless-retrain")
    stack.kill("worker start")
    eventually(lambda: stack.says("starting another"), "another worker is started")
    return killed | {workerless: datetime.now(UTC)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window. Its event loop must not outlive the module: Prefect would answer it, and not us."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not executable:
        report_missing("Chromium", "chromium")
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=executable, args=sandbox)
        expect.set_options(timeout=1000 * LONG)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def guarded_server(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), postgres)
    server.start()
    RUNNING["guarded_server"] = server
    yield server
    server.rest()


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory, guarded_server: Server) -> Iterator[Stack]:
    """`linear-neuron up` at a server that is not its own: only the deployments and a worker."""
    stack = Stack(
        tmp_path_factory.mktemp("production"),
        PREFECT_API_URL=guarded_server.url,
        PREFECT_API_AUTH_STRING=guarded_server.auth,
        LINEAR_NEURON_TIMEZONE="Europe/Berlin",
        **MEASURED,
    )
    stack.start()
    RUNNING["production"] = stack
    yield stack
    stack.rest()
