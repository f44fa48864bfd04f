"""A fork server: a process that has imported what runs import, and forks one process for each run.

The imports take seconds and the fork takes milliseconds. A worker starts its fork server after a run, as soon as no
other run is going. The server ends after ten minutes without a run. The program of a run (see `engine`) asks for a
process, lends it its files, environment and folder, passes signals on, and ends as that process ended. If the fork
server does not answer, or was started in another environment, the program does the run itself. After a run that trains,
the fork server also starts a training process, which imports Keras, and leaves it to the next run that trains.

This is clever where plain code would import again. `tests/benchmarks/clicking.py` measures what it saves.
"""

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, NoReturn

from linear_neuron.tasks.training.training_process import let_go, warm_up

FLOWS = ("retrain", "predict", "actuals", "promote", "backtest", "many_models")
IMPORTED = (
    "prefect.flow_engine",
    "matplotlib.backends.backend_svg",
    *(f"linear_neuron.flows.{flow}" for flow in FLOWS),
)
STANDARD_FILES = (0, 1, 2)
TRAIN = "train"  # the argument of a run that trains
IDLE_SECONDS = 600  # without a run until the fork server ends
ANSWER_SECONDS = 60  # for which a program waits for a process, while imports may go on, and a process for its program
OWN_VARIABLES = ("PREFECT", "LINEAR_NEURON")  # begin the names of variables that are read in each run, not by an import
READY, GO = b"r", b"g"
Suits = Callable[[dict[str, str]], bool]  # whether what was imported suits the environment of a run
PASSED_ON = (signal.SIGTERM,)  # A terminal sends SIGINT to all of them.


class ForkServer:
    """The fork server as its worker sees it; it ends with the worker, however that ends.

    Args:
        arguments: What the program of the last run had after its name.
    """

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="linear-neuron-")  # for its owner alone
        self.address = str(Path(self._folder.name, "socket"))
        command = [sys.executable, "-P", "-m", "linear_neuron.deployments.fork_server", *arguments, self.address]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, env=dict(os.environ))

    @property
    def ended(self) -> bool:
        """Whether the process has ended, as it does after ten minutes without a run, or when an import is outdated."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End the process. Runs that it forked go on."""
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()


def run_forked(address: str, arguments: Sequence[str]) -> int | None:
    """Have the fork server at an address do a run instead of this process.

    Args:
        address: The path of its socket.
        arguments: What the run's program has after its name.

    Returns:
        What the process ended with, where a negative number is a signal's; None if there is no fork server.
    """
    request = json.dumps([list(arguments), dict(os.environ), str(Path.cwd())]).encode()
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(ANSWER_SECONDS)
        try:
            link.connect(address)
            socket.send_fds(link, [len(request).to_bytes(8, "big")], STANDARD_FILES)
            link.sendall(request)
            if link.recv(1) != READY:
                return None
            link.sendall(GO)  # From here on the other process does the run, and this one does not.
        except OSError:
            return None
        link.settimeout(None)
        for number in PASSED_ON:
            signal.signal(number, lambda number, _: link.send(bytes([number])))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = link.recv(8)
    return int(status) if status else 1


def end_as(status: int) -> NoReturn:
    """End this process as another ended: with its exit status, or by the signal that ended it."""
    if status < 0:
        with suppress(OSError):  # SIGKILL has no other handler.
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


class Request(NamedTuple):
    """What a program has for its run: its arguments, environment and folder, and its standard files."""

    link: socket.socket
    arguments: list[str]
    environment: dict[str, str]
    folder: str
    files: list[int]

    @property
    def trains(self) -> bool:
        """Whether the run trains a neuron."""
        return TRAIN in self.arguments

    def close(self) -> None:
        """Close this process's copy of the link and the files."""
        self.link.close()
        for file in self.files:
            os.close(file)


def serve(arguments: Sequence[str]) -> list[str]:
    """Fork a process for each request, until standard input ends, an imported file changes, or nobody asks.

    Args:
        arguments: `[train] ADDRESS`: what the last run's program had, and the path of the socket.

    Returns:
        In a process of a run, its arguments. The fork server itself does not return.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody waits for the children.
    environment, trains, address = dict(os.environ), TRAIN in arguments, arguments[-1]
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(address)
        except OSError:  # The path of temporary files is too long, and each run imports for itself.
            os._exit(1)
        listener.listen()  # A run that is due meanwhile waits, which takes less time than imports of its own.
        if trains:
            warm_up()
        for module in IMPORTED:
            import_module(module)
        # An import may change a variable, as Polars does. A worker imports Polars when it looks into a run that
        # crashed. Its later runs have that variable, and this process started without it.
        changed = {name for name in {*environment, *os.environ} if environment.get(name) != os.environ.get(name)}
        gc.freeze()  # The processes share what was imported, for as long as nobody writes there.
        fixed = _select_fixed(environment, changed)
        request = _listen(listener, lambda own: _select_fixed(own, changed) == fixed, trains)
    if request:
        return _become(request)
    with suppress(OSError):  # The worker may have removed it.
        Path(address).unlink()
        Path(address).parent.rmdir()
    os._exit(0)


def _listen(listener: socket.socket, suits: Suits, trains: bool) -> Request | None:
    """Fork a process for each request; return the request in that process, and None when the server is to end."""
    files = _stat_modules()
    runs: list[int] = []
    while True:
        ready, _, _ = select.select([listener, sys.stdin, *runs], [], [], IDLE_SECONDS)
        if not ready or sys.stdin in ready or files != _stat_modules():
            return None
        _forget_ended(runs, ready)
        if listener in ready and (request := _read_request(listener.accept()[0], suits)):
            trains = trains or request.trains
            if not (run := _fork_for(request)):
                return request
            runs.extend(_open_process(run))
        elif trains and not runs:  # Keras takes all of a core for a while, and no run waits for that now.
            warm_up()


def _open_process(number: int) -> list[int]:
    """Open a process, if there still is one; its descriptor can be read when it has ended."""
    with suppress(ProcessLookupError):
        return [os.pidfd_open(number)]
    return []


def _forget_ended(runs: list[int], ready: Sequence[object]) -> None:
    for run in [run for run in runs if run in ready]:
        runs.remove(run)
        os.close(run)


def _fork_for(request: Request) -> int:
    if request.trains:
        warm_up()
    if run := _fork():
        request.close()
        if request.trains:
            let_go()
    return run


def _fork() -> int:
    with warnings.catch_warnings():
        # Python warns of threads, and there are those of NumPy's OpenBLAS, which is made to be forked.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _stat_modules() -> dict[str, tuple[int, int]]:
    """Tell which file each imported module is, so that a new release, or an edited file, is noticed."""
    found = {}
    for module in list(sys.modules.values()):
        if file := getattr(module, "__file__", None):
            with suppress(OSError):
                stat = Path(file).stat()
                found[file] = (stat.st_mtime_ns, stat.st_ino)
    return found


def _select_fixed(environment: Mapping[str, str], changed: Collection[str]) -> dict[str, str]:
    """Select the variables that an import may have read, such as a library's number of threads, and did not change."""
    names = [name for name in environment if name not in changed and not name.startswith(OWN_VARIABLES)]
    return {name: environment[name] for name in names}


def _read_request(link: socket.socket, suits: Suits) -> Request | None:
    """Read what a program wants; None if it says nothing, or if what was imported may not suit its environment."""
    link.settimeout(ANSWER_SECONDS)
    files: list[int] = []
    try:
        head, files, _, _ = socket.recv_fds(link, 8, len(STANDARD_FILES))
        text = b""
        while len(text) < int.from_bytes(head, "big") and (part := link.recv(1 << 16)):
            text += part
        arguments, own, folder = json.loads(text)
        if suits(own):
            return Request(link, arguments, own, folder, files)
    except (OSError, ValueError):
        pass
    Request(link, [], {}, "", files).close()
    return None


def _become(request: Request) -> list[str]:
    """Fork once more: the parent watches over the run, and the child gets what its program lends it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    link = request.link
    link.settimeout(ANSWER_SECONDS)
    try:
        link.sendall(READY)
        if link.recv(1) != GO:
            os._exit(1)
    except OSError:
        os._exit(1)
    if not request.trains:
        let_go()
    if run := _fork():
        let_go()
        _watch(run, link)
    for number, file in zip(STANDARD_FILES, request.files, strict=True):
        os.dup2(file, number)
    request.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.folder)
    tempfile.tempdir = None
    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()
    return request.arguments


def _watch(run: int, link: socket.socket) -> NoReturn:
    """Pass signals on to a run, kill it if its program ends before it, and send what it ended with."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    link.settimeout(None)

    def pass_on() -> None:
        with suppress(ProcessLookupError):  # It may end at the same moment.
            with suppress(ConnectionError):
                while number := link.recv(1):
                    os.kill(run, number[0])
            os.kill(run, signal.SIGKILL)

    threading.Thread(target=pass_on, daemon=True).start()
    status = os.waitstatus_to_exitcode(os.waitpid(run, 0)[1])
    with suppress(OSError):
        link.sendall(str(status).encode())
    os._exit(0)


if __name__ == "__main__":
    from linear_neuron.deployments.engine import run

    run(serve(sys.argv[1:]))
