"""What a server of our own needs before it can start: its folder, its address and its settings."""

import ipaddress
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.name import find_base
from linear_neuron.tasks.storage.store import Store

UP_FILE = "prefect/up.json"  # In the store, while the server answers: {"url": of its API, "pid": of this process}.
BACKLOG = 2048  # connections that wait while the server starts; the default of its library
SERVER_SETTINGS = {
    "PREFECT_SERVER_UI_API_URL": "/api",  # Relative, so that the UI works on any port and behind any name.
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    # In memory, the default, a restart of the server would forget who holds the one slot.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",  # The default keeps old runs for ever.
}


def prepare_server(stack: ExitStack, host: str, port: int, once: bool) -> tuple[Path, list[socket.socket]]:
    """Check what a server needs, and put its settings into the environment.

    Returns:
        The folder of the server's state, and the sockets that it is to listen on. They hold the port until `stack`
        ends, so whatever answers there is our server: no other can come in between.
    """
    auth = os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
    if not auth and not is_loopback(host):
        raise UserError(
            f"--host {host} would let the network run code here: set PREFECT_SERVER_API_AUTH_STRING=user:password."
        )
    home = _make_home()
    stack.enter_context(_claim(locate_up_file(home)))
    sockets = _listen(stack, host, port, once)
    port = sockets[0].getsockname()[1]
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
    return home, sockets


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
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
        with FileLock(up_file.with_suffix(".lock"), timeout=1):  # A command may hold it while it looks.
            yield
    except Timeout:
        try:
            first = json.loads(up_file.read_text())
            where = f"is up at {first['url'].removesuffix('/api')} (process {first['pid']})"
        except (OSError, ValueError):
            where = "is just starting"
        raise UserError(f"A stack {where} on this store; use that one, or stop it first.") from None


def _listen(stack: ExitStack, host: str, port: int, any_other: bool) -> list[socket.socket]:
    """Listen on every address of a host, on one port of them all: `localhost` may have two."""
    with ExitStack() as opened:
        sockets: list[socket.socket] = []
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, address in dict.fromkeys((family, address[0]) for family, _, _, _, address in addresses):
                listener = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind((address, sockets[0].getsockname()[1] if sockets else port))
                listener.listen(BACKLOG)  # Only then no other process can listen there.
                sockets.append(listener)
        except OSError as error:
            if any_other and port:
                return _listen(stack, host, 0, any_other=False)
            raise UserError(
                f"The server can't listen on {host} port {port} ({error.strerror}): choose others by --host and --port."
            ) from error
        stack.push(opened.pop_all())
    return sockets
