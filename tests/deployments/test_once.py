"""The whole product a single time, in a folder where strangers' files lie; then as a stack, and every way it ends."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from linear_neuron.tasks.registry.versions import list_versions
from linear_neuron.tasks.storage.store import Store
from tests.deployments.helpers import CLEAN, COMMAND, LONG, MEASURED, Stack, eventually

MODULES = ("tasks.py", "flows/__init__.py", "deployments.py", "polars.py", "prefect.py", "numpy.py")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A stack that is not up yet, in a folder whose Python files leave a mark when they are imported."""
    folder = tmp_path_factory.mktemp("hostile")
    for name in MODULES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"open({str(folder / 'imported')!r}, 'a').write({name!r})")
    return Stack(folder, **MEASURED)


def test_once_prints_the_summary_and_leaves_no_file(stack: Stack, tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "up", "--once"],
        env=CLEAN | {"TMPDIR": str(tmp_path)},
        cwd=stack.log.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (version,) = list_versions(Store(str(stack.store)))
    lines = done.stdout.splitlines()
    assert lines[-1] == str(stack.store / "models" / version)
    assert list(tmp_path.iterdir()) == [], "another user of the machine could not write to what is left"
    assert any(line.startswith("Status        champion") for line in lines)
    assert "Waiting for the worker to run weekly-retrain ..." in done.stderr
    assert len(lines) + len(done.stderr.splitlines()) <= 25
    assert stack.processes() == {}


def test_second_once_is_unchanged(stack: Stack) -> None:
    done = subprocess.run(
        [*COMMAND, "up", "--once"], env=CLEAN, cwd=stack.log.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (version,) = list_versions(Store(str(stack.store)))
    assert done.stdout.splitlines()[-1] == str(stack.store / "models" / version)


def test_up_shows_the_first_run_and_predicts_the_inbox(stack: Stack) -> None:
    inbox = stack.log.parent / "inbox"
    inbox.mkdir()
    (inbox / "homes.csv").write_text("id,RM\n007,6\n")
    stack.start()
    runs = stack.api.ask("POST", "/flow_runs/filter", sort="START_TIME_ASC", flows={"name": {"any_": ["retrain"]}})
    (first,) = [run for run in runs if run["state_name"] == "Completed"]
    assert first["work_queue_name"] == "once"
    assert "retrain-report" in [artifact["key"] for artifact in stack.api.artifacts(first["id"])]
    stack.api.wait(stack.api.trigger({}, "predict/daily-predict"), "Completed")
    assert list(stack.store.glob("predictions/*/homes.predictions.csv"))


def test_no_file_of_the_users_folder_was_taken_for_a_module(stack: Stack) -> None:
    assert not (stack.log.parent / "imported").exists()


def test_nothing_outlives_a_killed_up(stack: Stack) -> None:
    assert stack.process
    stack.process.kill()
    stack.process.wait()
    eventually(lambda: stack.processes() == {}, "the server and the worker end")


def test_up_ends_with_its_server_but_a_command_goes_on(stack: Stack) -> None:
    stack.start()
    assert stack.process
    before = list_versions(Store(str(stack.store)))
    retrain = [*COMMAND, "retrain", "--training.epochs", "3000", "--dataset.source", "package"]
    with subprocess.Popen(retrain, env=CLEAN, cwd=stack.log.parent, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr
        while "Epoch 1 of" not in run.stderr.readline():
            assert run.poll() is None
        stack.kill("linear_neuron.deployments.server")
        said = run.communicate(timeout=LONG)[1].splitlines()
    assert run.returncode == 1
    assert said[-1].startswith(f"linear-neuron: The Prefect server at {stack.api.url} went away during the run")
    assert not [line for line in said if "EventsWorker" in line or "connect to" in line]
    assert len(list_versions(Store(str(stack.store)))) == len(before) + 1
    assert stack.process.wait(LONG) == 2
    assert stack.says("linear-neuron: The server ended by itself; the reason is in")
    assert stack.processes() == {}


def test_stack_ends_in_30_seconds_when_the_server_hangs(stack: Stack) -> None:
    stack.start()
    assert stack.process
    run = stack.api.trigger({"force": True, "training": {"epochs": 100_000, "batch_size": 1}})
    stack.api.wait(run, "Running")
    (server,) = [pid for pid, line in stack.processes().items() if "linear_neuron.deployments.server" in line]
    os.kill(server, signal.SIGSTOP)
    began = time.monotonic()
    assert stack.stop(signal.SIGINT) == 0
    assert time.monotonic() - began < 30
    assert stack.processes() == {}
    assert not list(Path(stack.store).glob("prefect/up.json"))
