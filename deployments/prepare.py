"""What has to stand before a server of our own can start: its folder, its address and its settings."""

import ipaddress
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.errors import UserError
from tasks.name import find_base
from tasks.storage.store import Store

UP_FILE = "prefect/up.json"  # In the store, while the server answers: {"url": of its API, "pid": of this process}.
SERVER_SETTINGS = {
    "PREFECT_SERVER_UI_API_URL": "/api",  # Relative, so that the UI works on any port and behind any name.
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    # In memory, the default, a restart of the server would forget who holds the one slot.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",  # The default keeps old runs for ever.
}


def prepare_server(stack: ExitStack, host: str, port: int, once: bool) -> Path:
    """Check what a server needs, and put its settings into the environment. Returns the folder of its state."""
    auth = os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
    if not auth and not _is_loopback(host):
        raise UserError(
            f"--host {host} would let the network run code here: set PREFECT_SERVER_API_AUTH_STRING=user:password."
        )
    home = _make_home()
    stack.enter_context(_claim(locate_up_file(home)))
    port = _find_port(host, port, once)
    any_address = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - to be reached by us, not listened on
    url = f"http://{any_address.get(host, f'[{host}]' if ':' in host else host)}:{port}"
    os.environ |= {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_HOST": host,
        "PREFECT_SERVER_API_PORT": str(port),
    }
    settings = SERVER_SETTINGS | {
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_UI_URL": url,
        # Whose pages may start runs: ours, also behind a proxy.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{url},{os.environ.get('PREFECT_UI_URL', url)}",
    }
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
    store = Store(find_base())
    if not store.local and "PREFECT_HOME" not in os.environ:
        raise UserError(f"The store {store.root} can't hold the server's state: set PREFECT_HOME to a local folder.")
    home = Path(os.environ.get("PREFECT_HOME") or str(store.root / "prefect")).expanduser().absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)  # The database holds what people typed into forms, and blocks with their secrets.
    except OSError as error:
        raise UserError(f"The server's state can't be kept in {home}: {error.strerror}. Set PREFECT_HOME.") from error
    return home


def locate_up_file(home: Path) -> Path:
    """Return where UP_FILE is: in the store, or in the server's folder where the store is a bucket."""
    store = Store(find_base())
    return Path(store.root.path, UP_FILE) if store.local else home / Path(UP_FILE).name


@contextmanager
def _claim(up_file: Path) -> Iterator[None]:
    """Hold the lock beside the file, which the kernel frees when this process dies.

    Raises:
        UserError: another process holds it.
    """
    up_file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(up_file.with_suffix(".lock"), timeout=0):
            yield
    except Timeout:
        try:
            first = json.loads(up_file.read_text())
            where = f"is up at {first['url'].removesuffix('/api')} (process {first['pid']})"
        except (OSError, ValueError):
            where = "is just starting"
        raise UserError(f"A stack {where} on this store; use that one, or stop it first.") from None


def _find_port(host: str, port: int, any_other: bool) -> int:
    try:
        family, kind, _, _, (address, *_) = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            return int(probe.getsockname()[1])
    except OSError as error:
        if any_other and port:
            return _find_port(host, 0, any_other=False)
        raise UserError(
            f"The server can't listen on {host} port {port} ({error.strerror}): choose others by --host and --port."
        ) from error
