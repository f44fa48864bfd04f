"""One run for many models: each a flow run of its own, in processes that are used again."""

import json
import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from linear_neuron.flows.many_models import predict_models, retrain_models
from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks.errors import WorkError
from linear_neuron.tasks.model_list.due_models import find_due_models
from linear_neuron.tasks.model_list.read_models import ModelList
from linear_neuron.tasks.registry.alarms import read_alarms
from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.registry.last_runs import LastRun, read_runs, record_run
from linear_neuron.tasks.registry.named_models import list_named_models, render_named_models
from linear_neuron.tasks.registry.versions import list_versions
from linear_neuron.tasks.storage.store import Store
from tests.deployments.helpers import Api, eventually
from tests.deployments.trainings import serve_slowly
from tests.helpers import make_version

pytestmark = pytest.mark.slow
Write = Callable[..., ModelList]


@pytest.fixture
def api(server: str) -> Api:
    return Api(server)


@pytest.fixture
def write(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return what writes a list of models, each with a table of its own, and chooses from it."""
    monkeypatch.setenv("LINEAR_NEURON_FOLDER", str(tmp_path))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))  # of the processes; ours has its own already

    def write(models: dict[str, dict[str, Any]], **chosen: Any) -> ModelList:
        entries = []
        for number, (name, more) in enumerate(models.items()):
            write_table(tmp_path / f"{name}.csv", slope=number + 1)
            dataset = {"source": f"{name}.csv", "features": ["area"], "target": "price"} | more.pop("dataset", {})
            entries.append({"name": name, "dataset": dataset, **more})
        (tmp_path / "models.yaml").write_text(yaml.safe_dump(entries))
        return ModelList(**chosen)

    return write


def write_table(path: Path, slope: float) -> None:
    area = np.random.default_rng(1).uniform(20, 200, 400)
    price = slope * area + np.random.default_rng(2).normal(size=400)
    np.savetxt(path, np.c_[area, price], delimiter=",", header="area,price", comments="", fmt="%.3f")


def find_store(store: Store, name: str) -> Store:
    return Store(f"{store.root}-{name}")


def find_runs(api: Api, name: str) -> list[dict[str, Any]]:
    return list(api.ask("POST", "/flow_runs/filter", flow_runs={"tags": {"all_": [name]}}))


def find_table(api: Api) -> dict[str, dict[str, Any]]:
    (artifact,) = api.ask("POST", "/artifacts/latest/filter", artifacts={"key": {"any_": ["models"]}})
    return {row["model"]: row for row in json.loads(artifact["data"])}


def test_a_bad_model_and_one_not_due_leave_the_others_alone(api: Api, write: Write, store: Store) -> None:
    models = {
        "good-a": {},
        "bad-a": {"dataset": {"target": "prize"}},
        "later-a": {"due": {"retrain": "never"}},
        "also-a": {},
    }
    with pytest.raises(WorkError) as caught:
        retrain_models(write(models, concurrency=1))
    bad = store.root.parent / "bad-a.csv"
    sentence = f"{bad} can't be read: there is no column 'prize' among area, price; did you mean 'price'?"
    assert str(caught.value) == f"1 of 3 models failed. bad-a: {sentence}"
    assert {name: len(list_versions(find_store(store, name))) for name in models} == {
        "good-a": 1,
        "bad-a": 0,
        "later-a": 0,
        "also-a": 1,
    }
    assert read_runs(find_store(store, "bad-a"))["retrain"].message == sentence
    table = find_table(api)
    assert [table[name]["retrain"].partition(" ")[0] for name in models] == ["Completed", "Failed", "", "Completed"]
    assert table["good-a"]["champion"] == list_versions(find_store(store, "good-a"))[0]
    assert 0.8 < table["good-a"]["test RMSE"] < 1.2
    (run,) = find_runs(api, "good-a")
    assert (run["name"].startswith("good-a: retrain area"), run["state_name"]) == (True, "Completed")
    (parent,) = api.ask("POST", "/flow_runs/filter", flow_runs={"id": {"any_": [find_parent(api, run)]}})
    assert (parent["name"], parent["state_name"]) == ("retrain models", "Failed")
    assert [path.name for path in (store.root.parent / "scratch").iterdir()] == [], "nothing is left by the runs"
    lines = render_named_models(list_named_models()).splitlines()
    assert [line.split()[0] for line in lines] == ["name", "also-a", "bad-a", "good-a"]


def find_parent(api: Api, run: dict[str, Any]) -> str:
    (task,) = api.ask("POST", "/task_runs/filter", task_runs={"id": {"any_": [run["parent_task_run_id"]]}})
    return str(task["flow_run_id"])


def test_only_models_that_are_due_run_and_drift_is_their_own(
    api: Api, write: Write, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = write({"calm-c": {}, "drift-c": {}}, concurrency=1)
    for model in find_due_models.fn("retrain", chosen):
        with monkeypatch.context() as patch:  # In this process Keras is imported already.
            patch.setenv("LINEAR_NEURON_NAME", model.name)
            retrain.fn(**model.list_parameters("retrain"))
        record_run(find_store(store, model.name), "retrain", LastRun(at=datetime.now(UTC), state="Completed"))
    state = retrain_models(chosen, return_state=True)
    assert (state.name, state.message) == ("Empty", "No model is due.")
    asked_for = chosen.model_copy(update={"only": ["calm-c"]})
    assert [model.name for model in find_due_models.fn("retrain", asked_for)] == ["calm-c"], "which is not due"

    for name, areas in (("calm-c", range(20, 200)), ("drift-c", range(500, 680))):
        (folder := store.root.parent / f"inbox-{name}").mkdir()
        (folder / "rows.csv").write_text("\n".join(["area", *map(str, areas)]))
    assert predict_models(chosen) == "2 models ran."
    found = {
        name: [alarm["action"] for alarm in read_alarms(find_store(store, name))] for name in ("calm-c", "drift-c")
    }
    assert found == {"calm-c": [], "drift-c": ["drift.detected"]}
    wanted = {"event": {"name": ["linear-neuron.drift.detected"]}}
    events = eventually(lambda: find_events(api, wanted), "the event")
    assert [(event["resource"]["prefect.resource.id"], event["payload"]["model"]) for event in events] == [
        ("linear-neuron.champion.drift-c", "drift-c")
    ]
    assert find_table(api)["drift-c"]["alarm"].startswith("drift.detected ")
    assert find_table(api)["calm-c"]["alarm"] == ""
    assert [model.name for model in find_due_models.fn("retrain", chosen)] == ["drift-c"]
    assert [model.name for model in find_due_models.fn("retrain", chosen.model_copy(update={"every": True}))] == [
        "calm-c",
        "drift-c",
    ]


def find_events(api: Api, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    return [it for it in api.ask("POST", "/events/filter", filter=wanted)["events"] if "-c" in it["payload"]["model"]]


def list_processes(folder: object) -> list[int]:
    """List the processes of models whose scratch folder this is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if b"flows.model_process" in command and f"TMPDIR={folder}".encode() in environment.split(b"\0"):
            found.append(int(process.name))
    return found


def test_a_killed_process_is_replaced(api: Api, write: Write, store: Store) -> None:
    names = ("killed-d", "after-d")
    for name in names:
        own = find_store(store, name)
        version = make_version(own, "20260101T000000Z-aaaaaa", features=["area"], ranges={"area": (20.0, 200.0)})
        promote(own, version.version, "by hand")
    (store.root.parent / "after.csv").write_text("area\n50\n")

    def kill() -> None:
        eventually(lambda: [run for run in find_runs(api, "killed-d") if run["state_name"] == "Running"])
        (process,) = list_processes(store.root.parent / "scratch")
        os.kill(process, signal.SIGKILL)

    with serve_slowly() as url:
        tables = (url, str(store.root.parent / "after.csv"))
        chosen = write({name: {"batch": {"inputs": [table]}} for name, table in zip(names, tables, strict=True)})
        (killer := threading.Thread(target=kill)).start()
        with pytest.raises(WorkError) as caught:
            predict_models(chosen.model_copy(update={"concurrency": 1}))
        killer.join()
    assert str(caught.value) == "1 of 2 models failed. killed-d: The process that ran it ended with status -9."
    assert read_runs(find_store(store, "killed-d"))["predict"].state == "Crashed"
    assert len(list(store.root.parent.glob("store-after-d/predictions/*/after.predictions.csv"))) == 1


def test_models_run_without_a_server(write: Write, store: Store) -> None:
    chosen = write({"plain-e": {}, "bad-e": {}}, concurrency=1)
    for name, column in (("plain-e", "RM"), ("bad-e", "ROOMS")):
        promote(own := find_store(store, name), make_version(own, "20260101T000000Z-aaaaaa").version, "by hand")
        (folder := store.root.parent / f"inbox-{name}").mkdir()
        (folder / "rows.csv").write_text(f"{column}\n6\n")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}), pytest.raises(WorkError, match="bad-e: "):
        predict_models.fn(chosen)
    assert len(list(store.root.parent.glob("store-plain-e/predictions/*/rows.predictions.csv"))) == 1
