"""A process that has imported the product, and forks one for each command: a start costs a tenth of a new Python's.

Each command has a process, environment, folder and exit of its own. Two things differ from a start by a user: modules
are imported already, and Keras too, in a process that trains for all commands. Tests of those start Python themselves.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from socketserver import StreamRequestHandler, UnixStreamServer
from threading import Thread
from typing import Any

from linear_neuron.tasks.training import training_process

SERVED = "from tests.forked import take_order; take_order(); from linear_neuron.deployments.cli import main; main()"
TRAINING = ("retrain", "reproduce", "backtest")
TIME = 240  # seconds until a command is killed
CLIENT = """#!{python} -IS
import json, os, socket, sys
if "up" in sys.argv:
    os.execv({real!r}, [{real!r}, *sys.argv[1:]])
files = [f"/proc/{{os.getpid()}}/fd/{{number}}" for number in (1, 2)]
link = socket.socket(socket.AF_UNIX)
link.connect({address!r})
link.sendall(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd(), *files]).encode() + b"\\n")
sys.exit(int(link.recv(9)))
"""
IMPORTED = (
    "matplotlib.backends.backend_svg",
    "linear_neuron.deployments.deploy",
    "linear_neuron.deployments.stack",
    *(f"linear_neuron.flows.{flow}" for flow in ("actuals", "backtest", "predict", "promote", "reproduce", "retrain")),
)


class Forked:
    """The process, as the tests see it; it starts with the first command."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def run(self, arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path) -> "Done":
        """Run `linear-neuron` with arguments in a folder, with nothing but this environment."""
        with tempfile.TemporaryDirectory(prefix="command-") as scratch:
            out, err = Path(scratch, "out"), Path(scratch, "err")
            status = self.order([arguments, dict(environment), str(folder), str(out), str(err)])
            return subprocess.CompletedProcess(arguments, status, out.read_text(), err.read_text())

    def order(self, order: list[Any]) -> int:
        """Have a child do what the arguments of `become` say, and return its exit status."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVED],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[1],
            )
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    @contextmanager
    def offer(self) -> Iterator[Path]:
        """Make a folder with a command `linear-neuron` for shells, one at a time; `up` starts a Python of its own."""
        order = self.order

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(str(order(json.loads(self.rfile.readline()))).encode())

        with tempfile.TemporaryDirectory(prefix="offer-") as folder:
            address, command = f"{folder}/socket", Path(folder, "linear-neuron")
            real = str(Path(sys.executable).with_name(command.name))
            command.write_text(CLIENT.format(python=sys.executable, real=real, address=address))
            command.chmod(0o755)
            with UnixStreamServer(address, Handler) as server:
                Thread(target=server.serve_forever, daemon=True).start()
                yield Path(folder)
                server.shutdown()

    def close(self) -> None:
        """Let the process end."""
        if self.process and self.process.stdin:
            with self.process:
                self.process.stdin.close()


Done = subprocess.CompletedProcess[str]


def take_order() -> None:
    """Answer each line that is read with the exit status of a child that does what it says; return in the child."""
    for module in IMPORTED:
        import_module(module)
    training_process.keep_warm()
    trainer: training_process.Trainer | None = None
    for line in sys.stdin:
        order = json.loads(line)
        if set(TRAINING) & set(order[0]):
            if trainer is None or trainer.ended:
                trainer = training_process.Trainer()
            training_process._waiting[:] = [trainer]
        child = os.fork()
        if not child:
            become(*order)
            return
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status < 0 and trainer:  # It may be in the middle of a training that nobody wants any more.
            trainer.kill()
            trainer = None
        print(status, flush=True)  # noqa: T201
    if trainer:
        trainer.kill()
    os._exit(0)


def become(arguments: list[str], environment: dict[str, str], folder: str, out: str, err: str) -> None:
    """Give this process what a new one would have."""
    from prefect.context import refresh_global_settings_context

    signal.alarm(TIME)
    for number, path in enumerate((os.devnull, out, err)):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    sys.argv = ["linear-neuron", *arguments]
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    tempfile.tempdir = None
    refresh_global_settings_context()
