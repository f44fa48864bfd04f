"""Retention removes what nobody needs, and nothing else."""

import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout
from upath import UPath

from tasks.dataset.download import dataset_file
from tasks.errors import UserError
from tasks.parameters import Retention
from tasks.registry import retention
from tasks.registry.champion import promote, read_champion
from tasks.registry.log import LOG, log_decision
from tasks.registry.retention import clean_store
from tasks.registry.verify import verify
from tasks.registry.versions import list_versions, version_folder
from tasks.storage.files import make_temporary
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
    ages = {"000000": 30, "111111": 2, "222222": 0}
    names = [f"{now - timedelta(hours=hours):%Y%m%dT%H%M%SZ}-{name}" for name, hours in ages.items()]
    for name in (*names, "notes"):
        full.write(version_folder(full, name) / "model.keras", b"half")
    (old,) = [name for name in clean_store(full, Retention()) if name.startswith("unfinished")]
    assert old.endswith("-000000")
    assert "notes" in full.names("models")


def test_unfinished_backtests_go_when_they_are_old(full: Store) -> None:
    new = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-cccccc"
    for name, file in (("20260101T000000Z-aaaaaa", "backtest.csv"), ("20260101T000000Z-bbbbbb", "manifest.json")):
        full.write(full.root / "backtests" / name / file, b"")
    full.write(full.root / "backtests" / new / "backtest.csv", b"")
    assert clean_store(full, Retention()) == ["unfinished backtest 20260101T000000Z-aaaaaa"]
    assert full.names("backtests") == ["20260101T000000Z-bbbbbb", new]


def test_a_version_that_an_unfinished_batch_uses_stays(full: Store) -> None:
    full.write(full.root / "predictions" / "d-12345678" / "half.csv", b"")
    full.write(full.root / "predictions" / "e-12345678" / "manifest.json", b"{}")
    assert clean_store(full, STRICT) == ["model a", "model e"]


def test_datasets_that_no_version_was_made_from_go(full: Store) -> None:
    full.write(dataset_file(full, "0" * 64, ".npz"), b"used")
    full.write(dataset_file(full, "1" * 64, ".npz"), b"unused")
    assert f"dataset {'1' * 64}.npz" in clean_store(full, STRICT)
    assert full.names("datasets") == ["0" * 64 + ".npz"]


def test_the_dataset_of_a_version_goes_with_it(full: Store) -> None:
    make_version(full, "a2", dataset={"sha256": "2" * 64})
    for digit in "02":
        full.write(dataset_file(full, digit * 64, ".npz"), b"used")
    assert clean_store(full, STRICT) == ["model a", "model a2", "model d", "model e", f"dataset {'2' * 64}.npz"]
    assert full.names("datasets") == ["0" * 64 + ".npz"]


def test_files_of_actuals_that_the_index_does_not_know_go_when_they_are_old(full: Store) -> None:
    folder = full.root / "actuals"
    full.write(folder / "index.json", json.dumps({"files": {"kept.csv": {"sha256": "", "bytes": 0}}}).encode())
    for name, days in (("kept.csv", 9), ("lost.csv", 9), ("new.csv", 0.1), ("deep/lost.csv", 9)):
        full.write(folder / name, b"")
        age(folder / name, days)
    age(folder / "index.json", 9)
    assert clean_store(full, Retention()) == [f"leftover {folder}/lost.csv"]
    full.write(folder / "lost.csv", b"")
    age(folder / "lost.csv", 9)
    full.write(folder / "index.json", b"{")
    assert clean_store(full, Retention()) == [], "nobody knows what is in use"
    full.remove(folder / "index.json")
    assert f"leftover {folder}/kept.csv" in clean_store(full, Retention(), dry_run=True)


def test_a_clock_set_back_makes_no_new_version_an_old_one(full: Store) -> None:
    make_version(full, "0 made by a clock that was set back")
    log_decision(full, "refused", "0 made by a clock that was set back", "")
    assert clean_store(full, STRICT) == ["model a", "model d", "model e"]


def age(path: UPath, days: float) -> None:
    at = time.time() - days * 86400
    for item in [path, *path.rglob("*")]:
        os.utime(item.path, (at, at))


def test_what_killed_runs_left_goes_when_it_is_old(
    full: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    elsewhere = [make_temporary("a-"), make_temporary("b-"), tmp_path / "not-ours"]
    names = [
        ".champion.json.0123abcd",
        ".probe-0123ab",
        "datasets/.x.npz.01234567",
        "predictions/c-12345678/n/.y.01234567",
    ]
    names += ["pending/gone.json", "pending/a.json", ".probe.89abcdef", "notes.0123abcd"]
    for name in names:
        full.write(full.root / name, b"half")
    for name in names[:6] + names[7:]:
        age(full.root / name, 2)
    age(UPath(elsewhere[0]), 2)
    found = clean_store(full, Retention())
    assert [line.removeprefix(f"leftover {full.root}/") for line in found] == [
        *(names[i] for i in (0, 1, 2, 4, 3)),
        f"leftover {elsewhere[0]}",
    ]
    assert not any((full.root / name).exists() for name in names[:5])
    assert all((full.root / name).exists() for name in names[5:])
    assert [path.exists() for path in elsewhere[:2]] == [False, True]


def test_old_batches_go_but_never_the_newest_of_the_champion(full: Store) -> None:
    names = ["c-00000001", "c-00000002", "b-00000001", "b-00000002", "c-00000003", "notes"]
    for days, name in enumerate(names):
        full.write(full.root / "predictions" / name / "manifest.json", b"{}")
        age(full.root / "predictions" / name, 500 - 100 * (days % 4))
    full.write(full.root / "predictions" / "b-00000001" / "n" / "half.csv", b"")
    rules = Retention(batch_days=250)
    assert clean_store(full, rules, dry_run=True) == ["batch c-00000001", "batch c-00000003"]
    age(full.root / "predictions" / "c-00000003", 1000)
    age(full.root / "predictions" / "b-00000002", 1000)
    assert clean_store(full, rules) == ["batch b-00000002", "batch c-00000001", "batch c-00000003"]
    assert "c-00000002" in full.names("predictions"), "it is old too, and the champion's newest"
    assert verify(full) == []


def test_a_damaged_version_stops_no_removal_and_its_dataset_stays(
    full: Store, caplog: pytest.LogCaptureFixture
) -> None:
    full.write(dataset_file(full, "1" * 64, ".npz"), b"whose?")
    for version in "ab":
        (version_folder(full, version) / "model.json").write_bytes(b"{}")
    assert clean_store(full, STRICT) == ["model a", "model d", "model e"]
    assert full.names("datasets") == ["1" * 64 + ".npz"]
    assert [record.message.removeprefix(f"{full.root}/models/") for record in caplog.records] == [
        f"{version}/model.json is not what its manifest says; see: linear-neuron verify." for version in "ab"
    ]


def test_a_bucket_lets_no_version_be_promoted_while_it_goes(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Store(f"{s3}/removing")
    for version in "abcdef":
        make_version(shared, version)
    assert clean_store(shared, STRICT) == [], "without a champion there is no pointer to guard the removal"
    promote(shared, "b", "")
    promote(shared, "c", "")
    look, remove = retention.find_expired, Store.remove

    def look_too_early(*args: Any) -> dict[str, UPath]:
        found = look(*args)
        if read_champion(shared).version == "c":  # type: ignore[union-attr]
            promote(shared, "a", "just now")
        return found

    def remove_slowly(store: Store, path: UPath) -> None:
        for version in "de":
            with pytest.raises(UserError, match=f"{version} is being removed|no complete version '{version}'"):
                promote(shared, version, "too late")
        remove(store, path)

    monkeypatch.setattr(retention, "find_expired", look_too_early)
    monkeypatch.setattr(Store, "remove", remove_slowly)
    assert clean_store(shared, STRICT) == ["model b", "model d", "model e"]
    assert list_versions(shared) == list("acf")
    assert read_champion(shared).removing == []  # type: ignore[union-attr]
    assert verify(shared) == []


def test_cleaning_a_bucket_is_given_up_where_its_pointer_always_changes(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Store(f"{s3}/busy")
    for version in "abcd":
        make_version(shared, version)
    promote(shared, "c", "")
    monkeypatch.setattr(retention, "TRIES", 2)
    monkeypatch.setattr(Store, "swap", lambda *_: False)
    with pytest.raises(UserError, match=r"champion\.json is being changed by too many others at once; try again\."):
        clean_store(shared, STRICT)
    assert list_versions(shared) == list("abcd")


def test_datasets_stay_where_no_version_is_left_to_use_them(store: Store) -> None:
    store.write(dataset_file(store, "1" * 64, ".npz"), b"unused")
    assert clean_store(store, STRICT) == []


def test_versions_refused_of_late_need_not_stay(full: Store) -> None:
    for version in "df":
        log_decision(full, "refused", version, "")
    assert clean_store(full, Retention(newest=1, days=30)) == ["model a", "model d", "model e"]


def test_nothing_can_be_promoted_while_clean_looks_and_removes(full: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    look, remove, seen = retention.find_expired, Store.remove, []

    def check(call: Callable[..., Any], *args: Any) -> Any:
        with pytest.raises(Timeout):
            FileLock(f"{full.root}/.lock", timeout=0).acquire()
        seen.append(call)
        return call(*args)

    monkeypatch.setattr(retention, "find_expired", partial(check, look))
    monkeypatch.setattr(Store, "remove", lambda store, path: check(remove, store, path))
    clean_store(full, STRICT)
    assert seen == [look, remove, remove, remove]
