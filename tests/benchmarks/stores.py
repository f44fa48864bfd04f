"""Commands on a store of many versions: `python -m tests.benchmarks.stores [rounds] [on disk] [on S3]`.

Every version is a copy of a trained one; the oldest is what an unchanged retrain looks for. A command's time is that of
its whole process, less the same on a store of one version; the same of its CPU seconds, which say more on a busy
machine. The S3 server is moto in a process of its own: beside stand the requests that it had, and its own CPU seconds.
"""

import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.storage.store import MANIFEST, Store, digest, to_json
from tests.benchmarks.measure import run_once
from tests.benchmarks.retraining import PROGRAM, QUIET

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
RETRAIN = [PROGRAM, "retrain", "--dataset.source", "package"]
KEEP = ["--retention.newest", "10000"]
COMMANDS = {
    "models": ["models"],
    "retrain, unchanged": RETRAIN[1:],
    "clean --dry-run": ["clean", "--dry-run", *KEEP],
    "clean": ["clean", *KEEP],
    "verify": ["verify"],
}
HEAD = "| command | s | beyond one version: s | CPU s | requests | server CPU s |\n|---|---|---|---|---|---|"


class Counted:
    """Moto, as an application that tells at `/busy` what it had to do since it was last asked."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self.app = DomainDispatcherApplication(create_backend_app)
        self.requests: list[float] = []  # CPU seconds of each

    def __call__(self, environment: dict[str, Any], respond: Callable[..., Any]) -> Any:
        if environment["PATH_INFO"] == "/busy":
            counts = json.dumps([len(self.requests), sum(self.requests)]).encode()
            self.requests.clear()
            respond("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(counts)))])
            return [counts]
        before = time.thread_time()
        answer = list(self.app(environment, respond))
        self.requests.append(time.thread_time() - before)
        return answer


def serve(folder: str) -> None:
    """Serve moto with a bucket that has what is in a folder, and print the port."""
    from moto.s3.models import s3_backends
    from werkzeug.serving import WSGIRequestHandler, make_server

    backend = s3_backends["123456789012"]["aws"]
    backend.create_bucket("bucket", "us-east-1")
    for path in Path(folder).rglob("*"):
        if path.is_file():
            backend.put_object("bucket", path.relative_to(folder).as_posix(), path.read_bytes())
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    WSGIRequestHandler.protocol_version = "HTTP/1.1"  # keeps connections, as S3 does
    server = make_server("127.0.0.1", 0, Counted(), threaded=True)
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    server.serve_forever()


@contextmanager
def running_moto(folder: str) -> Iterator[str]:
    """The address of the server."""
    command = [sys.executable, "-m", "tests.benchmarks.stores", "serve", folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def multiply(models: Path, count: int) -> None:
    """Copy the one version that is there until there are `count`; the oldest keeps its fingerprint."""
    (trained,) = models.iterdir()
    for number in range(count):
        version = f"{datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number):%Y%m%dT%H%M%SZ}-{number:06x}"
        folder = shutil.copytree(trained, models / version, copy_function=os.link)
        model = json.loads((folder / "model.json").read_bytes()) | {"version": version}
        data = to_json(model | ({"fingerprint": version} if number else {}))
        manifest = json.loads((folder / MANIFEST).read_bytes()) | {"version": version}
        manifest["files"]["model.json"] = {"sha256": digest(data), "bytes": len(data)}
        for name, content in (("model.json", data), (MANIFEST, to_json(manifest))):
            (folder / name).unlink()  # It is a link.
            (folder / name).write_bytes(content)
    shutil.rmtree(trained)


def time_commands(root: str, environment: Mapping[str, str], rounds: int) -> dict[str, list[float]]:
    """The median seconds and CPU seconds of each command, its requests, and the server's CPU seconds."""
    found = {}
    for name, arguments in COMMANDS.items():
        runs = []
        for _ in range(rounds):
            if address := environment.get("AWS_ENDPOINT_URL"):
                httpx.get(f"{address}/busy")
            seconds, cpu, _ = run_once([PROGRAM, *arguments, "--store", root], environment)
            runs.append((seconds, cpu, *(httpx.get(f"{address}/busy").json() if address else (0, 0))))
        found[name] = [statistics.median(column) for column in zip(*runs, strict=True)]
    return found


def compare(one: str, many: str, environment: Mapping[str, str], rounds: int) -> Iterator[str]:
    """The rows of the table: each command on a store of one version and on one of many."""
    base = time_commands(one, environment, rounds)
    for name, (seconds, cpu, requests, busy) in time_commands(many, environment, rounds).items():
        more = f"{seconds - base[name][0]:.2f} | {cpu - base[name][1]:.2f}"
        yield f"| {name} | {seconds:.2f} | {more} | {requests:,.0f} | {busy:.2f} |"


def make_stores(folder: str, count: int, environment: Mapping[str, str]) -> tuple[str, str]:
    """Make a store of one version, and one of many, of which the newest were promoted; return their folders."""
    one, many = f"{folder}/one", f"{folder}/many"
    run_once([*RETRAIN, "--store", one], environment)
    shutil.copytree(one, many)
    multiply(Path(many, "models"), count)
    Path(many, "champion.json").unlink()
    for version in sorted(Store(many).names("models"))[-20:]:
        promote(Store(many), version, "to fill the log")
    return one, many


def main(rounds: int, on_disk: int, on_s3: int) -> None:
    """Print a table for the disk, and one for S3."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "LINEAR_"))}
    with tempfile.TemporaryDirectory() as scratch:
        environment = outside | QUIET | {"PREFECT_HOME": f"{scratch}/home"}
        if on_disk:
            rows = compare(*make_stores(f"{scratch}/disk", on_disk, environment), environment, rounds)
            sys.stdout.write("\n".join([f"{on_disk:,} versions on a disk\n", HEAD, *rows, "\n"]))
        if on_s3:
            make_stores(f"{scratch}/s3", on_s3, environment)
            with running_moto(f"{scratch}/s3") as address:
                environment |= KEYS | {"AWS_ENDPOINT_URL": address}
                rows = compare("s3://bucket/one", "s3://bucket/many", environment, rounds)
                sys.stdout.write("\n".join([f"{on_s3:,} versions on S3\n", HEAD, *rows, "\n"]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    else:
        main(*([int(number) for number in sys.argv[1:]] + [3, 5_000, 1_000][len(sys.argv) - 1 :]))
