"""A Prefect server for one command, where none is configured: started at once, and awaited when it is needed.

Prefect would start one too, but only when the first flow asks for it, and after importing the server here as well.
"""

import atexit
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

from tasks.errors import UserError

SECONDS = 120  # an empty home on a busy machine


def begin_server() -> Callable[[], None]:
    """Starts a server that lives as long as this process, if none is configured. Returns what waits for it.

    Raises (when waiting):
        UserError: it ended, or does not answer in time.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    if PREFECT_API_URL.value():
        return lambda: None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    application = ["--factory", "prefect.server.api.server:create_app", "--lifespan", "on"]
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", *application, "--port", str(port), "--log-level", "error"],
        # What Prefect's own temporary servers are told: no pages to serve, and only the services that a run needs.
        env=os.environ | {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"},
        start_new_session=True,  # A Ctrl-C is for the flow, whose end the server still has to note.
    )
    address = f"http://127.0.0.1:{port}/api"
    stack = ExitStack()
    stack.enter_context(server)
    stack.callback(server.terminate)
    # Nobody watches this server, so nobody would miss a heartbeat; they would only make the flow end a second late.
    stack.enter_context(temporary_settings({PREFECT_API_URL: address, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
    atexit.register(stack.close)  # First to be registered, so the last to run: the logs of the run are sent by then.
    return lambda: _wait(server, address)


def _wait(server: subprocess.Popen[bytes], address: str) -> None:
    import httpx

    deadline = time.monotonic() + SECONDS
    while True:
        try:
            if httpx.get(f"{address}/health", timeout=5).is_success:
                return
        except httpx.HTTPError:
            pass
        if server.poll() is not None or time.monotonic() > deadline:
            raise UserError("Prefect's temporary server does not start; its reasons are in the lines above.")
        time.sleep(0.05)
