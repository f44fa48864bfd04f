"""Processes: how rarely one collects garbage, how much memory it keeps, and that a child ends with its parent."""

import atexit
import ctypes
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from multiprocessing import Pipe
from multiprocessing.connection import Connection

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # numbers of options in malloc.h
OBJECTS = 100_000  # made since the last search before the next one; Python's own number is 700 (2,000 since 3.13)


def collect_rarely() -> None:
    """Collect garbage rarely, and not at the end.

    Imports make many objects and hardly any garbage, and the process's end frees the rest. Collecting took a quarter of
    the time of `predict` with a small file.
    """
    gc.set_threshold(OBJECTS)
    atexit.register(gc.freeze)


@cache
def keep_freed_memory() -> None:
    """Let the C library keep 16 MB of freed memory for the next block.

    By default glibc gives the memory of every block back, and the kernel has to clear as much for the next one, which
    takes 4% of the CPU time of scoring plain CSV and 10% in Latin-1.
    """
    with suppress(AttributeError):  # Other C libraries have no such setting.
        set_option = ctypes.CDLL(None).mallopt
        set_option(MMAP_THRESHOLD, 12 << 20)  # What is larger, such as a line of 15 MB, is given back at once.
        set_option(TRIM_THRESHOLD, 16 << 20)


def watch_parent(end: Callable[[], object]) -> None:
    """Call `end` in a thread when standard input ends: the parent closed its end of the pipe, or died."""

    def wait() -> None:
        os.read(0, 1)  # Nobody writes, so it returns only at the end.
        end()

    threading.Thread(target=wait, daemon=True).start()


def start_linked(
    module: str, *arguments: str, environment: Mapping[str, str]
) -> tuple["subprocess.Popen[bytes]", Connection]:
    """Start a module of Python as a child with a connection to it, whose descriptor is its last argument.

    Its standard input is a pipe that ends with this process: see `watch_parent`.
    """
    link, other_end = Pipe()
    command = [sys.executable, "-P", "-m", module, *arguments, str(other_end.fileno())]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[other_end.fileno()], env=dict(environment))
    other_end.close()
    return child, link
