"""What people are told of a batch."""

from datetime import UTC, datetime

from tasks.model import ModelVersion
from tasks.parameters import Batch
from tasks.reporting.predict import write_summary
from tasks.scoring.manifest import BatchRun, Counts, FileResult, Manifest
from tasks.tables.inputs import InputFile

SOURCE = InputFile(path="/inbox/a.csv", name="a")


def summary(neuron: ModelVersion, **changes: object) -> str:
    results = [FileResult(source=SOURCE, error="it is a folder"), FileResult(source=SOURCE, predicted=4)]
    results[1].outputs = {f"{number:02}.predictions.csv": {} for number in range(60)}
    manifest = Manifest(
        batch="b",
        version="v",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        settings=Batch(interval=99),
        total=Counts(predicted=4, extrapolated=1, histogram=[1, 1, 1, 0, 1], rejects={"empty": 2}),
        inputs=results,
    )
    batch_run = BatchRun(location="out/b", batch=Batch(interval=99), model=neuron)
    return write_summary(manifest.model_copy(update=changes), batch_run, b"png")


def test_the_summary_tells_the_outcome_first_and_names_what_failed(neuron: ModelVersion) -> None:
    lines = summary(neuron).splitlines()
    assert lines[0] == "# 2 files, 6 rows, 4 predicted"
    assert "**1 of 2 files could not be predicted:**" in lines
    assert "- `/inbox/a.csv`: it is a folder" in lines
    assert "| empty | 2 |" in lines
    assert "25.0% were made outside the range that the model was trained on." in lines
    assert "2 predictions lie beyond all training targets and are not in the picture." in lines
    assert lines[-1] == "- and 10 more: see `out/b/manifest.json`"


def test_the_summary_says_when_a_model_has_no_interval(neuron: ModelVersion) -> None:
    without = neuron.model_copy(update={"intervals": {"99": None}})
    assert "too few validation rows for a 99% interval, so its columns are empty" in summary(without)


def test_the_summary_of_nothing_has_no_picture(neuron: ModelVersion) -> None:
    assert "png" not in summary(neuron, total=Counts())
