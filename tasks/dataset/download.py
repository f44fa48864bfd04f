"""A published file: from the store's cache, from its address, or from the copy in the package."""

import tempfile
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pooch
import requests
from upath import UPath

from tasks.dataset.rows import Origin
from tasks.errors import UserError
from tasks.storage.files import TEMPORARY
from tasks.storage.store import Store, digest

SOURCES = ("cache", "network", "package")
PIECE_BYTES = 4096
TIMES_COPY = 10  # the size of the package's copy that is read of an answer at most


@dataclass(frozen=True)
class PublishedFile:
    """A file that never changes: the bytes of this digest, of which the package has a copy."""

    name: str
    url: str
    sha256: str


class _UnavailableError(Exception):
    """A source has no good bytes; the message says why."""


def dataset_file(store: Store, sha256: str, suffix: str) -> UPath:
    """Return the path under which the store keeps a dataset of this digest."""
    return store.root / "datasets" / f"{sha256}{suffix}"


def fetch_file(
    store: Store, file: PublishedFile, wanted: str, timeout: float = 20.0, deadline: float = 60.0
) -> tuple[bytes, Origin]:
    """Find the bytes of a published file and keep them in the store.

    Args:
        store: where the cache is.
        file: which file.
        wanted: the source to insist on, or `auto` for each in turn.
        timeout: seconds to wait for a connection, and for each next piece of the answer.
        deadline: seconds for a whole download, however often it is tried.

    Raises:
        UserError: no source that may be used has bytes of the right digest.
    """
    cached = dataset_file(store, file.sha256, Path(file.name).suffix)
    remarks: list[str] = []
    for source in SOURCES if wanted == "auto" else (wanted,):
        try:
            data = _read(source, file, cached, timeout, deadline)
        except FileNotFoundError:
            remarks += [f"{source}: there is no file yet"] if wanted == source else []
        except (_UnavailableError, OSError) as error:
            remarks.append(f"{source}: {error}" + ("; fetched anew" if source == "cache" else ""))
        else:
            if source != "cache":
                store.write(cached, data)
            return data, Origin(file.sha256, source, tuple(remarks))
    raise UserError(
        f"No source has {file.name} with the right digest ({'; '.join(remarks)}). "
        "Try --dataset.source package, which needs no network."
    )


def _read(source: str, file: PublishedFile, cached: UPath, timeout: float, deadline: float) -> bytes:
    """Read bytes of the right digest from one source."""
    if source == "cache":
        data = cached.read_bytes()
    elif source == "network":
        data = _download_in_time(file, timeout, deadline)
    else:
        data = _read_copy(file)
    if digest(data) != file.sha256:
        raise _UnavailableError(f"its sha256 is {digest(data)}, not {file.sha256}")
    return data


def _read_copy(file: PublishedFile) -> bytes:
    return (resources.files("tasks.dataset") / "data" / file.name).read_bytes()


def _download_in_time(file: PublishedFile, timeout: float, deadline: float) -> bytes:
    """Download in a thread that is left behind at the deadline.

    A server that sends a byte now and then, of the content or of the head before it, passes every other time-out.
    """
    outcome: Future[bytes] = Future()
    downloader = _Downloader(timeout, time.monotonic() + deadline, TIMES_COPY * len(_read_copy(file)))

    def work() -> None:
        try:
            outcome.set_result(_download(file, downloader))
        except Exception as error:  # noqa: BLE001, whoever waits for the outcome raises it
            outcome.set_exception(error)

    threading.Thread(target=work, name="download", daemon=True).start()
    try:
        return outcome.result(deadline)
    except TimeoutError:
        raise _UnavailableError(f"{file.url} did not send it within {deadline:g} s") from None


class _Downloader:
    """Downloads a file for pooch, whose own downloader would read on for ever."""

    def __init__(self, timeout: float, end: float, limit: int) -> None:
        self.timeout, self.end, self.limit = timeout, end, limit

    def __call__(self, url: str, output_file: str, _: pooch.Pooch) -> None:
        self._check_time()
        with requests.get(url, stream=True, timeout=self.timeout) as response, Path(output_file).open("wb") as file:
            response.raise_for_status()
            for piece in response.iter_content(PIECE_BYTES):
                file.write(piece)
                if file.tell() > self.limit:
                    raise _UnavailableError(f"{url} sends more than {self.limit:,} bytes, so it is another file")
                self._check_time()

    def _check_time(self) -> None:
        if time.monotonic() > self.end:
            raise TimeoutError


def _download(file: PublishedFile, downloader: _Downloader) -> bytes:
    """Download by pooch, which checks the digest and tries three times with a growing pause."""
    pooch.get_logger().setLevel("WARNING")
    with tempfile.TemporaryDirectory(prefix=TEMPORARY) as folder:
        getter = pooch.create(
            path=folder,
            base_url="",
            registry={file.name: f"sha256:{file.sha256}"},
            urls={file.name: file.url},
            retry_if_failed=2,
        )
        try:
            return Path(getter.fetch(file.name, downloader=downloader)).read_bytes()
        except (ValueError, requests.RequestException) as error:
            raise _UnavailableError(f"{file.url} failed three times, the last time with {_shorten(error)}") from error


def _shorten(error: Exception) -> str:
    """Name the kind of an HTTP error, without the addresses in memory that its text has."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"status {error.response.status_code}"
    return "bytes of another digest" if isinstance(error, ValueError) else type(error).__name__
