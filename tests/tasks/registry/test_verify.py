"""Every file that is not as its manifest says is named."""

import json

from tasks.dataset.download import dataset_file
from tasks.registry.champion import POINTER
from tasks.registry.verify import verify
from tasks.registry.versions import version_folder
from tasks.storage.store import Store, digest


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
