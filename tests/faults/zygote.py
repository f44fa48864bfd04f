"""A process that has imported the product, and forks one that runs a command of it with a fault.

Importing takes two seconds and forking a hundredth of one, so that a kill costs little more than what it kills.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import IO, Any, cast

from tests.faults.faults import Counter, Fault

TIME = 60  # seconds after which a command is taken to hang
HERE = "import sys; from tests.faults.zygote import serve; serve()"


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: str  # done, refused (in one sentence), traceback, killed or hang
    message: str = ""
    steps: list[str] = field(default_factory=list)  # that it took, if it lived to tell
    requests: int = 0

    @property
    def ok(self) -> bool:
        """Whether it did what it was asked to do."""
        return self.status == "done"


class Zygote:
    """The process, as the tests see it; it starts with the first command."""

    @cached_property
    def process(self) -> subprocess.Popen[str]:
        hidden = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "PYTHONDONTWRITEBYTECODE")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        return subprocess.Popen(
            [sys.executable, "-c", HERE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, store: str, scratch: str, command: str, fault: Fault = Fault(), **arguments: Any) -> Outcome:
        """Run a command on a store, with a folder for temporary files, and with a fault if one is given."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = {"store": store, "scratch": scratch, "command": command, "fault": asdict(fault), "arguments": arguments}
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        return Outcome(**json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        """Let the process end, if there is one."""
        if "process" in vars(self):
            with self.process:
                cast("IO[str]", self.process.stdin).close()


def serve() -> None:
    """Answer a line for every line that is read: run what it says in a child of its own."""
    import tests.faults.commands as commands

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            os.setsid()
            run_and_tell(commands, order, writing)
        os.close(writing)
        answers.write(json.dumps(asdict(wait_for(child, reading))) + "\n")
        answers.flush()


def run_and_tell(commands: Any, order: dict[str, Any], pipe: int) -> None:
    """Run a command, send its outcome through the pipe, and end this process without any clean-up."""
    os.environ["LINEAR_NEURON_STORE"] = order["store"]
    tempfile.tempdir = order["scratch"]
    counter = Counter(Fault(**order["fault"]))
    status, message = "done", ""
    try:
        counter.install()
        message = str(getattr(commands, order["command"])(**order["arguments"]))
    except commands.UserError as error:
        status, message = "refused", str(error)
    except BaseException:  # noqa: BLE001, whatever comes is what a user would see
        status, message = "traceback", traceback.format_exc()
    with contextlib.suppress(BrokenPipeError):
        os.write(pipe, json.dumps([status, message[-4000:], counter.names, counter.requests]).encode())
    os._exit(0)


def wait_for(child: int, pipe: int) -> Outcome:
    """Read what a child says until it ends, however it ends."""
    deadline, said = time.monotonic() + TIME, b""
    os.set_blocking(pipe, False)
    while True:
        with contextlib.suppress(BlockingIOError):
            said += os.read(pipe, 1 << 20)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(pipe)
            return Outcome("hang")
        time.sleep(0.002)
    with contextlib.suppress(BlockingIOError):
        while more := os.read(pipe, 1 << 20):
            said += more
    os.close(pipe)
    if os.WIFSIGNALED(status):
        return Outcome("killed", signal.Signals(os.WTERMSIG(status)).name)
    return Outcome(*json.loads(said))
