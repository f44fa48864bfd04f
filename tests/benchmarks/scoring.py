"""Scoring beside its peers, interleaved, each run a process of its own: `python -m tests.benchmarks.scoring`.

Prints medians, spread and peak memory of: the scoring step against bare Polars, pandas with numpy and pandas with
`model.predict` on the same file; the whole command on ten times the rows; a thousand small files; and a Dask cluster
of one and of two workers, each on a core of its own. Nothing fails for being slow. Memory is read on Linux alone.
"""

import argparse
import atexit
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
FLOW = "from tests.benchmarks.scoring import tell_peak; tell_peak(); import linear_neuron.__main__"
LOW, HIGH = 3.5, 8.8


class Run(NamedTuple):
    """One process."""

    whole: float  # seconds
    phase: float  # seconds it says its work took, without imports; the whole if it says nothing
    peak: float  # megabytes resident at most


def write_rows(path: Path, rows: int) -> None:
    """An id with leading zeros, RM with one bad value in ten thousand, and a suburb."""
    import numpy as np

    rng = np.random.default_rng(0)
    suburbs = np.array(["Back Bay", "Roxbury", "Allston", "Charlestown", "Hyde Park"])
    with path.open("w", encoding="utf-8") as file:
        file.write("id,RM,suburb\n")
        for start in range(0, rows, 500_000):
            count = min(500_000, rows - start)
            rooms = rng.normal(6.28, 0.7, count).round(4).astype(str)
            rooms[rng.random(count) < 1e-4] = "n/a"
            places = suburbs[rng.integers(0, 5, count)]
            lines = zip(range(start, start + count), rooms, places, strict=True)
            file.writelines(f"{number:07d},{room},{place}\n" for number, room, place in lines)


# The peers: each reads a CSV and writes its columns with the four added ones.


def ours(source: str, target: str, model: str) -> None:
    """The scoring step: rejects, digests, whole-or-nothing and counts included."""
    from linear_neuron.tasks.model import ModelVersion
    from linear_neuron.tasks.parameters import Batch
    from linear_neuron.tasks.scoring.manifest import BatchRun, Chunk
    from linear_neuron.tasks.scoring.run import score_chunk
    from linear_neuron.tasks.tables.inputs import InputFile

    neuron = ModelVersion.model_validate_json((Path(model) / "model.json").read_bytes())
    with timed():
        job = BatchRun(location=target, batch=Batch(), model=neuron)
        score_chunk(Chunk(source=InputFile(path=source, name="ours")), job)


def polars(source: str, target: str, model: str) -> None:
    """A bare scan to a sink: no rejects, no digests; a bad value leaves its prediction empty."""
    import polars as pl

    weight, bias, half = numbers(model)
    f32 = pl.Float32
    with timed():
        x = pl.col("RM").cast(pl.Float64, strict=False).cast(f32)
        prediction = pl.col("prediction")
        pl.scan_csv(source, infer_schema=False).with_columns(
            prediction=x * pl.lit(weight, f32) + pl.lit(bias, f32)
        ).with_columns(
            prediction_low=prediction - pl.lit(half, f32),
            prediction_high=prediction + pl.lit(half, f32),
            extrapolated=~x.is_between(LOW, HIGH),
        ).sink_csv(f"{target}/polars.csv")


def pandas_numpy(source: str, target: str, model: str) -> None:
    """Text columns in pandas, arithmetic in numpy."""
    import numpy as np

    weight, bias, _ = numbers(model)
    _pandas(source, target, model, lambda x: x * np.float32(weight) + np.float32(bias))


def pandas_keras(source: str, target: str, model: str) -> None:
    """Text columns in pandas, `model.predict` as it comes."""
    import keras

    loaded = keras.saving.load_model(Path(model) / "model.keras")
    _pandas(source, target, model, lambda x: loaded.predict(x[:, None], verbose=0)[:, 0])


def _pandas(source: str, target: str, model: str, predict: Callable[[Any], Any]) -> None:
    import numpy as np
    import pandas as pd

    *_, half = numbers(model)
    with timed():
        frame = pd.read_csv(source, dtype=str, keep_default_na=False)
        x = pd.to_numeric(frame["RM"], errors="coerce").to_numpy(np.float32)
        prediction = predict(x)
        frame["prediction"] = prediction
        frame["prediction_low"] = prediction - np.float32(half)
        frame["prediction_high"] = prediction + np.float32(half)
        frame["extrapolated"] = (x < LOW) | (x > HIGH)
        frame.to_csv(f"{target}/pandas.csv", index=False)


PEERS = {peer.__name__: peer for peer in (ours, polars, pandas_numpy, pandas_keras)}


def numbers(model: str) -> tuple[float, float, float]:
    """Weight, bias and half width of the 90% interval."""
    read = json.loads((Path(model) / "model.json").read_bytes())
    return read["weights"][0], read["bias"], read["intervals"]["90"]


@contextlib.contextmanager
def timed() -> Iterator[None]:
    """Says how long the work took."""
    start = time.perf_counter()
    yield
    print(f"phase {time.perf_counter() - start}")  # noqa: T201


def tell_peak() -> None:
    """Says at the end how much memory the process held at most; what the parent held before it does not count."""
    status = Path("/proc/self/status")
    atexit.register(lambda: print("peak", status.read_text().partition("VmHWM:")[2].split()[0]))  # noqa: T201


def run(*command: str, **environment: str) -> Run:
    """Runs Python with some arguments, and measures it."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr
    message = process.stdout.read().decode()
    failed = process.stderr.read().decode()
    assert process.wait() == 0, failed
    whole = time.perf_counter() - start
    facts = {word: float(figure) for word, figure in re.findall(r"^(phase|peak) ([\d.]+)$", message, re.MULTILINE)}
    return Run(whole, facts.get("phase", whole), facts["peak"] / 1024)


def say(name: str, runs: list[Run], base: list[Run] | None = None) -> None:
    """A line of the table; the ratio is that of the medians of phases."""
    phases = sorted(result.phase for result in runs)
    middle = statistics.median(phases)
    ratio = f"{middle / statistics.median(result.phase for result in base):8.2f}" if base else " " * 8
    whole, peak = statistics.median(r.whole for r in runs), max(r.peak for r in runs)
    print(f"{name:44s}{middle:8.2f}{phases[0]:8.2f}{phases[-1]:8.2f}{whole:8.2f}{peak:8.0f}{ratio}", flush=True)  # noqa: T201


def compare_peers(folder: Path, model: str, rows: int, rounds: int) -> list[Run]:
    """The scoring step beside its peers on the same file; returns our runs."""
    source = folder / "rows.csv"
    write_rows(source, rows)
    runs: dict[str, list[Run]] = {name: [] for name in PEERS}
    for turn in range(rounds):
        for name in PEERS:
            if turn == 0 or name != "pandas_keras":  # It takes a minute and a half.
                runs[name].append(run("-m", __spec__.name, "peer", name, str(source), str(folder), model))
    for name, found in runs.items():
        say(f"{name}, {rows:,} rows", found, runs["polars"])
    return runs["ours"]


def compare_sizes(folder: Path, store: str, rows: int, rounds: int) -> None:
    """The whole command on a number of rows and on ten times as many; the phase is its scoring step."""
    small, large = folder / "small.csv", folder / "large.csv"
    write_rows(small, rows)
    write_rows(large, 10 * rows)
    command = ("-c", FLOW, "predict", "--store", store)
    runs: dict[Path, list[Run]] = {small: [], large: []}
    for turn in range(rounds):
        for path, found in runs.items():
            output = folder / f"out-{path.stem}-{turn}"
            found.append(run(*command, str(path), "--output", str(output))._replace(phase=scoring_seconds()))
            subprocess.run(["rm", "-r", str(output)], check=True)
    say(f"command, {rows:,} rows", runs[small])
    say(f"command, {10 * rows:,} rows", runs[large], runs[small])


def scoring_seconds() -> float:
    """How long the newest scoring step took, as the server saw it."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterName
    from prefect.client.schemas.sorting import TaskRunSort

    steps = TaskRunFilter(name=TaskRunFilterName(any_=["Score files"]))
    with get_client(sync_client=True) as client:
        (newest,) = client.read_task_runs(task_run_filter=steps, sort=TaskRunSort.END_TIME_DESC, limit=1)
    return newest.total_run_time.total_seconds()


def compare_counts(folder: Path, store: str, files: int, rounds: int) -> None:
    """The whole command on one small file and on many."""
    one, many = folder / "one", folder / "many"
    for inbox, count in ((one, 1), (many, files)):
        inbox.mkdir()
        for number in range(count):
            (inbox / f"{number:04}.csv").write_text("id,RM\n" + "1,5.5\n" * 20)
    runs: dict[Path, list[Run]] = {one: [], many: []}
    for turn in range(rounds):
        for inbox, found in runs.items():
            output = str(folder / f"out-{inbox.name}-{turn}")
            found.append(run("-c", FLOW, "predict", str(inbox), "--store", store, "--output", output))
    again = [run("-c", FLOW, "predict", str(many), "--store", store, "--output", output) for _ in range(rounds)]
    say("command, 1 small file", runs[one])
    say(f"command, {files:,} small files", runs[many], runs[one])
    extra = statistics.median(r.whole for r in runs[many]) - statistics.median(r.whole for r in runs[one])
    print(f"milliseconds a further file: {1000 * extra / (files - 1):.1f}", flush=True)  # noqa: T201
    say(f"the same, {files:,} small files that are done", again, runs[one])


def compare_clusters(folder: Path, store: str, rows: int, rounds: int) -> None:
    """A file in ranges on one Dask worker and on two, each bound to a core, joined and left in parts."""
    source = folder / "ranges.csv"
    write_rows(source, rows)
    runs: dict[tuple[str, int], list[Run]] = {(how, workers): [] for how in ("", "--parts") for workers in (1, 2)}
    for _ in range(rounds):
        for (how, workers), found in runs.items():
            with tempfile.TemporaryDirectory(dir=folder) as name, cluster(Path(name, "address"), workers) as address:
                dask = ("--runner", "dask", "--dask-address", address, "--output", f"{name}/out", *how.split())
                found.append(run("-c", FLOW, "predict", str(source), "--store", store, *dask))
    for (how, workers), found in runs.items():
        say(f"{rows:,} rows, {workers} Dask workers {how}", found, runs[how, 1])


@contextlib.contextmanager
def cluster(file: Path, workers: int) -> Iterator[str]:
    """A scheduler and its workers, each a process."""
    environment = os.environ | {
        "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"
    }  # See linear_neuron.tasks.scoring.run.
    quiet: dict[str, Any] = {
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "cwd": ROOT,
        "env": environment,
    }
    dask = [sys.executable, "-m", "dask"]
    options = ["--no-dashboard", "--scheduler-file", str(file)]
    processes = [subprocess.Popen([*dask, "scheduler", "--port", "0", *options], **quiet)]
    worker = ["worker", "--no-nanny", "--nthreads", "1", "--preload", "linear_neuron.tasks.scoring.run"]
    for core in range(workers):
        bound = ["taskset", "--cpu-list", str(core)]
        processes.append(subprocess.Popen([*bound, *dask, *worker, *options], **quiet))
    try:
        while not file.exists():
            time.sleep(0.1)
        from distributed import Client

        address = json.loads(file.read_text())["address"]
        with Client(address) as client:  # type: ignore[no-untyped-call]
            client.wait_for_workers(workers)
        yield address
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def main(arguments: list[str]) -> None:
    """Runs one peer, or all comparisons."""
    if arguments[:1] == ["peer"]:
        tell_peak()
        PEERS[arguments[1]](*arguments[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(arguments)
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    from linear_neuron.flows.retrain import retrain
    from linear_neuron.tasks.parameters import Dataset

    with tempfile.TemporaryDirectory() as name, prefect_test_harness(server_startup_timeout=120):
        folder = Path(name)
        os.environ["LINEAR_NEURON_STORE"] = store = str(folder / "store")
        model = retrain(Dataset(source="package"))
        os.environ["PREFECT_API_URL"] = str(PREFECT_API_URL.value())
        print(f"{'':44s}{'median':>8s}{'least':>8s}{'most':>8s}{'whole':>8s}{'peak MB':>8s}{'ratio':>8s}")  # noqa: T201
        compare_peers(folder, model, chosen.rows, chosen.rounds)
        compare_sizes(folder, store, chosen.rows, chosen.rounds)
        compare_counts(folder, store, chosen.files, chosen.rounds)
        compare_clusters(folder, store, 4 * chosen.rows, chosen.rounds)


if __name__ == "__main__":
    main(sys.argv[1:])
