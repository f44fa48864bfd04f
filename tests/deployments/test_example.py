"""The example of docs/own-tables.md on a server: the schedule's deployment follows a table that changes."""

import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployments.helpers import Stack, eventually
from tests.deployments.terminal import deploy, find_deployments, undeploy
from tests.example import list_months, measure_error, read_commands, true_slope, write_months

pytestmark = pytest.mark.xdist_group("models")


def read_table() -> list[str]:
    """The flags that the page's commands name the table by."""
    (setting,) = [command for command in read_commands() if command.startswith("TABLE=")]
    return shlex.split(shlex.split(setting)[0].removeprefix("TABLE="))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the table of the shop is."""
    return tmp_path_factory.mktemp("shop")


@pytest.fixture(scope="module")
def shop(stack: Stack, folder: Path) -> Iterator[Stack]:
    """The stack, which has the model shop besides, of the page's table."""
    write_months(folder, 1)  # A deployment needs a source that exists.
    deploy(stack, "--name", "shop", *(str(folder / flag) if flag == "sales" else flag for flag in read_table()))
    yield stack
    undeploy(stack, "shop")


def wait_for(store: Path, pattern: str) -> Path:
    (path,) = eventually(lambda: list(store.glob(pattern)), pattern)
    return Path(path)


def test_the_schedule_follows_the_table_and_predictions_improve(shop: Stack, folder: Path) -> None:
    store, inbox = shop.store.with_name("store-shop"), shop.log.parent / "inbox-shop"
    inbox.mkdir()
    write_months(folder, 18)
    shutil.copy(list_months(folder)[-1], inbox / "newest.csv")
    shutil.rmtree(folder / "sales")
    slopes, errors = [], []
    for months in (6, 18):
        write_months(folder, months)
        shop.api.wait(shop.api.trigger({}, "retrain/shop.weekly-retrain"), "Completed")
        champion = json.loads((store / "champion.json").read_bytes())["version"]
        slopes += json.loads((store / "models" / champion / "model.json").read_bytes())["weights"]
        errors.append(measure_error(wait_for(store, f"predictions/{champion}-*/newest.predictions.csv")))
    assert true_slope(6) == 2
    assert true_slope(18) == 3
    assert slopes == pytest.approx([2.0, 3.0], abs=0.05)
    assert errors == pytest.approx([107, 20], abs=5)
    schedules = find_deployments(shop.api, "shop")["weekly-retrain"]["schedules"]
    assert [schedule["slug"] for schedule in schedules] == ["weekly"]


def test_a_click_goes_back_in_time_and_shows_the_errors(shop: Stack, folder: Path) -> None:
    write_months(folder, 18)
    period = {"from": "2026-09-01", "to": "2026-10-01"}
    run = shop.api.wait(shop.api.trigger({"period": period}, "backtest/shop.backtest"), "Completed")
    assert run["name"] == "shop: backtest area month 2026-09-01"
    keys = {artifact["key"]: artifact["data"] for artifact in shop.api.artifacts(run["id"]) if artifact["key"]}
    assert keys.keys() == {"shop-backtest-report", "shop-backtest"}
    ((line,),) = [json.loads(keys["shop-backtest"])]
    assert (line["from"], line["rows"], line["rows known"]) == ("2026-09-01", "1,730", "5,692")
    assert float(line["neuron RMSE"]) == pytest.approx(413.4**0.5, rel=0.01)
    (manifest,) = shop.store.with_name("store-shop").glob("backtests/*/manifest.json")
    assert json.loads(manifest.read_bytes())["period"] == period | {"every": "month"}
