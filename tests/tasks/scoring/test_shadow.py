"""A second version that predicts the same rows in the same pass, and is shown beside the first."""

import io
from pathlib import Path

import polars as pl
import pytest

from linear_neuron.flows.predict import predict
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import IntervalBins, ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.reporting.batch_report import summarize, write_summary
from linear_neuron.tasks.scoring.batch import read_manifest, start_batch
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version

ADDED = "prediction,prediction_low,prediction_high,extrapolated"
MODEL, SHADOW = "20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"
CSV = "RM,AGE\n5,0\n6, 10 \n7,old\n8,200\n 9 ,0\nx,0\n"


@pytest.fixture
def shadow(store: Store, neuron: ModelVersion) -> ModelVersion:
    """Twice the rooms plus one, as the model, less a tenth of the age, which is at most 100."""
    return make_version(
        store,
        SHADOW,
        features=["AGE", "RM"],
        weights=[-0.1, 2.0],
        ranges={"AGE": (0.0, 100.0), "RM": (3.0, 9.0)},
        dataset={"bounds": ["AGE=0..100"]},
    )


def run(tmp_path: Path, content: str | bytes = CSV, name: str = "a.csv", **batch: object) -> Path:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    options = {"model": MODEL, "shadow": SHADOW, **batch}
    return Path(predict.fn(Batch(inputs=[str(tmp_path / name)], output=str(tmp_path), max_rejects=1, **options)))


def test_rows_that_the_shadow_moves_are_counted(tmp_path: Path, shadow: ModelVersion, neuron: ModelVersion) -> None:
    location = run(tmp_path)
    assert (location / "a.predictions.csv").read_text().splitlines()[:2] == [
        f"RM,AGE,{ADDED}",
        "5,0,11.0,10.5,11.5,false",
    ]
    manifest = read_manifest(str(location))
    assert (manifest.total.predicted, manifest.total.shadow_moved, manifest.total.shadow_missing) == (5, 1, 2)
    shown = "moves 1 of 5 rows by more than half the interval, and can't predict 2"
    assert f"\nShadow        {SHADOW} {shown}\n" in summarize(manifest, str(location))
    batch_run = start_batch(manifest.settings, str(tmp_path))
    assert f"## Shadow\n\n`{SHADOW}` {shown}." in write_summary(manifest, batch_run)


def test_the_shadow_is_a_column_on_request(tmp_path: Path, shadow: ModelVersion) -> None:
    location = run(tmp_path, add=["shadow"])
    assert (location / "a.predictions.csv").read_text() == (
        f"RM,AGE,{ADDED},shadow_prediction\n"
        "5,0,11.0,10.5,11.5,false,11.0\n"
        "6, 10 ,13.0,12.5,13.5,false,12.0\n"
        "7,old,15.0,14.5,15.5,false,\n"
        "8,200,17.0,16.5,17.5,false,\n"
        " 9 ,0,19.0,18.5,19.5,false,19.0\n"
    )


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_shadow_predicts_parquet(tmp_path: Path, shadow: ModelVersion, kind: str) -> None:
    buffer = io.BytesIO()
    pl.DataFrame({"RM": [5.0, 6.0], "AGE": [10, None]}).write_parquet(buffer)
    location = run(tmp_path, buffer.getvalue(), "a.parquet", add=["shadow"], format=kind)
    read = pl.read_parquet if kind == "parquet" else pl.read_csv
    assert read(location / f"a.predictions.{kind}")["shadow_prediction"].to_list() == [10.0, None]
    assert read_manifest(str(location)).total.shadow_missing == 1


def test_a_model_without_an_interval_counts_none_as_moved(tmp_path: Path, store: Store, shadow: ModelVersion) -> None:
    make_version(store, "20260103T000000Z-cccccc", weights=[9.0], intervals={"90": None})
    total = read_manifest(str(run(tmp_path, model="20260103T000000Z-cccccc"))).total
    assert (total.shadow_moved, total.shadow_missing) == (0, 2)


def test_an_interval_by_level_counts_rows_by_their_own_width(
    tmp_path: Path, store: Store, shadow: ModelVersion
) -> None:
    """The shadow predicts 1 less; half the interval is 0.5 below 14, 1.5 from it on, and is not known from 18 on."""
    percents = [str(percent) for percent in range(50, 100)]
    lower, upper = ({key: list(side) for key in percents} for side in ([-0.4, -1.4, None], [0.6, 1.6, None]))
    bins = IntervalBins(edges=[14, 18], lower=lower, upper=upper)
    make_version(store, "20260103T000000Z-cccccc", weights=[2.0], interval_bins=bins)
    rows = "RM,AGE\n5,10\n6,10\n7,10\n8,10\n9,10\n"
    total = read_manifest(str(run(tmp_path, rows, model="20260103T000000Z-cccccc"))).total
    assert total.shadow_moved == 2


def test_a_file_without_a_column_of_the_shadow_fails(tmp_path: Path, shadow: ModelVersion) -> None:
    with pytest.raises(UserError, match=rf"/a\.csv: for the shadow {SHADOW}, there is no column 'AGE' among RM; name"):
        run(tmp_path, "RM\n5\n")


def test_a_column_of_the_shadow_may_have_another_name(tmp_path: Path, shadow: ModelVersion) -> None:
    location = run(tmp_path, "RM,years\n5,10\n", columns=["AGE=years"], add=["shadow"])
    assert (location / "a.predictions.csv").read_text().endswith(",10.0\n")
    with pytest.raises(UserError, match="--columns names LSTAT, which neither version reads; they read RM, AGE"):
        run(tmp_path, columns=["LSTAT=status"])


def test_a_shadow_with_another_target_is_refused(tmp_path: Path, store: Store, neuron: ModelVersion) -> None:
    make_version(store, SHADOW, target="rent")
    with pytest.raises(
        UserError, match=f"The shadow {SHADOW} predicts rent and {MODEL} MEDV, so they can't be compared"
    ):
        run(tmp_path)


@pytest.mark.usefixtures("neuron")
def test_the_column_needs_a_shadow(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--add shadow needs a version that predicts beside the model"):
        run(tmp_path, shadow="", add=["shadow"])


def test_another_shadow_writes_to_a_place_of_its_own(tmp_path: Path, shadow: ModelVersion) -> None:
    assert len({run(tmp_path), run(tmp_path, shadow=""), run(tmp_path, shadow=MODEL)}) == 3
