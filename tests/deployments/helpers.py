"""What is started for real, and asked for real, in the tests of the deployments."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

Run = dict[str, Any]
ENDLESS = {"training": {"epochs": 100_000, "batch_size": 1}}
QUICK = {"training": {"epochs": 2}}
LONG = 240  # seconds until a test gives up; only a broken test, or a very busy machine, needs this long
COMMAND = [str(Path(sys.executable).with_name("linear-neuron"))]
# No setting of the machine's owner may reach the stacks under test; and coverage, which takes 1.6 times the CPU
# before Python 3.14, measures only those that are started with MEASURED besides.
HIDDEN = ("PREFECT_", "LINEAR_NEURON_", "COVERAGE_")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)}
MEASURED = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(check: Callable[[], Any], what: str = "", seconds: float = LONG, every: float = 0.2) -> Any:
    """Poll until `check` answers with something, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what or check}"
        time.sleep(every)
    return found


def answers(url: str) -> bool:
    """Whether a server answers at an address, whatever it says."""
    with suppress(httpx.TransportError):
        return bool(httpx.get(url).status_code)
    return False


class Api:
    """A Prefect API, asked over HTTP as the UI asks it.

    Prefect's own server answers 503 if another has written to SQLite meanwhile. Its clients try again, and so does a
    patient one; `linear-neuron up` promises the UI that it never comes to that.
    """

    def __init__(self, url: str, auth: str | None = None, *, patient: bool = True) -> None:
        self.url = url
        self.patient = patient
        # A new client takes 30 ms of CPU, for the certificates of TLS; a kept connection may end with its server.
        self.client = httpx.Client(
            auth=httpx.BasicAuth(*auth.split(":")) if auth else None,
            timeout=90,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def ask(self, method: str, path: str, items: list[Any] | None = None, **body: Any) -> Any:
        response = self.client.request(method, self.url + path, json=items or body or None)
        if response.status_code == 503 and self.patient:
            time.sleep(0.5)
            return self.ask(method, path, items, **body)
        response.raise_for_status()
        return response.json() if response.content else None

    def deployment(self, name: str = "retrain/weekly-retrain") -> dict[str, Any]:
        return dict(self.ask("GET", f"/deployments/name/{name}"))

    def copy_deployment(self, name: str) -> str:
        """Deploy the retrain flow under another name, with a concurrency slot of its own."""
        fields = ("flow_id", "entrypoint", "parameter_openapi_schema", "tags", "job_variables", "work_pool_name")
        original = self.deployment()
        copy = {field: original[field] for field in (*fields, "concurrency_options")}
        copy |= {"name": name, "concurrency_limit": 1}
        self.ask("POST", "/deployments/", **copy)
        return f"retrain/{name}"

    def trigger(self, parameters: dict[str, Any], deployment: str = "retrain/weekly-retrain") -> str:
        path = f"/deployments/{self.deployment(deployment)['id']}/create_flow_run"
        return str(self.ask("POST", path, parameters=parameters)["id"])

    def is_free(self, deployment: str = "retrain/weekly-retrain") -> bool:
        """Whether the deployment's one slot is free: propose to start a run, as the worker does, and cancel it."""
        later = {"scheduled_time": (datetime.now(UTC) + timedelta(days=1)).isoformat()}  # Nobody else starts it.
        path = f"/deployments/{self.deployment(deployment)['id']}/create_flow_run"
        run = self.ask("POST", path, state={"type": "SCHEDULED", "state_details": later})["id"]
        answer = self.ask("POST", f"/flow_runs/{run}/set_state", state={"type": "PENDING"})
        if answer["status"] == "ACCEPT":
            self.ask("POST", f"/flow_runs/{run}/set_state", state={"type": "CANCELLED"}, force=True)
        return str(answer["status"]) == "ACCEPT"

    def heartbeats(self, run: str) -> list[Any]:
        wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}
        return list(self.ask("POST", "/events/filter", filter=wanted)["events"])

    def artifacts(self, run: str) -> list[Any]:
        return list(self.ask("POST", "/artifacts/filter", flow_runs={"id": {"any_": [run]}}))

    def schedule(self, count: int, every: int = 1, first: int = 15, parameters: dict[str, Any] = QUICK) -> str:
        """Add a schedule to weekly-retrain: `count` runs, `every` some seconds, the first when a slow server has it."""
        start = datetime.now(UTC) + timedelta(seconds=first)
        rule = f"DTSTART:{start:%Y%m%dT%H%M%SZ}\nRRULE:FREQ=SECONDLY;INTERVAL={every};COUNT={count}"
        schedule = {"schedule": {"rrule": rule, "timezone": "UTC"}, "active": True, "parameters": parameters}
        path = f"/deployments/{self.deployment()['id']}/schedules"
        return f"{path}/{self.ask('POST', path, [schedule])[0]['id']}"

    def run(self, run: str) -> Run:
        return dict(self.ask("GET", f"/flow_runs/{run}"))

    def scheduled(self, since: datetime) -> list[Run]:
        """Return the runs of weekly-retrain that the scheduler inserted for the next ten minutes, oldest first."""
        window = {"after_": since.isoformat(), "before_": (since + timedelta(minutes=10)).isoformat()}
        ours = {"id": {"any_": [self.deployment()["id"]]}}
        runs = self.ask(
            "POST",
            "/flow_runs/filter",
            flow_runs={"expected_start_time": window},
            deployments=ours,
            sort="EXPECTED_START_TIME_ASC",
        )
        return [run for run in runs if run["auto_scheduled"]]

    def wait(self, run: str, *states: str, seconds: float = LONG) -> Run:
        """Wait until a run is in one of some states, by name; another final state fails at once.

        Unchanged, Refused and Empty count as Completed: nothing to train, not promoted, or nothing to predict.
        """

        def arrived() -> Run | None:
            found = self.run(run)
            name = "Completed" if found["state_name"] in ("Unchanged", "Refused", "Empty") else found["state_name"]
            if name in states:
                return found
            final = found["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
            assert not final, f"{found['name']} is {found['state_name']}: {found['state'].get('message')}"
            return None

        return dict(eventually(arrived, f"{run} is {' or '.join(states)}", seconds, every=0.5))


class Stack:
    """`linear-neuron up` as a subprocess, with a store of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.store = folder / "store"
        self.log = folder / "up.log"
        self.port = free_port()
        self.settings = {"LINEAR_NEURON_STORE": str(self.store), **settings}
        url = settings.get("PREFECT_API_URL", f"http://127.0.0.1:{self.port}/api")
        self.api = Api(url, settings.get("PREFECT_API_AUTH_STRING"), patient=False)
        self.process: subprocess.Popen[bytes] | None = None
        self.resting = False

    def start(self) -> None:
        self.resting = False
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "up", "--port", str(self.port)],
                env=CLEAN | self.settings,
                cwd=self.log.parent,
                stdout=log,
                stderr=log,
            )
        eventually(lambda: self.says("Worker '") or self.ended(), "the stack is up")
        assert not self.ended(), self.log.read_text()

    def says(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace")

    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def stop(self, number: signal.Signals) -> int:
        """Send a signal, wait for the end, and return the exit status."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(LONG)

    def rest(self) -> None:
        """Stop, if it is up, and leave no process behind."""
        self.resting = True
        if not self.ended():
            self.stop(signal.SIGTERM)
        assert self.processes() == {}

    def processes(self) -> dict[int, str]:
        """Return the living processes of this stack, whoever their parent: each has our store in its environment."""
        ours = f"LINEAR_NEURON_STORE={self.store}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if ours in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def kill(self, command: str = "") -> None:
        """Send SIGKILL to the processes of this stack, or to those that have some words in their command line."""
        pids = [pid for pid, line in self.processes().items() if command in line]
        assert pids, f"no process of the stack is {command!r}: {self.processes()}"
        for pid in pids:
            with suppress(ProcessLookupError):  # One may end by itself when another is gone.
                os.kill(pid, signal.SIGKILL)


class Server:
    """A Prefect server as it is in production: on PostgreSQL, behind an auth string."""

    def __init__(self, folder: Path, database: str) -> None:
        self.auth = "admin:s3cret"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.log = folder / "server.log"
        self.settings = {
            "PREFECT_HOME": str(folder / "server"),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
            "PREFECT_SERVER_API_AUTH_STRING": self.auth,
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
        }
        self.client = Api(self.url, self.auth).client
        self.process: subprocess.Popen[bytes] | None = None
        self.resting = False

    def start(self) -> None:
        self.resting = False
        command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=CLEAN | self.settings, stdout=log, stderr=log)
        eventually(self.answers, "the server answers")

    def answers(self) -> bool:
        with suppress(httpx.TransportError):
            return self.client.get(f"{self.url}/health").is_success
        return False

    def stop(self) -> None:
        assert self.process
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:  # As a service manager does: now and then it waits for its clients for good.
            self.process.kill()
            self.process.wait()

    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def rest(self) -> None:
        """Stop, if it is up."""
        self.resting = True
        if not self.ended():
            self.stop()


RUNNING: dict[str, Stack | Server] = {}  # what tests share, by the name of its fixture; see tests/conftest.py


class Webhook:
    """An HTTP server on loopback that keeps the texts posted to it, as a chat's incoming webhook would."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.paths: list[str] = []
        texts, paths = self.texts, self.paths

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                paths.append(self.path)
                texts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def start_beating_run(stack: Stack, name: str) -> str:
    """Start a run under a deployment of its own, and return its id when the server has its first heartbeat."""
    run = stack.api.trigger(ENDLESS, stack.api.copy_deployment(name))
    stack.api.wait(run, "Running")
    eventually(lambda: stack.api.heartbeats(run), "the run's first heartbeat")
    return run


def report_missing(what: str, package: str) -> NoReturn:
    """Skip the test, or fail it in CI, where everything must be installed."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {what}: apt-get install {package}")


class Site:
    """A web site of somebody else's, on another port of loopback; it notes what is asked of it and posted to it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.posted: list[dict[str, Any]] = []
        self.keys: list[str] = []  # Authorization of each post
        self.status = 200  # with which a post is answered
        self.page = ""
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(site.page.encode())

            def do_POST(self) -> None:
                site.asked.append(self.path)
                site.keys.append(self.headers.get("Authorization", ""))
                site.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(site.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
