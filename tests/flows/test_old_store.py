"""Read, verify and continue what older versions wrote; tests/data/store-0.1.0 and store-5d67bb6 tell what it is."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linear_neuron.flows.actuals import actuals
from linear_neuron.flows.predict import predict
from linear_neuron.flows.promote import promote, rollback
from linear_neuron.flows.reproduce import reproduce
from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks.monitoring.performance import read_performance
from linear_neuron.tasks.parameters import Actuals, Batch, Dataset
from linear_neuron.tasks.registry.alarms import read_alarms
from linear_neuron.tasks.registry.catalogue import list_models
from linear_neuron.tasks.registry.champion import read_champion, read_log
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.registry.versions import read_version
from linear_neuron.tasks.scoring.batch import read_manifest
from linear_neuron.tasks.storage.store import Store
from tests.flows.helpers import check, contents

ROOT = Path(__file__).parents[2]
OLD = ROOT / "tests/data/store-0.1.0"
FIRST, SECOND = "20261124T230457Z-f8298c", "20261124T230506Z-7d7aa3"
BOSTON = "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5.npz"
LATER = ROOT / "tests/data/store-5d67bb6"
NOTEBOOK, CONVERGED = "20261130T184516Z-f4297a", "20261130T184544Z-9128a5"
INBOX = f"{CONVERGED}-aa9dec83"
INTERVAL = "prediction,prediction_low,prediction_high,extrapolated\n"

pytestmark = [pytest.mark.usefixtures("server"), pytest.mark.slow]


def batch_name(inputs: Path, version: str = SECOND, **newer: str) -> str:
    """Name the folder of a batch by its folder of inputs and its settings, as version 0.1.0 did."""
    settings = {"format": "same", "columns": [], "interval": 90} | newer
    text = json.dumps([str(inputs), settings], indent=2) + "\n"
    return f"{version}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


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
    assert f"Reproduced bit for bit: {SECOND}, " in message if agrees else "code was c0d34f23a7f7, is " in message


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
    earlier = contents(location(old, "inbox"))
    before = [earlier[f"monday.{kind}.csv"] for kind in ("predictions", "rejects")]
    monday.write_text(monday.read_text().replace("008,x", "008,5"))  # Of the same size as before.
    assert predict(Batch(inputs=[str(inputs(old, "inbox"))])) == location(old, "inbox")
    check(read_manifest(location(old, "inbox")), location(old, "inbox"))
    files = contents(location(old, "inbox"))
    older = [files.pop(name) for name in sorted(files) if name.startswith(".older/")]
    assert older == before
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
    monkeypatch.setattr("linear_neuron.tasks.scoring.plan.RANGE_BYTES", 100)
    monkeypatch.setattr("linear_neuron.tasks.tables.csv.BLOCK_BYTES", 50)
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


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy of the store of commit 5d67bb6, which is also the default one, with its inputs beside it."""
    root = tmp_path / "later"
    shutil.copytree(LATER, root)
    unfinished = root / f"store/predictions/{CONVERGED}-late"
    unfinished.rename(unfinished.with_name(batch_name(root / "inputs/late", CONVERGED, key="id")))
    for path in [*root.glob("store/predictions/*/manifest.json"), *root.glob("store/predictions/*/.work/*.json")]:
        path.write_text(path.read_text().replace("@ROOT@", str(root)))
    index = root / "store/actuals/index.json"
    index.write_text(index.read_text().replace("@ROOT@", str(root)))
    monkeypatch.chdir(root)
    monkeypatch.setenv("LINEAR_NEURON_STORE", str(root / "store"))
    return Store()


def test_later_versions_are_listed(later: Store) -> None:
    rows = list_models(later)
    assert [(row["version"], row["status"], row["features"], row["recipe"]) for row in rows] == [
        (NOTEBOOK, "previous", ["area"], "custom"),
        (CONVERGED, "champion", ["area", "rooms"], "converged"),
    ]
    assert [round(row["test_mse"], 2) for row in rows] == [1364.09, 192.04]
    assert read_version(later, CONVERGED).weights == pytest.approx([2.0467, 8.6505], abs=1e-4)
    assert [entry["action"] for entry in read_log(later)] == ["promoted", "refused", "promoted"]
    assert [alarm["action"] for alarm in read_alarms(later)] == ["challenger.refused", "drift.detected"]


def test_a_later_store_is_verified_clean(later: Store) -> None:
    assert verify(later) == []
    (later.root / "predictions" / INBOX / "monday.rejects.csv").write_bytes(b"")
    (later.root / "models" / NOTEBOOK / "model.keras").write_bytes(b"")
    next(Path(later.root.path).glob("datasets/8dd5*.npy")).write_bytes(b"")
    assert len(verify(later)) == 3


def test_a_later_champion_is_rolled_back(later: Store) -> None:
    assert NOTEBOOK in rollback("worse in the field")
    champion = read_champion(later)
    assert champion
    assert champion.version == NOTEBOOK


def test_a_later_version_is_reproduced(later: Store) -> None:
    assert CONVERGED in reproduce(CONVERGED)[1]


def test_a_later_version_predicts_the_same_bytes(later: Store, tmp_path: Path) -> None:
    folder = Path(predict(Batch(inputs=["inputs/inbox"], key="id", output=str(tmp_path / "out"))))
    before = Path(later.root.path, "predictions", INBOX)
    for name in ("monday.predictions.csv", "monday.rejects.csv"):
        assert (folder / name).read_bytes() == (before / name).read_bytes()
    name = "tuesday.predictions.parquet"
    assert pl.read_parquet(folder / name).equals(pl.read_parquet(before / name))


def test_a_later_unfinished_batch_is_resumed(later: Store) -> None:
    late = Path("inputs/late").resolve()
    folder = Path(str(later.root), "predictions", batch_name(late, CONVERGED, key="id"))
    (late / "saturday.csv").write_text("id,area,rooms\n6,100,3\n")  # It was empty, and so failed.
    (late / "sunday.csv").write_text("id,area,rooms\n7,100,3\n")  # It was being scored when the run was killed.
    before = inodes(str(folder))
    assert predict(Batch(inputs=["inputs/late"], key="id")) == str(folder)
    assert inodes(str(folder))["friday.predictions.csv"] == before["friday.predictions.csv"]
    manifest = read_manifest(str(folder))
    assert manifest.files.keys() == {f"{day}.predictions.csv" for day in ("friday", "saturday", "sunday")}
    assert manifest.total.predicted == 7
    assert verify(later) == []
    assert not (folder / ".work").exists()


def test_actuals_are_added_to_a_later_store(later: Store) -> None:
    """Ten of the seventy predicted rows had no actual value yet; the fifty known ones are not counted twice."""
    (before,) = read_performance(later)
    assert (before.version, before.matched, round(before.mse, 2)) == (CONVERGED, 50, 260.33)
    Path("more.csv").write_text("id,price\n" + "".join(f"a{number},800\n" for number in range(10)))
    actuals(Actuals(inputs=["inputs/sold.csv", "more.csv"], key="id"))
    (after,) = read_performance(later)
    assert (after.version, after.matched) == (CONVERGED, 60)
    assert verify(later) == []


def test_a_later_champion_is_compared_with_a_new_version(later: Store) -> None:
    own = {"target": "price", "time": "sold_on", "key": "id", "features": ["area", "rooms"]}
    folder = Path(retrain(Dataset(source="inputs/homes.csv", **own)))
    assert read_log(later)[-1]["version"] == folder.name
    assert list_models(later)[-1]["recipe"] == "converged"
    assert verify(later) == []
