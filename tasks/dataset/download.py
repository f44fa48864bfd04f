"""A published file: from the store's cache, from its address, or from the copy in the package."""

import tempfile
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


def fetch_file(store: Store, file: PublishedFile, wanted: str, timeout: float = 20.0) -> tuple[bytes, Origin]:
    """Find the bytes of a published file and keep them in the store.

    Args:
        store: where the cache is.
        file: which file.
        wanted: the source to insist on, or `auto` for each in turn.
        timeout: seconds to wait for a connection, and for each next piece of the answer.

    Raises:
        UserError: no source that may be used has bytes of the right digest.
    """
    cached = dataset_file(store, file.sha256, Path(file.name).suffix)
    remarks: list[str] = []
    for source in SOURCES if wanted == "auto" else (wanted,):
        try:
            data = _read(source, file, cached, timeout)
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


def _read(source: str, file: PublishedFile, cached: UPath, timeout: float) -> bytes:
    """Read bytes of the right digest from one source."""
    if source == "cache":
        data = cached.read_bytes()
    elif source == "network":
        data = _download(file, timeout)
    else:
        data = (resources.files("tasks.dataset") / "data" / file.name).read_bytes()
    if digest(data) != file.sha256:
        raise _UnavailableError(f"its sha256 is {digest(data)}, not {file.sha256}")
    return data


def _download(file: PublishedFile, timeout: float) -> bytes:
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
            return Path(getter.fetch(file.name, downloader=pooch.HTTPDownloader(timeout=timeout))).read_bytes()
        except (ValueError, requests.RequestException) as error:
            raise _UnavailableError(f"{file.url} failed three times, the last time with {_shorten(error)}") from error


def _shorten(error: Exception) -> str:
    """Name the kind of an HTTP error, without the addresses in memory that its text has."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"status {error.response.status_code}"
    return "bytes of another digest" if isinstance(error, ValueError) else type(error).__name__
