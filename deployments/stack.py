"""The whole product on one machine, in the foreground: a Prefect server, the deployments, and a worker."""

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from rich.console import Console

from deployments.child import Child, run_child
from deployments.prepare import locate_up_file, prepare_server
from tasks.errors import UserError
from tasks.name import FOLDERS, VARIABLE, find_base
from tasks.storage.store import Store

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
    home = prepare_server(stack, host, port, once) if "PREFECT_API_URL" not in os.environ else None
    _leave_users_folder(stack, home)
    os.environ.setdefault("PREFECT_WORKER_QUERY_SECONDS", "2")  # A click is answered in seconds; the default is 10.
    # Prefect reads its settings when it is imported, so they have to stand before.
    from deployments import deploy

    deploy.read_deployments()
    if not once:
        for folder in FOLDERS:
            with suppress(OSError):  # Where it can't be made, the runs that look into it say so.
                Path(os.environ["LINEAR_NEURON_FOLDER"], folder).mkdir(exist_ok=True)
    with _status(lines=once) as show:
        show("Starting the Prefect server; the first start makes its database ...")
        server = stack.enter_context(_server(home)) if home else None
        show("Registering the schedules ...")
        if name:
            asyncio.run(deploy.deploy(name))
        lines = asyncio.run(deploy.deploy())
        if once:
            from deployments import once as click

            show("Waiting for the worker to run weekly-retrain ...")
            log = stack.enter_context((home / "worker.log").open("wb")) if home else None
            run = click.start()
            _keep_worker(server, lambda: click.follow(run, show), "--work-queue", click.QUEUE, log=log)
            return click.report(run)
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
def _server(home: Path) -> Iterator[Child]:
    """Run a Prefect server, which answers, and writes what it has to say to server.log in its folder."""
    log, url, up_file = home / "server.log", os.environ["PREFECT_API_URL"], locate_up_file(home)
    with log.open("wb") as output, run_child("deployments.server", log=output, umask=0o077) as server:
        if not _wait_until_healthy(server, url):
            reasons = re.findall(r"^[\w.]+(?:Error|Exception): .+", log.read_text(), re.MULTILINE)
            reason = reasons[-1] if reasons else "it does not answer"
            raise UserError(f"The Prefect server did not start: {reason}. All that it said is in {log}.")
        up_file.write_text(json.dumps({"url": url, "pid": os.getpid()}))
        try:
            yield server
        finally:
            up_file.unlink(missing_ok=True)


def _wait_until_healthy(server: Child, url: str) -> bool:
    import httpx

    deadline = time.monotonic() + HEALTHY_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", timeout=5).status_code < 500:
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
    from deployments.deploy import POOL

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
