"""Many models retrained by one run: `python -m tests.benchmarks.models [models] [at a time] [rows]`.

A stack is up, with a server on SQLite and a worker. The time is that from the click on retrain-models to the end of the
run, imports included. CPU seconds and memory are sampled twice a second; memory is that of all processes of the run
together, without the server and the worker.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import yaml

from tests.deployments.helpers import CLEAN, COMMAND, Stack

TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
ROLES = {
    "training_process": "Keras",
    "model_process": "flows",
    "worker start": "worker",
    "deployments.server": "server",
}
HEAD = "| models | at a time | s | s a model | CPU s a model | Keras, flows, server | peak MB | largest process |"


class Sampler(threading.Thread):
    """Notes what the processes of a stack use, until it is stopped."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self.stack, self.done = stack, threading.Event()
        self.cpu: dict[tuple[int, str], float] = {}  # seconds of each process with a role
        self.peak = self.largest = 0.0  # MB

    def run(self) -> None:
        """Sample twice a second."""
        while not self.done.wait(0.5):
            sizes = []
            for pid, command in self.stack.processes().items():
                role = next((role for part, role in ROLES.items() if part in command), "other")
                with suppress(OSError):
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    self.cpu[pid, role] = (int(fields[11]) + int(fields[12])) / TICKS
                    if role in ("Keras", "flows") or "engine" in command:
                        sizes.append(int(fields[21]) * PAGE / 1e6)
            self.peak, self.largest = max(self.peak, sum(sizes)), max([self.largest, *sizes])

    def count(self, *roles: str) -> float:
        """CPU seconds so far, of some roles or of all."""
        return sum(seconds for (_, role), seconds in self.cpu.items() if not roles or role in roles)


def write_tables(folder: Path, models: int, rows: int) -> None:
    """Write a table of three features for each model, and the list of models."""
    (folder / "tables").mkdir()
    entries = []
    for number in range(models):
        rng, name = np.random.default_rng(number), f"model-{number:03}"
        x = rng.normal(size=(rows, 3))
        y = x @ [1.0, 2.0, 3.0] + number + rng.normal(size=rows)
        np.savetxt(folder / f"tables/{name}.csv", np.c_[x, y], fmt="%.5f", delimiter=",", header="a,b,c,y", comments="")
        dataset = {"source": f"tables/{name}.csv", "features": ["a", "b", "c"], "target": "y"}
        entries.append({"name": name, "dataset": dataset})
    (folder / "models.yaml").write_text(yaml.safe_dump(entries))


def main(models: int, at_a_time: int, rows: int) -> None:
    """Print a row of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tables(folder, models, rows)
        stack = Stack(folder)
        stack.start()
        try:
            deploy = [*COMMAND, "deploy", "--models", "models.yaml"]
            subprocess.run(deploy, env=CLEAN | stack.settings, cwd=folder, check=True, capture_output=True)
            sampler = Sampler(stack)
            sampler.start()
            time.sleep(2)
            before, start = {role: sampler.count(role) for role in (*ROLES.values(), "other")}, time.monotonic()
            chosen = {"models": {"file": "models.yaml", "concurrency": at_a_time}}
            stack.api.wait(stack.api.trigger(chosen, "retrain-models/retrain-models"), "Completed", seconds=36_000)
            seconds = time.monotonic() - start
            sampler.done.set()
            sampler.join()
        finally:
            stack.stop(signal.SIGINT)
        assert len(list(folder.glob("store-model-*/champion.json"))) == models
    parts = [(sampler.count(role) - before[role]) / models for role in ("Keras", "flows", "server")]
    total = (sampler.count() - sum(before.values())) / models
    cells = [f"{models}", f"{at_a_time}", f"{seconds:.0f}", f"{seconds / models:.2f}", f"{total:.2f}"]
    cells += [", ".join(f"{part:.2f}" for part in parts), f"{sampler.peak:,.0f}", f"{sampler.largest:,.0f}"]
    sys.stdout.write(f"{HEAD}\n|{'---|' * 8}\n| {' | '.join(cells)} |\n")


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*(*given, *(200, 2, 10_000)[len(given) :]))
