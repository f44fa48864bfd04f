"""Many runs through one worker of the real stack, two at a time: `python -m tests.benchmarks.day [runs]`.

One of the two is a retrain that finds nothing changed; the other predicts an inbox, which has a new file each time.
Printed at the start and after each quarter: the memory of the processes that last, the size of the server's database,
and how long two runs took from the click to the later end.
"""

import re
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.deployments.helpers import Stack

NOTHING_NEW = {"dataset": {"source": "package"}}
HEAD = "| after runs | worker MB | server MB | `up` MB | prefect.db MB | s for two |\n|---|---|---|---|---|---|"


def measure(stack: Stack) -> list[str]:
    """The memory of worker, server and `up`, and the size of the database, all in MB."""
    memory = {"worker start": 0.0, "linear_neuron.deployments.server": 0.0, " up --port": 0.0}
    for pid, command in stack.processes().items():
        for part in memory:
            if part in command:
                memory[part] += int(re.findall(r"VmRSS:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1000
    database = sum(path.stat().st_size for path in (stack.store / "prefect").glob("prefect.db*")) / 1e6
    return [f"{megabytes:.0f}" for megabytes in (*memory.values(), database)]


def run_both(stack: Stack, number: int) -> None:
    """Trigger a retrain and a prediction, and wait for both ends."""
    (stack.log.parent / "inbox" / f"{number:04}.csv").write_text("id,RM\n1,6.5\n")
    runs = stack.api.trigger(NOTHING_NEW), stack.api.trigger({}, "predict/daily-predict")
    for run in runs:
        # A retrain is cancelled where an automation, such as that for drift, has just started another.
        stack.api.wait(run, "Completed", "Cancelled", seconds=600)


def main(runs: int) -> None:
    """Print a row of the table at each quarter."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder))
        (Path(folder) / "inbox").mkdir()
        stack.start()
        try:
            stack.api.wait(stack.api.trigger(NOTHING_NEW), "Completed", seconds=600)
            sys.stdout.write(f"{HEAD}\n| 0 | {' | '.join(measure(stack))} | |\n")
            marks, begun = {runs * quarter // 8 for quarter in (1, 2, 3, 4)}, time.perf_counter()
            done = 0
            for number in range(1, runs // 2 + 1):
                run_both(stack, number)
                if number in marks:
                    seconds = (time.perf_counter() - begun) / (number - done)
                    sys.stdout.write(f"| {2 * number:,} | {' | '.join(measure(stack))} | {seconds:.1f} |\n")
                    sys.stdout.flush()
                    done, begun = number, time.perf_counter()
        finally:
            stack.stop(signal.SIGINT)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
