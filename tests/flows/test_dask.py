"""The predict flow on a Dask cluster: a real scheduler, and workers that die."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import dask
import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from linear_neuron.flows.predict import predict as predict_flow
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.monitoring.match import find_predictions
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.scoring.batch import read_manifest
from linear_neuron.tasks.storage.store import Store
from tests.flows.helpers import PATIENCE, Predict, check, contents, wait_until

pytestmark = pytest.mark.slow

PROFILES = "distributed.worker.profile.enabled"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_without_a_cluster_nothing_is_predicted(
    served: Store, inbox: Path, monkeypatch: pytest.MonkeyPatch, predict: Predict
) -> None:
    monkeypatch.setattr("linear_neuron.tasks.scoring.run.CONNECTING", 1)
    with pytest.raises(
        UserError, match=r"There is no Dask scheduler at tcp://127.0.0.1:1: .*predict with --runner local"
    ):
        predict(Batch(inputs=[str(inbox)], runner="dask", dask_address="tcp://127.0.0.1:1"))


@pytest.mark.parametrize(
    "address", ["host", "foo://host:1", "tcp://u:pa55word@host:1", "http://host:1", "tcp://", "a b:1"]
)
def test_an_address_that_is_none_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(
        ValidationError, match="must be the address of a Dask scheduler, such as tcp://host:8786"
    ) as caught:
        Batch(dask_address=address)
    assert "pa55word" not in str(caught.value)


@pytest.mark.parametrize("address", ["", "host:8786", "tcp://host:8786", "tls://10.0.0.1:8786", "tcp://[::1]:8786"])
def test_an_address_of_a_scheduler_is_taken(address: str) -> None:
    assert Batch(dask_address=address).dask_address == address


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_port_that_is_none_is_one_sentence(served: Store, inbox: Path) -> None:
    with pytest.raises(
        UserError, match=r"There is no Dask scheduler at tcp://127.0.0.1:99999: .*predict with --runner"
    ):
        predict_flow.fn(Batch(inputs=[str(inbox)], runner="dask", dask_address="tcp://127.0.0.1:99999"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_workers_that_are_started_here_make_no_profiles(
    served: Store, inbox: Path, monkeypatch: pytest.MonkeyPatch, predict: Predict
) -> None:
    def start(*_: object, **__: object) -> NoReturn:
        raise OSError(f"with profiles: {dask.config.get(PROFILES)}")

    monkeypatch.setattr("distributed.LocalCluster.__init__", start)
    with dask.config.set({PROFILES: True}), pytest.raises(UserError, match="with profiles: False"):
        predict(Batch(inputs=[str(inbox)], runner="dask"))


def test_dask_is_an_extra(served: Store, inbox: Path, monkeypatch: pytest.MonkeyPatch, predict: Predict) -> None:
    for package in ("prefect_dask.task_runners", "distributed"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match="--runner dask needs more packages"):
        predict(Batch(inputs=[str(inbox)], runner="dask"))


@pytest.fixture
def cluster(server: str, tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A Dask scheduler and two workers, each a process of its own."""
    environment = os.environ | {"PREFECT_API_URL": server, "PYTHONPATH": str(Path(__file__).parents[2])}
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    options = ["--scheduler-file", str(file)]
    quiet: dict[str, Any] = {
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "env": environment,
        "cwd": tmp_path,
    }
    processes = [subprocess.Popen([*dask, "scheduler", "--port", "0", "--no-dashboard", *options], **quiet)]
    wait_until(lambda: file.exists() and file.read_text().endswith("}"))  # It is written bit by bit.
    for _ in range(2):
        command = [*dask, "worker", "--no-nanny", "--no-dashboard", "--nthreads", "1", *options]
        processes.append(subprocess.Popen(command, **quiet))
    yield json.loads(file.read_text())["address"], processes[1:]
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_dask_worker_that_dies_changes_no_byte_of_the_result(
    served: Store,
    cluster: tuple[str, list[subprocess.Popen[bytes]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    predict: Predict,
) -> None:
    address, workers = cluster
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    rng = np.random.default_rng(0)
    rows = [f'{number:07},{value:.4f},"a ""b"""' for number, value in enumerate(rng.normal(6, 1, 100_000))]
    rows[50_000:50_000] = ["x,y", '1,5,"stray', "2,z,é"]
    rows[10:10] = ["x,y"]  # In another range, so that the rejects of two are put together.
    (inbox / "a.csv").write_text("\n".join(["id,RM,note", *rows]))
    pl.DataFrame({"id": range(150_000), "RM": rng.normal(6, 1, 150_000)}).write_parquet(inbox / "b.parquet")
    alone = predict(Batch(inputs=[str(inbox)], output=str(tmp_path / "alone")))
    monkeypatch.setattr("linear_neuron.tasks.scoring.plan.RANGE_BYTES", 400_000)
    monkeypatch.setattr("linear_neuron.tasks.scoring.plan.RANGE_ROWS", 30_000)
    monkeypatch.setattr("linear_neuron.tasks.scoring.plan.GROUP_BYTES", 400_000)
    monkeypatch.setattr("linear_neuron.tasks.tables.csv.BLOCK_BYTES", 100_000)
    batch = Batch(inputs=[str(inbox)], output=str(tmp_path / "shared"), runner="dask", dask_address=address)
    killer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, pathlib, sys, time\n"
            "while len(list(pathlib.Path(sys.argv[1]).glob('shared/*/.work/*.json'))) < 3: time.sleep(0.01)\n"
            "os.kill(int(sys.argv[2]), 9)",
            str(tmp_path),
            str(workers[0].pid),
        ]
    )
    shared = predict(batch)
    assert killer.wait(PATIENCE) == 0
    assert workers[0].wait(PATIENCE) == -signal.SIGKILL
    assert contents(shared) == contents(alone)
    check(read_manifest(shared), shared)
    ours, theirs = read_manifest(shared).total, read_manifest(alone).total
    assert ours.sums == pytest.approx(theirs.sums, rel=1e-12)
    assert ours.model_copy(update={"sums": {}}) == theirs.model_copy(update={"sums": {}})
    parts = predict(batch.model_copy(update={"parts": True}))
    check(read_manifest(parts), parts)
    whole, found = contents(alone), contents(parts)
    for kind in ("predictions", "rejects"):
        cut = [found[name].splitlines(keepends=True) for name in sorted(found) if name.startswith(f"a.{kind}.")]
        assert len(cut) > 1
        assert b"".join([cut[0][0], *(line for lines in cut for line in lines[1:])]) == whole[f"a.{kind}.csv"]
    tables = [pl.read_parquet(found[name]) for name in sorted(found) if name.startswith("b.predictions.")]
    assert len(tables) > 1
    assert pl.concat(tables).equals(pl.read_parquet(whole["b.predictions.parquet"]))
    assert read_manifest(parts).total.rejects == read_manifest(alone).total.rejects
    sources = [source for source in find_predictions(served, [str(tmp_path / "shared")]) if source.folder == parts]
    assert {source.path for source in sources} == {f"{parts}/{name}" for name in found if ".predictions." in name}
    assert read_manifest(shared).total.rejects == {"bad quoting": 1, "not a number": 1, "too few fields": 2}
