"""Runs that last as long as a test needs, and take hardly any CPU meanwhile."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.deployments.helpers import eventually

EVERY = 0.5  # seconds between two rows, so that nobody gives up


@contextmanager
def serve_slowly() -> Iterator[str]:
    """Serve a table whose rows arrive one by one, without an end: what reads it is Running until it is ended."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/csv")
            self.send_header("Content-Length", str(1 << 30))
            self.end_headers()

        def do_GET(self) -> None:
            with suppress(OSError):
                self.do_HEAD()
                self.wfile.write(b"area,price\n")
                while not ended.wait(EVERY):
                    self.wfile.write(b"50,150\n")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/table.csv"
        finally:
            ended.set()
            server.shutdown()


def read_slowly(url: str) -> dict[str, Any]:
    """Make parameters of a retrain that reads such a table."""
    return {"dataset": {"source": url, "features": ["area"], "target": "price"}}


def find_trainers(parent: int) -> list[int]:
    """Find the processes that train for another process."""
    found = []
    with suppress(OSError):
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            for child in children.read_text().split():
                with suppress(OSError):
                    if b"training_process" in Path(f"/proc/{child}/cmdline").read_bytes():
                        found.append(int(child))
    return found


@contextmanager
def pause_training(find: Callable[[], list[int]]) -> Iterator[None]:
    """Stop the process that trains, and let it go on after the context."""
    (trainer,) = eventually(find, "a process trains")
    os.kill(trainer, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(trainer, signal.SIGCONT)
