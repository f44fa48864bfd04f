"""Months in the life of a model on a server: it drifts, is retrained, and is then as good as expected."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.deployments.helpers import Api, Stack, eventually
from tests.deployments.terminal import deploy, undeploy
from tests.life import LARGE, SMALL, write_month

pytestmark = [pytest.mark.xdist_group("models"), pytest.mark.timeout(900)]  # months take more than a moment
TABLE = ["--dataset.features", "area", "--dataset.target", "price", "--dataset.key", "id", "--dataset.time", "sold_on"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(scope="module")
def homes(stack: Stack, folder: Path) -> Iterator[Stack]:
    """The stack, which has the models homes and flats besides."""
    write_month(folder, "2026-01", 300, SMALL)  # A deployment needs a source that exists.
    deploy(stack, "--name", "homes", "--dataset.source", str(folder / "sales"), *TABLE)
    deploy(stack, "--name", "flats")
    yield stack
    for name in ("homes", "flats"):
        undeploy(stack, name)


def find_runs(api: Api) -> set[str]:
    """The runs of trainings and predictions of other models than homes that an event or a click asked for."""
    found = set()
    for deployment in ("retrain/weekly-retrain", "predict/daily-predict"):
        flow, _, ending = deployment.partition("/")
        for name in (deployment, f"{flow}/flats.{ending}"):
            wanted = {"id": {"any_": [api.deployment(name)["id"]]}}
            asked = api.ask("POST", "/flow_runs/filter", deployments=wanted)
            found |= {run["id"] for run in asked if not run["auto_scheduled"]}
    return found


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def find_promotion(store: Path, version: str) -> dict[str, Any] | None:
    return next((line for line in read_lines(store / "promotions.jsonl") if line["version"] == version), None)


def measure_error(predictions: Path, sold: Path) -> float:
    """Compute the root mean squared error of a file of predictions."""
    actual = {row["id"]: float(row["price"]) for row in csv.DictReader(sold.read_text().splitlines())}
    predicted = {row["id"]: float(row["prediction"]) for row in csv.DictReader(predictions.read_text().splitlines())}
    return float(np.sqrt(np.mean([(predicted[key] - actual[key]) ** 2 for key in actual])))


def test_a_drift_is_noticed_learned_and_kept_to(homes: Stack, folder: Path) -> None:
    store, place = homes.store.with_name("store-homes"), homes.log.parent
    api = homes.api
    of_others = find_runs(api)

    def run(deployment: str) -> None:
        name = f"{deployment.rpartition('-')[2]}/homes.{deployment}"
        api.wait(api.trigger({}, name), "Completed")

    def put(kind: str, month: str, where: str) -> None:
        (place / where).mkdir(exist_ok=True)
        shutil.copy(folder / kind / f"{month}.csv", place / where)

    def champion() -> str:
        return str(json.loads((store / "champion.json").read_bytes())["version"])

    def performance() -> dict[str, dict[str, Any]]:
        entries = json.loads((store / "actuals" / "index.json").read_bytes())["entries"]
        return {Path(entry["source"]).stem: entry["results"][0] for entry in entries}

    def wait_for_batch(version: str, month: str) -> None:
        pattern = f"predictions/{version}-*/{month}.predictions.csv"
        (file,) = eventually(lambda: list(store.glob(pattern)), "the new champion predicts")
        eventually(lambda: (file.parent / "manifest.json").exists(), "the batch is complete")

    # Four months of small homes are learned from. The fifth is as they were, and errors are as expected.
    for month in ("2026-01", "2026-02", "2026-03", "2026-04", "2026-05"):
        write_month(folder, month, 300, SMALL)
    (folder / "sales" / "2026-05.csv").rename(folder / "2026-05.csv")
    put("ask", "2026-05", "inbox-homes")
    run("weekly-retrain")
    first = champion()
    wait_for_batch(first, "2026-05")
    put("sold", "2026-05", "actuals-homes")
    run("daily-actuals")
    kept = performance()["2026-05"]
    assert (kept["version"], kept["matched"]) == (first, 300)
    assert kept["coverage"] == pytest.approx(0.9, abs=0.07)
    assert read_lines(store / "alarms.jsonl") == []

    # Then homes are large. What is asked drifts, which alone starts a retrain and predicts all of it again.
    (folder / "2026-05.csv").rename(folder / "sales" / "2026-05.csv")
    for month in ("2026-06", "2026-07", "2026-08"):
        write_month(folder, month, 1500, LARGE)
    (folder / "sales" / "2026-08.csv").unlink()
    put("ask", "2026-08", "inbox-homes")
    run("daily-predict")
    drift = next(alarm for alarm in read_lines(store / "alarms.jsonl") if alarm["version"] == first)
    assert drift["action"] == "drift.detected"
    assert "area" in drift["reason"]
    eventually(lambda: champion() != first, "the drift starts a retrain")
    # The pointer decides, and its line of the log comes after it.
    entry = eventually(lambda: find_promotion(store, champion()), "the promotion is logged")
    assert entry["by"].startswith("homes.weekly-retrain by the automation homes.")
    wait_for_batch(champion(), "2026-08")

    # The actual values of the last prediction arrive: the new champion is as good as expected, the old one is not.
    put("sold", "2026-08", "actuals-homes")
    run("daily-actuals")
    known = performance()["2026-08"]
    assert (known["version"], known["matched"]) == (champion(), 1500)
    assert known["coverage"] == pytest.approx(0.9, abs=0.07)
    (before,) = store.glob(f"predictions/{first}-*/2026-08.predictions.csv")
    assert measure_error(before, folder / "sold" / "2026-08.csv") > 2 * known["mse"] ** 0.5

    # A champion drifts once, so that nothing turns in a circle.
    alarms = [(alarm["action"], alarm["version"]) for alarm in read_lines(store / "alarms.jsonl")]
    assert len(alarms) == len(set(alarms))
    assert {action for action, _ in alarms} == {"drift.detected"}
    assert find_runs(api) == of_others, "no other model was trained, or predicted, by these events"
