"""Two runs that predict files of one folder at the same time."""

import json
import logging
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import linear_neuron.flows.predict
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.scoring.batch import publish_batch, read_manifest
from linear_neuron.tasks.storage.store import Store, locate
from tests.flows.helpers import wait_until
from tests.helpers import make_version

PAUSED = """
import json, sys
import linear_neuron.flows.predict as module
from linear_neuron.tasks.parameters import Batch

def wait(*given):
    print("scored", flush=True)
    sys.stdin.readline()
    return publish(*given)

publish, module.publish_batch = module.publish_batch, wait
module.predict.fn(Batch(**json.loads(sys.argv[1])))
"""


@contextmanager
def pause(**batch: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a run in a process of its own, which waits for a line before it publishes what it has scored."""
    command = [sys.executable, "-c", PAUSED, json.dumps(batch)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "scored\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.slow
def test_a_run_waits_for_another_of_its_batch(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, killed: bool
) -> None:
    caplog.set_level(logging.INFO, "linear_neuron")
    promote(store, make_version(store, "20260101T000000Z-aaaaaa").version, "by hand")
    sqlite3.connect(tmp_path / "sales.db").close()
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_SALES", f"sqlite:///{tmp_path}/sales.db")
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text(f"id,RM\n{name},6\n")
    known = {"connection": "sales", "into": "predicted"}
    predict, second = linear_neuron.flows.predict.predict.fn, Batch(inputs=[str(tmp_path / "b.csv")], **known)
    with pause(inputs=[str(tmp_path / "a.csv")], **known) as first, ThreadPoolExecutor() as pool:
        with monkeypatch.context() as patch:
            patch.setattr("linear_neuron.tasks.scoring.batch.WAITING", 0)
            with pytest.raises(UserError, match="Another run has been writing to"):
                predict(second)
        caplog.clear()
        waiting = pool.submit(predict, second)
        wait_until(lambda: "Another run writes to" in caplog.text or waiting.done())
        assert not waiting.done(), "it did not wait"
        if killed:
            first.send_signal(signal.SIGKILL)
        first.communicate("go on\n" if not killed else None)
        location = waiting.result()
    assert first.returncode == (-signal.SIGKILL if killed else 0)
    assert [result.source.name for result in read_manifest(location).inputs] == ["a", "b"]
    assert verify(store) == []
    with closing(sqlite3.connect(tmp_path / "sales.db")) as session:
        rows = session.execute("select id from predicted order by id").fetchall()
    assert rows == [("b",)] if killed else rows == [("a",), ("b",)]


@pytest.mark.slow
def test_runs_in_a_bucket_merge_what_they_publish(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAR_NEURON_STORE", f"{s3}/races")
    store = Store()
    promote(store, make_version(store, "20260101T000000Z-aaaaaa").version, "by hand")
    inbox = locate(f"{s3}/races-inbox")
    for name in "abc":
        store.write(inbox / f"{name}.csv", b"RM\n6\n")
    linear_neuron.flows.predict.predict.fn(Batch(inputs=[f"{s3}/races-inbox"]))
    (inbox / "c.csv").unlink()
    for name, rooms in (("a", 7), ("b", 8)):
        store.write(inbox / f"{name}.csv", b"RM\n%d\n" % rooms)
    begun: list[str] = []

    def publish_later(*given: Any) -> Any:
        if not begun:
            begun.append("b")
            linear_neuron.flows.predict.predict.fn(Batch(inputs=[f"{s3}/races-inbox/b.csv"]))
        return publish_batch(*given)

    monkeypatch.setattr("linear_neuron.flows.predict.publish_batch", publish_later)
    location = linear_neuron.flows.predict.predict.fn(Batch(inputs=[f"{s3}/races-inbox/a.csv"]))
    manifest = read_manifest(location)
    assert [(result.source.name, result.predicted) for result in manifest.inputs] == [("a", 1), ("b", 1), ("c", 1)]
    assert sorted(result.source.name for result in manifest.replaced) == ["a", "b"]
    assert manifest.total.predicted == 3
    assert verify(store) == []
    for name, value in (("a", b"22.0"), ("b", b"25.0"), ("c", b"19.0")):
        assert value in (locate(location) / f"{name}.predictions.csv").read_bytes()
