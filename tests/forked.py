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
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from linear_neuron.tasks.training import training_process

SERVED = "from tests.forked import take_order; take_order(); from linear_neuron.deployments.cli import main; main()"
TRAINING = ("retrain", "reproduce", "backtest")
TIME = 240  # seconds until a command is killed
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
        with tempfile.TemporaryDirectory(prefix="command-") as scratch:
            out, err = Path(scratch, "out"), Path(scratch, "err")
            order = [arguments, dict(environment), str(folder), str(out), str(err)]
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            status = int(self.process.stdout.readline())
            return subprocess.CompletedProcess(arguments, status, out.read_text(), err.read_text())

    def close(self) -> None:
        """Let the process end."""
        if self.process and self.process.stdin:
            with self.process:
                self.process.stdin.close()


Done = subprocess.CompletedProcess[str]


class Lent(training_process.Trainer):
    """A training process whose parent is the one that this one was forked from."""

    @property
    def ended(self) -> bool:
        """Whether the process has ended, which only its parent can ask; it has looked."""
        return False


def take_order() -> None:
    """Answer each line that is read with the exit status of a child that does what it says; return in the child."""
    for module in IMPORTED:
        import_module(module)
    training_process.keep_warm()
    trainer: Lent | None = None
    for line in sys.stdin:
        order = json.loads(line)
        if set(TRAINING) & set(order[0]):
            if trainer is None or training_process.Trainer.ended.__get__(trainer):
                trainer = Lent()
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
        file = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    sys.argv = ["linear-neuron", *arguments]
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    tempfile.tempdir = None
    refresh_global_settings_context()
