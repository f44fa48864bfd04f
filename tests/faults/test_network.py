"""A network that fails: the address of the dataset, and the server of Prefect."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from linear_neuron.tasks.dataset.boston import FILE, dataset_file
from linear_neuron.tasks.storage.store import Store, digest
from tests.deployments.helpers import Api, eventually
from tests.faults.line import Line
from tests.faults.matrix import SCENARIOS, Scenario, World, count, differ, finish, undisturbed

HEADS = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n"


def drip(send: Callable[[bytes], object]) -> None:
    """Send a byte now and then, for as long as anybody listens."""
    send(HEADS % 50_000)
    while True:
        send(b"x")
        time.sleep(0.05)


def go_on(send: Callable[[bytes], object]) -> None:
    """Send bytes without an end."""
    send(b"HTTP/1.0 200 OK\r\n\r\n")
    while True:
        send(bytes(1 << 16))


ANSWERS: dict[str, Callable[[Callable[[bytes], object]], object]] = {
    "other bytes": lambda send: send(HEADS % 50_000 + bytes(50_000)),
    "cut short": lambda send: send(HEADS % 50_000 + bytes(100)),
    "nothing": lambda send: send(b""),
    "not HTTP": lambda send: send(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "status 404": lambda send: send(b"HTTP/1.0 404 Not Found\r\n\r\n"),
    "status 500": lambda send: send(b"HTTP/1.0 500 Internal Server Error\r\n\r\n"),
    "itself again": lambda send: send(b"HTTP/1.0 302 Found\r\nLocation: /\r\n\r\n"),
    "bad gzip": lambda send: send(b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!"),
    "a page": lambda send: send(HEADS % 6 + b"<html>"),
    "silence": lambda _: time.sleep(2),
    "a drip": drip,
    "no end": go_on,
}


@pytest.fixture
def address() -> Iterator[Callable[[str], str]]:
    """Return what opens an address that gives one kind of answer."""
    servers = []

    def start(kind: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with suppress(OSError):
                    ANSWERS[kind](self.wfile.write)

            def log_message(self, *_: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        servers[-1].daemon_threads = True
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("kind", ANSWERS)
def test_whatever_an_address_answers_the_dataset_is_the_pinned_one(
    worlds: list[World], address: Callable[[str], str], kind: str
) -> None:
    world = worlds[0]
    world.scratch.mkdir()
    outcome = world.run("fetch", url=address(kind))
    harm = [] if (outcome.status, outcome.message) == ("done", "package") else [(outcome.status, outcome.message)]
    if digest(world.store.read(dataset_file(world.store, FILE.sha256, ".npz")) or b"") != FILE.sha256:
        harm.append(("wrong answer", "the store keeps other bytes"))
    assert world.run("clean", days_later=3).ok
    harm += [("litter", path.name) for path in world.scratch.iterdir()]
    count(f"download: {kind}", harm)
    assert not harm


@pytest.mark.parametrize(("kind", "pace"), [("silent", 3600), ("slow", 0.2)])
@pytest.mark.parametrize("scenario", SCENARIOS[:4], ids=str)
def test_a_store_that_hardly_answers_is_told_in_a_sentence_and_in_time(
    s3_worlds: list[World], scenario: Scenario, kind: str, pace: float
) -> None:
    world = s3_worlds[0]
    _, expected = undisturbed(world, scenario)
    world.reset(scenario)
    line = Line(urlsplit(os.environ["AWS_ENDPOINT_URL"]).port or 0)
    line.pace = pace
    outcome = world.run("impatiently", work=scenario.command, port=line.port, **scenario.arguments)
    harm = [] if outcome.status == "refused" else [(outcome.status, outcome.message)]
    harm += [("traceback", outcome.message)] if "\n" in outcome.message else []
    harm += finish(world, outcome, scenario)
    harm += differ(expected, world.read())
    count(f"{kind} on S3", harm)
    assert not harm
    assert "does not answer in time" in outcome.message or "Read timeout" in outcome.message


def test_a_run_outlives_a_server_that_is_away_for_a_while(server: str, store: Store) -> None:
    line = Line(urlsplit(server).port or 0)
    command = [sys.executable, "-P", "-m", "linear_neuron.deployments.cli", "retrain", "--dataset.source", "package"]
    run = subprocess.Popen(
        [*command, "--training.epochs", "6000"],
        env=os.environ | {"PREFECT_API_URL": f"http://127.0.0.1:{line.port}/api"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    api = Api(server)

    def progress() -> list[dict[str, object]]:
        found = api.ask("POST", "/artifacts/filter", sort="CREATED_DESC", artifacts={"type": {"any_": ["progress"]}})
        return [artifact for artifact in found if 0 < artifact["data"] < 50]

    eventually(lambda: progress() or run.poll() is not None, "the training shows how far it is")
    line.cut()
    eventually(lambda: line.refused or run.poll() is not None, "it was refused")
    line.restore()
    said, log = run.communicate(timeout=240)
    harm = [] if run.returncode == 0 else [("traceback" if "Traceback" in log else "loss", log)]
    count("Prefect's API away", harm)
    assert not harm
    assert said.splitlines()[-1] == f"{store.root}/models/{store.names('models')[-1]}"
