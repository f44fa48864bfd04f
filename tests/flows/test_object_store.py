"""The same on an object store: a real S3-speaking server on loopback."""

import os
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from upath import UPath

from linear_neuron.flows.actuals import actuals
from linear_neuron.flows.backtest import backtest
from linear_neuron.flows.predict import predict
from linear_neuron.flows.promote import rollback
from linear_neuron.flows.reproduce import reproduce
from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.monitoring.performance import read_performance
from linear_neuron.tasks.parameters import Actuals, Batch, Dataset, Period, Retention, Training
from linear_neuron.tasks.registry.catalogue import list_models
from linear_neuron.tasks.registry.champion import promote, read_champion
from linear_neuron.tasks.registry.retention import clean_store
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.registry.versions import list_versions
from linear_neuron.tasks.reporting.backtest_report import read_backtest
from linear_neuron.tasks.scoring.batch import read_manifest
from linear_neuron.tasks.storage.store import Store
from tests.flows.helpers import check, contents
from tests.forked import Forked
from tests.helpers import make_version

pytestmark = pytest.mark.slow

PACKAGE = Dataset(source="package")


def test_retrain_promote_roll_back_reproduce_verify_and_clean(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAR_NEURON_STORE", f"{s3}/prefix")
    store = Store()
    location = retrain.fn(PACKAGE, Training())
    assert location.startswith("s3://bucket/prefix/models/")
    retrain.fn(PACKAGE, Training(epochs=300))
    assert [row["status"] for row in list_models(store)] == ["previous", "champion"]
    assert retrain.fn(PACKAGE, Training()) == location, "nothing has changed"
    rollback.fn()
    champion = read_champion(store)
    assert champion is not None
    assert location.endswith(champion.version)
    assert reproduce.fn(champion.version)[0]
    assert verify(store) == []
    promote(store, list_versions(store)[1], "")
    promote(store, list_versions(store)[0], "")
    make_version(store, "99991231T000000Z-ffffff")
    oldest = list_versions(store)
    assert clean_store(store, Retention(newest=1, days=0)) == []
    promote(store, oldest[2], "")
    assert clean_store(store, Retention(newest=1, days=0)) == [f"model {oldest[1]}"]
    assert list_versions(store) == [oldest[0], oldest[2]]


def test_actuals_from_a_bucket_are_recorded_there(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAR_NEURON_STORE", f"{s3}/known")
    store = Store()
    make_version(store, "20260101T000000Z-aaaaaa")
    promote(store, "20260101T000000Z-aaaaaa", "")
    for name, text in {"in/a.csv": "id,RM\na,1\nb,2\n", "sold/a.csv": "id,MEDV\na,3\n"}.items():
        UPath(f"{s3}/{name}").write_text(text)
    predict.fn(Batch(inputs=[f"{s3}/in"]))
    for text in ("id,MEDV\na,3\n", "id,MEDV\na,4\nb,9\n"):
        UPath(f"{s3}/sold/a.csv").write_text(text)
        assert actuals.fn(Actuals(inputs=[f"{s3}/sold"], key="id")) == f"{s3}/known/actuals"
    (result,) = read_performance(store)
    assert (result.matched, result.mse) == (2, 2.0)
    assert verify(store) == []


def test_an_own_table_from_a_bucket_has_its_snapshot_there(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAR_NEURON_STORE", f"{s3}/own")
    rng = np.random.default_rng(0)
    area = rng.uniform(30, 200, 300)
    lines = [f"{x:.1f},{3 * x + rng.normal(0, 5):.2f}\n" for x in area]
    (UPath(s3) / "sales" / "1.csv").write_bytes("".join(["area,price\n", *lines]).encode())
    location = retrain.fn(Dataset(source=f"{s3}/sales", features=["area"], target="price"))
    assert retrain.fn(Dataset(source=f"{s3}/sales/*.csv", features=["area"], target="price")) == location
    assert len(Store().names("datasets")) == 1
    assert reproduce.fn(location.rpartition("/")[2])[0]
    assert verify(Store()) == []


def test_a_backtest_is_kept_in_a_bucket_too(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAR_NEURON_STORE", f"{s3}/backtest")
    rows = "".join(f"2026-01-{day:02},{day},{3 * day + day % 7}\n" for day in range(1, 32))
    (table := tmp_path / "sales.csv").write_text(f"sold_on,area,price\n{rows}")
    location = backtest.fn(
        Period.model_validate({"from": "2026-01-29", "to": "2026-02-01", "every": "week"}),
        Dataset(source=str(table), features=["area"], target="price", time="sold_on"),
    )
    assert location.startswith("s3://bucket/backtest/backtests/")
    assert [step["rows"] for step in read_backtest(location)["steps"]] == [3]
    assert verify(Store()) == []
    assert Store().names() == ["backtests"]


def test_an_unreachable_bucket_and_wrong_keys_are_one_sentence_and_status_2(
    forked: Forked, s3: str, tmp_path: Path
) -> None:
    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return forked.run(arguments, os.environ | settings, tmp_path)

    dead = run("models", "--store", "s3://bucket/prefix", AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1")
    assert dead.returncode == 2
    assert dead.stderr.startswith("linear-neuron: The store refuses s3://bucket/prefix")
    assert "Could not connect to the endpoint" in dead.stderr
    assert dead.stderr.count("\n") == 1
    missing = run("retrain", "--dataset.source", "package", "--store", "s3://no-such-bucket/prefix")
    assert missing.returncode == 2
    assert "The store refuses s3://no-such-bucket/prefix" in missing.stderr.splitlines()[-1]
    assert "Traceback" not in missing.stderr


def test_a_bucket_is_predicted_into_a_bucket(served: Store, s3: str, tmp_path: Path) -> None:
    (UPath(s3) / "in" / "a.csv").write_bytes(b"id,RM\n007,5\n008,x\n")
    (UPath(s3) / "in" / "sub" / "b.csv").write_bytes(b"id,RM\n1,6\n")
    pl.DataFrame({"RM": [6.0]}).write_parquet(tmp_path / "c.parquet")
    (UPath(s3) / "in" / "c.parquet").write_bytes((tmp_path / "c.parquet").read_bytes())
    batch = Batch(inputs=[f"{s3}/in/**/*"], output=f"{s3}/{tmp_path.name}")
    location = predict.fn(batch)
    assert location.startswith(f"{s3}/{tmp_path.name}/20260101T000000Z-aaaaaa-")
    names = ["a.predictions.csv", "a.rejects.csv", "c.predictions.parquet", "sub/b.predictions.csv"]
    assert sorted(contents(location)) == names
    assert b"007,5,11.0" in contents(location)["a.predictions.csv"]
    manifest = read_manifest(location)
    check(manifest, location)
    assert manifest.inputs[0].source.path == f"{s3}/in/a.csv"
    times = {name: (UPath(location) / name).stat().st_mtime for name in names}
    assert predict.fn(batch) == location
    assert times == {name: (UPath(location) / name).stat().st_mtime for name in names}
    (UPath(s3) / "in" / "a.csv").write_bytes(b"id,RM\n007,7\n008,6\n")
    assert predict.fn(batch) == location
    check(read_manifest(location), location)
    found = sorted(contents(location))
    assert [name for name in found if name not in names] == found[:2]
    assert [name.rpartition("/")[2] for name in found[:2]] == ["a.predictions.csv", "a.rejects.csv"]
    assert found[0].startswith(".older/")
    assert b"007,5,11.0" in contents(location)[found[0]]
    assert found[2:] == [name for name in names if name != "a.rejects.csv"]


def test_an_unreachable_bucket_is_one_sentence(served: Store, s3: str) -> None:
    with pytest.raises(UserError, match="There is nothing at s3://nowhere/in/; name files, folders, globs or URLs"):
        predict.fn(Batch(inputs=["s3://nowhere/in/"]))
