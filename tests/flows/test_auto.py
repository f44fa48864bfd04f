"""A table of which nobody named any term: one call learns from all of it, and the choice is part of the version."""

import csv
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linear_neuron.deployments.cli import app
from linear_neuron.flows.reproduce import reproduce
from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.auto import write_flags
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Dataset
from linear_neuron.tasks.registry.catalogue import list_history
from linear_neuron.tasks.registry.versions import read_version
from linear_neuron.tasks.reporting.retrain_report import summarize
from linear_neuron.tasks.storage.store import Store

pytestmark = pytest.mark.usefixtures("no_plots")  # but the first version, which is shared, has some

ROWS = 800


def write_table(path: Path, **more: list[Any]) -> str:
    """Write a table with an id, a time, numbers, labels, a copy, a constant and missing cells."""
    rng = np.random.default_rng(3)
    area, suburb = rng.uniform(30, 200, ROWS).round(1), rng.choice(["Allston", "Back Bay", "Roxbury"], ROWS)
    month = np.arange(ROWS) // 30 % 12
    price = 100 + 2 * area + 60 * (suburb == "Back Bay") + 5 * month + rng.normal(0, 5, ROWS)
    days = np.datetime64("2024-01-01") + np.arange(ROWS)
    columns: dict[str, Any] = {
        "id": [f"h{row}" for row in range(ROWS)],
        "sold on": days,
        "1stFlr": area,
        "feet": area * 10,
        "suburb": ["" if row % 20 == 3 else suburb[row] for row in range(ROWS)],
        "country": ["US"] * ROWS,
        **more,
        "price": price.round(2),
    }
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return str(path)


def run(source: str, **options: Any) -> ModelVersion:
    dataset = Dataset.model_validate({"source": source, "target": "price", "time": "sold on", **options})
    return read_version(Store(), Path(retrain.fn(dataset)).name)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ModelVersion]]:
    """A table, and the version that was made of it in a store of its own, which is the default one."""
    folder = tmp_path_factory.mktemp("auto")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAR_NEURON_STORE", str(folder / "store"))
        source = write_table(folder / "homes.csv")
        yield source, run(source)


def test_whole_table_is_learned_from_without_a_word(first: tuple[str, ModelVersion]) -> None:
    _, version = first
    assert version.features == ["1stFlr", "month(`sold on`)", "weekday(`sold on`)", "suburb"]
    assert version.auto is not None
    assert {choice.column: choice.reason for choice in version.auto.columns if not choice.entries} == {
        "id": "free text or an id: another in nearly every row, such as 'h0'",
        "feet": "it is 1stFlr in other units",
        "country": "one value, 'US'",
        "price": "the target",
    }
    test = version.metrics["test"]
    assert test["neuron"]["mse"] < 0.05 * test["mean"]["mse"]
    text = summarize(Store(), version, unchanged=False)
    assert "Left out      3: id (free text or an id" in text
    assert f"To pin them   {write_flags(version.auto)}\n" in text
    assert "Columns of the table" in Path(Store().root.path, "models", version.version, "report.html").read_text()


def test_version_of_chosen_terms_is_reproduced(first: tuple[str, ModelVersion]) -> None:
    agrees, message = reproduce.fn(first[1].version)
    assert agrees, message


def test_same_table_and_pinned_flags_are_unchanged(first: tuple[str, ModelVersion]) -> None:
    source, version = first
    assert run(source).version == version.version
    assert version.auto is not None
    words = ["retrain", "--dataset.source", source, "--dataset.target", "price", "--dataset.time", "sold on"]
    _, bound, *_ = app.parse_args([*words, *shlex.split(write_flags(version.auto))], print_error=False)
    pinned = bound.arguments["dataset"]
    assert (pinned.features, pinned.categories) == (version.auto.features, version.auto.categories)


def test_challenger_with_a_new_column_is_not_promoted_by_itself(first: tuple[str, ModelVersion]) -> None:
    source, _ = first
    garden = np.random.default_rng(4).uniform(0, 1, ROWS).round(3).tolist()
    second = run(write_table(Path(source).with_name("more.csv"), garden=garden))
    assert "garden" in second.features
    newest = list_history(Store())[-1]
    assert (newest["version"], newest["action"]) == (second.version, "refused")
    assert "the champion does not read garden" in newest["reason"]


def test_target_in_other_units_is_refused_with_the_way_out(store: Store, tmp_path: Path) -> None:
    source = write_table(tmp_path / "homes.csv")
    lines = Path(source).read_text().splitlines()
    cells = [f"{line},{float(line.rpartition(',')[2]) * 2:.2f}" for line in lines[1:]]
    Path(source).write_text("\n".join([f"{lines[0]},usd", *cells]) + "\n")
    with pytest.raises(UserError, match=r"price is usd in other units.* --dataset\.without usd"):
        run(source)
