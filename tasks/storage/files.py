"""What every room needs to read and write files: errors as one sentence, threads, digests and scratch folders."""

import ctypes
import hashlib
import math
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from io import BufferedReader
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar, cast

from filelock import Timeout
from upath import UPath

from tasks.errors import StoreError

SYNC_BYTES = 32 << 20  # what may wait for the disk; on 300 MB, a tenth of the time is saved at the end
TEMPORARY = "linear-neuron-scratch-"  # begins the names of folders that are made outside of the store
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # numbers of options in malloc.h
DOUBT = 2  # seconds after a change in which the next one may bear the same time

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def user_errors(path: UPath) -> Iterator[None]:
    """Turn what a disk or a bucket may refuse into one sentence.

    Raises:
        StoreError: in the place of any error of the file system or of the S3 client.
    """
    try:
        yield
    except Exception as error:
        # The S3 client is an optional extra, so its errors (no answer, no keys) can only be told by their module.
        if not isinstance(error, OSError | Timeout) and "botocore" not in type(error).__module__:
            raise
        silent = "it does not answer in time" if isinstance(error, TimeoutError) else type(error).__name__
        reason = getattr(error, "strerror", None) or str(error) or silent
        raise StoreError(
            f"The store refuses {path}: {reason}. "
            "Mend its address, keys, permissions or space, or name another by --store or LINEAR_NEURON_STORE."
        ) from error


def to_finite(value: Any) -> Any:
    """Put None in the place of each number that is not finite, however deep in lists and dicts."""
    if isinstance(value, dict):
        return {key: to_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def map_in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int,
    weigh: Callable[[Item], int] = lambda _: 0,
    limit: int = 0,
) -> Iterator[Result]:
    """Yield the results in order, with so many items in work at a time and one more that waits in memory.

    While those in work weigh more than the limit, no other item is taken.
    """
    items = iter(items)
    first = list(islice(items, 2))
    if len(first) < 2:  # Starting a thread for it would take longer than most work.
        yield from map(work, first)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[Future[Result], int]] = deque()
        for item in chain(first, items):
            waiting.append((pool.submit(work, item), weigh(item)))
            while len(waiting) > threads or sum(weight for _, weight in waiting) > limit > 0:
                yield waiting.popleft()[0].result()
        while waiting:
            yield waiting.popleft()[0].result()


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


def write_file(path: Path, chunks: Iterable[bytes], durable: bool = True) -> dict[str, Any]:
    """Write chunks while the next are made, synced if `durable`, and say of the file what `describe_file` says."""
    sha256, unsynced = hashlib.sha256(), 0
    with path.open("wb") as file:

        def write(chunk: bytes) -> None:
            nonlocal unsynced
            sha256.update(chunk)
            file.write(chunk)
            unsynced += len(chunk)
            if durable and unsynced > SYNC_BYTES:
                os.fsync(file.fileno())
                unsynced = 0

        chunks = iter(chunks)
        write(next(chunks, b""))  # A header; for what often is but one chunk more, no thread is started.
        for _ in map_in_order(write, chunks, threads=1):
            pass
    return {"sha256": sha256.hexdigest(), "bytes": path.stat().st_size}


def digest_file(path: Path | UPath) -> str:
    """Digest a file of any size, in hex, wherever it is."""
    with cast(BufferedReader, path.open("rb")) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_file(path: Path | UPath) -> dict[str, Any]:
    """Say of a file what manifests keep: its `sha256` and how many `bytes` it has."""
    return {"sha256": digest_file(path), "bytes": path.stat().st_size}


def tag_file(path: str) -> str:
    """Tag a file of this machine: as long as the tag stays the same, so does the content.

    It is made of the file's number, size and time of change, which no program can set. It is empty just after a change,
    when the next one may not show.
    """
    facts = os.stat(path)  # noqa: PTH116, making a Path would take longer
    return f"{facts.st_ino}-{facts.st_size}-{facts.st_ctime_ns}" if facts.st_ctime + DOUBT < time.time() else ""


def sync_folder(folder: Path) -> None:
    """Make a rename durable, which on POSIX is a change of the folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_temporary(name: str = "") -> Path:
    """Make a local folder for files that are on their way elsewhere; the next clean removes it if this run can't."""
    return Path(tempfile.mkdtemp(prefix=TEMPORARY + name))
