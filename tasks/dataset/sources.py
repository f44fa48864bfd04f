"""Where the rows to learn from come from: the published dataset, or a table of the user's own."""

from pathlib import Path

from linear_neuron.tasks.dataset.boston import FILE, SOURCES, dataset_file, fetch_file, read_snapshot
from linear_neuron.tasks.dataset.rows import SUFFIX, Origin, Snapshot, open_records
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Dataset
from linear_neuron.tasks.steps import get_logger, task
from linear_neuron.tasks.storage.files import make_temporary
from linear_neuron.tasks.storage.store import Store, digest
from linear_neuron.tasks.text import plural


def know_digest(dataset: Dataset) -> str | None:
    """Return the digest of a published dataset; that of a user's own table is known only once it is read."""
    return None if dataset.is_own else FILE.sha256


def open_snapshot(store: Store, origin: Origin) -> Snapshot:
    """Open the snapshot that the store keeps under the digest of `origin`.

    Raises:
        UserError: it is not there, or has other bytes.
    """
    published, own = (dataset_file(store, origin.sha256, suffix) for suffix in (Path(FILE.name).suffix, SUFFIX))
    path = own if own.exists() else published
    data = store.read(path)
    if data is None or digest(data) != origin.sha256:
        raise UserError(f"{path} is missing or damaged")
    if path is published:
        return read_snapshot(data, origin)
    if store.local:
        return open_records(Path(own.path), origin)
    copy = make_temporary("dataset-") / own.name
    copy.write_bytes(data)
    return open_records(copy, origin)


@task("Read the table", retries=2, retry_delay_seconds=5, timeout_seconds=3600)
def download(dataset: Dataset) -> Snapshot:
    """Read the rows to learn from into the store, and log which source had them."""
    if dataset.is_own:
        from linear_neuron.tasks.dataset.snapshot import take_snapshot  # Polars takes a tenth of a second to import.

        snapshot = take_snapshot(Store(), dataset)
    else:
        data, origin = fetch_file(Store(), FILE, dataset.source if dataset.source in SOURCES else "auto")
        snapshot = read_snapshot(data, origin)
    for remark in snapshot.origin.remarks:
        get_logger().warning("This source of the dataset failed: %s", remark)
    get_logger().info("%s from %s, sha256 %s...", snapshot.name, snapshot.origin.source, snapshot.origin.sha256[:12])
    if snapshot.rejects:
        left_out = snapshot.rejects.count(b"\n") - 1
        get_logger().warning("%s left out, which rejects.csv lists", plural(left_out, "bad row"))
    return snapshot
