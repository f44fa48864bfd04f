"""The columns that are added on request, the one that names the rows, and the model in Parquet files."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import polars as pl
import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.scoring.batch import start_batch
from linear_neuron.tasks.scoring.join import join_ranges
from linear_neuron.tasks.scoring.manifest import BatchRun, Counts, FileResult, add_up, describe_model
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.tables.inputs import InputFile
from tests.helpers import make_version
from tests.tasks.helpers import Scoring, part

ADDED = "prediction,prediction_low,prediction_high,extrapolated"
VERSION = "20260101T000000Z-aaaaaa"
KINDS: tuple[Literal["none", "top", "all"], ...] = ("none", "top", "all")


def parquet(**columns: object) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()


def test_the_version_is_a_column_on_request(score: Scoring) -> None:
    score(b"RM;id\r\n5;1\r\n", add=["model_version"])
    assert score.predictions.decode() == (
        f"RM;id;{ADDED.replace(',', ';')};model_version\r\n5;1;11.0;10.5;11.5;false;{VERSION}\r\n"
    )


@pytest.mark.parametrize(("name", "kind"), [("a.parquet", "same"), ("a.parquet", "csv"), ("a.csv", "parquet")])
def test_parquet_has_the_version_too(score: Scoring, name: str, kind: str) -> None:
    content = parquet(RM=[5.0, None]) if name == "a.parquet" else b"RM\n5\n"
    score(content, name, format=kind, add=["model_version"])
    if kind == "csv":
        assert score.predictions.decode() == f"RM,{ADDED},model_version\n5.0,11.0,10.5,11.5,false,{VERSION}\n"
    else:
        table = pl.read_parquet(io.BytesIO(score.read("a.predictions.parquet")))
        assert table["model_version"].to_list() == [VERSION]
        assert table.columns[1:] == [*ADDED.split(","), "model_version"]


@pytest.mark.parametrize("name", ["model_version", "prediction"])
def test_an_added_column_that_is_there_is_refused(score: Scoring, name: str) -> None:
    with pytest.raises(UserError, match=f"column '{name}' is there already, so it would be ambiguous; rename it"):
        score(f"RM,{name}\n5,1\n".encode(), add=["model_version"])


def test_a_column_that_is_not_added_may_have_its_name(score: Scoring) -> None:
    assert score(b"RM,model_version\n5,1\n").predicted == 1


def test_a_row_without_a_key_is_predicted(score: Scoring) -> None:
    assert score(b"id,RM\n,5\n7,5\n", key="id").predicted == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Id,RM\n1,5\n", "for --key, there is no column 'id' among Id, RM; did you mean 'Id'?"),
        (b"id,RM,id\n1,5,2\n", "for --key, column 'id' is there twice, so it would be ambiguous; rename one of them"),
    ],
)
def test_a_file_without_the_key_is_refused(score: Scoring, content: bytes, message: str) -> None:
    with pytest.raises(UserError) as caught:
        score(content, key="id")
    assert str(caught.value) == message


def test_a_key_that_is_no_text_is_refused(score: Scoring) -> None:
    with pytest.raises(UserError, match="column 'id' holds List"):
        score(parquet(RM=[5.0], id=[[1]]), "a.parquet", key="id")


def test_only_options_that_are_used_change_the_name(store: Store, neuron: ModelVersion) -> None:
    def name(**options: object) -> str:
        return start_batch(Batch(model=VERSION, **options), "/inbox").location.rpartition("/")[2]

    assert name() == f"{VERSION}-74dc6f8c"
    assert len({name(), name(key="id"), name(key="row"), name(add=["model_version"])}) == 4
    with_means = make_version(store, "20260102T000000Z-bbbbbb", contract={"RM": {"mean": 6.0}})
    assert len({start_batch(Batch(model=with_means.version, explain=kind), "/inbox").location for kind in KINDS}) == 3


def test_a_result_says_when_it_was_predicted(score: Scoring) -> None:
    before = datetime.now(UTC)
    predicted_at = score(b"RM\n5\n").predicted_at
    assert predicted_at
    assert before <= predicted_at <= datetime.now(UTC)
    assert score(b"RM\nx\n", max_rejects=0).predicted_at is None


def test_joined_ranges_carry_the_model_and_the_last_time(tmp_path: Path, neuron: ModelVersion) -> None:
    store = Store(str(tmp_path / "out"))
    source = InputFile(path="/inbox/a.parquet", name="a")
    results = []
    for number in (1, 2):
        name = f".work/a.{number}.predictions.parquet"
        store.write(store.root / name, parquet(x=[number]))
        when = datetime(2026, 1, number, tzinfo=UTC)
        result = FileResult(source=source, start=number, stop=number + 1, predicted=1, outputs={name: {}})
        results.append(result.model_copy(update={"predicted_at": when}))
    joined = join_ranges(results, BatchRun(location=str(store.root), batch=Batch(), model=neuron))
    assert joined.predicted_at == datetime(2026, 1, 2, tzinfo=UTC)
    metadata = pl.read_parquet_metadata(tmp_path / "out/a.predictions.parquet")
    assert metadata.items() >= describe_model(neuron).items()


def test_a_parquet_file_says_which_model_predicted(score: Scoring) -> None:
    score(b"RM\n5\n", format="parquet")
    metadata = pl.read_parquet_metadata(io.BytesIO(score.read("a.predictions.parquet")))
    assert metadata["linear_neuron.model_version"] == VERSION
    assert json.loads(metadata["linear_neuron.model"]) == {"target": "MEDV", "weights": {"RM": 2.0}, "bias": 1.0}


def test_ranges_that_were_begun_with_another_interval_are_predicted_again(score: Scoring) -> None:
    """A file is joined from ranges, which all have one interval."""
    earlier = [part(0, stop=None, interval_factor=1.2), part(10), part(20, interval_factor=1.2)]
    kept = [
        [start for _, start, _ in score.batch_run().model_copy(update=now | {"earlier": earlier}).done]
        for now in ({"interval_factor": 1.0}, {"interval_factor": 1.2})
    ]
    assert kept == [[0, 10], [0, 20]]


def test_files_add_up_to_the_error_to_expect() -> None:
    total = add_up(
        [
            FileResult(source=InputFile(path="a", name="a"), predicted=3, expected_squares=12.0),
            FileResult(source=InputFile(path="b", name="b"), rejects={"empty": 2}),
            FileResult(source=InputFile(path="c", name="c"), predicted=1, expected_squares=24.0),
        ]
    )
    assert total.expected_rmse == 3.0
    total.add(Counts(predicted=1))
    assert total.expected_rmse is None, "a run of an older release did not say it"
