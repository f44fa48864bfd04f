"""A version of the model: begun as a folder, described in `model.json`, completed by its manifest."""

from dataclasses import dataclass
from pathlib import Path

from prefect import get_run_logger

from tasks.dataset.rows import Download
from tasks.parameters import Dataset, Table, Training
from tasks.registry.fingerprint import fingerprint
from tasks.steps import step
from tasks.storage.store import Store


@dataclass(frozen=True)
class Draft:
    """A version that is being made, or, where nothing has changed, the one that is there already."""

    version: str
    place: str  # the folder or URL of the version
    folder: Path  # the local folder that it is built in
    fingerprint: str  # digest of all that decides the outcome
    unchanged: bool = False


def find_version(store: Store, wanted: str) -> str | None:
    """The newest complete version with this fingerprint."""
    for version in reversed(store.versions()):
        if store.neuron(version).fingerprint == wanted:
            return version
    return None


@step("Begin a version")
def begin(download: Download, dataset: Dataset, training: Training, table: Table, force: bool) -> Draft:
    """Names a new version and makes the folder that it is built in, unless an existing one would come out again.

    Raises:
        UserError: the store can't be written.
    """
    store = Store()
    wanted = fingerprint(download.sha256, dataset, training, table)
    known = None if force else find_version(store, wanted)
    if known:
        return Draft(known, str(store.model(known)), Path(), wanted, unchanged=True)
    store.check_writable()
    version, folder = store.start_version()
    return Draft(version, str(store.model(version)), folder, wanted)


@step("Publish the version")
def publish(draft: Draft) -> None:
    """Completes the version with its manifest."""
    Store().publish(draft.version, draft.folder)
    get_run_logger().info("Published %s", draft.place)
