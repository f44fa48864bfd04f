"""A model of the logarithm of a target predicts, measures and reports in units of the target."""

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linear_neuron.deployments.notebook import Champion
from linear_neuron.flows.backtest import backtest
from linear_neuron.flows.predict import predict
from linear_neuron.flows.reproduce import reproduce
from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch, Dataset, Period, Promotion, Training
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.registry.versions import read_version
from linear_neuron.tasks.reporting.backtest_report import read_backtest
from linear_neuron.tasks.storage.store import Store

pytestmark = pytest.mark.usefixtures("no_plots")  # but the versions that are shared have some

CITIES = {"Aachen": 0.0, "Bonn": 0.2, "Celle": -0.3}


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Homes whose price is a factor of the city, a curve of the area, and noise of 10%; one has no price."""
    rng = np.random.default_rng(0)
    with (path := tmp_path_factory.mktemp("homes") / "homes.csv").open("w") as file:
        file.write("id,area,city,price\n")
        for number in range(1500):
            area, city = rng.uniform(20, 200), str(rng.choice(list(CITIES)))
            price = 1000 * np.exp(np.sqrt(area) / 4 + CITIES[city] + rng.normal(0, 0.1))
            file.write(f"{number},{area:.2f},{city},{price:.2f}\n")
        file.write("1500,50,Bonn,0\n1501,50,Bonn,-3\n")
    return path


def describe(path: Path, target: str, **more: object) -> Dataset:
    return Dataset.model_validate(
        {"source": str(path), "features": ["spline(area, 4)"], "categories": ["city"], "key": "id", "max_bad_rows": 2}
        | {"target": target}
        | more
    )


def train(dataset: Dataset, folder: Path) -> Path:
    """Train in a store of its own, and return the folder of the version."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAR_NEURON_STORE", str(folder / "store"))
        return Path(retrain.fn(dataset))


@pytest.fixture(scope="module")
def learned(homes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version whose terms are a curve and a category. Not to be changed."""
    return train(describe(homes, "log(price)"), tmp_path_factory.mktemp("factors"))


@pytest.fixture(scope="module")
def plain(homes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version of one plain column. Not to be changed."""
    return train(describe(homes, "log(price)", features=["area"], categories=[]), tmp_path_factory.mktemp("plain"))


def use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, ModelVersion]:
    """Have the store of a version be the default one, in which it is champion."""
    monkeypatch.setenv("LINEAR_NEURON_STORE", str(folder.parents[1]))
    return Store(), read_version(Store(), folder.name)


def test_log_target_is_learned_as_factors_and_measured_in_its_unit(
    learned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, (store, version) = learned, use(learned, monkeypatch)
    assert (version.target, version.link) == ("price", "log")
    assert version.candidate is not None
    assert version.candidate.link == "log"
    assert version.formula.startswith("log(price) = f(spline(area, 4)) + f(city) + ")
    city = version.terms[1]
    levels = np.array([city.levels[name] for name in CITIES])
    assert levels - levels[0] == pytest.approx(np.array(list(CITIES.values())), abs=0.03)
    contrast = version.uncertainty["city=Bonn"]
    assert contrast.weight == pytest.approx(city.levels["Bonn"], abs=1e-9)
    assert contrast.error == pytest.approx(0.1 * np.sqrt(2 / 1500), rel=0.15), "noise of 10%, a third of 1,500 rows"
    rows = list(csv.DictReader((folder / "predictions_test.csv").read_text().splitlines()))
    actual, predicted = (np.array([float(row[name]) for row in rows]) for name in ("actual", "predicted"))
    assert np.std(np.log(actual / predicted)) == pytest.approx(0.1, abs=0.015)
    test = version.metrics["test"]
    assert test["neuron"]["mse"] == pytest.approx(np.mean((actual - predicted) ** 2), rel=1e-5)
    assert test["neuron"]["mse"] == pytest.approx(test["least_squares"]["mse"], rel=1e-3)
    assert version.coverage == pytest.approx(0.9, abs=0.06)
    assert version.targets.edges[0] > 100
    assert version.predictions["low"] > 100
    rejects = list(csv.reader((folder / "rejects.csv").read_text().splitlines()))[1:]
    assert [(line, column, reason) for _, line, column, _, reason, *_ in rejects] == [
        ("1502", "log(price)", "no finite value"),
        ("1503", "log(price)", "no finite value"),
    ]
    assert reproduce.fn(version.version)[0]
    assert verify(store) == []
    page = (folder / "report.html").read_text()
    assert "The logarithm of price is learned." in page
    assert "a prediction is the median of price if errors of the logarithm are symmetric" in page
    assert "in the unit of the target: log(price)" in page


def test_batch_of_plain_columns_predicts_in_units_of_the_target(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, version = use(plain, monkeypatch)
    (tmp_path / "new.csv").write_text("area,city,price\n50,Bonn,1\n120,Aachen,2\n1e9,Celle,3\n")
    batch = Batch(inputs=[str(tmp_path / "new.csv")], explain="all", output=str(tmp_path / "all"), max_rejects=1)
    (path,) = Path(predict.fn(batch)).glob("*.predictions.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["area"] for row in rows] == ["50", "120"], "the exponential of the third is beyond float32"
    frame = pl.DataFrame({"area": [50.0, 120.0], "city": ["Bonn", "Aachen"]})
    champion = Champion(version)
    predicted = np.array([row["prediction"] for row in rows], np.float32)
    assert predicted.tolist() == champion.predict(frame)["prediction"].to_list()
    for row in rows:
        parts = [float(value) for name, value in row.items() if name.startswith("contribution_")]
        assert len(parts) == len(version.features)
        assert float(row["base_prediction"]) * np.prod(parts) == pytest.approx(float(row["prediction"]), rel=1e-5)
        assert 0 < float(row["prediction_low"]) < float(row["prediction"]) < float(row["prediction_high"])
    expected = version.linear_model.predict(np.array([[50.0], [120.0]]))
    assert [float(row["prediction"]) for row in rows] == pytest.approx(expected.tolist(), rel=1e-6)
    top = Batch(inputs=[str(tmp_path / "new.csv")], explain="top", output=str(tmp_path / "top"), max_rejects=1)
    (path,) = Path(predict.fn(top)).glob("*.predictions.csv")
    (best, _) = csv.DictReader(path.read_text().splitlines())
    assert best["top_contribution"] == rows[0][f"contribution_{best['top_feature']}"]


def test_log_of_a_target_is_compared_with_the_target_itself(homes: Path, store: Store) -> None:
    promotion = Promotion(min_certainty=0)
    plain = read_version(store, Path(retrain.fn(describe(homes, "price", bounds=["price=1.."]))).name)
    log = read_version(store, Path(retrain.fn(describe(homes, "log(price)"), promotion=promotion)).name)
    assert log.version != plain.version
    assert log.metrics["test"]["neuron"]["mse"] < 0.8 * plain.metrics["test"]["neuron"]["mse"]
    champion = json.loads((store.root / "champion.json").read_text())
    assert champion["version"] == log.version


def test_plain_columns_may_have_a_log_target(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, version = use(plain, monkeypatch)
    assert version.terms == []
    rows = list(csv.DictReader((plain / "predictions_test.csv").read_text().splitlines()))
    line = version.candidate_model
    for row in rows[:20]:
        total = line.base + line.weights[0] * (float(row["area"]) - line.centers[0])
        assert float(row["predicted"]) == pytest.approx(np.exp(total), rel=1e-6)
    assert reproduce.fn(version.version)[0]


def test_column_that_is_named_like_a_logarithm_is_that_column(tmp_path: Path, store: Store) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{2 * a + b:.3f}" for a, b in rng.uniform(0, 1, (200, 2))]
    (path := tmp_path / "t.csv").write_text("area,log(price)\n" + "\n".join(rows) + "\n")
    dataset = Dataset(source=str(path), features=["area"], target="log(price)")
    version = read_version(store, Path(retrain.fn(dataset)).name)
    assert (version.target, version.link) == ("log(price)", "identity")
    assert reproduce.fn(version.version)[0]


@pytest.mark.parametrize(
    ("target", "training", "sentence"),
    [
        ("sqrt(price)", {}, r"^sqrt\(price\) can't be the target: name a column, or the logarithm of one"),
        ("log(area)", {}, r"^area is the target and can't be read by spline\(area, 4\)"),
        ("log(price)", {"recipe": "notebook"}, r"^The recipe notebook learns price itself, and not its logarithm"),
    ],
)
def test_target_that_can_not_be_learned_is_one_sentence(
    homes: Path, store: Store, target: str, training: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        retrain.fn(describe(homes, target), Training.model_validate(training))


def test_a_batch_of_a_log_target_is_explained_by_factors(
    learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, version = use(learned, monkeypatch)
    (tmp_path / "new.csv").write_text("id,area,city\n1,50,Bonn\n2,150,Nowhere\n")
    predicted = {}
    for explain in ("all", "top"):
        batch = Batch(inputs=[str(tmp_path / "new.csv")], output=str(tmp_path / explain), explain=explain)
        with (Path(predict.fn(batch)) / "new.predictions.csv").open() as file:
            predicted[explain] = list(csv.DictReader(file))
    for every, top in zip(predicted["all"], predicted["top"], strict=True):
        factors = {name: float(every[f"contribution_{name}"]) for name in version.features}
        total = float(every["base_prediction"]) * float(np.prod(list(factors.values())))
        assert total == pytest.approx(float(every["prediction"]), rel=1e-5)
        most = max(factors, key=lambda name: abs(np.log(factors[name])))
        assert top["top_feature"] == most
        assert float(top["top_contribution"]) == pytest.approx(factors[most])
    assert float(predicted["all"][1]["contribution_city"]) == pytest.approx(np.exp(version.terms[1].other))


@pytest.mark.slow
def test_backtest_of_a_log_target_is_in_its_unit(tmp_path: Path, store: Store) -> None:
    rng = np.random.default_rng(0)
    with (path := tmp_path / "homes.csv").open("w") as file:
        file.write("day,area,price\n")
        for number in range(600):
            area = rng.uniform(20, 200)
            price = 1000 * np.exp(np.sqrt(area) / 4 + rng.normal(0, 0.1))
            file.write(f"2026-{1 + number // 100:02}-{1 + number % 28:02},{area:.2f},{price:.2f}\n")
    dataset = Dataset(source=str(path), features=["spline(area, 4)"], target="log(price)", time="day")
    period = Period.model_validate({"from": "2026-05-01", "to": "2026-07-01"})
    manifest = read_backtest(backtest.fn(period, dataset))
    assert [step["rows"] for step in manifest["steps"]] == [100, 100]
    for model in ("neuron", "least_squares"):
        assert 200 < manifest["mse"][model] ** 0.5 < 0.4 * manifest["mse"]["mean"] ** 0.5
    assert all(0.75 < step["held_90"] <= 1 for step in manifest["steps"])
