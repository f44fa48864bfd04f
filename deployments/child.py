"""A child process that runs a module of Python, and ends with whoever started it, however that one ended.

Its program is `python -P -m linear_neuron.deployments.child MODULE [ARGUMENT ...]`, with a pipe from the parent as
standard input.
"""

import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from linear_neuron.tasks.process import watch_parent

STOP_SECONDS = 15  # How long a child may take to end by itself.
Child = subprocess.Popen[bytes]


@contextmanager
def run_child(
    *arguments: str, log: IO[bytes] | None = None, umask: int = -1, sockets: Sequence[socket.socket] = ()
) -> Iterator[Child]:
    """Run a module as a child, and end it with the context: politely, and then with all that it started.

    It has a session of its own, so that a Ctrl-C in the terminal reaches us alone and we choose the order of the end.

    Args:
        arguments: The module's name, and what its command line has after it.
        log: Where its output goes, if not where ours goes.
        umask: Permissions that its files do not get; -1 for ours.
        sockets: What it inherits; their numbers are added to its command line.
    """
    files = [listener.fileno() for listener in sockets]
    command = [sys.executable, "-P", "-m", "linear_neuron.deployments.child", *arguments, *map(str, files)]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=log, stderr=log, umask=umask, start_new_session=True, pass_fds=files
    )
    try:
        yield child
    finally:
        # A second Ctrl-C must not leave half of it behind.
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):  # As it should be: nothing is left of its group.
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _end_group() -> None:
    """End this process and, if it does not end in time, all that it started."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    watch_parent(_end_group)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
