"""A list of models on a real server: three deployments for all of them, run by a real worker."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from linear_neuron.tasks.registry.champion import read_log
from linear_neuron.tasks.storage.store import Store
from tests.deployments.helpers import Stack, eventually
from tests.deployments.terminal import call_beside as call
from tests.deployments.trainings import find_trainers, serve_slowly

pytestmark = pytest.mark.xdist_group("models")
NAMES = {
    "retrain-models/retrain-models": "retrain_models",
    "predict-models/predict-models": "predict_models",
    "actuals-models/actuals-models": "actuals_models",
}
RETRAIN = "retrain-models/retrain-models"
FILE = {"models": {"file": "models.yaml"}}


def write_list(stack: Stack, source: str = "flats.csv") -> None:
    table = stack.log.parent / "flats.csv"
    table.write_text("area,price\n" + "".join(f"{area},{3 * area + area % 7}\n" for area in range(20, 220)))
    dataset = {"source": "flats.csv", "features": ["area"], "target": "price"}
    entries = [
        {"name": "north", "dataset": dataset | {"source": source}, "training": {"recipe": "notebook"}},
        {"name": "south", "dataset": dataset | {"target": "prize"}},
        {"name": "west", "dataset": dataset, "due": {"retrain": "never"}},
        {"name": "east", "dataset": dataset},
    ]
    (stack.log.parent / "models.yaml").write_text(yaml.safe_dump(entries))


@pytest.fixture(scope="module")
def listed(stack: Stack) -> Iterator[Stack]:
    """The stack with a list of models; its deployments are gone after the module."""
    write_list(stack)
    done = call(stack, "deploy", "--models", "models.yaml")
    assert done.returncode == 0, done.stderr
    yield stack
    removed = call(stack, "undeploy", "--models")
    assert removed.stdout == "removed actuals-models\nremoved predict-models\nremoved retrain-models\n", removed.stderr
    again = call(stack, "undeploy", "--models")
    assert (again.returncode, "a list of models has no deployments" in again.stderr) == (2, True)


def test_three_deployments_serve_all_and_are_kept(listed: Stack) -> None:
    def read() -> dict[str, Any]:
        return {name: listed.api.deployment(name) for name in NAMES}

    before = read()
    assert {name: it["entrypoint"].rpartition(".")[2] for name, it in before.items()} == NAMES
    assert [it["parameters"] for it in before.values()] == [FILE, FILE, FILE]
    assert [it["schedules"][0]["schedule"]["cron"] for it in before.values()] == ["0 * * * *"] * 3
    done = call(listed, "deploy")
    assert done.returncode == 0, done.stderr
    after = read()
    assert [it["parameters"] for it in after.values()] == [FILE, FILE, FILE]
    assert [it["id"] for it in after.values()] == [it["id"] for it in before.values()]
    assert "retrain-models" in done.stdout


def test_a_worker_runs_what_is_due_and_shows_one_table(listed: Stack) -> None:
    run = listed.api.wait(listed.api.trigger({}, RETRAIN), "Failed")
    message = run["state"]["message"]
    assert "1 of 3 models failed. south: " in message
    assert "there is no column 'prize' among area, price" in message
    folder = listed.log.parent
    assert [len(list(folder.glob(f"store-{name}/models/*"))) for name in ("north", "south", "east")] == [1, 0, 1]
    (table,) = [artifact for artifact in listed.api.artifacts(run["id"]) if artifact["key"] == "models"]
    assert [name for name in ("north", "south", "west", "east") if name in table["data"]] == [
        "north",
        "south",
        "west",
        "east",
    ]
    (below,) = listed.api.ask("POST", "/flow_runs/filter", flow_runs={"tags": {"all_": ["linear-neuron", "north"]}})
    assert (below["parent_task_run_id"] is not None, below["state_name"]) == (True, "Completed")
    for kind in ("predict", "actuals"):  # The folders of those that have a champion are not there yet.
        alone = {"models": FILE["models"] | {"concurrency": 1}}
        run = listed.api.wait(listed.api.trigger(alone, f"{kind}-models/{kind}-models"), "Completed")
        assert run["state_name"] == "Completed"
    (log,) = [line for line in read_log(Store(str(folder / "store-north"))) if line["action"] == "promoted"]
    assert "retrain-models for its list of models, run north: retrain area" in log["by"]


def test_a_cancelled_run_ends_its_processes(listed: Stack) -> None:
    with serve_slowly() as url:
        write_list(listed, url)
        chosen = {"models": {"file": "models.yaml", "only": ["north"]}}
        run = listed.api.trigger(chosen, RETRAIN)
        tags = {"tags": {"all_": ["linear-neuron", "north"]}}
        running = {**tags, "state": {"name": {"any_": ["Running"]}}}
        (below,) = eventually(lambda: listed.api.ask("POST", "/flow_runs/filter", flow_runs=running), "the model runs")
        processes = eventually(lambda: find_processes(listed), "its process and the one that trains for it")
        listed.api.ask("POST", f"/flow_runs/{run}/set_state", state={"type": "CANCELLING"}, force=True)
        listed.api.wait(run, "Cancelled")
        eventually(lambda: not processes & listed.processes().keys(), "the processes have ended")
        listed.api.wait(below["id"], "Crashed", "Cancelled")


def find_processes(stack: Stack) -> set[int]:
    """Find the process of a model and the one that trains for it; none until both are there."""
    models = [pid for pid, line in stack.processes().items() if "model_process" in line]
    trainers = [trainer for pid in models for trainer in find_trainers(pid)]
    return {*models, *trainers} if trainers else set()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--models", "missing.yaml"), "missing.yaml can't be read: No such file or directory."),
        (("--models", "models.yaml", "--name", "sales"), "--models names a file with the names and parameters"),
        (("--models", "models.yaml", "--training.epochs", "2"), "--models names a file with the names and parameters"),
    ],
)
def test_a_wrong_call_is_refused(listed: Stack, arguments: tuple[str, ...], sentence: str) -> None:
    done = call(listed, "deploy", *arguments)
    assert (done.returncode, sentence in done.stderr) == (2, True), done.stderr


def test_a_list_with_a_mistake_is_not_deployed(listed: Stack) -> None:
    file = Path(listed.log.parent / "wrong.yaml")
    file.write_text("- name: sales\n  dataset: {max_rejects: 3}\n")
    done = call(listed, "deploy", "--models", "wrong.yaml")
    assert (
        "wrong.yaml, model sales: dataset.max_rejects: Input should be less than or equal to 1, not 3." in done.stderr
    )
