"""Rows of a key leave everything that the store keeps, in whichever order a run is killed."""

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from linear_neuron.flows.actuals import actuals
from linear_neuron.flows.predict import predict
from linear_neuron.tasks.dataset.rows import HASH, Origin, hash_keys, open_records, record_type
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.monitoring.forget import Places, Search, describe, forget
from linear_neuron.tasks.monitoring.performance import load_index
from linear_neuron.tasks.parameters import Actuals, Batch, Retention
from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.registry.forgotten import read_replaced
from linear_neuron.tasks.registry.reproduce import recall
from linear_neuron.tasks.registry.retention import find_expired
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.storage.store import Store, digest
from tests.helpers import make_version

KEYS = ["h1", "h2", "h3", "h4"]
VERSION = "20260101T000000Z-aaaaaa"
REJECTS = (
    'file,line,column,value,reason,raw\nh.csv,9,RM,x,not a number,"h2,x,""a; b"""\nh.csv,10,RM,x,not a number,"h9,x"\n'
)


def keep_snapshot(store: Store, folder: Path) -> str:
    """Keep a snapshot of four rows with keys, and return its digest."""
    records = np.zeros(4, record_type(["RM", "MEDV"], timed=False))
    records["RM"], records[HASH] = [1, 2, 3, 4], hash_keys(KEYS)
    np.save(folder / "snapshot.npy", records)
    data = (folder / "snapshot.npy").read_bytes()
    store.write(store.root / "datasets" / f"{digest(data)}.npy", data)
    return digest(data)


@pytest.fixture
def filled(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store in which h2 is in a snapshot, a version, two batches with a replaced result, and the actual values."""
    monkeypatch.chdir(tmp_path)
    sha256 = keep_snapshot(store, tmp_path)
    dataset = {"name": "homes", "sha256": sha256, "source": "homes.csv", "remarks": [], "key": "id"}
    files = {"rejects.csv": REJECTS, "predictions_test.csv": "row,RM,actual\n1,2,0\n3,4,0\n"}
    make_version(store, VERSION, files=files, dataset=dataset)
    promote(store, VERSION, "test")
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "a.csv").write_text('id,RM,note\nh2,6,"two\nlines"\nh3,5,"h2"\nh2,x,\n')
    predict.fn(Batch(inputs=["inbox"], key="id"))
    (inbox / "a.csv").write_text('id,RM,note\nh1,6,"one\nline"\n h2 ,5,5"\nh4,4,\n')
    pl.DataFrame({"id": ["h2", "h3"], "RM": [5.0, 6.0]}).write_parquet(inbox / "b.parquet")
    predict.fn(Batch(inputs=["inbox"], key="id"))
    (tmp_path / "sold.csv").write_text("id,MEDV\nh2,20\nh3,21\nh2x,x\n")
    actuals.fn(Actuals(inputs=["sold.csv"], key="id", target="MEDV"))
    return store


def find_everywhere(store: Store) -> list[str]:
    """Find the files of the store that have the key or its hash, by reading all bytes."""
    found = []
    for path in sorted(Path(store.root.path).rglob("*")):
        if path.is_file() and path.name != "manifest.json":
            data = path.read_bytes()
            hashed = hash_keys(["h2"]).tobytes()
            texts = pl.read_parquet(path).write_csv().encode() if path.suffix == ".parquet" else data
            lines = [line for line in texts.splitlines() if line.strip().startswith((b"h2,", b"h2 ,"))]
            if hashed in data or lines or b'"h2,x' in data:
                found.append(path.name)
    return found


def run(store: Store, *, yes: bool = False, key: str = "h2", column: str = "") -> Places:
    search = Search(store, key, column, ())
    return forget(search, "asked for") if yes else search.run()


def count(places: Places) -> dict[str, int]:
    totals: dict[str, int] = {}
    for found in places.files:
        totals[found.kind] = totals.get(found.kind, 0) + found.rows
    return totals


def test_search_lists_every_file_and_changes_none(filled: Store) -> None:
    before = find_everywhere(filled)
    places = run(filled)
    assert count(places) == {"snapshot": 1, "version": 2, "batch": 4, "actuals": 1}
    assert (places.versions, places.champion) == ([VERSION], VERSION)
    assert places.sources[0] == "homes.csv"
    assert {Path(source).name for source in places.sources} == {"homes.csv", "a.csv", "b.parquet", "sold.csv"}
    assert find_everywhere(filled) == before
    said = describe(places, removed=False).splitlines()
    assert f"{VERSION} (champion) learned from it or was tested on it, and cannot be reproduced without it." in said
    assert said[-1] == "Nothing was removed; to remove these rows, add --yes."


def test_rows_leave_every_file_and_verify_stays_green(filled: Store) -> None:
    assert verify(filled) == []
    assert len(find_everywhere(filled)) == 7, "test rows have no key"
    places = run(filled, yes=True)
    assert describe(places, removed=True).splitlines()[-1] == "Removed 8 rows."
    assert find_everywhere(filled) == []
    assert verify(filled) == []
    assert count(run(filled)) == {}
    (version,) = Path(filled.root.path, "models").iterdir()
    assert (version / "rejects.csv").read_text().splitlines()[1] == 'h.csv,10,RM,x,not a number,"h9,x"'
    assert (version / "predictions_test.csv").read_text() == "row,RM,actual\n3,4,0\n"
    (batch,) = Path(filled.root.path, "predictions").iterdir()
    kept = (batch / "a.predictions.csv").read_text()
    assert kept.splitlines()[1].startswith('h1,6,"one')
    assert kept.splitlines()[3].startswith("h4,4,")
    assert pl.read_parquet(batch / "b.predictions.parquet")["id"].to_list() == ["h3"]
    assert not list(batch.glob("**/forgotten*"))
    (entry,) = load_index(filled)[0].entries
    assert entry.matched + entry.unmatched == 1


def test_a_version_says_that_rows_were_forgotten(filled: Store) -> None:
    run(filled, yes=True)
    with pytest.raises(
        UserError, match=rf"{VERSION} cannot be reproduced: 1 row that .* was forgotten on .* the others"
    ):
        recall.fn(VERSION)
    ((sha256, replaced),) = read_replaced(filled).items()
    records = open_records(
        Path(filled.root.path, "datasets", f"{replaced.to}.npy"), Origin(replaced.to, "cache")
    ).hashes
    assert records is not None
    assert records.tolist() == hash_keys(["h1", "h3", "h4"]).tolist()
    assert not Path(filled.root.path, "datasets", f"{sha256}.npy").exists()
    log = json.loads(Path(filled.root.path, "forgotten.jsonl").read_text())
    assert (log["reason"], log["rows"], log["files"]) == ("asked for", 8, 8)
    assert "h2" not in {log["id"], log["reason"], log["by"]}


def test_a_second_key_is_found_in_what_the_first_left(filled: Store) -> None:
    run(filled, yes=True)
    places = run(filled, yes=True, key="h4")
    assert places.versions == [VERSION]
    assert count(places) == {"snapshot": 1, "version": 1, "batch": 1}
    assert Path(filled.root.path, "models", VERSION, "predictions_test.csv").read_text() == "row,RM,actual\n"
    for key in ("h1", "h3"):
        run(filled, yes=True, key=key)
    assert list(Path(filled.root.path, "datasets").iterdir()) == []
    assert verify(filled) == []
    with pytest.raises(UserError, match=r"4 rows that it learned from or was tested on were forgotten on [0-9-]+\.$"):
        recall.fn(VERSION)


def test_retention_keeps_what_is_left_of_a_snapshot(filled: Store) -> None:
    run(filled, yes=True)
    for path in Path(filled.root.path, "datasets").iterdir():
        os.utime(path, (0, 0))
    assert not [name for name in find_expired(filled, Retention(), datetime.now(UTC)) if name.startswith("dataset")]


class KilledError(BaseException):
    """What a kill is to the code after it: nothing of it runs."""


WRITES = ("write", "writing", "copy", "remove", "swap")


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Arms a kill before the n-th change of any store; disarmed it counts them."""
    state = {"left": -1, "count": 0}
    for name in WRITES:
        method = getattr(Store, name)

        def changed(*args: Any, method: Any = method, **kwargs: Any) -> Any:
            state["count"] += 1
            if state["left"] == 0:
                raise KilledError
            state["left"] -= 1
            return method(*args, **kwargs)

        monkeypatch.setattr(Store, name, changed)
    return state


@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_before_any_change_leaves_a_whole_store(
    filled: Store, kill: dict[str, int], tmp_path: Path, every: int
) -> None:
    root, backup, kills = Path(filled.root.path), tmp_path / "backup", 0
    shutil.copytree(root, backup)
    for step in range(0, 300, every):
        kill["left"] = step
        try:
            run(filled, yes=True)
        except KilledError:
            kills += 1
        else:
            break
        finally:
            kill["left"] = -1
        assert verify(filled) == [], f"killed before change {step}"
        run(filled, yes=True)
        assert find_everywhere(filled) == [], f"killed before change {step}"
        assert verify(filled) == []
        assert not list(root.glob("**/forgotten*/*")), f"killed before change {step}"
        shutil.rmtree(root)
        shutil.copytree(backup, root)
    assert kills > 60 // every


def test_what_has_no_key_is_named(store: Store, tmp_path: Path) -> None:
    sha256 = keep_snapshot(store, tmp_path)
    make_version(store, VERSION, dataset={"name": "homes", "sha256": sha256, "source": "homes.csv", "remarks": []})
    (tmp_path / "a.csv").write_text("id,RM\nh2,6\n")
    promote(store, VERSION, "test")
    location = predict.fn(Batch(inputs=[str(tmp_path / "a.csv")]))
    places = run(store)
    assert places.files == []
    assert places.unsearched == [f"{store.root}/datasets/{sha256}.npy has no key", f"{location} has no key"]
    assert count(run(store, column="id")) == {"batch": 1}
    assert describe(places, removed=False).splitlines()[-1] == "No row of this key was found."
    with pytest.raises(UserError, match="An empty key names no row"):
        run(store, key=" ")


def test_damaged_files_are_named_and_stay_as_they_are(filled: Store) -> None:
    (batch,) = Path(filled.root.path, "predictions").iterdir()
    (snapshot,) = Path(filled.root.path, "datasets").iterdir()
    (known,) = Path(filled.root.path, "actuals").glob("*.rejects.csv")
    rejects = Path(filled.root.path, "models", VERSION, "rejects.csv")
    damaged = {}
    for path in (batch / "a.predictions.csv", snapshot, known, rejects):
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        damaged[path] = path.read_bytes()
    before = verify(filled)
    places = run(filled, yes=True)
    assert sorted(line.partition(", which")[0] for line in places.unsearched) == sorted(map(str, damaged))
    assert f"{snapshot}, which has other bytes than its name says" in places.unsearched
    assert count(places) == {"batch": 3}, "of what is not damaged"
    assert {path: path.read_bytes() for path in damaged} == damaged
    assert verify(filled) == before, "a damaged file is not listed as a whole one"


def test_unfinished_outputs_with_the_key_are_removed_whole(filled: Store) -> None:
    (batch,) = Path(filled.root.path, "predictions").iterdir()
    (batch / ".work").mkdir()
    work = batch / ".work" / "c.000000000000000.predictions.csv"
    work.write_text("id,prediction\nh2,1\n")
    run(filled, yes=True)
    assert not work.exists()


@pytest.mark.slow
def test_bucket_forgets_as_a_disk_does(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAR_NEURON_STORE", f"{s3}/forget")
    monkeypatch.chdir(tmp_path)
    store = Store()
    sha256 = keep_snapshot(store, tmp_path)
    dataset = {"name": "homes", "sha256": sha256, "source": "homes.csv", "remarks": [], "key": "id"}
    make_version(store, VERSION, files={"rejects.csv": REJECTS}, dataset=dataset)
    promote(store, VERSION, "test")
    (tmp_path / "a.csv").write_text("id,RM\nh2,6\nh3,5\n")
    location = predict.fn(Batch(inputs=["a.csv"], key="id"))
    assert count(run(store, yes=True)) == {"snapshot": 1, "version": 1, "batch": 1}
    assert count(run(store)) == {}
    assert verify(store) == []
    assert (store.root / "predictions" / location.rpartition("/")[2] / "a.predictions.csv").read_text().count("\n") == 2
