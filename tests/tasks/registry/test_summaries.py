"""The file of what is asked of all versions at once: it saves reading them, and is never believed when in doubt."""

import json
import resource
from pathlib import Path

import pytest

from tasks.dataset.boston import FILE as BOSTON
from tasks.parameters import Dataset, ExampleInputs, Training
from tasks.registry.catalogue import list_models
from tasks.registry.fingerprint import fingerprint
from tasks.registry.summaries import FILE
from tasks.registry.versions import find_version, version_folder, will_be_unchanged
from tasks.storage.store import Store
from tests.helpers import make_version


@pytest.fixture(params=["disk", "bucket"])
def old(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with the versions a and b, made some time ago, and the file about them."""
    monkeypatch.setattr("tasks.storage.files.DOUBT", -60)
    root = f"{request.getfixturevalue('s3')}/{tmp_path.name}" if request.param == "bucket" else str(tmp_path / "store")
    store = Store(root)
    for version in "ab":
        make_version(store, version, target=f"target of {version}")
    list_models(store)
    return store


def targets(store: Store) -> list[str | None]:
    return [row["target"] for row in list_models(store)]


def claim(store: Store, version: str, target: str) -> None:
    """Write another target into the file about all versions."""
    rows = json.loads(store.read(store.root / FILE) or b"")
    rows[version]["summary"]["target"] = target
    store.write(store.root / FILE, json.dumps(rows).encode())


def test_what_is_known_of_a_version_is_not_read_again(old: Store) -> None:
    claim(old, "a", "told")
    assert targets(old) == ["told", "target of b"]
    assert find_version(old, "b") == "b"
    assert find_version(old, "c") is None


def test_a_retrain_is_foreseen_to_change_nothing(old: Store) -> None:
    asked = Dataset(source="package"), Training(), ExampleInputs()
    assert not will_be_unchanged(old, *asked)
    make_version(old, "c", fingerprint=fingerprint(BOSTON.sha256, asked[0], asked[1].resolve(False), asked[2]))
    list_models(old)
    assert will_be_unchanged(old, *asked)


def test_a_new_version_is_added_and_a_removed_one_left_out(old: Store) -> None:
    make_version(old, "c", target="target of c")
    old.remove(version_folder(old, "a"))
    assert targets(old) == ["target of b", "target of c"]
    assert list(json.loads(old.read(old.root / FILE) or b"")) == ["b", "c"]


@pytest.mark.parametrize(("name", "target"), [("manifest.json", "target of a"), ("model.json", None)])
def test_a_version_whose_files_were_replaced_is_read_again(old: Store, name: str, target: str | None) -> None:
    claim(old, "a", "told")
    path = version_folder(old, "a") / name
    old.write(path, (old.read(path) or b"") + b" ")
    assert targets(old) == [target, "target of b"]


def test_a_damaged_version_is_looked_at_each_time(old: Store) -> None:
    path = version_folder(old, "a") / "model.json"
    data = old.read(path) or b""
    old.write(path, data[:-9])
    assert [row["status"] for row in list_models(old)] == ["(damaged)", ""]
    assert list(json.loads(old.read(old.root / FILE) or b"")) == ["b"]
    old.write(path, data)
    assert targets(old) == ["target of a", "target of b"]


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"a": {"tag": "1"}}'])
def test_a_damaged_file_is_made_anew(old: Store, data: bytes) -> None:
    old.write(old.root / FILE, data)
    assert targets(old) == ["target of a", "target of b"]
    assert list(json.loads(old.read(old.root / FILE) or b"")) == ["a", "b"]


def test_a_row_without_a_tag_is_not_believed(old: Store) -> None:
    rows = json.loads(old.read(old.root / FILE) or b"")
    rows["a"] |= {"tag": "", "summary": rows["a"]["summary"] | {"target": "told"}}
    old.write(old.root / FILE, json.dumps(rows).encode())
    assert targets(old) == ["target of a", "target of b"]


def test_a_version_that_has_just_changed_is_not_kept(store: Store) -> None:
    make_version(store, "a")
    assert targets(store) == ["MEDV"]
    assert store.read(store.root / FILE) is None


def test_a_store_that_takes_no_file_is_listed_all_the_same(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.storage.files.DOUBT", -60)
    make_version(store, "a")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        assert targets(store) == ["MEDV"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.names() == ["models"]
