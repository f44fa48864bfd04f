"""What a batch on many Dask workers costs, by parts: `python -m tests.benchmarks.scale [costs|simulate|training]`.

`costs` measures each part alone, in CPU seconds, which other work on the machine hardly changes, and says by a model of
these figures what 10, 100 and 1,000 workers would take for 10^12 rows. `simulate` runs whole batches on up to 32 real
workers, each a process, and prints the model's seconds beside the measured ones: a wait replaces the scoring of a
range, so that workers do not need a core each. `training` measures the retrain command at some numbers of rows, and
extrapolates.
"""

import os
import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from logging import CRITICAL
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from unittest.mock import patch

from distributed import Client, LocalCluster
from prefect import flow, task
from prefect.testing.utilities import prefect_test_harness

from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.scoring.batch import publish_batch, sum_up
from linear_neuron.tasks.scoring.join import join_results
from linear_neuron.tasks.scoring.manifest import BatchRun, Chunk, FileResult
from linear_neuron.tasks.scoring.plan import RANGE_BYTES, plan_batch
from linear_neuron.tasks.scoring.run import Group, score_group, score_groups
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.tables.inputs import list_files
from tests.benchmarks.measure import run_once
from tests.benchmarks.retraining import PROGRAM
from tests.benchmarks.scoring import write_rows
from tests.helpers import make_version

ROUNDS = 3
ROWS = 5_000_000  # of the table that costs are measured on: an id, a number and a place
START = 1.8  # CPU seconds until the command does anything, nearly all of them imports
WORKERS = (1, 4, 16, 32)
TRAINED = (1_000_000, 3_000_000, 10_000_000, 30_000_000)  # rows
KINDS = {"one file, joined": (True, True), "one file, left in parts": (True, False), "a file a range": (False, False)}
RANGES, WAIT = 256, 0.25  # of the simulation: how many at most, and the seconds that stand for the scoring of each


class Costs(NamedTuple):
    """The coefficients of the model, in seconds."""

    plan_gb: float  # the main process cuts a GB of CSV into ranges and digests it
    plan_file: float  # it looks at a further small file, which is not cut
    score_gb: float  # a worker scores a GB of CSV
    join_gb: float  # the main process joins and digests a GB of predictions
    task: float  # it sends a range out and takes its result in, with the scheduler's part
    growth: float  # bytes of predictions for each byte of CSV
    recorded: float  # a Prefect server records a range, with one worker
    memory: float  # bytes of a range's message and of its result
    row: float  # bytes of CSV


def estimate(costs: Costs, gigabytes: float, ranges: int, workers: int, cut: bool, joined: bool) -> dict[str, float]:
    """Say how many seconds each part of a batch takes; the main process joins while workers score.

    The slower of the two counts, so that beyond some number of workers more of them change nothing (the serial part of
    Amdahl's law; Guerrilla Capacity Planning, Springer, 2007).
    """
    plan = gigabytes * costs.plan_gb if cut else ranges * costs.plan_file
    score = gigabytes * costs.score_gb / workers
    main = ranges * costs.task + gigabytes * costs.growth * costs.join_gb * joined
    return {"plan": plan, "score": score, "join and tasks": main, "all": START + plan + max(score, main)}


def clock(work: Callable[[], object]) -> float:
    """Measure the median CPU seconds of some work in this process."""
    found = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return statistics.median(found)


def make_batch(folder: Path, address: str = "") -> BatchRun:
    """Make a batch with a model of made-up numbers."""
    model = make_version(Store(str(folder / "store")), "20260101T000000Z-aaaaaa")
    batch = Batch(inputs=[str(folder)], runner="dask", dask_address=address)
    return BatchRun(location=str(folder / "out"), batch=batch, model=model)


def plan(path: Path, batch_run: BatchRun, range_bytes: int = RANGE_BYTES) -> list[Group]:
    """Plan a file or folder in ranges of this many bytes, each a step of its own."""
    files = [file.model_copy(update={"name": Path(file.path).stem}) for file in list_files(str(path))[1]]
    with (
        patch("linear_neuron.tasks.scoring.plan.RANGE_BYTES", range_bytes),
        patch("linear_neuron.tasks.scoring.plan.GROUP_BYTES", range_bytes),
        patch("linear_neuron.tasks.tables.csv.BLOCK_BYTES", min(range_bytes, 4 << 20)),
    ):
        return plan_batch(files, batch_run)[0]


def measure_costs(folder: Path) -> Costs:
    """Measure each part of a batch alone."""
    source, batch_run = folder / "rows.csv", make_batch(folder)
    write_rows(source, ROWS)
    gigabytes = source.stat().st_size / 1e9
    planned = clock(lambda: plan(source, batch_run))
    groups = plan(source, batch_run)
    results: list[FileResult] = []
    scored = clock(lambda: results.extend(result for group in groups for result in score_group.fn(group, batch_run)))
    results = results[-sum(map(len, groups)) :]
    joined = clock(lambda: list(join_results(results, batch_run)))
    written = sum(facts["bytes"] for result in results for facts in result.outputs.values()) / 1e9
    small = folder / "small"
    small.mkdir()
    for number in range(5000):
        (small / f"{number}.csv").write_text("id,RM\n1,5\n")
    listed = clock(lambda: plan(small, batch_run)) / 5000
    message = len(pickle.dumps((groups[0], batch_run)))
    return Costs(
        plan_gb=planned / gigabytes,
        plan_file=listed,
        score_gb=scored / gigabytes,
        join_gb=joined / written,
        task=measure_task(folder / "tasks", source),
        recorded=measure_recorded(folder / "recorded", source),
        growth=written / gigabytes,
        memory=message + len(pickle.dumps(results[0])),
        row=1e9 * gigabytes / ROWS,
    )


def echo(group: Group, batch_run: BatchRun) -> list[FileResult]:
    """Score nothing: what is left is the cost of a task."""
    return [chunk.new_result().model_copy(update={"outputs": {}}) for chunk in group]


def wait(group: Group, batch_run: BatchRun) -> list[FileResult]:
    """Score a small range, and wait as long as a large one would take."""
    time.sleep(WAIT)
    return score_group.fn(group, batch_run)


@contextmanager
def scoring_by(fn: Callable[[Group, BatchRun], list[FileResult]]) -> Iterator[None]:
    """Have workers call another function for a group."""
    with patch("linear_neuron.tasks.scoring.run.score_group", SimpleNamespace(fn=fn, recorded=task(fn))):
        yield


@contextmanager
def start_cluster(workers: int) -> Iterator[str]:
    """Start workers of one thread, each a process that has imported what it needs."""
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=CRITICAL) as cluster,  # type: ignore[no-untyped-call]
        Client(cluster) as client,  # type: ignore[no-untyped-call]
    ):
        client.run(lambda: bool(import_module("linear_neuron.tasks.scoring.run")))
        yield cluster.scheduler_address


def measure_task(folder: Path, source: Path) -> float:
    """Measure the seconds that a further task takes, when nothing is scored in it."""
    few, many = make_groups(source, 100), make_groups(source, 4100)
    with start_cluster(2) as address, scoring_by(echo):
        batch_run = make_batch(folder, address)
        # The scheduler of a LocalCluster runs in this process.
        seconds = [clock(partial(score_groups, groups, [], batch_run)) for groups in (few, many)]
    return (seconds[1] - seconds[0]) / 4000


def measure_recorded(folder: Path, source: Path) -> float:
    """Measure the seconds, not of the CPU, that a further task takes at a Prefect server; nothing is scored in it."""
    batch_run, seconds = make_batch(folder), []
    local = batch_run.model_copy(update={"batch": Batch(inputs=["x"])})
    with prefect_test_harness(server_startup_timeout=120), scoring_by(echo):
        for count in (10, 10, 510):  # The first flow takes longer.
            began = time.perf_counter()
            flow(score_groups)(make_groups(source, count), [], local)
            seconds.append(time.perf_counter() - began)
    return (seconds[2] - seconds[1]) / 500


def make_groups(source: Path, count: int) -> list[Group]:
    """Make groups of a range each."""
    file = list_files(str(source))[1][0]
    return [[Chunk(source=file, start=number, stop=number + 1)] for number in range(count)]


def simulate(folder: Path) -> None:
    """Run a batch of many ranges on more and more workers, and print the model's seconds beside it."""
    source = folder / "rows.csv"
    write_rows(source, 200_000)
    say("| workers | ranges | seconds | the model's | speed-up |\n|---|---|---|---|---|")
    base, own = 0.0, 0.0
    for workers in WORKERS:
        with start_cluster(workers) as address, scoring_by(wait):
            batch_run = make_batch(folder / str(workers), address=address)
            groups = plan(source, batch_run, source.stat().st_size // RANGES)
            with Client(address) as client:  # type: ignore[no-untyped-call]
                client.run(wait, groups[0], batch_run)  # The first range takes each worker longer.
            began = time.perf_counter()
            results = score_groups(groups, [], batch_run)
            publish_batch(sum_up(results, [], list_files(str(source))[1], batch_run), batch_run)
            seconds = time.perf_counter() - began
        if not base:  # One worker shows what a range takes beside the wait.
            base, own = seconds, seconds / len(groups) - WAIT
        alone = len(groups) * (WAIT + own)
        # All processes share the cores, so what a range takes beside the wait is never done faster than by these.
        model = max(alone / workers, len(groups) * own / (os.cpu_count() or 1))
        say(f"| {workers} | {len(groups)} | {seconds:.1f} | {model:.1f} | {base / seconds:.1f} |")


def training(folder: Path) -> None:
    """Measure the retrain command at some numbers of rows of three features, and extend lines through what was found.

    The memory is that of the larger of its two processes, or of this one where that has more: Linux counts the memory
    of the process that starts another. So read the peak of 10^7 rows and more from VmHWM of the command itself.
    """
    import numpy as np
    import polars as pl

    say("| rows of 3 features | seconds | CPU seconds | MB at most |\n|---|---|---|---|")
    rng = np.random.default_rng(0)
    found = []
    for rows in TRAINED:
        x = rng.normal(6, 1, (rows, 3))
        names = ["a", "b", "c"]
        table = pl.DataFrame(x, schema=names).with_columns(y=x @ np.array([9.0, 2, 1]) + rng.normal(0, 6, rows))
        table.write_parquet(path := folder / f"{rows}.parquet")
        options = ["--dataset.source", str(path), "--dataset.target", "y", "--store", str(folder / f"store{rows}")]
        seconds, cpu, peak = run_once([PROGRAM, "retrain", "--dataset.features", *names, *options], os.environ)
        say(f"| {rows:,} | {seconds:.1f} | {cpu:.1f} | {peak:.0f} |")
        found.append((rows, seconds, cpu, peak))
        path.unlink()
    counts, *measured = np.array(found).T
    lines = [np.polyfit(counts, values, 1, w=1 / values) for values in measured[:2]]
    lines.append(np.polyfit(counts[-2:], measured[2][-2:], 1))
    for rows in (10**8, 10**9):
        say(f"| {rows:,}, extrapolated | {' | '.join(f'{np.polyval(line, rows):,.0f}' for line in lines)} |")


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(what: str) -> None:
    """Measure one thing."""
    with tempfile.TemporaryDirectory() as name:
        if what != "costs":
            {"simulate": simulate, "training": training}[what](Path(name))
            return
        costs = measure_costs(Path(name))
    say("\n".join(f"{name:12s} {value:.6f}" for name, value in costs._asdict().items()))
    gigabytes = 1000 * costs.row
    ranges = int(gigabytes * 1e9 / RANGE_BYTES)
    say(f"10^12 rows: {gigabytes:,.0f} GB, {ranges:,} ranges, {ranges * costs.memory / 1e9:.1f} GB of messages")
    for kind, ways in KINDS.items():
        for workers in (1, 10, 100, 1000):
            parts = estimate(costs, gigabytes, ranges, workers, *ways)
            shown = ", ".join(f"{part} {seconds / 3600:.2f} h" for part, seconds in parts.items())
            say(f"{workers} workers, {kind}: {shown}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "costs")
