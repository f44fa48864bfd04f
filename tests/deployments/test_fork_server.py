"""The fork server with real processes: what a program lends to the process that it gets, and how each of them ends."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from linear_neuron.deployments.fork_server import ForkServer, run_forked
from tests.deployments.helpers import LONG, eventually
from tests.deployments.trainings import find_trainers

# A fork server that imports nothing of ours but a module that a test may change, and what its processes do.
SERVER = """
import os, signal, sys, time
sys.path.insert(0, {folder!r})
from linear_neuron.deployments import fork_server
fork_server.IMPORTED, fork_server.IDLE_SECONDS = ("changing",), {idle}
task, *rest = fork_server.serve([*{arguments!r}, {address!r}])
if task == "show":
    print(os.environ["PREFECT_SAID"], os.getcwd(), rest, "PREFECT_OLD" in os.environ, flush=True)
    print("from the run", file=sys.stderr, flush=True)
    sys.exit(7)
if task == "train":
    from linear_neuron.tasks.training.training_process import take_trainer
    trainer = take_trainer()
    open(rest[0], "w").write(str(trainer._process.pid))
    trainer.close()
    time.sleep({long})
if task == "die":
    os.kill(os.getpid(), signal.SIGKILL)
if task == "wait":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    open(rest[0], "w").write(str(os.getpid()))
    time.sleep({long})
"""
PROGRAM = """
import sys
from linear_neuron.deployments.fork_server import end_as, run_forked
status = run_forked(sys.argv[1], sys.argv[2:])
end_as(99 if status is None else status)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the server's socket, and of nothing else."""
    (tmp_path / "changing.py").write_text("")
    (tmp_path / "server").mkdir()
    return tmp_path / "server"


@contextmanager
def serve(folder: Path, *arguments: str, idle: float = LONG) -> "Iterator[subprocess.Popen[bytes]]":
    address = str(folder / "socket")
    text = SERVER.format(folder=str(folder.parent), address=address, arguments=arguments, idle=idle, long=LONG)
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    environment |= {"PREFECT_OLD": "gone"}
    with subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, env=environment) as process:
        eventually(Path(address).exists, "the fork server listens")
        yield process
        process.kill()


@pytest.fixture
def process(folder: Path) -> "Iterator[subprocess.Popen[bytes]]":
    with serve(folder) as started:
        yield started


def start(folder: Path, *arguments: str, **more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PROGRAM, str(folder / "socket"), *arguments]
    pipe, environment = subprocess.PIPE, dict(os.environ)
    environment.pop("PYTEST_CURRENT_TEST")  # It differs in each phase of a test.
    return subprocess.Popen(command, cwd=folder, env=environment | more, stdout=pipe, stderr=pipe, text=True)


def start_waiting(folder: Path, task: str = "wait") -> "tuple[subprocess.Popen[str], int]":
    """Start a program whose run waits, and return the process id that the run tells: its own, or its trainer's."""
    mark = folder.parent / task
    program = start(folder, task, str(mark))
    eventually(lambda: program.poll() is not None or (mark.exists() and mark.read_text()), "the run is there")
    assert program.poll() is None, program.communicate()
    return program, int(mark.read_text())


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.usefixtures("process")
def test_run_has_its_programs_files_folder_and_environment(folder: Path) -> None:
    program = start(folder, "show", "a", "b c", PREFECT_SAID="été")
    out, err = program.communicate(timeout=LONG)
    assert out == f"été {folder} ['a', 'b c'] False\n"
    assert err == "from the run\n"
    assert program.returncode == 7


@pytest.mark.usefixtures("process")
def test_run_with_what_an_import_may_read_is_refused(folder: Path) -> None:
    program = start(folder, "show", PREFECT_SAID="", OMP_NUM_THREADS="1")
    assert program.communicate(timeout=LONG)[0] == ""
    assert program.returncode == 99


def test_run_with_what_an_import_changes_is_forked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = "import os; os.environ['SET'] = 'by import'; os.environ.pop('REMOVED')"
    (folder.parent / "changing.py").write_text(changes)
    monkeypatch.setenv("REMOVED", "by import")
    with serve(folder):
        programs = [start(folder, "show", PREFECT_SAID="")]
        monkeypatch.delenv("REMOVED")
        programs.append(start(folder, "show", PREFECT_SAID="", SET="by import, twice"))
        for program in programs:
            program.communicate(timeout=LONG)
            assert program.returncode == 7


@pytest.mark.usefixtures("process")
def test_large_environment_arrives_whole(folder: Path) -> None:
    program = start(folder, "show", PREFECT_SAID="x" * 120_000)
    assert program.communicate(timeout=LONG)[0].startswith("x" * 120_000 + " ")


@pytest.mark.usefixtures("process")
def test_program_ends_by_the_signal_that_ended_its_run(folder: Path) -> None:
    program = start(folder, "die")
    program.communicate(timeout=LONG)
    assert program.returncode == -signal.SIGKILL


@pytest.mark.usefixtures("process")
def test_signal_to_the_program_reaches_its_run(folder: Path) -> None:
    program, run = start_waiting(folder)
    program.terminate()
    program.communicate(timeout=LONG)
    assert program.returncode == 3
    assert not is_alive(run)


@pytest.mark.usefixtures("process")
def test_run_ends_with_a_killed_program(folder: Path) -> None:
    program, run = start_waiting(folder)
    program.kill()
    program.communicate(timeout=LONG)
    eventually(lambda: not is_alive(run), "the run is killed")


def test_run_goes_on_when_the_server_ends(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    program, run = start_waiting(folder)
    process.communicate(timeout=LONG)
    assert not folder.exists(), "it leaves no file"
    assert is_alive(run)
    program.terminate()
    program.communicate(timeout=LONG)
    assert program.returncode == 3


def test_run_that_trains_gets_the_waiting_training_process(folder: Path) -> None:
    with serve(folder, "train") as process:
        (waiting,) = eventually(lambda: find_trainers(process.pid), "a training process waits")
        programs = [start_waiting(folder)[0]]  # It does not train, and leaves the process there.
        program, trainer = start_waiting(folder, "train")
        assert trainer == waiting
        eventually(lambda: not is_alive(waiting), "it ends when its run lets it go, since nobody else holds it")
        programs.append(program)
        assert [program.poll() for program in programs] == [None, None]
        for program in programs:
            program.kill()
            program.communicate(timeout=LONG)
        (following,) = eventually(lambda: find_trainers(process.pid), "another one waits")
        process.communicate(timeout=LONG)
        eventually(lambda: not is_alive(following), "it ends with the server")


def test_server_that_nobody_asks_ends(folder: Path) -> None:
    with serve(folder, "train", idle=1) as process:
        assert process.wait(LONG) == 0
    assert not folder.exists()


def test_edited_module_ends_the_server_before_a_run(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    (folder.parent / "changing.py").write_text("changed = True")
    assert run_forked(str(folder / "socket"), ["end"]) is None
    assert process.wait(LONG) == 0
    assert not folder.exists()


@pytest.mark.usefixtures("process")
def test_program_that_gave_up_gets_no_run(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mark = folder.parent / "mark"
    request = json.dumps([["wait", str(mark)], dict(os.environ), "/"]).encode()
    for sent in (b"", request[:9], request):
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(folder / "socket"))
            socket.send_fds(link, [len(request).to_bytes(8, "big")], (0, 1, 2))
            link.sendall(sent)
    program = start(folder, "die")
    program.communicate(timeout=LONG)
    assert program.returncode == -signal.SIGKILL, "the server goes on"
    assert not mark.exists()
    assert capfd.readouterr().err == ""


def test_without_a_server_the_program_does_the_run(folder: Path) -> None:
    program = start(folder, "show")
    program.communicate(timeout=LONG)
    assert program.returncode == 99


def test_server_of_a_worker_ends_with_its_object() -> None:
    server = ForkServer()
    folder = Path(server.address).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    eventually(Path(server.address).exists, "the socket is there")
    assert not server.ended
    server.close()
    assert server.ended
    assert not folder.exists()


def test_path_that_is_too_long_for_a_socket_is_no_server(tmp_path: Path) -> None:
    address = tmp_path / ("x" * 200)
    assert run_forked(str(address), []) is None
    done = subprocess.run(
        [sys.executable, "-P", "-m", "linear_neuron.deployments.fork_server", str(address)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == ""
