"""Which deployments a server is to have, of models with names and of the one without."""

from pathlib import Path
from typing import Any

import pytest

from deployments.deploy import PREFECT_FILE, read_deployments
from deployments.named import compose

NAMES = ["weekly-retrain", "daily-predict", "daily-actuals", "promote", "rollback", "backtest"]


def names_of(configs: list[dict[str, Any]]) -> list[str]:
    return [config["name"] for config in configs]


def test_without_a_name_all_that_the_server_knows_are_deployed() -> None:
    known = {"sales.weekly-retrain": {"dataset": {"features": ["LSTAT"]}}, "x.other": {}, "Big.promote": {}}
    configs = compose(read_deployments(), known, "", {})
    assert names_of(configs) == [*NAMES, *(f"sales.{name}" for name in NAMES)]
    assert configs[len(NAMES)]["parameters"] == {"dataset": {"features": ["LSTAT"]}}


def test_with_a_name_only_its_own_are_deployed() -> None:
    assert names_of(compose(read_deployments(), {"rent.promote": {}}, "sales", {})) == [
        f"sales.{name}" for name in NAMES
    ]


def test_the_second_deployment_of_the_readme_is_as_the_file_says(tmp_path: Path) -> None:
    page = PREFECT_FILE.with_name("README.md").read_text()
    file = tmp_path / "prefect.yaml"
    file.write_text(PREFECT_FILE.read_text() + page.partition("```yaml\n")[2].partition("```")[0])
    known = {"sales.weekly-retrain": {"training": {"epochs": 1}}}
    configs = compose(read_deployments(file), known, "", {})
    assert names_of(configs) == [*NAMES, *(f"sales.{name}" for name in NAMES)]
    assert configs[len(NAMES)]["tags"] == ["linear-neuron", "sales"]
    own = {"source": "sales/*.parquet", "features": ["area", "rooms"], "target": "price"}
    assert configs[len(NAMES)]["parameters"] == {"dataset": own}
    assert configs[len(NAMES)]["schedules"] == [{"slug": "weekly", "cron": "0 5 * * MON", "timezone": "UTC"}]


@pytest.mark.parametrize("name", ["", "sales"])
def test_a_champion_starts_the_predictions_of_its_own_model(name: str) -> None:
    (predict,) = [config for config in compose(read_deployments(), {}, name, {}) if "daily-predict" in config["name"]]
    (trigger,) = predict["triggers"]
    assert trigger["match"]["prefect.resource.id"] == (
        "linear-neuron.champion.sales" if name else "linear-neuron.champion"
    )
