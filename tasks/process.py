"""This process: how rarely it collects garbage, how much memory it keeps, and that it ends with its parent."""

import atexit
import ctypes
import gc
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache

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
