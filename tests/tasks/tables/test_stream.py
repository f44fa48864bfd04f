"""Open files as streams."""

import gzip
import hashlib
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from backports import zstd
from upath import UPath

from linear_neuron.tasks.errors import ChangedError, UnavailableError
from linear_neuron.tasks.tables.stream import open_input

CONTENT = b'1,5,"a\nb"\n2,6,y\n'


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".csv", CONTENT),
        (".csv.gz", gzip.compress(CONTENT, mtime=0) + gzip.compress(b"more", mtime=0)),
        (".CSV.ZST", zstd.compress(CONTENT)),
    ],
)
def test_content_is_decompressed_and_digested_as_stored(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    read: list[int] = []
    with open_input(str(path), on_read=read.append) as (stream, hashing):
        assert stream.read().startswith(CONTENT)
        assert hashing.finish() == hashlib.sha256(content).hexdigest()
    assert sum(read) == len(content)


def test_range_of_a_file_is_read_alone(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"0123456789")
    with open_input(str(tmp_path / "a.csv"), 3, 7) as (stream, hashing):
        assert stream.read() == b"3456"
        assert hashing.finish() == hashlib.sha256(b"3456").hexdigest()


def test_object_replaced_while_it_is_read_is_refused(s3: str) -> None:
    path = UPath(f"{s3}/changing.csv")
    path.write_bytes(CONTENT)

    def read_late() -> None:
        with open_input(str(path)) as (stream, _):
            path.write_bytes(CONTENT.upper())
            stream.read()

    with pytest.raises(ChangedError):
        read_late()


class Slow(ThreadingHTTPServer):
    """Sends a byte, and the next ones after a pause each."""

    pause = 0.0  # seconds
    stopped = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Slow

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(206)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        with suppress(OSError):
            for _ in range(1000):
                self.wfile.write(b"x")
                if self.server.stopped.wait(self.server.pause):
                    return

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def slow() -> Iterator[Slow]:
    with Slow(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.stopped.set()
        server.shutdown()


@pytest.mark.parametrize(("pause", "limit"), [(0.05, "ANSWER_SECONDS"), (100, "SILENT_SECONDS")])
def test_slow_or_silent_web_server_is_given_up(
    slow: Slow, pause: float, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow.pause = pause
    slow.stopped.clear()
    monkeypatch.setattr(f"linear_neuron.tasks.tables.stream.{limit}", 1)

    def read() -> None:
        with open_input(f"http://127.0.0.1:{slow.server_port}/a.csv") as (stream, _):
            stream.read()

    with pytest.raises(UnavailableError, match=r"its server was silent for \d+ s, or took more than \d+ s for an"):
        read()
