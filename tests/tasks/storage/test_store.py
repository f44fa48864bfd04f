"""A write is whole or not there, and a version exists once its manifest does."""

import json
import os
import sys
from pathlib import Path

import pytest

from tasks.errors import UserError
from tasks.registry.versions import list_versions, publish_version, read_version, start_version
from tasks.storage.store import Store, digest, to_json


def test_a_failed_write_leaves_the_old_bytes_and_no_litter(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.root / "champion.json"
    store.write(path, b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"refuses .*champion.json: No space left on device"):
        store.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in store.root.iterdir()] == ["champion.json"]


def test_a_store_that_can_not_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"refuses .*--store or LINEAR_NEURON_STORE"):
        Store(str(tmp_path / "file" / "store")).check_writable()


def test_versions_are_named_by_time_and_count_once_their_manifest_stands(store: Store) -> None:
    assert list_versions(store) == []
    version, folder = start_version(store)
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
    assert list_versions(store) == []
    location = publish_version(store, version, folder)
    assert list_versions(store) == [version]
    manifest = json.loads((location / "manifest.json").read_text())
    assert manifest == {"version": version, "files": {"metrics.json": {"sha256": digest(b"{}"), "bytes": 2}}}


def test_an_unknown_version_is_refused_and_the_known_ones_named(store: Store) -> None:
    with pytest.raises(UserError, match=r"no complete version 'v1'; the newest are: none yet"):
        read_version(store, "v1")


def test_json_has_null_where_a_number_is_not_finite() -> None:
    assert json.loads(to_json({"a": [float("nan"), (float("inf"), 1.5)]})) == {"a": [None, [None, 1.5]]}


@pytest.mark.parametrize("name", ["gs://bucket/prefix", "abfs://container", "memory://x", "https://host/x", "oops://x"])
def test_other_urls_than_s3_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"^{name} can't be used: name a folder or file of this machine, or an s3://"):
        Store(name)


def test_a_bucket_without_its_client_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError, match=r"^s3://other/x needs the S3 client: pip install 'linear-neuron\[s3\]'\.$"):
        Store("s3://other/x")
