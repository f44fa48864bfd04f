"""Boston housing as its file has it."""

import http.server
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

from linear_neuron.tasks.dataset.boston import COLUMNS, FILE, PublishedFile, dataset_file, fetch_file, read_snapshot
from linear_neuron.tasks.dataset.rows import Origin
from linear_neuron.tasks.dataset.sources import download
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Dataset
from linear_neuron.tasks.storage.store import Store, digest


def test_dataset_is_read_with_its_origin(store: Store) -> None:
    snapshot = download.fn(Dataset(source="package"))
    assert snapshot.origin == Origin(FILE.sha256, "package")
    assert snapshot.values.shape == (506, len(COLUMNS))
    assert snapshot.values[0].tolist() == [
        0.00632, 18.0, 2.31, 0.0, 0.538, 6.575, 65.2, 4.09, 1.0, 296.0, 15.3, 396.9, 4.98, 24.0
    ]  # fmt: skip


def test_columns_have_a_meaning_and_a_unit() -> None:
    assert [str(column) for column in COLUMNS if column.name in ("RM", "TAX")] == [
        "average number of rooms",
        "property tax [$ per $10K]",
    ]


def test_pickled_objects_are_refused() -> None:
    file = io.BytesIO()
    np.savez(file, x=np.array([object()]), y=np.array([1.0]))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_snapshot(file.getvalue(), Origin("0", "cache"))


GOOD = (resources.files("linear_neuron.tasks.dataset") / "data" / FILE.name).read_bytes()


class Address(http.server.ThreadingHTTPServer):
    """Answers each request by the next of its behaviours, the last one for ever."""

    behaviours: list[str]
    asked = 0
    sent = 0  # bytes of an answer without an end

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.stopped = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Address

    def do_GET(self) -> None:
        behaviours = self.server.behaviours
        behaviour = behaviours[min(self.server.asked, len(behaviours) - 1)]
        self.server.asked += 1
        if behaviour == "fail":
            self.send_error(503)
            return
        if behaviour == "drip the head":
            self.drip(b"HTTP/1.0 200 OK\r\n" + b"".join(b"X-%d: 0\r\n" % number for number in range(90)))
            return
        self.send_response(200)
        if behaviour == "send for ever":
            self.end_headers()
            self.send_for_ever()
            return
        self.send_header("Content-Length", str(len(GOOD)))
        self.end_headers()
        if behaviour == "lie":
            self.wfile.write(bytes(len(GOOD)))
        elif behaviour == "truncate":
            self.wfile.write(GOOD[:1000])
        elif behaviour == "stall":
            self.wfile.write(GOOD[:1000])
            self.wfile.flush()
            time.sleep(1.5)
        elif behaviour == "drip":
            self.drip(GOOD)
        else:
            self.wfile.write(GOOD)

    def drip(self, data: bytes) -> None:
        """Send a byte at a time until the other side is gone."""
        with suppress(OSError):
            for byte in data:
                self.wfile.write(bytes([byte]))
                if self.server.stopped.wait(0.1):
                    return

    def send_for_ever(self) -> None:
        with suppress(OSError):
            while not self.server.stopped.is_set():
                self.server.sent += self.connection.send(bytes(1 << 16))

    def log_message(self, *_: object) -> None:
        pass


Serve = Callable[..., tuple[Address, PublishedFile]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers = []

    def start(*behaviours: str) -> tuple[Address, PublishedFile]:
        server = Address()
        server.behaviours = list(behaviours)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server, replace(FILE, url=f"http://127.0.0.1:{server.server_port}/{FILE.name}")

    yield start
    for server in servers:
        server.stopped.set()
        server.shutdown()
        server.server_close()


def fetch(store: Store, file: PublishedFile, wanted: str = "auto", timeout: float = 20, deadline: float = 60) -> Origin:
    data, origin = fetch_file(store, file, wanted, timeout, deadline)
    assert data == GOOD
    return origin


def test_shipped_copy_is_the_pinned_file() -> None:
    assert digest(GOOD) == FILE.sha256


def test_network_is_used_when_the_cache_is_empty_and_fills_it(store: Store, serve: Serve) -> None:
    address, file = serve("good")
    found = fetch(store, file)
    assert (found.source, found.sha256, found.remarks) == ("network", FILE.sha256, ())
    assert fetch(store, file).source == "cache"
    assert address.asked == 1


@pytest.mark.parametrize("trouble", ["fail", "lie", "truncate", "stall"])
def test_a_source_that_recovers_is_tried_again(store: Store, serve: Serve, trouble: str) -> None:
    address, file = serve(trouble, "good")
    assert fetch(store, file, "network", timeout=0.5).source == "network"
    assert address.asked == 2
    assert dataset_file(store, FILE.sha256, ".npz").read_bytes() == GOOD


@pytest.mark.parametrize("trouble", ["drip", "drip the head"])
def test_a_source_that_drips_is_left_at_the_deadline(store: Store, serve: Serve, trouble: str) -> None:
    _, file = serve(trouble)
    found = fetch(store, file, deadline=1)
    assert found.source == "package"
    assert found.remarks == (f"network: {file.url} did not send it within 1 s",)


def test_a_source_that_sends_for_ever_is_read_to_the_limit(store: Store, serve: Serve) -> None:
    address, file = serve("send for ever")
    found = fetch(store, file)
    limit = 10 * len(GOOD)
    assert found.remarks == (f"network: {file.url} sends more than {limit:,} bytes, so it is another file",)
    assert address.asked == 1
    assert address.sent < limit + (16 << 20), "no more than what waits in the network's buffers"


def test_source_with_a_wrong_digest_is_passed_over(store: Store, serve: Serve) -> None:
    _, file = serve("lie")
    found = fetch(store, file)
    assert found.source == "package"
    assert found.remarks == (f"network: {file.url} failed three times, the last time with bytes of another digest",)


def test_a_cached_file_of_other_bytes_is_fetched_again(store: Store, serve: Serve) -> None:
    store.write(dataset_file(store, FILE.sha256, ".npz"), b"rot")
    found = fetch(store, serve("good")[1])
    assert found.source == "network"
    assert found.remarks[0].startswith("cache: its sha256 is ")
    assert found.remarks[0].endswith("; fetched again")
    assert fetch(store, FILE, "cache").source == "cache"


def test_named_source_is_the_only_one_used(store: Store, serve: Serve) -> None:
    address, file = serve("fail")
    assert fetch(store, file, "package").source == "package"
    assert address.asked == 0


def test_without_a_source_each_reason_is_named(store: Store, serve: Serve) -> None:
    with pytest.raises(UserError, match=r"network: .* failed three times, the last time with status 503.*package"):
        fetch(store, serve("fail")[1], "network")
    with pytest.raises(UserError, match="cache: there is no file yet"):
        fetch(store, FILE, "cache")
