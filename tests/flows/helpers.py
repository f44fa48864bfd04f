"""What the tests of the predict flow ask of a batch."""

import time
from collections.abc import Callable
from typing import Any

from prefect import Flow

from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.scoring.manifest import Manifest
from linear_neuron.tasks.storage.store import digest, locate

Way = Callable[[Flow[..., Any]], Callable[..., Any]]  # from a flow to a function that runs it in this way
Predict = Callable[[Batch], str]

PATIENCE = 120  # seconds; only a broken test waits so long


def wait_until(happened: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (result := happened()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return result


def contents(location: str) -> dict[str, bytes]:
    """Return every file of a batch but its manifest, whose time differs."""
    root = locate(location)
    paths = [path for path in root.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {path.path.removeprefix(root.path).strip("/"): path.read_bytes() for path in paths}


def check(manifest: Manifest, location: str) -> None:
    """Check that the manifest has the digest and size of every file, and that there are no others."""
    files = contents(location)
    assert {name: digest(data) for name, data in files.items()} == {
        name: facts["sha256"] for name, facts in manifest.files.items()
    }
    assert {name: len(data) for name, data in files.items()} == {
        name: facts["bytes"] for name, facts in manifest.files.items()
    }
