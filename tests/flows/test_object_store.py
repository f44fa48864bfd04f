"""The same on an object store: a real S3-speaking server on loopback."""

import pytest

from flows.promote import rollback
from flows.reproduce import reproduce
from flows.retrain import retrain
from tasks.catalogue import find_differences, list_models
from tasks.champion import promote, read_champion
from tasks.parameters import Dataset, Retention, Training
from tasks.retention import clean_store
from tasks.store import Store
from tests.conftest import Run

PACKAGE = Dataset(source="package")


def test_retrain_promote_roll_back_reproduce_verify_and_clean(
    s3: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINEAR_NEURON_STORE", f"{s3}/prefix")
    store = Store()
    place = retrain(PACKAGE, Training())
    assert place.startswith("s3://bucket/prefix/models/")
    retrain(PACKAGE, Training(epochs=300))
    assert [row["status"] for row in list_models(store)] == ["previous", "champion"]
    assert retrain(PACKAGE, Training()) == place, "nothing has changed"
    rollback()
    champion = read_champion(store)
    assert champion is not None
    assert place.endswith(champion.version)
    assert reproduce(champion.version)[0]
    assert find_differences(store) == []
    promote(store, store.versions()[1], "")
    promote(store, store.versions()[0], "")
    retrain(PACKAGE, Training(epochs=1))
    oldest = store.versions()
    assert clean_store(store, Retention(newest=1, days=0)) == []
    promote(store, oldest[2], "")
    assert clean_store(store, Retention(newest=1, days=0)) == [f"model {oldest[1]}"]
    assert store.versions() == [oldest[0], oldest[2]]


def test_an_unreachable_bucket_and_wrong_keys_are_one_sentence_and_status_2(run_cli: Run, s3: str) -> None:
    dead = run_cli(
        "models", "--store", "s3://bucket/prefix", AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1"
    )
    assert dead.returncode == 2
    assert dead.stderr.startswith("linear-neuron: The store refuses s3://bucket/prefix")
    assert "Could not connect to the endpoint" in dead.stderr
    assert dead.stderr.count("\n") == 1
    missing = run_cli("retrain", "--dataset.source", "package", "--store", "s3://no-such-bucket/prefix")
    assert missing.returncode == 2
    assert "The store refuses s3://no-such-bucket/prefix" in missing.stderr.splitlines()[-1]
    assert "Traceback" not in missing.stderr
