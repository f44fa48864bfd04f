"""Where the rows to learn from come from. Today that is one published dataset."""

from tasks.dataset.boston import FILE, read_snapshot
from tasks.dataset.download import fetch_file
from tasks.dataset.rows import Origin, Snapshot
from tasks.parameters import Dataset
from tasks.steps import get_logger, task
from tasks.storage.store import Store


def open_snapshot(data: bytes, origin: Origin) -> Snapshot:
    """Read the bytes that the store keeps under the digest of `origin`."""
    return read_snapshot(data, origin)


@task("Download the dataset", retries=2, retry_delay_seconds=5, timeout_seconds=300)
def download(dataset: Dataset) -> Snapshot:
    """Fetch the dataset into the store and log which source had it."""
    data, origin = fetch_file(Store(), FILE, dataset.source)
    snapshot = open_snapshot(data, origin)
    for remark in origin.remarks:
        get_logger().warning("Source tried in vain: %s", remark)
    get_logger().info("%s from %s, sha256 %s...", snapshot.name, origin.source, origin.sha256[:12])
    return snapshot
