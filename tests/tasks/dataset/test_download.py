"""The dataset is found in the cache, on the network or in the package, and is always the pinned one."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from importlib import resources

import pytest

from tasks.dataset import boston
from tasks.dataset.download import dataset_file, fetch_dataset
from tasks.errors import UserError
from tasks.parameters import Dataset
from tasks.storage.store import Store, digest

GOOD = (resources.files("tasks.dataset") / "data" / boston.FILE).read_bytes()


class Origin(http.server.ThreadingHTTPServer):
    """Answers each request by the next of its behaviours, the last one for ever."""

    behaviours: list[str]
    asked = 0


class Handler(http.server.BaseHTTPRequestHandler):
    server: Origin

    def do_GET(self) -> None:
        behaviours = self.server.behaviours
        behaviour = behaviours[min(self.server.asked, len(behaviours) - 1)]
        self.server.asked += 1
        if behaviour == "fail":
            self.send_error(503)
            return
        self.send_response(200)
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
        else:
            self.wfile.write(GOOD)

    def log_message(self, *_: object) -> None:
        pass


Serve = Callable[..., tuple[Origin, str]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers = []

    def start(*behaviours: str) -> tuple[Origin, str]:
        server = Origin(("127.0.0.1", 0), Handler)
        server.behaviours = list(behaviours)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server, f"http://127.0.0.1:{server.server_port}/{boston.FILE}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_shipped_copy_is_the_pinned_file() -> None:
    assert digest(GOOD) == boston.SHA256


def test_network_is_used_when_the_cache_is_empty_and_fills_it(store: Store, serve: Serve) -> None:
    origin, url = serve("good")
    found = fetch_dataset(store, Dataset(), url)
    assert (found.source, found.sha256, found.remarks) == ("network", boston.SHA256, ())
    assert fetch_dataset(store, Dataset(), url).source == "cache"
    assert origin.asked == 1


@pytest.mark.parametrize("trouble", ["fail", "lie", "truncate", "stall"])
def test_a_source_that_recovers_is_tried_again(store: Store, serve: Serve, trouble: str) -> None:
    origin, url = serve(trouble, "good")
    assert fetch_dataset(store, Dataset(source="network"), url, timeout=0.5).source == "network"
    assert origin.asked == 2
    assert dataset_file(store, boston.SHA256, ".npz").read_bytes() == GOOD


def test_a_source_with_the_wrong_digest_is_refused_and_the_next_one_tried(store: Store, serve: Serve) -> None:
    _, url = serve("lie")
    found = fetch_dataset(store, Dataset(), url)
    assert found.source == "package"
    assert found.remarks == (f"network: {url} failed three times, the last time with bytes of another digest",)


def test_a_cached_file_whose_bytes_changed_is_fetched_anew_and_that_is_said(store: Store, serve: Serve) -> None:
    store.write(dataset_file(store, boston.SHA256, ".npz"), b"rot")
    found = fetch_dataset(store, Dataset(), serve("good")[1])
    assert found.source == "network"
    assert found.remarks[0].startswith("cache: its sha256 is ")
    assert found.remarks[0].endswith("; fetched anew")
    assert fetch_dataset(store, Dataset(source="cache")).source == "cache"


def test_insisting_on_a_source_uses_no_other(store: Store, serve: Serve) -> None:
    origin, url = serve("fail")
    assert fetch_dataset(store, Dataset(source="package"), url).source == "package"
    assert origin.asked == 0


def test_no_source_left_is_said_in_one_sentence_with_each_reason(store: Store, serve: Serve) -> None:
    with pytest.raises(UserError, match=r"network: .* failed three times, the last time with status 503.*package"):
        fetch_dataset(store, Dataset(source="network"), serve("fail")[1])
    with pytest.raises(UserError, match="cache: there is no file yet"):
        fetch_dataset(store, Dataset(source="cache"))
