"""What each feature adds to a prediction, to the byte; and that a prediction is the sum of what is said of it."""

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import IntervalBins, ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.scoring.batch import start_batch
from linear_neuron.tasks.scoring.expression import express_interval
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.training.interval import bound, calibrate_bins
from tests.helpers import make_version
from tests.tasks.helpers import Scoring

ADDED = "prediction,prediction_low,prediction_high,extrapolated"


@pytest.fixture
def houses(tmp_path: Path, store: Store) -> Scoring:
    """Scores with 2 * rooms - 1 * "age, years" + 1, whose training means are 6 and 10."""
    model = make_version(
        store,
        "20260101T000000Z-cccccc",
        features=["rooms", "age, years"],
        weights=[2.0, -1.0],
        ranges={"rooms": (3.0, 9.0), "age, years": (0.0, 50.0)},
        contract={"rooms": {"mean": 6.0}, "age, years": {"mean": 10.0}},
    )
    return Scoring(tmp_path, model)


def test_the_greatest_contribution_is_named_with_its_sign(houses: Scoring) -> None:
    houses(b'rooms,"age, years"\n7,10.5\n6,12\n 7 , 12 \n6,10\n', explain="top")
    assert houses.predictions.decode() == (
        f'rooms,"age, years",{ADDED},top_feature,top_contribution\n'
        "7,10.5,4.5,-5.5,14.5,false,rooms,2.0\n"
        '6,12,1.0,-9.0,11.0,false,"age, years",-2.0\n'
        " 7 , 12 ,3.0,-7.0,13.0,false,rooms,2.0\n"  # Of equals the first.
        "6,10,3.0,-7.0,13.0,false,rooms,0.0\n"
    )


def test_every_contribution_is_a_column_after_their_base(houses: Scoring) -> None:
    houses(b'id;rooms;"age, years"\n1;7;10,5\n', explain="all", add=["model_version"])
    assert houses.predictions.decode() == (
        f'id;rooms;"age, years";{ADDED.replace(",", ";")};model_version;base_prediction;contribution_rooms;'
        "contribution_age, years\n"
        "1;7;10,5;4.5;-5.5;14.5;false;20260101T000000Z-cccccc;3.0;2.0;-0.5\n"
    )


def test_each_level_of_the_prediction_has_its_own_interval(houses: Scoring) -> None:
    lower, upper = ({"90": errors} for errors in ([-1.0, -2.5, -4.0], [0.5, 2.0, None]))
    bins = IntervalBins(edges=[2.0, 4.0], lower=lower, upper=upper, floor=0.0)
    houses.neuron = houses.neuron.model_copy(update={"interval_bins": bins})
    houses(b'rooms,"age, years"\n1,1\n1,2.5\n2,3\n4,5\n4,4.5\n1,9\n')
    assert houses.predictions.decode() == (
        f'rooms,"age, years",{ADDED}\n'
        "1,1,2.0,0.0,4.0,true\n"
        "1,2.5,0.5,0.0,1.0,true\n"
        "2,3,2.0,0.0,4.0,true\n"
        "4,5,4.0,0.0,,false\n"
        "4,4.5,4.5,0.5,,false\n"
        "1,9,-6.0,0.0,0.0,true\n"
    )


@pytest.mark.parametrize("percent", [50, 90])
def test_levels_are_those_by_which_coverage_is_measured(houses: Scoring, percent: int) -> None:
    rng = np.random.default_rng(0)
    known = rng.normal(size=1000).astype(np.float32)
    bins = calibrate_bins(known, rng.normal(size=1000) * np.abs(known), floor=0.0)
    model = houses.neuron.model_copy(update={"interval_bins": bins})
    predicted = np.concatenate([rng.normal(size=1000), bins.edges]).astype(np.float32)
    bounds = express_interval(model, pl.col("prediction"), percent)
    table = pl.DataFrame({"prediction": predicted}).select(**bounds)
    low, high = bound(bins, predicted, percent)
    assert np.array_equal(table["prediction_low"].to_numpy(), low)
    assert np.array_equal(table["prediction_high"].to_numpy(), high)


@pytest.mark.parametrize(("kind", "ending"), [("parquet", "parquet"), ("csv", "csv")])
def test_parquet_is_explained_too(houses: Scoring, kind: str, ending: str) -> None:
    buffer = io.BytesIO()
    pl.DataFrame({"rooms": [7.0, 6.0], "age, years": [10.0, 12.0]}).write_parquet(buffer)
    houses(buffer.getvalue(), "a.parquet", explain="top", format=kind)
    read = pl.read_parquet if kind == "parquet" else pl.read_csv
    table = read(io.BytesIO(houses.read(f"a.predictions.{ending}")))
    assert table["top_feature"].to_list() == ["rooms", "age, years"]
    assert table["top_contribution"].to_list() == [2.0, -2.0]


def test_a_prediction_is_the_sum_of_base_and_contributions(houses: Scoring) -> None:
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    pl.DataFrame({"rooms": rng.normal(6, 100, 10_000), "age, years": rng.normal(9, 1e4, 10_000)}).write_parquet(buffer)
    model = houses.neuron.model_copy(update={"weights": [0.3, -1.7], "bias": 12.3})
    Scoring.__call__(Scoring(houses.folder, model), buffer.getvalue(), "a.parquet", explain="all")
    table = pl.read_parquet(io.BytesIO(houses.read("a.predictions.parquet")))
    parts = table.select("base_prediction", "^contribution_.*$").to_numpy().astype(np.float64)
    bound = 4 * np.finfo(np.float32).eps * np.abs(parts).sum(axis=1)
    assert np.all(np.abs(parts.sum(axis=1) - table["prediction"].to_numpy()) <= bound)


def test_names_stand_in_the_encoding_of_the_file(houses: Scoring) -> None:
    model = houses.neuron.model_copy(
        update={
            "features": ["größe", "площадь"],
            "ranges": {"größe": (0, 9), "площадь": (0, 9)},
            "contract": {"größe": {"mean": 0.0}, "площадь": {"mean": 0.0}},
        }
    )
    content = "größe;b;ort\n1;0;Köln\n0;1;Köln\n".encode("latin-1")
    Scoring(houses.folder, model)(content, explain="top", columns=["площадь=b"])
    lines = houses.predictions.decode("latin-1").splitlines()
    assert [line.rpartition(";")[0].rpartition(";")[2] for line in lines[1:]] == ["größe", "???????"]
    Scoring(houses.folder, model)(content, explain="all", columns=["площадь=b"])
    assert houses.predictions.decode("latin-1").splitlines()[0].endswith(";contribution_größe;contribution_???????")


def test_a_contribution_that_is_a_column_already_is_refused(houses: Scoring) -> None:
    with pytest.raises(UserError, match="column 'contribution_rooms' is there already"):
        houses(b'rooms,"age, years",contribution_rooms\n7,10,1\n', explain="all")


def test_a_version_without_means_says_how_to_get_them(neuron: ModelVersion) -> None:
    with pytest.raises(UserError) as caught:
        start_batch(Batch(model=neuron.version, explain="top"), "/inbox")
    assert str(caught.value) == (
        "20260101T000000Z-aaaaaa does not know the means of its training rows, beside which --explain puts each row; "
        "make a version that does by `retrain --force`."
    )
