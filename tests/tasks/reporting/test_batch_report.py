"""What people read of a batch."""

from datetime import UTC, datetime

from linear_neuron.tasks.model import Candidate, Learned, ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.reporting.batch_report import write_summary
from linear_neuron.tasks.scoring.manifest import BatchRun, Counts, FileResult, Manifest
from linear_neuron.tasks.tables.inputs import InputFile

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
    return write_summary(manifest.model_copy(update=changes), batch_run)


def test_the_summary_tells_the_outcome_first_and_names_what_failed(neuron: ModelVersion) -> None:
    lines = summary(neuron).splitlines()
    assert lines[0] == "# 2 files, 6 rows, 4 predicted"
    assert "**1 of 2 files could not be predicted:**" in lines
    assert "- `/inbox/a.csv`: it is a folder" in lines
    assert "| empty | 2 |" in lines
    assert "25.0% were made outside the range that the model was trained on." in lines
    assert "2 predictions lie beyond all training targets; the bars at both ends show their share." in lines
    assert lines[-1] == "- and 10 more: see `out/b/manifest.json`"


def test_the_summary_says_when_a_model_has_no_interval(neuron: ModelVersion) -> None:
    without = neuron.model_copy(update={"intervals": {"99": None}})
    assert "too few validation rows for a 99% interval, so its columns are empty" in summary(without)


def test_the_summary_says_which_error_to_expect(neuron: ModelVersion) -> None:
    total = Counts(predicted=4, extrapolated=1, expected_squares=16.0, histogram=[1, 1, 1, 0, 1])
    expected = (
        "Expected before the actual values are known: RMSE 2.00, but not for the 1 row outside the range trained on."
    )
    assert expected in summary(neuron, total=total).splitlines()
    within = summary(neuron, total=total.model_copy(update={"extrapolated": 0}))
    assert "Expected before the actual values are known: RMSE 2.00." in within.splitlines()


def test_the_summary_of_nothing_has_no_picture(neuron: ModelVersion) -> None:
    assert "png" not in summary(neuron, total=Counts())


def test_the_summary_says_which_model_predicts_and_how_wide_its_interval_is(neuron: ModelVersion) -> None:
    candidate, learned = Candidate(weights=[1.0], bias=0, rows=70), Learned(rows=100)
    refitted = neuron.model_copy(update={"candidate": candidate, "learned": learned})
    assert "predictions come from the served model, the same recipe fitted on 100 rows" in summary(refitted)
    assert "served model" not in summary(neuron)
    wide = "It is 1.50 times as wide as calibrated, by the actual values known so far."
    assert wide in summary(neuron, interval_factor=1.5)
    assert wide not in summary(neuron)
