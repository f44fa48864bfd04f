"""Several models on one server: each with deployments, a store, an inbox and events of its own."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linear_neuron.tasks.registry.promotion import EVENT
from tests.deployments.helpers import CLEAN, QUICK, Api, Stack, eventually
from tests.deployments.terminal import deploy, find_deployments, undeploy

pytestmark = pytest.mark.xdist_group("models")
OWN_TABLE = ("--dataset.source", "sales/*.csv", "--dataset.features", "area", "--dataset.target", "price")
OWN = {"source": "sales/*.csv", "features": ["area"], "target": "price"}
ALWAYS = {"force": True, "promotion": {"mode": "always"}}


def run_beside(stack: Stack, *arguments: str) -> str:
    """Run a command as in a terminal beside the stack, which is found by its store; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "linear_neuron", *arguments],
        env=CLEAN | stack.settings,
        cwd=stack.log.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def unnamed(stack: Stack) -> dict[str, dict[str, Any]]:
    """The deployments of the model without a name, before there is any other."""
    return find_deployments(stack.api, "")


@pytest.fixture(scope="module")
def models(stack: Stack, unnamed: dict[str, dict[str, Any]]) -> Iterator[Stack]:
    """The stack, which has the models sales and rent besides; they are gone after the module."""
    table = stack.log.parent / "sales" / "january.csv"
    table.parent.mkdir()
    table.write_text("area,price\n" + "".join(f"{area},{3 * area + area % 7}\n" for area in range(20, 220)))
    run_beside(stack, "deploy", "--name", "sales", *OWN_TABLE, "--columns", "area=m2")
    deploy(stack, "--name", "rent", "--training.epochs", "2")
    yield stack
    for name in ("sales", "rent"):
        undeploy(stack, name)


def find_predicts(api: Api) -> list[str]:
    """Which deployments predicted because of an event, sorted."""
    found = []
    for name in ("", "sales.", "rent."):
        deployment = api.deployment(f"predict/{name}daily-predict")["id"]
        asked = api.ask("POST", "/flow_runs/filter", deployments={"id": {"any_": [deployment]}})
        found += [f"{name}daily-predict" for run in asked if not run["auto_scheduled"]]
    return sorted(found)


def test_each_model_has_deployments_tags_and_parameters(models: Stack) -> None:
    sales, rent = find_deployments(models.api, "sales"), find_deployments(models.api, "rent")
    assert {tuple(deployment["tags"]) for deployment in sales.values()} == {("linear-neuron", "sales")}
    assert {tuple(deployment["tags"]) for deployment in rent.values()} == {("linear-neuron", "rent")}
    assert sales["weekly-retrain"]["parameters"] == {"dataset": OWN}
    assert sales["daily-predict"]["parameters"] == {"batch": {"columns": ["area=m2"], "inputs": ["inbox-sales"]}}
    assert rent["daily-predict"]["parameters"] == {"batch": {"inputs": ["inbox-rent"]}}
    assert sales["promote"]["parameters"] == {}
    assert [schedule["slug"] for schedule in rent["weekly-retrain"]["schedules"]] == ["weekly"]


def test_deploying_one_model_leaves_the_others_alone(models: Stack, unnamed: dict[str, dict[str, Any]]) -> None:
    def written(name: str) -> list[str]:
        return [deployment["updated"] for deployment in find_deployments(models.api, name).values()]

    before = written("rent")
    deploy(models, "--name", "sales", "--training.seed", "7")
    assert find_deployments(models.api, "sales")["weekly-retrain"]["parameters"] == {
        "dataset": OWN,
        "training": {"seed": 7},
    }, "what is not named stays"
    assert written("rent") == before
    assert written("") == [deployment["updated"] for deployment in unnamed.values()]
    names = {automation["name"] for automation in models.api.ask("POST", "/automations/filter")}
    after = "daily-predict after a change of champion"
    assert {after, f"sales.{after}", f"rent.{after}", "linear-neuron crash silent runs"} <= names


def test_a_new_champion_starts_only_its_own_predictions(models: Stack) -> None:
    folder = models.log.parent
    for name, column in (("sales", "m2"), ("rent", "RM")):
        (folder / f"inbox-{name}").mkdir(exist_ok=True)
        (folder / f"inbox-{name}" / f"{name}.csv").write_text(f"id,{column}\n007,6\n")
    before = find_predicts(models.api)
    for name, title in (("sales", "price from area"), ("rent", "MEDV from RM")):
        run = models.api.trigger(ALWAYS, f"retrain/{name}.weekly-retrain")
        models.api.wait(run, "Completed")
        check_that_all_says_the_name(models.api, run, name)
        wait_for(folder, f"store-{name}/predictions/*/{name}.predictions.csv")
        (champion,) = folder.glob(f"store-{name}/models/*/report.html")
        assert f"<h1>{name}: {title}: version " in champion.read_text()
    # The event of sales has had all the time of rent's run.
    assert find_predicts(models.api) == sorted([*before, "rent.daily-predict", "sales.daily-predict"])


def wait_for(folder: Path, pattern: str) -> None:
    eventually(lambda: list(folder.glob(pattern)), pattern)


def check_that_all_says_the_name(api: Api, run: str, name: str) -> None:
    assert api.run(run)["name"].startswith(f"{name}: retrain ")
    keys = {artifact["key"] for artifact in api.artifacts(run) if artifact["key"]}
    assert keys == {f"{name}-retrain-report", f"{name}-metrics", f"{name}-history"}
    wanted = {"event": {"name": [EVENT]}, "resource": {"id": [f"linear-neuron.champion.{name}"]}}
    events = eventually(lambda: api.ask("POST", "/events/filter", filter=wanted)["events"], "the event")
    assert [event["payload"]["model"] for event in events] == [name]


def test_a_run_on_the_command_line_is_of_the_named_model(models: Stack) -> None:
    (version,) = (models.store.with_name("store-rent") / "models").iterdir()
    said = run_beside(models, "promote", version.name, "--name", "rent", "--reason", "good")
    assert said.startswith(f"rent: {version.name} is the champion since ")
    runs = models.api.ask("POST", "/flow_runs/filter", flow_runs={"tags": {"all_": ["linear-neuron", "rent"]}})
    assert f"rent: promote {version.name}" in {run["name"] for run in runs}


def test_a_deployment_of_an_impossible_name_runs_nothing(models: Stack, tmp_path: Path) -> None:
    models.api.copy_deployment("..evil.weekly-retrain")
    run = models.api.wait(models.api.trigger(QUICK, "retrain/..evil.weekly-retrain"), "Crashed")
    assert "A model can't have the name '..evil.weekly-retrain'" in run["state"]["message"]
    models.api.ask("DELETE", f"/deployments/{models.api.deployment('retrain/..evil.weekly-retrain')['id']}")
