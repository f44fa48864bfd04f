"""Files: errors as one sentence, work in threads, digests and scratch folders."""

import atexit
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import BufferedReader
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar, cast

from filelock import Timeout
from upath import UPath

from linear_neuron.tasks.errors import StoreError

SYNC_BYTES = 32 << 20  # what may wait for the disk; on 300 MB, a tenth of the time is saved at the end
TEMPORARY = "linear-neuron-scratch-"  # begins the names of folders that are made outside of the store
IS_FOLDER = "is a folder, but must be a file; remove it, or move it away."
LOOK = 0.1  # seconds between two looks at a lock
DOUBT = 2  # seconds after a change in which the next one may have the same time

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def user_errors(path: UPath) -> Iterator[None]:
    """Turn an error of the disk or the bucket into one sentence.

    Raises:
        StoreError: instead of any error of the file system or of the S3 client.
    """
    try:
        yield
    except IsADirectoryError as error:
        name = error.filename2 or error.filename or path  # of a rename, what the file was to be called
        raise StoreError(f"{name} {IS_FOLDER}") from error
    except Exception as error:
        # The S3 client is an optional extra, so its errors (no answer, no keys) are recognized by their module.
        if not isinstance(error, OSError | Timeout) and "botocore" not in type(error).__module__:
            raise
        silent = "it does not answer in time" if isinstance(error, TimeoutError) else type(error).__name__
        reason = getattr(error, "strerror", None) or str(error) or silent
        raise StoreError(
            f"The store refuses {path}: {reason}. "
            "Check its address, keys, permissions and free space, or name another by --store or LINEAR_NEURON_STORE."
        ) from error


def map_in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int,
    weigh: Callable[[Item], int] = lambda _: 0,
    limit: int = 0,
) -> Iterator[Result]:
    """Yield the results in order, with at most `threads` items in work and one more that waits in memory.

    While the items in work weigh more than the limit, no other item is taken.
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


def write_file(path: Path, chunks: Iterable[bytes], durable: bool = True) -> dict[str, Any]:
    """Write chunks while the next are computed, synced if `durable`, and describe the file as `describe_file` does."""
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
        write(next(chunks, b""))  # A header; a single chunk after it needs no thread.
        for _ in map_in_order(write, chunks, threads=1):
            pass
    return {"sha256": sha256.hexdigest(), "bytes": path.stat().st_size}


def digest_file(path: Path | UPath) -> str:
    """Digest a file of any size, in hex, wherever it is."""
    with cast(BufferedReader, path.open("rb")) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_file(path: Path | UPath) -> dict[str, Any]:
    """Describe a file as manifests do: its `sha256` and its number of `bytes`."""
    return {"sha256": digest_file(path), "bytes": path.stat().st_size}


def tag_file(path: str) -> str:
    """Tag a file of this machine: as long as the tag stays the same, so does the content.

    It consists of the file's inode, size and time of change, which no program can set. It is empty just after a change,
    since another change at the same time would not show.
    """
    facts = os.stat(path)  # noqa: PTH116, making a Path would take longer
    return f"{facts.st_ino}-{facts.st_size}-{facts.st_ctime_ns}" if facts.st_ctime + DOUBT < time.time() else ""


@contextmanager
def lock_folder(folder: Path, seconds: float, wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep other processes that lock the same folder out of it, without a file; a dead one's lock is freed.

    Args:
        folder: is there already. Where its file system knows no such locks, nothing is locked.
        seconds: how long to wait for one that has it.
        wait: is called once, if there is one to wait for.

    Raises:
        TimeoutError: another process still has it.
    """
    handle, deadline = os.open(folder, os.O_RDONLY | os.O_DIRECTORY), time.monotonic() + seconds
    try:
        while not _try_lock(handle):
            wait()
            wait = _nothing
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(LOOK)
        yield
    finally:
        os.close(handle)


def _nothing() -> None:
    pass


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # A file system of another machine may lock files alone.
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Make a rename durable, which on POSIX is a change of the folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_temporary(name: str = "") -> Path:
    """Make a local folder for files on their way elsewhere; the next `clean` removes it if this run can't."""
    return Path(tempfile.mkdtemp(prefix=TEMPORARY + name))


_scratch: list[Path] = []


def make_scratch(name: str) -> Path:
    """Make a local folder for one run, which the end of this process removes, or `remove_scratch` before."""
    _scratch.append(make_temporary(name))
    return _scratch[-1]


@atexit.register
def remove_scratch() -> None:
    """Remove the folders of runs that have ended."""
    while _scratch:
        shutil.rmtree(_scratch.pop(), ignore_errors=True)
