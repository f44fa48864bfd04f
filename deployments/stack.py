"""The whole product on one machine, in the foreground: a Prefect server, the deployments, and a worker."""

import ipaddress
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from tasks.errors import UserError
from tasks.storage.store import Store

HEALTHY_SECONDS = 120  # A new database on a slow disk takes a while; a server that can't start exits sooner.
STOP_SECONDS = 30  # How long a child may take to end by itself.
SERVER_SETTINGS = {
    "PREFECT_SERVER_UI_API_URL": "/api",  # Relative, so that the UI works on any port and behind any name.
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    # In memory, the default, a restart of the server would forget who holds the one slot.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",  # Only events would be removed when they are old.
}
Child = subprocess.Popen[bytes]


def up(host: str, port: int) -> None:
    """Run the stack until Ctrl-C or SIGTERM, then end the worker, its runs and the server, in that order.

    Where PREFECT_API_URL names a server, that one is used, and only the deployments and the worker are ours.

    Args:
        host: The address that the server listens on. Any but loopback needs PREFECT_SERVER_API_AUTH_STRING.
        port: The port of the API and the UI.

    Raises:
        UserError: something is in the way; what was started by then has been ended.
    """
    # A shell's background job inherits an ignored Ctrl-C; both signals are to end us, whoever started us.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            _run(stack, host, port)
    except KeyboardInterrupt:
        _say("Stopped. The history and the schedules are kept for the next start.")


def _run(stack: ExitStack, host: str, port: int) -> None:
    ours = "PREFECT_API_URL" not in os.environ
    home = _prepare(host, port) if ours else None
    os.environ.setdefault("PREFECT_WORKER_QUERY_SECONDS", "2")  # A click is answered in seconds; the default is 10.
    os.environ["LINEAR_NEURON_STORE"] = str(Store().root)  # Absolute: runs have a working folder of their own.
    Path("inbox").mkdir(exist_ok=True)  # What daily-predict looks into.
    # Prefect reads its settings when it is imported, so they have to stand before.
    from deployments import deploy

    deploy.read_deployments()
    server = stack.enter_context(_server(home, host, port)) if home else None
    deploy.run()
    _say(f"The UI is at {os.environ['PREFECT_API_URL'].removesuffix('/api')}; Ctrl-C stops everything.")
    while True:
        started = time.monotonic()
        with _child("prefect", "worker", "start", "--pool", deploy.POOL) as worker:
            while worker.poll() is None:
                if server and server.poll() is not None:
                    raise UserError(f"The server ended by itself; the reason is in {home}/server.log.")
                time.sleep(0.3)
        if worker.returncode >= 0 and time.monotonic() - started < 10:  # Not killed: it would end again and again.
            raise UserError("The worker ends as soon as it is started; the reason is in its lines above.")
        _say("The worker ended by itself; starting another.")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _prepare(host: str, port: int) -> Path:
    """Check what a server needs, and put its settings into the environment. Returns the folder of its state."""
    _check_address(host, port)
    auth = os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
    if not auth and not _is_loopback(host):
        raise UserError(
            f"--host {host} would let the network run code here: set PREFECT_SERVER_API_AUTH_STRING=user:password."
        )
    home = _make_home()
    any_address = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - to be reached by us, not listened on
    reachable = any_address.get(host, f"[{host}]" if ":" in host else host)
    url = f"http://{reachable}:{port}"
    settings = {"PREFECT_HOME": str(home), "PREFECT_API_URL": f"{url}/api", "PREFECT_UI_URL": url} | SERVER_SETTINGS
    if auth:
        settings["PREFECT_API_AUTH_STRING"] = auth
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    return home


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _make_home() -> Path:
    store = Store()
    if not store.local and "PREFECT_HOME" not in os.environ:
        raise UserError(f"The store {store.root} can't hold the server's state: set PREFECT_HOME to a local folder.")
    home = Path(os.environ.get("PREFECT_HOME") or str(store.root / "prefect")).expanduser().absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
        (home / "server.log").write_bytes(b"")
    except OSError as error:
        raise UserError(f"The server's state can't be kept in {home}: {error.strerror}. Set PREFECT_HOME.") from error
    return home


def _check_address(host: str, port: int) -> None:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise UserError(
            f"The server can't listen on {host} port {port} ({error.strerror}): choose others by --host and --port."
        ) from error


@contextmanager
def _server(home: Path, host: str, port: int) -> Iterator[Child]:
    """Run a Prefect server, which answers and writes what it has to say to server.log in its folder."""
    log = home / "server.log"
    with (
        log.open("wb") as output,
        _child("deployments.database", "server", "start", "--host", host, "--port", str(port), log=output) as server,
    ):
        if not _wait_until_healthy(server, os.environ["PREFECT_API_URL"]):
            reasons = re.findall(r"^[\w.]+(?:Error|Exception): .+", log.read_text(), re.MULTILINE)
            reason = reasons[-1] if reasons else "it does not answer"
            raise UserError(f"The Prefect server did not start: {reason}. All that it said is in {log}.")
        yield server


def _wait_until_healthy(server: Child, url: str) -> bool:
    import httpx

    deadline = time.monotonic() + HEALTHY_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", timeout=5).status_code < 500:
                return True
        time.sleep(0.1)
    return False


@contextmanager
def _child(module: str, *arguments: str, log: IO[bytes] | None = None) -> Iterator[Child]:
    """Run a module as a child that ends with the context: politely, and then with all that it started.

    It has a session of its own, so that a Ctrl-C in the terminal reaches us alone and we choose the order of the end.
    """
    child = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=log, stderr=log, start_new_session=True)
    try:
        yield child
    finally:
        # A second Ctrl-C must not leave half of it behind.
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):  # As it should be: nothing is left of its group.
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for number, handler in handlers.items():
            signal.signal(number, handler)
