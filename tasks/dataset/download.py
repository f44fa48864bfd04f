"""The dataset file: from the store's cache, from Keras's address, or from the copy in the package."""

import tempfile
from importlib import resources
from pathlib import Path

import pooch
import requests
from upath import UPath

from tasks.dataset import boston
from tasks.dataset.rows import Download
from tasks.errors import UserError
from tasks.parameters import Dataset
from tasks.steps import get_logger, task
from tasks.storage.store import Store, digest

SOURCES = ("cache", "network", "package")


class _UnavailableError(Exception):
    """A source has no good bytes; the message says why."""


def dataset_file(store: Store, sha256: str, suffix: str) -> UPath:
    """Where a dataset of this digest is kept."""
    return store.root / "datasets" / f"{sha256}{suffix}"


def fetch_dataset(store: Store, dataset: Dataset, url: str = boston.URL, timeout: float = 20.0) -> Download:
    """Finds bytes of the pinned digest and keeps them in the store.

    Args:
        store: where the cache is.
        dataset: which source to insist on, or `auto` for each in turn.
        url: address of the file on the network.
        timeout: seconds to wait for a connection, and for each next piece of the answer.

    Raises:
        UserError: no source that may be used has bytes of the right digest.
    """
    cached = dataset_file(store, boston.SHA256, ".npz")
    remarks: list[str] = []
    for source in SOURCES if dataset.source == "auto" else (dataset.source,):
        try:
            if source == "cache":
                data = cached.read_bytes()
            elif source == "network":
                data = _download(url, timeout)
            else:
                data = (resources.files("tasks.dataset") / "data" / boston.FILE).read_bytes()
            if digest(data) != boston.SHA256:
                raise _UnavailableError(f"its sha256 is {digest(data)}, not {boston.SHA256}")
        except FileNotFoundError:
            remarks += [f"{source}: there is no file yet"] if dataset.source == source else []
        except (_UnavailableError, OSError) as error:
            remarks.append(f"{source}: {error}" + ("; fetched anew" if source == "cache" else ""))
        else:
            if source != "cache":
                store.write(cached, data)
            return Download(path=str(cached), sha256=boston.SHA256, source=source, remarks=tuple(remarks))
    raise UserError(
        f"No source has {boston.FILE} with the right digest ({'; '.join(remarks)}). "
        "Try --dataset.source package, which needs no network."
    )


def _download(url: str, timeout: float) -> bytes:
    """The bytes behind a URL, by pooch: checked against the digest, tried three times with a growing pause."""
    pooch.get_logger().setLevel("WARNING")
    with tempfile.TemporaryDirectory() as folder:
        getter = pooch.create(
            path=folder,
            base_url="",
            registry={boston.FILE: f"sha256:{boston.SHA256}"},
            urls={boston.FILE: url},
            retry_if_failed=2,
        )
        try:
            return Path(getter.fetch(boston.FILE, downloader=pooch.HTTPDownloader(timeout=timeout))).read_bytes()
        except (ValueError, requests.RequestException) as error:
            raise _UnavailableError(f"{url} failed three times, the last time with {_shorten(error)}") from error


def _shorten(error: Exception) -> str:
    """The kind of an HTTP error and the innermost reason, without addresses in memory."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"status {error.response.status_code}"
    return "bytes of another digest" if isinstance(error, ValueError) else type(error).__name__


@task("Download the dataset")
def download(dataset: Dataset) -> Download:
    """Fetches the dataset into the store and says which source had it."""
    found = fetch_dataset(Store(), dataset)
    for remark in found.remarks:
        get_logger().warning("Source tried in vain: %s", remark)
    get_logger().info("%s from %s, sha256 %s...", boston.NAME, found.source, found.sha256[:12])
    return found
