"""The whole product a single time, in a folder where strangers' files lie; then as a stack, and every way it ends."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from linear_neuron.deployments.server_settings import UP_FILE
from linear_neuron.deployments.stack import report
from linear_neuron.tasks.registry.versions import list_versions
from linear_neuron.tasks.storage.store import Store
from tests.deployments.helpers import CLEAN, COMMAND, LONG, MEASURED, Stack
from tests.deployments.trainings import find_trainers, pause_training, read_slowly, serve_slowly
from tests.forked import Forked

MODULES = ("tasks.py", "flows/__init__.py", "deployments.py", "polars.py", "prefect.py", "numpy.py")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A stack that is not up yet, in a folder whose Python files leave a mark when they are imported."""
    folder = tmp_path_factory.mktemp("hostile")
    for name in MODULES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"open({str(folder / 'imported')!r}, 'a').write({name!r})")
    return Stack(folder, **MEASURED)


@pytest.fixture(scope="module")
def rivals(hostile: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Stack]]:
    """Two stacks that were started at the same time on one port: the one that is up, and the one that is not."""
    stacks = [Stack(tmp_path_factory.mktemp(name)) for name in ("first", "second")]
    stacks[1].port, stacks[1].api = stacks[0].port, stacks[0].api
    for rival in stacks:  # A new database takes seconds of CPU.
        with suppress(FileNotFoundError):  # Alone, the test has no other.
            shutil.copytree(hostile.store / "prefect", rival.store / "prefect")
    with ThreadPoolExecutor() as pool:
        failures = [future.exception() for future in [pool.submit(stack.start) for stack in stacks]]
    (refused,) = [stack for stack, failure in zip(stacks, failures, strict=True) if failure]
    (running,) = [stack for stack, failure in zip(stacks, failures, strict=True) if not failure]
    yield running, refused
    running.rest()


def test_once_prints_the_summary_and_leaves_no_file(hostile: Stack, tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "up", "--once"],
        env=CLEAN | {"TMPDIR": str(tmp_path)},
        cwd=hostile.log.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (version,) = list_versions(Store(str(hostile.store)))
    lines = done.stdout.splitlines()
    assert lines[-1] == str(hostile.store / "models" / version)
    assert list(tmp_path.iterdir()) == [], "another user of the machine could not write to what is left"
    assert any(line.startswith("Status        champion") for line in lines)
    assert "Waiting for the worker to run weekly-retrain ..." in done.stderr
    assert len(lines) + len(done.stderr.splitlines()) <= 25
    assert hostile.processes() == {}


def test_up_shows_the_first_run_and_predicts_the_inbox(hostile: Stack) -> None:
    inbox = hostile.log.parent / "inbox"
    inbox.mkdir()
    (inbox / "homes.csv").write_text("id,RM\n007,6\n")
    hostile.start()
    runs = hostile.api.ask("POST", "/flow_runs/filter", sort="START_TIME_ASC", flows={"name": {"any_": ["retrain"]}})
    (first,) = [run for run in runs if run["state_name"] == "Completed"]
    assert first["work_queue_name"] == "once"
    assert "retrain-report" in [artifact["key"] for artifact in hostile.api.artifacts(first["id"])]
    hostile.api.wait(hostile.api.trigger({}, "predict/daily-predict"), "Completed")
    assert list(hostile.store.glob("predictions/*/homes.predictions.csv"))


def test_the_servers_state_is_for_its_owner_alone(hostile: Stack) -> None:
    home = hostile.store / "prefect"
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "prefect.db").stat().st_mode & 0o777 == 0o600


def test_no_file_of_the_users_folder_was_taken_for_a_module(hostile: Stack) -> None:
    assert not (hostile.log.parent / "imported").exists()


def test_retrain_without_changes_is_reported_as_once_does(
    hostile: Stack, forked: Forked, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = forked.run(("retrain",), CLEAN, hostile.log.parent)
    assert done.returncode == 0, done.stderr
    (run,) = hostile.api.ask("POST", "/flow_runs/filter", flow_runs={"state": {"name": {"any_": ["Unchanged"]}}})
    monkeypatch.setenv("LINEAR_NEURON_STORE", str(hostile.store))
    with temporary_settings({PREFECT_API_URL: hostile.api.url}), get_client(sync_client=True) as client:
        lines = report(client.read_flow_run(UUID(run["id"]))).splitlines()
    (version,) = list_versions(Store())
    assert any(line.startswith(f"Nothing has changed since {version}") for line in lines)
    assert lines[-1] == str(hostile.store / "models" / version)


def test_up_ends_with_its_server_but_a_command_goes_on(hostile: Stack) -> None:
    assert hostile.process
    before = list_versions(Store(str(hostile.store)))
    command = [*COMMAND, "retrain", "--training.epochs", "300", "--dataset.source", "package"]
    with subprocess.Popen(command, env=CLEAN, cwd=hostile.log.parent, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr
        while "Epoch 1 of" not in run.stderr.readline():
            assert run.poll() is None
        with pause_training(lambda: find_trainers(run.pid)):
            hostile.kill("linear_neuron.deployments.server")
            assert hostile.process.wait(LONG) == 2
        said = run.communicate(timeout=LONG)[1].splitlines()
    assert run.returncode == 1
    assert said[-1].startswith(f"linear-neuron: The Prefect server at {hostile.api.url} went away during the run")
    assert not [line for line in said if "EventsWorker" in line or "connect to" in line]
    assert len(list_versions(Store(str(hostile.store)))) == len(before) + 1
    assert hostile.says("linear-neuron: The server ended by itself; the reason is in")
    assert hostile.processes() == {}


def test_of_two_starts_on_one_port_one_is_refused(rivals: tuple[Stack, Stack]) -> None:
    running, refused = rivals
    assert refused.process
    assert refused.process.returncode == 2
    assert refused.says(f"can't listen on 127.0.0.1 port {running.port} (Address already in use)")
    assert json.loads((running.store / UP_FILE).read_text())["url"] == f"http://127.0.0.1:{running.port}/api"


def test_stack_ends_in_30_seconds_when_the_server_hangs(rivals: tuple[Stack, Stack]) -> None:
    stack, _ = rivals
    with serve_slowly() as url:
        stack.api.wait(stack.api.trigger(read_slowly(url)), "Running")
        assert [line for line in stack.processes().values() if "training_process" in line], "it will train"
        (server,) = [pid for pid, line in stack.processes().items() if "linear_neuron.deployments.server" in line]
        os.kill(server, signal.SIGSTOP)
        began = time.monotonic()
        assert stack.stop(signal.SIGINT) == 0
        assert time.monotonic() - began < 30
    assert stack.processes() == {}
    assert not list(Path(stack.store).glob("prefect/up.json"))
