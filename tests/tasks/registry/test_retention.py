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

from linear_neuron.tasks.dataset.boston import FILE, dataset_file
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Dataset, ExampleInputs, Retention, Training
from linear_neuron.tasks.registry import retention
from linear_neuron.tasks.registry.audit_log import LOG, log_decision
from linear_neuron.tasks.registry.champion import POINTER, promote, read_champion
from linear_neuron.tasks.registry.retention import clean_store
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.registry.versions import FILE as INDEX
from linear_neuron.tasks.registry.versions import (
    Row,
    begin,
    find_versions,
    hold_dataset,
    list_versions,
    publish,
    read_rows,
    version_folder,
    write_rows,
)
from linear_neuron.tasks.storage.files import make_temporary
from linear_neuron.tasks.storage.store import Store
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
    for sha256 in (FILE.sha256, "1" * 64):
        full.write(dataset_file(full, sha256, ".npz"), b"")
        age(dataset_file(full, sha256, ".npz"), 2)
    assert f"dataset {'1' * 64}.npz" in clean_store(full, STRICT)
    assert full.names("datasets") == [f"{FILE.sha256}.npz"]


def test_the_dataset_of_a_retrain_that_goes_on_stays(full: Store) -> None:
    path = dataset_file(full, "1" * 64, ".npz")
    full.write(path, b"rows")
    assert clean_store(full, Retention()) == [], "no version names it before it is published"
    age(path, 2)
    assert clean_store(full, Retention(), dry_run=True) == [f"dataset {'1' * 64}.npz"]
    hold_dataset(full, "1" * 64)
    assert clean_store(full, Retention()) == []


def test_a_version_that_is_begun_holds_its_dataset(full: Store, tmp_path: Path) -> None:
    path = dataset_file(full, "1" * 64, ".npz")
    full.write(path, b"rows")
    age(path, 2)
    new = begin.fn("1" * 64, Dataset(), Training(), ExampleInputs(), force=False)
    assert clean_store(full, Retention()) == []
    age(path, 2)
    assert clean_store(full, Retention()) == [f"dataset {'1' * 64}.npz"]
    (tmp_path / "model.json").write_text('{"dataset": {"sha256": "%s"}}' % ("1" * 64))
    with pytest.raises(UserError, match="The dataset 111111111111 was removed since it was read; retrain again"):
        publish.fn(new.version, tmp_path)
    assert list_versions(full) == list("abcdef")


def test_a_dataset_that_was_removed_is_not_held(full: Store) -> None:
    with pytest.raises(UserError, match="The dataset 111111111111 was removed since it was read; retrain again"):
        hold_dataset(full, "1" * 64)


def test_a_dataset_is_held_in_a_bucket(s3: str) -> None:
    shared = Store(f"{s3}/held")
    path = dataset_file(shared, "1" * 64, ".npz")
    shared.write(path, b"rows")
    before = shared.find("datasets")[path.name].at
    time.sleep(1.1)
    hold_dataset(shared, "1" * 64)
    assert shared.find("datasets")[path.name].at > before
    assert shared.read(path) == b"rows"


@pytest.mark.parametrize("versions", ["c", "abcdef"])
def test_a_damaged_index_removes_no_dataset(full: Store, monkeypatch: pytest.MonkeyPatch, versions: str) -> None:
    monkeypatch.setattr("linear_neuron.tasks.storage.files.DOUBT", -60)
    path = dataset_file(full, FILE.sha256, ".npz")
    full.write(path, b"")
    age(path, 2)
    assert clean_store(full, Retention()) == []
    data = full.read(full.root / INDEX) or b""
    full.write(full.root / INDEX, data.replace(FILE.sha256.encode(), b"2" + FILE.sha256[1:].encode(), len(versions)))
    assert clean_store(full, Retention()) == []
    forged = {version: row.summary.model_copy(update={"dataset": "2" * 64}) for version, row in read_rows(full).items()}
    write_rows(full, {version: Row(tag=tag, summary=forged[version]) for version, tag in find_versions(full).items()})
    assert read_rows(full)["c"].summary.dataset == "2" * 64, "an index with a good digest, too"
    assert clean_store(full, Retention()) == []


def test_no_dataset_goes_while_one_is_missing_or_the_log_of_forgotten_rows_is_damaged(full: Store) -> None:
    for number in "12":
        full.write(path := dataset_file(full, number * 64, ".npy"), b"rows")
        age(path, 2)
    make_version(full, "g", dataset={"sha256": "2" * 64})
    assert clean_store(full, Retention(), dry_run=True) == [f"dataset {'1' * 64}.npy"]
    full.write(full.root / "forgotten.jsonl", b"[]\n")
    assert clean_store(full, Retention()) == []
    assert [line[: len(f"{full.root}/forgotten.jsonl")] for line in verify(full)][-1] == f"{full.root}/forgotten.jsonl"
    (full.root / "forgotten.jsonl").unlink()
    dataset_file(full, "2" * 64, ".npy").unlink()
    assert clean_store(full, Retention()) == [], "the other one may have what is left of it"


def test_a_pointer_to_no_version_removes_no_version(full: Store) -> None:
    pointer = json.loads(full.read(full.root / POINTER) or b"") | {"version": "c/"}
    full.write(full.root / POINTER, json.dumps(pointer).encode())
    assert clean_store(full, STRICT) == []


def test_the_dataset_of_a_version_goes_with_it(full: Store) -> None:
    make_version(full, "a2", dataset={"sha256": "2" * 64})
    for sha256 in (FILE.sha256, "2" * 64):
        full.write(dataset_file(full, sha256, ".npz"), b"used")
        age(dataset_file(full, sha256, ".npz"), 2)
    assert clean_store(full, STRICT) == ["model a", "model a2", "model d", "model e", f"dataset {'2' * 64}.npz"]
    assert full.names("datasets") == [f"{FILE.sha256}.npz"]


def test_files_of_actuals_that_the_index_does_not_know_go_when_they_are_old(full: Store) -> None:
    folder = full.root / "actuals"
    files = {"kept.csv": {"sha256": "", "bytes": 0}}
    index: dict[str, Any] = {"entries": [{"files": files}]}
    full.write(folder / "index.json", json.dumps(index).encode())
    for name, days in (("kept.csv", 9), ("lost.csv", 9), ("new.csv", 0.1), ("deep/lost.csv", 9)):
        full.write(folder / name, b"")
        age(folder / name, days)
    age(folder / "index.json", 9)
    assert clean_store(full, Retention()) == [f"leftover {folder}/lost.csv"]
    full.write(folder / "lost.csv", b"")
    age(folder / "lost.csv", 9)
    full.write(folder / "index.json", b"{")
    assert clean_store(full, Retention()) == [], "nobody knows what is in use"
    for entries in ({"entrie5": index["entries"]}, {"entries": [{"file5": files}]}, {"entries": [], "sha256": "0"}):
        full.write(folder / "index.json", json.dumps(entries).encode())
        assert clean_store(full, Retention()) == [], entries
    files["kep.csv"] = files.pop("kept.csv")
    full.write(folder / "index.json", json.dumps(index).encode())
    assert clean_store(full, Retention()) == [], "a name in the index may be damaged"
    full.remove(folder / "index.json")
    assert clean_store(full, Retention()) == [], "the index may be lost"


def test_a_champion_whose_manifest_is_lost_keeps_its_files(full: Store) -> None:
    names = [f"2026010{day}T000000Z-000000" for day in (1, 2)]
    for number, name in enumerate(names):
        make_version(full, name, dataset={"sha256": str(number) * 64})
        full.write(path := dataset_file(full, str(number) * 64, ".npy"), b"used")
        age(path, 9)
        promote(full, name, "")
    for name in names:
        (version_folder(full, name) / "manifest.json").unlink()
        assert clean_store(full, STRICT) == []
        assert f"{names[1]}, which is not a complete version" in "".join(verify(full)) or name == names[0]


def test_versions_stay_while_the_log_of_promotions_is_lost(full: Store) -> None:
    log, pointer = full.root / LOG, full.root / POINTER
    data = log.read_bytes()
    log.unlink()
    assert clean_store(full, STRICT) == []
    pointer.unlink()
    assert clean_store(full, STRICT) == []
    log.write_bytes(data)
    promote(full, "c", "restored")
    assert clean_store(full, STRICT) == ["model a", "model b", "model d", "model e"]


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
    age(dataset_file(full, "1" * 64, ".npz"), 2)
    for version in "ab":
        (version_folder(full, version) / "model.json").write_bytes(b"{}")
    assert clean_store(full, STRICT) == ["model a", "model d", "model e"]
    assert full.names("datasets") == ["1" * 64 + ".npz"]
    assert [record.message.removeprefix(f"{full.root}/models/") for record in caplog.records] == [
        f"{version}/model.json is not what its manifest says; see: linear-neuron verify." for version in "ab"
    ]


@pytest.mark.slow
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
    age(dataset_file(store, "1" * 64, ".npz"), 2)
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
