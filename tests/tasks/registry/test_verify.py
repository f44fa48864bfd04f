"""Every file that is not as its manifest says is named."""

import json
from pathlib import Path

import pytest

from linear_neuron.tasks.dataset.boston import dataset_file
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.registry.audit_log import LOG
from linear_neuron.tasks.registry.catalogue import find_champion
from linear_neuron.tasks.registry.champion import POINTER, promote, roll_back
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.registry.versions import version_folder
from linear_neuron.tasks.storage.store import Store, digest
from tests.helpers import make_version


def test_every_file_that_differs_is_named(full: Store) -> None:
    assert verify(full) == []
    (version_folder(full, "a") / "model.json").write_bytes(b"{}")
    (version_folder(full, "b") / "model.json").unlink()
    (version_folder(full, "c") / "manifest.json").write_bytes(b"{")
    full.write(dataset_file(full, "0" * 64, ".npz"), b"rot")
    full.write(
        full.root / POINTER, b'{"version": "x", "since": "2026-01-01T00:00:00Z", "previous": null, "reason": ""}'
    )
    message = verify(full)
    assert [line.partition(str(full.root))[2].partition(" ")[0] for line in message] == [
        "/models/a/model.json",
        "/models/b/model.json",
        "/models/c/manifest.json",
        f"/datasets/{'0' * 64}.npz",
        "/champion.json",
    ]
    full.write(full.root / POINTER, b"")
    assert "champion.json is damaged" in verify(full)[-1]


def test_a_store_that_is_not_there_or_empty_is_a_fault(store: Store, full: Store, tmp_path: Path) -> None:
    (found,) = verify(Store(str(tmp_path / "mistyped")))
    assert found == (
        f"{tmp_path}/mistyped is empty or does not exist, so nothing was checked; check the store's address."
    )
    for name in full.names():
        full.remove(full.root / name)
    (found,) = verify(full)
    assert "so nothing was checked" in found


def test_a_lost_pointer_or_log_is_a_fault(full: Store) -> None:
    pointer, log = full.root / POINTER, full.root / LOG
    data = full.read(pointer) or b""
    pointer.unlink()
    sentence = f"{pointer} is missing; the last known champion is b. Restore it with `linear-neuron promote b`."
    assert verify(full) == [sentence]
    for command in (find_champion, lambda store: roll_back(store, "")):
        with pytest.raises(UserError, match=r"champion\.json is missing; the last known champion is b"):
            command(full)
    promote(full, "b", "restored")
    assert verify(full) == []
    pointer.write_bytes(data)
    log.unlink()
    assert verify(full) == [f"{log} lacks the promotions before b; restore it from a copy."]


def test_a_version_without_its_dataset_is_named(full: Store) -> None:
    make_version(full, "e", dataset={"sha256": "1" * 64})
    for deep in (True, False):
        (found,) = verify(full, deep=deep)
        assert found.startswith("The dataset 111111111111 of e is missing, so the version can't be reproduced; restore")


def test_the_files_of_a_batch_are_checked_in_both_shapes_of_manifest(full: Store) -> None:
    facts = {"sha256": digest(b"good"), "bytes": 4}
    shapes = {
        "files": {"files": {"n/a.csv": facts}},
        "outputs": {"inputs": [{"outputs": {}}, {"outputs": {"n/a.csv": facts}}]},
    }
    folders = [full.root / "predictions" / name for name in shapes]
    for folder, manifest in zip(folders, shapes.values(), strict=True):
        full.write(folder / "manifest.json", json.dumps(manifest).encode())
        full.write(folder / "n" / "a.csv", b"good")
    full.write(full.root / "predictions" / "unfinished" / "a.csv", b"half")
    full.write(full.root / "datasets" / ".x.npz.01234567", b"half")
    assert verify(full) == []
    for folder in folders:
        (folder / "n" / "a.csv").write_bytes(b"evil")
    assert verify(full) == [f"{folder / 'n' / 'a.csv'} has other bytes than its manifest says." for folder in folders]
    assert verify(full, deep=False) == [], "each has its size"
    (folders[1] / "n" / "a.csv").write_bytes(b"")
    for deep in (True, False):
        assert verify(full, deep=deep)[-1] == f"{folders[1] / 'n' / 'a.csv'} was emptied; its manifest says 4 bytes."
    (folders[1] / "n" / "a.csv").write_bytes(b"go")
    assert verify(full, deep=False) == [f"{folders[1] / 'n' / 'a.csv'} has other bytes than its manifest says."]
    (folders[0] / "n" / "a.csv").unlink()
    (folders[1] / "manifest.json").write_bytes(b'{"inputs": [1]}')
    missing, damaged = verify(full)
    assert missing == f"{folders[0] / 'n' / 'a.csv'} is missing."
    assert damaged.startswith(f"{folders[1] / 'manifest.json'} is damaged; restore it from a copy, or remove")
