"""Retention removes what nobody needs, and nothing else."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tasks.dataset.download import dataset_file
from tasks.parameters import Retention
from tasks.registry.champion import LOG, promote
from tasks.registry.retention import clean_store
from tasks.registry.versions import list_versions, version_folder
from tasks.storage.store import Store
from tests.helpers import make_version

STRICT = Retention(newest=1, days=0)


@pytest.fixture
def full(store: Store) -> Store:
    """Versions a to f, a champion after b: c."""
    for version in "abcdef":
        make_version(store, version)
    promote(store, "b", "")
    promote(store, "c", "")
    return store


def test_champion_the_one_before_and_the_newest_stay(full: Store) -> None:
    assert clean_store(full, STRICT, dry_run=True) == ["model a", "model d", "model e"]
    assert list_versions(full) == list("abcdef"), "a dry run removes nothing"
    assert clean_store(full, STRICT) == ["model a", "model d", "model e"]
    assert list_versions(full) == list("bcf")
    assert clean_store(full, STRICT) == []


def test_versions_promoted_of_late_stay(full: Store) -> None:
    promote(full, "a", "")
    promote(full, "d", "")
    promote(full, "e", "")
    assert clean_store(full, Retention(newest=1, days=30), dry_run=True) == []
    early = (datetime.now(UTC) - timedelta(days=40)).isoformat()
    lines = [json.loads(line) | {"at": early} for line in (full.root / LOG).read_bytes().splitlines()]
    full.write(full.root / LOG, "".join(json.dumps(line) + "\n" for line in lines).encode())
    assert clean_store(full, Retention(newest=1, days=30), dry_run=True) == ["model a", "model b", "model c"]


def test_unfinished_versions_go_when_they_are_old_and_what_is_not_ours_stays(full: Store) -> None:
    now = datetime.now(UTC)
    for name in (f"{now - timedelta(hours=30):%Y%m%dT%H%M%SZ}-000000", f"{now:%Y%m%dT%H%M%SZ}-111111", "notes"):
        full.write(version_folder(full, name) / "model.keras", b"half")
    (old,) = [name for name in clean_store(full, Retention()) if name.startswith("unfinished")]
    assert old.endswith("-000000")
    assert "notes" in full.names("models")


def test_a_version_that_an_unfinished_batch_uses_stays(full: Store) -> None:
    full.write(full.root / "predictions" / "d-12345678" / "half.csv", b"")
    full.write(full.root / "predictions" / "e-12345678" / "manifest.json", b"{}")
    assert clean_store(full, STRICT) == ["model a", "model e"]


def test_datasets_that_no_version_was_made_from_go(full: Store) -> None:
    full.write(dataset_file(full, "0" * 64, ".npz"), b"used")
    full.write(dataset_file(full, "1" * 64, ".npz"), b"unused")
    assert f"dataset {'1' * 64}.npz" in clean_store(full, STRICT)
    assert full.names("datasets") == ["0" * 64 + ".npz"]
