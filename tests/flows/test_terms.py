"""Tables of numbers, labels, times and missing cells through the whole of retrain."""

import csv
import math
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import polars as pl
import psycopg
import pytest

from linear_neuron.deployments.notebook import Champion
from linear_neuron.flows.backtest import backtest
from linear_neuron.flows.predict import predict
from linear_neuron.flows.reproduce import reproduce
from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks.dataset.design_matrix import encode, predict_by
from linear_neuron.tasks.dataset.sources import download
from linear_neuron.tasks.dataset.split import split
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.monitoring.compare_versions import measure_versions
from linear_neuron.tasks.parameters import Batch, Dataset, Period, Promotion, Training
from linear_neuron.tasks.registry.catalogue import list_history
from linear_neuron.tasks.registry.promotion import decide
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.registry.versions import read_version, version_folder
from linear_neuron.tasks.reporting.batch_report import summarize
from linear_neuron.tasks.scoring.batch import read_manifest
from linear_neuron.tasks.scoring.sql_expression import write_select
from linear_neuron.tasks.storage.store import Store
from tests.postgres import Postgres

pytestmark = pytest.mark.usefixtures("no_plots")  # but the versions that are shared have some

SUBURBS = {'Old, "Town"': 40.0, "Bay": 10.0, "🏠": -20.0, "rare": 0.0}
ROWS = 600


def write_table(path: Path, rows: int = ROWS, *, holes: bool = True) -> str:
    rng = np.random.default_rng(5)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "sold_on", "area", "rooms", "suburb", "price"])
        for number in range(rows):
            area, rooms = rng.uniform(30, 200), int(rng.integers(1, 6))
            suburb = "rare" if number % 150 == 7 else list(SUBURBS)[int(rng.integers(0, 3))]
            price = 100 * math.log(area) + 5 * rooms + SUBURBS[suburb] + rng.normal(0, 2)
            sold = f"2026-{1 + number * 9 // rows:02}-{1 + number % 28:02}"
            cells: list[Any] = [f"{area:.2f}", rooms, suburb]
            if holes and number % 20 == 3:
                cells[number // 20 % 3] = " "
            writer.writerow([number, sold, *cells, f"{price:.3f}"])
    return str(path)


def describe(source: str, **options: Any) -> Dataset:
    given = {"features": ["log(area)", "rooms"], "categories": ["suburb"], "target": "price", "key": "id"}
    return Dataset.model_validate({"source": source} | given | options)


def run(dataset: Dataset, store: Store, **options: Any) -> ModelVersion:
    return read_version(store, Path(retrain.fn(dataset, **options)).name)


class Sales(NamedTuple):
    """A store with three versions of one table, which are not to be changed."""

    store: Store
    source: str
    filled: ModelVersion  # the champion, with missing cells filled
    strict: ModelVersion  # with missing cells rejected
    plain: ModelVersion  # of the numbers alone


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Sales:
    folder = tmp_path_factory.mktemp("sales")
    source, tried = write_table(folder / "sales.csv"), Promotion(mode="try")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAR_NEURON_STORE", str(folder / "store"))
        filled = run(describe(source, missing="fill", time="sold_on"), store := Store())
        strict = run(describe(source, max_rejects=0.1), store, promotion=tried)
        numbers = describe(source, features=["area", "rooms"], categories=[], max_rejects=0.1)
        return Sales(store, source, filled, strict, run(numbers, store, promotion=tried))


@pytest.fixture
def sales(trained: Sales, monkeypatch: pytest.MonkeyPatch) -> Sales:
    """The store with three versions, which is also the default one."""
    monkeypatch.setenv("LINEAR_NEURON_STORE", str(trained.store.root))
    return trained


def test_a_table_of_all_kinds_is_learned_from(sales: Sales) -> None:
    store, version = sales.store, sales.filled
    log, rooms, suburb = version.terms
    assert (log.name, log.kind, log.value) == ("log(area)", "number", "log(`area`)")
    assert (log.weight, rooms.weight) == pytest.approx((100, 5), rel=0.05)
    contributions = {level: value - suburb.levels["Bay"] for level, value in suburb.levels.items()}
    assert contributions['Old, "Town"'] == pytest.approx(30, abs=1)
    assert contributions["🏠"] == pytest.approx(-30, abs=1)
    assert suburb.other == suburb.levels["rare"]
    assert suburb.rows["rare"] == 4
    assert sum(suburb.rows.values()) == ROWS - 10
    assert version.uncertainty_method == "HC3"
    assert list(version.uncertainty) == version.design
    bay = version.uncertainty["suburb=Bay"]
    assert bay.weight == pytest.approx(suburb.levels["Bay"], abs=1e-3)
    assert 0.02 < bay.error < 1
    assert bay.inflation is None
    assert version.features == ["log(area)", "rooms", "suburb"]
    assert version.columns == {"area": "number", "rooms": "number", "suburb": "category"}
    assert version.design[:4] == ["log(area)", "log(area) (missing)", "rooms", "rooms (missing)"]
    assert len(version.design) == len(version.weights) == len(version.centers)
    assert version.ranges["area"] == pytest.approx((30, 200), abs=2)
    assert version.effects["log(area)"] == pytest.approx(100 * 0.5, rel=0.2)
    assert version.contract["suburb"]["other"] == 4
    assert version.contract["suburb"]["nulls"] == pytest.approx(10 / ROWS)
    assert version.contract["area"]["nulls"] == pytest.approx(10 / ROWS)
    assert version.formula.startswith("price = ")
    assert "f(suburb)" in version.formula
    test = version.metrics["test"]
    assert test["neuron"]["mse"] == pytest.approx(test["least_squares"]["mse"], rel=0.01)
    assert version.candidate is not None
    assert [term.name for term in version.candidate.terms] == version.features
    agrees, message = reproduce.fn(version.version)
    assert agrees, message
    assert verify(store) == []


def test_a_row_with_an_empty_cell_is_rejected_by_default(sales: Sales) -> None:
    store, version = sales.store, sales.strict
    assert version.dataset["rows"] == ROWS - 30
    assert {term.missing for term in version.terms} == {None}
    rejects = (store.root / "models" / version.version / "rejects.csv").read_text().splitlines()
    assert len(rejects) == 31
    assert {line.split(",")[2] for line in rejects[1:]} == {"area", "rooms", "suburb"}


def test_categories_alone_are_enough(store: Store, tmp_path: Path) -> None:
    source = write_table(tmp_path / "sales.csv", holes=False)
    dataset = Dataset(source=source, categories=["suburb", "month(sold_on)"], target="price", min_level_rows=2)
    version = run(dataset, store)
    assert version.columns == {"suburb": "category", "sold_on": "time"}
    assert set(version.terms[1].levels) == {str(month) for month in range(1, 10)}
    assert version.terms[0].levels["rare"] != version.terms[0].other
    assert version.contract["sold_on"]["type"] == "time"


def test_the_notebook_recipe_learns_terms_too(store: Store, tmp_path: Path) -> None:
    source = write_table(tmp_path / "sales.csv", 200, holes=False)
    version = run(describe(source), store, training=Training(recipe="notebook", epochs=2))
    assert version.arithmetic == "float64"
    assert version.candidate is None
    assert reproduce.fn(version.version)[0]


def test_terms_of_the_published_dataset(store: Store) -> None:
    dataset = Dataset(features=["log(LSTAT)", "RM"], categories=["RAD"])
    version = run(dataset, store, training=Training(recipe="converged"))
    assert version.columns == {"LSTAT": "number", "RM": "number", "RAD": "number"}
    assert "24" in version.terms[2].levels
    assert version.metrics["test"]["neuron"]["mse"] < 30
    assert reproduce.fn(version.version)[0]


def test_a_challenger_is_compared_with_a_champion_of_other_terms(store: Store, tmp_path: Path) -> None:
    source = write_table(tmp_path / "sales.csv", holes=False)
    plain = {"features": ["area", "rooms"], "categories": []}
    champion = run(describe(source, **plain), store)
    refused = run(describe(source), store)
    assert "the champion does not read suburb" in list_history(store)[-1]["reason"]
    better = run(describe(source, **plain | {"features": ["log(area)", "rooms"]}), store)
    (first, second, third) = list_history(store)
    assert [entry["version"] for entry in (first, second, third)] == [
        champion.version, refused.version, better.version,
    ]  # fmt: skip
    assert third["action"] == "promoted"
    assert "rows that neither has learned from; the challenger was the better one in 100%" in third["reason"]
    back = run(describe(source, **plain), store, promotion=Promotion(min_certainty=0), force=True)
    assert list_history(store)[-1]["action"] == "refused"
    rmse = back.metrics["test"]["neuron"]["rmse"], better.metrics["test"]["neuron"]["rmse"]
    assert f"test RMSE {rmse[0]:.2f} against the champion's {rmse[1]:.2f}" in list_history(store)[-1]["reason"]


def test_terms_that_add_nothing_are_left_out_with_one_warning(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_table(tmp_path / "sales.csv", holes=False)
    dataset = describe(
        source, features=["log(area)", "2 * log(area)", "rooms * 0"], categories=["suburb", "id"], key=""
    )
    with caplog.at_level("WARNING", "linear_neuron"):
        version = run(dataset, store)
    assert version.features == ["log(area)", "suburb"]
    assert version.columns == {"area": "number", "suburb": "category"}
    (warning,) = [record.message for record in caplog.records if "left out" in record.message]
    assert warning == (
        "3 features left out for adding nothing new: 2 * log(area) (it is log(area) in other units); rooms * 0 (it has "
        "one value in all rows to learn from); id (it has one level in all rows to learn from, or none that is "
        "frequent enough)"
    )
    assert reproduce.fn(version.version)[0]


@pytest.mark.slow
def test_a_backtest_learns_terms_at_each_step(store: Store, tmp_path: Path) -> None:
    source = write_table(tmp_path / "sales.csv")
    dataset = describe(source, features=["log(area)", "rooms", "area"], missing="fill", time="sold_on")
    period = Period.model_validate({"from": "2026-08-01", "to": "2026-10-01"})
    location = Path(backtest.fn(period, dataset))
    first, second = csv.DictReader((location / "backtest.csv").read_text().splitlines())
    assert {"weight_log(area)", "weight_suburb=Bay", "weight_suburb (missing)"} <= first.keys()
    for step in (first, second):
        assert float(step["neuron_mse"]) == pytest.approx(float(step["least_squares_mse"]), rel=0.01)
        assert float(step["neuron_mse"]) < 60
    assert first["weight_log(area)"] != second["weight_log(area)"]


@pytest.mark.parametrize(
    ("features", "categories", "name", "count"),
    [
        (["spline(area, 4)", "rooms"], ["suburb"], "area", 5),
        (["area:suburb"], ["suburb"], "suburb", 4),
        (["2 * area:suburb"], [], "2 * `area`", 5),
    ],
)
def test_the_small_table_shows_one_term(
    store: Store, tmp_path: Path, features: list[str], categories: list[str], name: str, count: int
) -> None:
    dataset = describe(write_table(tmp_path / "sales.csv", holes=False), features=features, categories=categories)
    version = run(dataset, store)
    folder = version_folder(store, version.version)
    rows = list(csv.DictReader((folder / "predictions_table.csv").read_text().splitlines()))
    assert (list(rows[0]), len(rows)) == ([name, "predicted"], count)
    predicted = [float(row["predicted"]) for row in rows]
    assert predicted == sorted(predicted) or not features[0].startswith(("spline", "2"))
    assert "alone: every other term contributes nothing." in (folder / "report.html").read_text()


def test_versions_are_measured_on_the_rows_that_all_of_them_predict(sales: Sales) -> None:
    store, source, filled, strict, plain = sales
    only = measure_versions(store, [filled.version], source)
    assert (only.rows, only.left_out) == (ROWS, 0)
    both = measure_versions(store, [filled.version, strict.version, plain.version], source)
    assert (both.rows, both.left_out) == (ROWS - 30, 30)
    assert both.first.endswith("sales.csv with a missing value that a version rejects")
    assert both.mse[filled.version] == pytest.approx(both.mse[strict.version], rel=0.05)
    assert both.mse[plain.version] > 100
    assert strict.metrics["test"]["neuron"]["mse"] == pytest.approx(both.mse[strict.version], rel=0.6)


def test_the_best_before_the_champion_may_have_terms_too(sales: Sales) -> None:
    dataset, version = describe(sales.source, missing="fill", time="sold_on"), sales.filled
    rows = split.fn(download.fn(dataset), dataset, 0.2)
    predicted = predict_by(version, rows, rows.rows["test"])
    champion, anchor = (version.model_copy(update={"version": name}) for name in ("champion", "anchor"))
    found = decide(version, predicted, champion, rows, Promotion(), anchor)
    assert (found.promote, found.anchor) == (True, "anchor")
    assert found.figures["anchor_budget_certainty"] == 1, "it is the same model"


@pytest.mark.parametrize("missing", ["fill", "reject"])
def test_a_batch_predicts_what_the_version_says_of_its_table(store: Store, tmp_path: Path, missing: str) -> None:
    entries = {"features": ["log(area)", "spline(area, 3)", "rooms:suburb"], "categories": ["month(sold_on)", "rooms"]}
    dataset = describe(write_table(tmp_path / "sales.csv"), missing=missing, max_rejects=0.5, **entries)
    version = run(dataset, store)
    rows = split.fn(download.fn(dataset), dataset, 0.2)
    assert rows.whole is not None
    expected = predict_by(version, rows, rows.whole, candidate=False)
    location = predict.fn(Batch(inputs=[dataset.source], output=str(tmp_path / "out"), explain="all"))
    with (Path(location) / "sales.predictions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(expected) == (ROWS if missing == "fill" else ROWS - 30)
    found = np.array([line["prediction"] for line in lines], np.float32)
    assert np.array_equal(np.sort(found), np.sort(expected))
    assert list(lines[0])[-len(version.features) :] == [f"contribution_{name}" for name in version.features]


def test_a_batch_lists_unseen_levels_in_its_last_lines(sales: Sales, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("id,area,rooms,suburb\n1,50,3,Bay\n2,50,3,Foo\n3,,3,Foo\n4,50,3,Bar\n")
    location = predict.fn(Batch(inputs=[str(tmp_path / "new.csv")], output=str(tmp_path / "out")))
    shown = summarize(read_manifest(location), location)
    assert "Unseen        3 rows with 2 levels not seen in training: suburb Foo (2), suburb Bar (1)\n" in shown
    assert "Filled        rows predicted without a value, by column: area 1\n" in shown
    assert "Predicted     4 rows, 3 of them outside the range trained on\n" in shown


NEW_ROWS = 100_000


def write_new_rows(path: Path) -> pl.DataFrame:
    """Write rows with missing cells, levels not seen in training, and an area whose logarithm has no value."""
    rng = np.random.default_rng(11)
    suburbs = np.array([*SUBURBS, "New", "ba\\y'; --", ""], dtype=object)
    days = rng.integers(0, 360, NEW_ROWS)
    rows = pl.DataFrame(
        {
            "id": np.arange(NEW_ROWS),
            "sold_on": pl.Series(np.datetime64("2026-01-01") + days).cast(pl.Date),
            "area": np.where(rng.random(NEW_ROWS) < 0.05, -1.0, rng.uniform(20, 260, NEW_ROWS).round(2)),
            "rooms": rng.integers(1, 8, NEW_ROWS),
            "suburb": rng.choice(suburbs, NEW_ROWS).tolist(),
        }
    ).with_columns(
        pl.when(pl.col("id") % 11 > 0).then(pl.col("area")),
        pl.when(pl.col("id") % 13 > 0).then(pl.col("rooms")),
        pl.when(pl.col("id") % 17 > 0).then(pl.col("sold_on")),
    )
    rows.write_csv(path)
    return rows


def predict_by_keras(version: ModelVersion, dataset: Dataset, rows: pl.DataFrame, store: Store) -> np.ndarray[Any, Any]:
    """Predict by model.keras of the design columns, as they are made of rows."""
    import keras

    encoded = encode(split.fn(download.fn(dataset), dataset, 0.2))
    assert encoded.terms is not None
    assert encoded.terms.names == version.design
    read = rows.select(
        pl.col("area"),
        pl.col("rooms").cast(pl.Float64),
        pl.when(pl.col("suburb") != "").then(pl.col("suburb")).alias("suburb"),
        pl.col("sold_on").cast(pl.Datetime("us")).cast(pl.Int64),
    )
    model = keras.saving.load_model(store.root / "models" / version.version / "model.keras")
    return np.asarray(model.predict(encoded.terms.encode(read), batch_size=8192, verbose=0)[:, 0])


@pytest.mark.on_demand
def test_every_way_to_predict_gives_the_same(store: Store, tmp_path: Path, cluster: Postgres) -> None:
    entries = {
        "features": ["log(area)", "rooms ** 2 - area / 7", "rooms:suburb"],
        "categories": ["month(sold_on)", "suburb"],
    }
    dataset = describe(write_table(tmp_path / "sales.csv", 3000), missing="fill", **entries)
    version = run(dataset, store)
    rows = write_new_rows(tmp_path / "new.csv")
    location = predict.fn(Batch(inputs=[str(tmp_path / "new.csv")], output=str(tmp_path / "out")))
    batch = pl.read_csv(Path(location) / "new.predictions.csv", schema_overrides={"prediction": pl.Float32})
    expected = batch["prediction"].to_numpy()
    assert len(expected) == NEW_ROWS
    frame = Champion(version).predict(rows.to_pandas(use_pyarrow_extension_array=False))
    assert np.array_equal(frame["prediction"].to_numpy(), expected)
    with duckdb.connect() as session:
        session.execute(f"CREATE TABLE inputs AS SELECT * FROM read_csv('{tmp_path}/new.csv')")  # noqa: S608
        select = write_select(version, "duckdb")
        found = session.execute(f"SELECT prediction FROM ({select}) ORDER BY id").fetchnumpy()["prediction"]  # noqa: S608
    assert np.allclose(found, expected, rtol=1e-6, atol=1e-6)
    with psycopg.connect(cluster.url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE inputs (id int, sold_on date, area float8, rooms int, suburb text)")
        with cursor.copy("COPY inputs FROM STDIN CSV") as copy:
            copy.write(rows.write_csv(include_header=False))
        select = write_select(version, "postgres")
        cursor.execute(f"SELECT prediction FROM ({select}) AS s ORDER BY id".encode())  # noqa: S608
        listed = np.array(cursor.fetchall(), np.float32)[:, 0]
    assert np.allclose(listed, expected, rtol=1e-6, atol=1e-6)
    by_keras = predict_by_keras(version, dataset, rows, store)
    assert np.allclose(by_keras, expected, rtol=1e-4, atol=1e-2)


def test_a_column_that_is_no_feature_cuts_the_errors_and_nothing_else(store: Store, tmp_path: Path) -> None:
    source = write_table(tmp_path / "sales.csv", holes=False)
    plain = run(describe(source, categories=[], key=""), store)
    cut = run(describe(source, categories=[], key="", by=["suburb"]), store)
    assert cut.weights == plain.weights
    assert cut.dataset["rule"] == plain.dataset["rule"]
    assert (cut.dataset["by"], cut.features) == (["suburb"], plain.features)
    test = cut.metrics["test"]
    suburbs = [one for one in test["slices"] if one["by"] == "suburb"]
    assert {one["level"] for one in suburbs} >= set(SUBURBS) - {"rare"}
    assert sum(one["rows"] for one in suburbs) == test["rows"]
    assert sum(one["rows"] * one["rmse"] ** 2 for one in suburbs) == pytest.approx(test["rows"] * test["neuron"]["mse"])
    assert [one for one in test["slices"] if one["by"] != "suburb"] == plain.metrics["test"]["slices"]
    with pytest.raises(UserError, match=r"--dataset\.by 'rooms' is read as a number or a time"):
        run(describe(source, by=["rooms"]), store)
