"""The job end to end beside the bare tutorial: `python -m tests.benchmarks.retraining [rounds]`."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from linear_neuron.tasks.dataset.boston import FILE
from tests.benchmarks.measure import HEAD, interleave, run_once

HERE = Path(__file__).parent
DATASET = HERE.parents[1] / "tasks" / "dataset" / "data" / FILE.name
PROGRAM = str(Path(sys.executable).with_name("linear-neuron"))
COMMAND = [PROGRAM, "retrain", "--dataset.source", "cache"]
QUIET = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


@contextmanager
def running_server(home: str) -> Iterator[str]:
    """The API address of a Prefect server of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    environment = os.environ | QUIET | {"PREFECT_HOME": home}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        address = f"http://127.0.0.1:{port}/api"
        for _ in range(1200):
            try:
                httpx.get(f"{address}/health", timeout=5).raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield address
        server.terminate()


def main(rounds: int) -> None:
    """Prints a table: our command, with everything on, against the script."""
    with tempfile.TemporaryDirectory() as scratch, running_server(f"{scratch}/server") as address:
        ours = os.environ | QUIET | {"LINEAR_NEURON_STORE": f"{scratch}/store"}
        served = ours | {"PREFECT_API_URL": address}
        alone = {name: value for name, value in ours.items() if name != "PREFECT_API_URL"}
        alone["PREFECT_HOME"] = f"{scratch}/home"
        run_once([*COMMAND[:2], "--dataset.source", "package"], served)  # fills the cache, and is what is unchanged
        script = [sys.executable, str(HERE / "tutorial.py"), str(DATASET), scratch]
        found = interleave(
            {
                "the tutorial as a bare script": lambda: run_once(script, dict(os.environ)),
                "linear-neuron retrain, running server": lambda: run_once([*COMMAND, "--force"], served),
                "linear-neuron retrain, no server": lambda: run_once([*COMMAND, "--force"], alone),
                "linear-neuron retrain, unchanged, running server": lambda: run_once(COMMAND, served),
                "linear-neuron retrain, unchanged, no server": lambda: run_once(COMMAND, alone),
            },
            rounds,
        )
        base = found["the tutorial as a bare script"].median
        sys.stdout.write("\n".join([HEAD, *(series.row(name, base) for name, series in found.items())]) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
