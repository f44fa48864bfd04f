"""Retraining, promoting, rolling back and reproducing, as flows on a real server."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.events.filters import EventFilter, EventNameFilter

from linear_neuron.flows.promote import promote, rollback
from linear_neuron.flows.reproduce import reproduce
from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Dataset, ExampleInputs, Promotion, Retention, Training
from linear_neuron.tasks.registry.catalogue import list_models
from linear_neuron.tasks.registry.champion import describe_status, read_champion, read_log
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.registry.versions import list_versions, publish_version, version_folder, will_be_unchanged
from linear_neuron.tasks.storage.store import Store
from tests.flows.helpers import Way
from tests.helpers import make_version

PACKAGE = Dataset(source="package")


def test_a_version_is_promoted_and_rolled_back_either_way(store: Store, way: Way) -> None:
    make_version(store, "a")
    make_version(store, "b")
    make_version(store, "c")
    assert way(promote)("a", "first").startswith("a is the champion since ")
    assert "before it a: better" in way(promote)("b", "better", "Ada")
    assert "before it b: best" in way(promote)("c", "best")
    assert "before it a: slow" in way(rollback)("slow")
    assert way(rollback)("slower").startswith("a is the champion since ")
    with pytest.raises(UserError, match="No previous champion"):
        way(rollback)("again")
    with pytest.raises(UserError, match="has no complete version 'd'"):
        way(promote)("d")
    assert [entry["reason"] for entry in read_log(store)] == ["first", "better", "best", "slow", "slower"]
    assert [entry["by"].startswith("Ada, ") for entry in read_log(store)] == [False, True, False, False, False]


@pytest.fixture
def trained(trained_store: Store, store: Store) -> Store:
    """A copy of the store with one version, which a recorded run of the default recipe has promoted."""
    shutil.copytree(trained_store.root.path, store.root.path)
    return store


@pytest.mark.usefixtures("no_plots")
def test_worse_is_refused_better_is_promoted_and_rollback_goes_back(trained: Store, server: str) -> None:
    (first,), store = list_versions(trained), trained
    worse = Path(retrain.fn(PACKAGE, Training(epochs=1))).name
    better = Path(retrain(PACKAGE, Training(epochs=300))).name
    assert [row["status"] for row in list_models(store)] == ["previous", "refused", "champion"]
    assert "no better than the mean predictor" in describe_status(store, worse)
    assert "Not promoted when it was made:" in (version_folder(store, worse) / "report.html").read_text()
    assert "the challenger was the better one in" in describe_status(store, better)
    assert f"{first} is the champion" in rollback("too bold")
    assert promote(worse, "to see").startswith(f"{worse} is the champion")
    assert [entry["action"] for entry in read_log(store)] == [
        "promoted",
        "refused",
        "promoted",
        "rolled back",
        "promoted",
    ]
    deadline = time.monotonic() + 30
    while not {first, better, worse} <= announced_versions():
        assert time.monotonic() < deadline, "every change of the champion is an event"
        time.sleep(0.2)


def announced_versions() -> set[str]:
    wanted = EventFilter(event=EventNameFilter(name=["linear-neuron.champion.changed"]))
    with get_client(sync_client=True) as client:
        answer = client._client.post("/events/filter", json={"filter": wanted.model_dump(mode="json")})
    return {event["payload"]["version"] for event in answer.json()["events"]}


def test_unchanged_ends_at_once_and_force_trains_again(trained: Store, tmp_path: Path, server: str) -> None:
    (version,), store = list_versions(trained), trained
    assert not will_be_unchanged(Store(str(tmp_path / "empty")), PACKAGE, Training(), ExampleInputs())
    assert will_be_unchanged(store, PACKAGE, Training(), ExampleInputs())
    assert not will_be_unchanged(store, PACKAGE, Training(epochs=3), ExampleInputs())
    state: State[str] = retrain(PACKAGE, return_state=True)
    assert (state.name, state.type.value) == ("Unchanged", "COMPLETED")
    assert version in (state.message or "")
    assert state.result() == str(version_folder(store, version))
    assert list_versions(store) == [version]
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["unchanged-report"]))
    with get_client(sync_client=True) as client:
        pages = [str(artifact.data) for artifact in client.read_artifacts(artifact_filter=wanted)]
    (page,) = (page for page in pages if version in page)
    assert page.startswith(f"# Nothing has changed since {version}\n")
    assert page.count("data:image/png;base64,") == 5
    assert f"{version_folder(store, version)}/report.html" in page
    retrain.fn(PACKAGE, force=True)
    assert len(list_versions(store)) == 2


def test_a_refused_version_ends_its_run_refused_with_the_reason(store: Store, server: str) -> None:
    state: State[str] = retrain(PACKAGE, Training(epochs=2), promotion=Promotion(mode="try"), return_state=True)
    (version,) = list_versions(store)
    assert (state.name, state.type.value) == ("Refused", "COMPLETED")
    assert state.message == f"{version} is not promoted: it was only tried, as promotion.mode asked."
    assert state.result() == str(version_folder(store, version))


@pytest.mark.usefixtures("store", "no_plots")
def test_every_version_comes_out_again_to_the_bit() -> None:
    for training in (Training(epochs=3, seed=5), Training(epochs=2, shuffle=False, validation_split=0)):
        version = Path(retrain.fn(PACKAGE, training)).name
        agrees, message = reproduce.fn(version)
        assert agrees, message
        assert f"Reproduced bit for bit: {version}, MEDV = " in message


def test_what_differs_is_named_when_a_version_does_not_come_out_again(trained: Store) -> None:
    (version,), store = list_versions(trained), trained
    path = version_folder(store, version) / "model.json"
    changed = json.loads(path.read_text())
    changed["weights"] = [9.0]
    changed["lineage"]["packages"]["keras"] = "2.0.0"
    path.write_text(json.dumps(changed))
    (version_folder(store, version) / "manifest.json").unlink()
    publish_version(store, version, Path(version_folder(store, version).path))
    agrees, message = reproduce.fn(version)
    assert not agrees
    assert "keras was 2.0.0, is 3." in message
    store.remove(store.root / "datasets")
    with pytest.raises(UserError, match=r"The dataset of .* is missing or damaged"):
        reproduce.fn(version)


@pytest.mark.usefixtures("no_plots")
def test_retention_runs_at_the_end_of_a_retrain(store: Store) -> None:
    keep_one, manual = Retention(newest=1, days=0), Promotion(mode="manual")
    for seed in (1, 2):
        retrain.fn(PACKAGE, Training(epochs=1, seed=seed), promotion=manual, retention=keep_one)
    assert len(list_versions(store)) == 1
    assert read_champion(store) is None


KILLED = """
import os
from linear_neuron.flows import retrain as module
from linear_neuron.tasks.parameters import Dataset, Training
calls, apply = [], module.apply_decisions
module.apply_decisions = lambda *args: os._exit(9) if calls else calls.append(apply(*args))
module.retrain.fn(Dataset(source="package"), Training(epochs=300))
"""


@pytest.mark.slow
def test_a_retrain_killed_before_it_promotes_is_made_good_by_the_next(store: Store) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED], check=False).returncode == 9
    (version,) = list_versions(store)
    assert (read_champion(store), read_log(store)) == (None, [])
    assert verify(store) == []
    retrain.fn(PACKAGE, Training(epochs=300))
    assert list_versions(store) == [version], "nothing has changed"
    assert describe_status(store, version).startswith("champion: it beats the mean predictor")
    assert [entry["action"] for entry in read_log(store)] == ["promoted"]
