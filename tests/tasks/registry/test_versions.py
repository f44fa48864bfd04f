"""A version that is damaged is not used."""

import resource
import shutil
from pathlib import Path

import pytest

from linear_neuron.tasks.dataset.boston import FILE as BOSTON
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Dataset, ExampleInputs, Training
from linear_neuron.tasks.registry.catalogue import list_models
from linear_neuron.tasks.registry.champion import promote, read_champion
from linear_neuron.tasks.registry.fingerprint import fingerprint
from linear_neuron.tasks.registry.versions import (
    FILE,
    Row,
    find_version,
    read_rows,
    read_version,
    version_folder,
    will_be_unchanged,
    write_rows,
)
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version


def test_a_model_whose_numbers_were_changed_is_not_used(full: Store) -> None:
    (version_folder(full, "a") / "model.json").write_bytes(
        (version_folder(full, "a") / "model.json").read_bytes() + b" "
    )
    with pytest.raises(UserError, match=r"model\.json is not what its manifest says; see: linear-neuron verify"):
        read_version(full, "a")
    (version_folder(full, "c") / "manifest.json").write_bytes(b"[]")
    with pytest.raises(UserError, match="is damaged, so version c can't be trusted"):
        read_version(full, "c")


@pytest.mark.parametrize("name", ["a/", "./a", "../models/a", "a/../a", "", ".", "..", "/", "a\\", "a\0", "A", "a "])
def test_only_a_listed_name_is_a_version(full: Store, name: str) -> None:
    with pytest.raises(UserError, match=r"has no complete version .*; the newest are: a, b, c, d\."):
        read_version(full, name)
    with pytest.raises(UserError, match="has no complete version"):
        promote(full, name, "by hand")
    assert read_champion(full).version == "b"  # type: ignore[union-attr]


def test_a_folder_with_the_manifest_of_another_version_is_damaged(full: Store) -> None:
    shutil.copytree(version_folder(full, "a").path, version_folder(full, "copy").path)
    with pytest.raises(UserError, match="version copy can't be trusted"):
        read_version(full, "copy")


def test_training_passes_over_a_damaged_version_and_names_it(full: Store, caplog: pytest.LogCaptureFixture) -> None:
    (version_folder(full, "d") / "manifest.json").write_bytes(b"[")
    for _ in range(2):
        assert find_version(full, "a") == "a"
    assert [record.message.partition(";")[0] for record in caplog.records] == [
        f"{full.root}/models/d/manifest.json is damaged, so version d can't be trusted"
    ]


@pytest.fixture(params=["disk", "bucket"])
def old(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with the versions a and b, made some time ago, and the file about them."""
    monkeypatch.setattr("linear_neuron.tasks.storage.files.DOUBT", -60)
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
    row = read_rows(store)[version]
    changed = Row(tag=row.tag, summary=row.summary.model_copy(update={"target": target}))
    write_rows(store, read_rows(store) | {version: changed})


def test_what_is_known_of_a_version_is_not_read_again(old: Store) -> None:
    claim(old, "a", "claimed")
    assert targets(old) == ["claimed", "target of b"]
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
    assert list(read_rows(old)) == ["b", "c"]


@pytest.mark.parametrize(("name", "target"), [("manifest.json", "target of a"), ("model.json", None)])
def test_a_version_whose_files_were_replaced_is_read_again(old: Store, name: str, target: str | None) -> None:
    claim(old, "a", "claimed")
    path = version_folder(old, "a") / name
    old.write(path, (old.read(path) or b"") + b" ")
    assert targets(old) == [target, "target of b"]


def test_a_damaged_version_is_looked_at_each_time(old: Store) -> None:
    path = version_folder(old, "a") / "model.json"
    data = old.read(path) or b""
    old.write(path, data[:-9])
    assert [row["status"] for row in list_models(old)] == ["(damaged)", ""]
    assert list(read_rows(old)) == ["b"]
    old.write(path, data)
    assert targets(old) == ["target of a", "target of b"]


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"a": {"tag": "1"}}', b"null", b"[" * 100_000, b""])
def test_a_damaged_index_is_written_again(old: Store, data: bytes) -> None:
    old.write(old.root / FILE, data)
    assert targets(old) == ["target of a", "target of b"]
    assert list(read_rows(old)) == ["a", "b"]


def test_a_row_without_a_tag_is_not_believed(old: Store) -> None:
    rows = read_rows(old)
    write_rows(old, rows | {"a": Row(tag="", summary=rows["a"].summary.model_copy(update={"target": "claimed"}))})
    assert targets(old) == ["target of a", "target of b"]


def test_a_version_that_has_just_changed_is_not_kept(store: Store) -> None:
    make_version(store, "a")
    assert targets(store) == ["MEDV"]
    assert store.read(store.root / FILE) is None


def test_a_store_that_takes_no_file_is_listed_all_the_same(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linear_neuron.tasks.storage.files.DOUBT", -60)
    make_version(store, "a")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        assert targets(store) == ["MEDV"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.names() == ["models"]
