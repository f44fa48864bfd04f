"""A user's own table through the whole of retrain, and again when it has grown."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from linear_neuron.flows.predict import predict
from linear_neuron.flows.reproduce import reproduce
from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch, Dataset, Promotion, Training
from linear_neuron.tasks.registry.catalogue import list_history
from linear_neuron.tasks.registry.champion import read_log
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.registry.versions import read_version
from linear_neuron.tasks.storage.store import Store

pytestmark = pytest.mark.usefixtures("no_plots")

COLUMNS = {"features": ["area", "rooms"], "target": "price", "time": "sold_on", "max_bad_rows": 1}


def write_month(folder: Path, month: int, slope: float) -> None:
    rng = np.random.default_rng(month)
    with (folder / f"2026-{month:02}.csv").open("w") as file:
        file.write("id,sold_on,area,rooms,price\n")
        for number in range(200):
            area, rooms = rng.uniform(30, 200), rng.integers(1, 9)
            price = slope * area + 20 * rooms + rng.normal(0, 5)
            file.write(f"{month}-{number},2026-{month:02}-{1 + number // 8:02},{area:.1f},{rooms},{price:.2f}\n")


@pytest.fixture
def sales(store: Store, tmp_path: Path) -> Path:
    (folder := tmp_path / "sales").mkdir()
    for month in (1, 2, 3):
        write_month(folder, month, 3)
    return folder


@pytest.mark.parametrize("refit", ["auto", "never"])
def test_decision_and_report_show_one_mean_predictor(sales: Path, store: Store, refit: str) -> None:
    dataset = Dataset.model_validate({"source": str(sales)} | COLUMNS)
    training = Training.model_validate({"past": "30d", "refit": refit})
    model = read_version(store, Path(retrain.fn(dataset, training)).name)
    if refit == "never":
        check_unrefitted(model)
    (decision,) = read_log(store)
    assert decision["figures"]["mean_mse"] == pytest.approx(model.metrics["test"]["mean"]["mse"], rel=1e-12)


def test_new_rows_are_learned_from_and_old_ones_are_not_again(sales: Path, store: Store) -> None:
    with (sales / "2026-03.csv").open("a") as file:
        file.write("3-200,2026-03-28,n/a,2,300\n")
    dataset = Dataset.model_validate({"source": str(sales)} | COLUMNS)
    first = read_version(store, Path(retrain.fn(dataset)).name)
    assert first.training["recipe"] == "converged"
    assert first.weights == pytest.approx([3, 20], rel=0.02)
    assert first.uncertainty_method == "HC3"
    assert {name: found.low < found.weight < found.high for name, found in first.uncertainty.items()} == {
        "area": True,
        "rooms": True,
    }
    assert first.dataset["rule"] == "time in sold_on"
    assert first.contract["area"]["low"] == pytest.approx(30, abs=1)
    rejects = store.root / "models" / first.version / "rejects.csv"
    ((path, line, column, value, *_),) = list(csv.reader(rejects.read_text().splitlines()))[1:]
    assert (Path(path).name, line, column, value) == ("2026-03.csv", "202", "area", "n/a")
    assert Path(retrain.fn(dataset)).name == first.version
    write_month(sales, 4, 4)
    write_month(sales, 5, 4)
    second = read_version(store, Path(retrain.fn(dataset, promotion=Promotion(min_certainty=0))).name)
    assert second.version != first.version
    (_, decision) = list_history(store)
    assert decision["action"] == "promoted"
    assert "on 200 rows that neither has learned from" in decision["reason"]
    assert reproduce.fn(first.version)[0]
    assert verify(store) == []


def test_the_served_model_has_learned_from_the_newest_rows(sales: Path, store: Store) -> None:
    dataset = Dataset.model_validate({"source": str(sales)} | COLUMNS)
    folder = Path(retrain.fn(dataset))
    version = read_version(store, folder.name)
    assert version.candidate is not None
    assert version.learned is not None
    assert (version.candidate.rows, version.learned.rows) == (version.metrics["train"]["rows"], 600)
    assert str(version.learned.newest) == "2026-03-25 00:00:00+00:00"
    assert str(version.candidate.newest) < str(version.learned.newest)
    assert version.candidate_model != version.linear_model
    assert version.past["past"] == "all"
    assert version.past["unit"] == "week"
    assert sum(version.targets.counts) == sum(version.contract["area"]["counts"]) == 600
    rows = np.loadtxt(folder / "predictions_test.csv", delimiter=",", skiprows=1)
    assert version.candidate_model.predict(rows[:, 1:3]).tolist() == rows[:, 4].astype(np.float32).tolist()
    assert version.interval_bins is not None
    assert version.interval_bins.floor == 0
    assert len(version.coverage_deciles) == 10
    page = (folder / "report.html").read_text()
    assert "Test figures are the candidate's, fitted on " in page
    assert "fitted on 600 rows up to 2026-03-25." in page
    assert "it holds if new rows are like those it is calibrated on" in page
    assert "<h2>How much of the past</h2>" in page
    assert reproduce.fn(version.version)[1].startswith(f"Reproduced bit for bit: {version.version} and its candidate, ")


def check_unrefitted(version: ModelVersion) -> None:
    """Check that without a refit the candidate serves, and comes out again."""
    assert version.candidate is None
    assert version.interval_bins is None
    assert version.learned is not None
    assert version.learned.rows == version.metrics["train"]["rows"]
    assert reproduce.fn(version.version)[0]


def test_a_grown_table_without_times_is_compared_on_rows_new_to_both(sales: Path, store: Store) -> None:
    dataset = Dataset.model_validate({"source": str(sales), "key": "id"} | COLUMNS | {"time": ""})
    retrain.fn(dataset)
    write_month(sales, 4, 3)
    retrain.fn(dataset, promotion=Promotion(tolerance=0.5))
    (_, decision) = list_history(store)
    test_rows = json.loads((store.root / "models" / decision["version"] / "metrics.json").read_text())["test"]["rows"]
    assert f"on {test_rows:,} rows that neither has learned from" in decision["reason"]


def test_nothing_is_published_of_what_teaches_nothing(sales: Path, store: Store) -> None:
    (sales / "2026-01.csv").write_text("id,sold_on,area,rooms,price\na,2026-01-01,1,2,3\nb,2026-01-02,2,2,4\n")
    (sales / "2026-02.csv").unlink()
    (sales / "2026-03.csv").unlink()
    with pytest.raises(UserError, match="too few rows"):
        retrain.fn(Dataset.model_validate({"source": str(sales)} | COLUMNS))
    assert store.names("models") == []


def test_bounds_hold_for_the_rows_to_predict_too(sales: Path, store: Store, tmp_path: Path) -> None:
    bounds = {"bounds": ["rooms=1..8", "area=..200"]}
    retrain.fn(Dataset.model_validate({"source": str(sales)} | COLUMNS | bounds))
    (tmp_path / "new.csv").write_text("area,rooms\n50,2\n50, 9 \n250,2\n50,8\n")
    location = Path(predict.fn(Batch(inputs=[str(tmp_path / "new.csv")])))
    assert len((location / "new.predictions.csv").read_text().splitlines()) == 3
    assert (location / "new.rejects.csv").read_text().splitlines()[1:] == [
        '3,rooms, 9 ,out of bounds,"50, 9 "',
        '4,area,250,out of bounds,"250,2"',
    ]


def test_ridge_and_signs_are_kept_and_reproduced(sales: Path, store: Store) -> None:
    dataset = Dataset.model_validate({"source": str(sales)} | COLUMNS)
    training = Training(l2=0.01, signs=["area=+", "rooms=-"])
    version = read_version(store, Path(retrain.fn(dataset, training)).name)
    assert version.weights[1] == 0
    assert version.weights[0] == pytest.approx(3 / 1.01, rel=0.02)
    assert version.training["signs"] == ["area=+", "rooms=-"]
    assert version.signs["bound"] == {"rooms": pytest.approx(20, rel=0.1)}
    page = (store.root / "models" / version.version / "report.html").read_text()
    assert "the best line under the same ridge (l2 0.01) and the same signs for the train rows" in page
    assert "Signs</h2>" in page
    assert reproduce.fn(version.version)[0]
    with pytest.raises(UserError, match=r"^--training.signs names 'room'"):
        retrain.fn(dataset, Training(signs=["room=-"]))
