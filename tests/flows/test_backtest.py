"""A backtest trains on what was known at each step, and publishes nothing."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from linear_neuron.flows.backtest import backtest
from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Dataset, Period, Promotion, Retention, Training
from linear_neuron.tasks.registry.champion import read_champion
from linear_neuron.tasks.registry.retention import clean_store
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.registry.versions import list_versions, read_version
from linear_neuron.tasks.storage.store import Store
from tests.helpers import Run

PERIOD = Period.model_validate({"from": "2026-02-01", "to": "2026-05-01"})


def write_sales(path: Path) -> Dataset:
    """Rows of January, February and March; those of February became known in the middle of March."""
    rng, lines = np.random.default_rng(0), ["sold_on,known_on,area,rooms,side,price\n"]
    for month, known in (("01", "01-31"), ("02", "03-15"), ("03", "03-31")):
        for day in range(1, 29):
            area, rooms = rng.uniform(40, 160), rng.integers(1, 6)
            price = 50 + 2 * area + 10 * rooms + rng.normal(0, 5)
            side = "<b>|odd" if day % 2 else "even"
            lines.append(f"2026-{month}-{day:02},2026-{known},{area:.1f},{rooms},{side},{price:.1f}\n")
    file = path / "sales.csv"
    file.write_text("".join(lines))
    names = {"target": "price", "time": "sold_on", "known_at": "known_on", "by": ["side"]}
    return Dataset.model_validate({"source": str(file), "features": ["area", "rooms"], **names})


def read_steps(location: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(location, "backtest.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def done(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Dataset, str]]:
    """A store with one backtest in it, its table, and where it is."""
    folder = tmp_path_factory.mktemp("backtest")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAR_NEURON_STORE", str(folder / "store"))
        dataset = write_sales(folder)
        yield Store(), dataset, backtest(PERIOD, dataset)


def test_each_step_is_measured_beside_mean_and_least_squares(done: tuple[Store, Dataset, str]) -> None:
    february, march, april = read_steps(done[2])
    assert (february["from"], february["to"], february["rows"], february["known_rows"]) == (
        "2026-02-01",
        "2026-03-01",
        "28",
        "28",
    )
    for step in (february, march):
        neuron, least, mean = (float(step[f"{name}_mse"]) for name in ("neuron", "least_squares", "mean"))
        assert neuron == pytest.approx(least, rel=0.01)
        assert neuron < 60
        assert mean > 1000
        assert float(step["weight_area"]) == pytest.approx(2, abs=0.1)
        assert float(step["weight_rooms"]) == pytest.approx(10, abs=3)
    assert (april["from"], april["rows"], april["neuron_mse"]) == ("2026-04-01", "0", "")


def test_a_step_knows_only_what_was_known_on_its_day(done: tuple[Store, Dataset, str]) -> None:
    february, march, _ = read_steps(done[2])
    assert march["known_rows"] == "28", "February's rows became known in the middle of March"
    assert march["snapshot"] == february["snapshot"]
    assert march["weight_area"] == february["weight_area"], "nothing was trained again"


def test_page_and_artifacts_show_table_and_chart(done: tuple[Store, Dataset, str]) -> None:
    location = Path(done[2])
    page, manifest = (location / "backtest.html").read_text(), json.loads((location / "manifest.json").read_text())
    assert "Skipped, since they have no rows:</strong> 2026-04-01 to 2026-05-01" in page
    assert page.count("data:image/png;base64,") == 1
    sides = {one["level"]: one["rows"] for one in manifest["slices"] if one["by"] == "side"}
    assert sides == {"<b>|odd": 28, "even": 28}
    assert "side &lt;b&gt;|odd" in page
    assert (location / "backtest.png").read_bytes().startswith(b"\x89PNG")
    run = UUID(manifest["lineage"]["flow_run_id"])
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        artifacts = {artifact.key: str(artifact.data) for artifact in client.read_artifacts(artifact_filter=wanted)}
        assert client.read_flow_run(run).name == "backtest area+rooms month 2026-02-01"
    assert artifacts["backtest-report"].count("data:image/png;base64,") == 1
    assert artifacts["backtest"].count("2026-0") == 2


def test_nothing_is_published_and_damage_is_found(done: tuple[Store, Dataset, str]) -> None:
    store, _, location = done
    assert list_versions(store) == []
    assert store.names("datasets") == []
    assert read_champion(store) is None
    assert clean_store(store, Retention(newest=1, days=0), dry_run=True) == []
    assert verify(store) == []
    path = Path(location, "backtest.csv")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert verify(store) == [f"{path} has other bytes than its manifest says."]
    path.write_bytes(whole)


def test_version_of_the_same_rows_is_used_again(done: tuple[Store, Dataset, str]) -> None:
    store, dataset, location = done
    known = dataset.model_copy(update={"as_of": "2026-02-01"})
    version = retrain.fn(known, promotion=Promotion(mode="try")).rpartition("/")[2]
    model, february = read_version(store, version), read_steps(location)[0]
    assert [float(february["weight_area"]), float(february["weight_rooms"])] == model.weights
    assert model.dataset["sha256"] == february["snapshot"]
    again = read_steps(backtest.fn(PERIOD, dataset))
    assert [step["version"] for step in again] == [version, version, ""]
    assert again[0] | {"version": ""} == february
    assert list_versions(store) == [version]


def test_too_few_rows_are_refused_with_the_day(store: Store, tmp_path: Path) -> None:
    period = Period.model_validate({"from": "2026-01-04", "to": "2026-03-01", "every": "week"})
    dataset = write_sales(tmp_path).model_copy(update={"known_at": ""})
    with pytest.raises(UserError, match=r"^As of 2026-01-04: There are too few rows: 1 to learn from"):
        backtest.fn(period, dataset, Training())
    assert store.names("backtests") == []


def test_a_table_without_times_is_refused(store: Store, tmp_path: Path) -> None:
    dataset = write_sales(tmp_path).model_copy(update={"time": "", "known_at": ""})
    with pytest.raises(UserError, match=r"^A backtest needs --dataset\.time, the column that says when a row happened"):
        backtest.fn(PERIOD, dataset)


@pytest.mark.slow
def test_the_command_prints_a_table_or_one_sentence(run_cli: Run, store: Store, tmp_path: Path) -> None:
    dataset = write_sales(tmp_path)
    flags = ["--dataset.source", dataset.source, "--dataset.features", "area", "--dataset.target", "price"]
    command = ["backtest", *flags, "--dataset.time", "sold_on", "--from", "2026-03-01", "--to"]
    printed = run_cli(*command, "2026-03-29", PREFECT_API_URL="")
    assert printed.returncode == 0, printed.stderr
    lines = printed.stdout.splitlines()
    assert lines[1].split()[:4] == ["from", "rows", "rows", "known"]
    assert lines[2].split()[:3] == ["2026-03-01", "28", "56"]
    assert lines[-1] == f"{store.root}/backtests/{store.names('backtests')[0]}"
    refused = run_cli(*command, "2026-03-01", PREFECT_API_URL="")
    assert (refused.returncode, refused.stdout) == (2, "")
    sentence = "--to: is not after the day of the first training; name a later one, not '2026-03-01'."
    assert refused.stderr.splitlines()[-1] == f"linear-neuron: {sentence}"
