"""From a click on Run to the finished run, on a warm stack, phase by phase: `python -m tests.benchmarks.clicking`.

A click comes 20 seconds after the run before it, as from a person who looks at that; a second number says otherwise.
"""

import signal
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from tests.deployments.helpers import Api, Stack, eventually

FORCED = {"force": True, "dataset": {"source": "package"}}  # The default recipe, trained though nothing has changed.


def split_run(api: Api) -> dict[str, float]:
    """Triggers one run, and returns the seconds of each of its phases, from the server's own timestamps."""
    run = api.wait(api.trigger(FORCED), "Completed", seconds=300)
    states = api.ask("GET", f"/flow_run_states/?flow_run_id={run['id']}")
    entered = {state["name"]: datetime.fromisoformat(state["timestamp"]) for state in states}
    epochs = eventually(lambda: read_epochs(api, run["id"]), "the log of the epochs")
    (training,) = api.ask(
        "POST",
        "/task_runs/filter",
        flow_runs={"id": {"any_": [run["id"]]}},
        task_runs={"name": {"any_": ["Train the neuron"]}},
    )
    marks = {
        "the worker picks the run up": datetime.fromisoformat(run["created"]),
        "its process starts, and imports Prefect and the flow": entered["Pending"],
        "the tasks before the training": entered["Running"],
        "a process of its own imports Keras": datetime.fromisoformat(training["start_time"]),
        "101 epochs": epochs[0],
        "the tasks after the training, and Prefect's end": epochs[-1],
    }
    ends = [*list(marks.values())[1:], entered["Completed"]]
    phases = {name: (end - start).total_seconds() for (name, start), end in zip(marks.items(), ends, strict=True)}
    return phases | {"from the click to Completed": sum(phases.values())}


def read_epochs(api: Api, run: str) -> list[datetime]:
    """When the first and the last epoch were logged; nothing until the log is there, which comes after the state."""
    logs = api.ask("POST", "/logs/filter", logs={"flow_run_id": {"any_": [run]}}, sort="TIMESTAMP_ASC")
    epochs = [log for log in logs if log["message"].startswith("Epoch ")]
    complete = epochs and epochs[-1]["message"].startswith("Epoch 101 of 101")
    return [datetime.fromisoformat(epochs[location]["timestamp"]) for location in (0, -1)] if complete else []


def main(rounds: int = 5, pause: float = 20) -> None:
    """Prints a table of the phases' medians, after one run that warms everything up."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder))
        stack.start()
        try:
            for _ in range(rounds + 1):
                runs.append(split_run(stack.api))
                time.sleep(pause)
        finally:
            stack.stop(signal.SIGINT)
    rows = ["| phase | median s | spread |", "|---|---|---|"]
    for phase in runs[0]:
        seconds = [run[phase] for run in runs[1:]]
        rows.append(f"| {phase} | {statistics.median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} |")
    sys.stdout.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
