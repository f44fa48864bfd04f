"""What version 0.1.0 left behind is read, trusted and carried on. The data and its story: tests/data/store-0.1.0."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from flows.predict import predict
from flows.promote import promote, rollback
from flows.reproduce import reproduce
from tasks.parameters import Batch
from tasks.registry.catalogue import list_models
from tasks.registry.champion import read_champion, read_log
from tasks.registry.verify import verify
from tasks.registry.versions import read_version
from tasks.scoring.batch import read_manifest
from tasks.storage.store import Store
from tests.flows.helpers import check, contents

ROOT = Path(__file__).parents[2]
OLD = ROOT / "tests/data/store-0.1.0"
FIRST, SECOND = "20261124T230457Z-f8298c", "20261124T230506Z-7d7aa3"
BOSTON = "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5.npz"
INTERVAL = "prediction,prediction_low,prediction_high,extrapolated\n"

pytestmark = pytest.mark.usefixtures("server")


def batch_name(inputs: Path) -> str:
    """Name the folder of a batch by its folder of inputs, as version 0.1.0 did."""
    settings = {"format": "same", "columns": [], "interval": 90}
    text = json.dumps([str(inputs), settings], indent=2) + "\n"
    return f"{SECOND}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy of the old store, which is also the default one, with its inputs and its dataset beside it."""
    root = tmp_path / "old"
    shutil.copytree(OLD, root)
    (root / "store/datasets").mkdir()
    shutil.copy(ROOT / "tasks/dataset/data/boston_housing.npz", root / "store/datasets" / BOSTON)
    for name in ("inbox", "late", "large"):
        folder = (root / f"store/predictions/{SECOND}-{name}").rename(
            root / "store/predictions" / batch_name(root / "inputs" / name)
        )
        for path in [*folder.glob("manifest.json"), *folder.glob(".work/*.json")]:
            text = path.read_text().replace("@ROOT@", str(root)).replace(f"{SECOND}-{name}", folder.name)
            path.write_text(text)
    monkeypatch.setenv("LINEAR_NEURON_STORE", str(root / "store"))
    return Store()


def inputs(old: Store, name: str) -> Path:
    return Path(old.root.path).parent / "inputs" / name


def location(old: Store, name: str) -> str:
    return str(old.root / "predictions" / batch_name(inputs(old, name)))


def inodes(location: str) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in Path(location).iterdir() if path.is_file()}


def test_old_versions_are_listed(old: Store) -> None:
    rows = list_models(old)
    assert [(row["version"], row["status"], row["features"]) for row in rows] == [
        (FIRST, "previous", ["RM"]),
        (SECOND, "champion", ["RM"]),
    ]
    assert [(round(row["test_mse"], 4), round(row["floor_mse"], 4)) for row in rows] == [
        (57.8265, 37.8061),
        (57.7818, 37.8061),
    ]


def test_an_old_model_predicts_as_it_did(old: Store) -> None:
    model = read_version(old, FIRST)
    assert model.linear_model.predict(np.array([[3.0], [7.0]])).tolist() == pytest.approx([11.304411, 24.675461])
    assert model.intervals["90"] == pytest.approx(15.8926, abs=1e-4)
    assert model.training["epochs"] == 101


def test_an_old_store_is_verified_clean(old: Store) -> None:
    assert verify(old) == []
    (old.root / "models" / FIRST / "history.csv").write_bytes(b"")
    Path(location(old, "inbox"), "monday.rejects.csv").write_bytes(b"")
    (old.root / "datasets" / BOSTON).write_bytes(b"")
    assert len(verify(old)) == 3


def test_an_old_champion_is_rolled_back(old: Store) -> None:
    champion = read_champion(old)
    assert champion
    assert (champion.version, champion.previous) == (SECOND, FIRST)
    assert FIRST in rollback("worse in the field")
    champion = read_champion(old)
    assert champion
    assert champion.version == FIRST


def test_an_old_version_is_promoted(old: Store) -> None:
    assert FIRST in promote(FIRST, "by hand")
    champion = read_champion(old)
    assert champion
    assert (champion.version, champion.previous) == (FIRST, SECOND)
    log = [(entry["action"], entry["version"]) for entry in read_log(old)]
    assert log == [("promoted", FIRST), ("promoted", SECOND), ("promoted", FIRST)]


def test_an_old_version_is_reproduced(old: Store) -> None:
    agrees, message = reproduce(SECOND)
    assert f"{SECOND} came out again to the bit" in message if agrees else "code was c0d34f23a7f7, is " in message


def test_what_an_old_batch_did_is_skipped(old: Store) -> None:
    before = inodes(location(old, "inbox"))
    assert predict(Batch(inputs=[str(inputs(old, "inbox"))])) == location(old, "inbox")
    after = inodes(location(old, "inbox"))
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] in ([], ["manifest.json"])
    manifest = read_manifest(location(old, "inbox"))
    check(manifest, location(old, "inbox"))
    assert [(item.source.name, item.predicted, item.rejects) for item in manifest.inputs] == [
        ("monday", 2, {"not a number": 1}),
        ("tuesday", 2, {}),
    ]


def test_a_changed_file_of_an_old_batch_is_predicted_again(old: Store) -> None:
    monday = inputs(old, "inbox") / "monday.csv"
    monday.write_text(monday.read_text().replace("008,x", "008,5"))  # Of the same size as before.
    assert predict(Batch(inputs=[str(inputs(old, "inbox"))])) == location(old, "inbox")
    check(read_manifest(location(old, "inbox")), location(old, "inbox"))
    files = contents(location(old, "inbox"))
    assert sorted(files) == ["monday.predictions.csv", "tuesday.predictions.parquet"]
    assert files["monday.predictions.csv"].decode() == (
        f"id,RM,suburb,{INTERVAL}"
        '007,6,"Brookline, West",21.346601,5.4779463,37.215256,false\n'
        "008,5,Newton,17.999405,2.1307497,33.86806,false\n"
        "009,9.5,,33.061783,17.193127,48.93044,true\n"
    )


def test_an_unfinished_old_batch_is_resumed(old: Store) -> None:
    (inputs(old, "late") / "saturday.csv").write_text("id,RM\n6,6\n")  # It was empty, and so failed.
    (inputs(old, "late") / "sunday.csv").write_text("id,RM\n7,6\n")  # It was being scored when the run was killed.
    before = inodes(location(old, "late"))
    assert predict(Batch(inputs=[str(inputs(old, "late"))])) == location(old, "late")
    after = inodes(location(old, "late"))
    done = {"friday.predictions.csv", "monday.predictions.csv", "monday.rejects.csv"}
    assert {name: before[name] for name in done} == {name: after[name] for name in done}
    manifest = read_manifest(location(old, "late"))
    assert manifest.files.keys() == done | {"saturday.predictions.csv", "sunday.predictions.csv"}
    assert (manifest.total.predicted, manifest.total.rejects) == (6, {"empty": 1})
    assert verify(old) == []
    assert not (Path(location(old, "late")) / ".work").exists()


def test_ranges_of_an_unfinished_old_batch_are_put_together(old: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no cluster here, so the test would fail if any range were left to score."""
    monkeypatch.setattr("tasks.scoring.plan.RANGE_BYTES", 100)
    monkeypatch.setattr("tasks.tables.csv.BLOCK_BYTES", 50)
    pieces = sorted(Path(location(old, "large"), ".work").glob("*.predictions.csv"))
    whole = b"".join(path.read_bytes() for path in pieces)
    batch = Batch(inputs=[str(inputs(old, "large"))], runner="dask", dask_address="tcp://127.0.0.1:1")
    assert predict(batch) == location(old, "large")
    check(read_manifest(location(old, "large")), location(old, "large"))
    assert contents(location(old, "large")) == {
        "table.predictions.csv": whole,
        "table.rejects.csv": b'line,column,value,reason,raw\n21,RM,?,not a number,"20,?"\n',
    }
    assert whole.startswith(f"id,RM,{INTERVAL}01,3.125,11.723415,".encode())
    assert len(whole.splitlines()) == 30
