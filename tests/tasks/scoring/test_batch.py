"""Ranges put together, and files whose step was lost."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from prefect import flow
from pydantic import ValidationError
from upath import UPath

from linear_neuron.flows.predict import predict
from linear_neuron.tasks.errors import StoreError, UserError, WorkError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.scoring.batch import check_files, publish_batch, read_manifest, set_aside, sum_up
from linear_neuron.tasks.scoring.join import join_ranges, join_results
from linear_neuron.tasks.scoring.manifest import BatchRun, Chunk, Counts, FileResult, Manifest
from linear_neuron.tasks.scoring.plan import plan_batch
from linear_neuron.tasks.scoring.run import score_chunk, score_groups
from linear_neuron.tasks.storage.files import describe_file
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.tables.inputs import InputFile
from tests.tasks.helpers import SOURCE, part


def test_a_file_fails_with_the_first_of_its_ranges_that_failed(tmp_path: Path, neuron: ModelVersion) -> None:
    job = BatchRun(location=str(tmp_path), batch=Batch(), model=neuron)
    joined = join_ranges([part(0), part(10, error="it was lost"), part(20, error="later")], job)
    assert joined == FileResult(source=SOURCE, error="it was lost")


def test_the_limit_of_rejects_is_that_of_the_whole_file(tmp_path: Path, neuron: ModelVersion) -> None:
    job = BatchRun(location=str(tmp_path), batch=Batch(), model=neuron)
    bad = part(0, predicted=0, rejects={"empty": 3})
    assert join_ranges([bad, part(10, predicted=3)], job).error == ""
    assert join_ranges([bad, part(10, predicted=2)], job).error.startswith("3 of 5 rows can't be predicted (empty 3)")


@pytest.fixture
def ranges(tmp_path: Path) -> list[FileResult]:
    """Results of ranges that were scored, with their outputs in a folder."""
    (tmp_path / "out" / ".work").mkdir(parents=True)
    results = []
    for number, (good, bad) in enumerate([("x,prediction\n1,3\n", "2\n"), ("4,9\n", "5\n"), ("6,13\n", "")]):
        texts = {
            f".work/a.{number}.predictions.csv": good,
            f".work/a.{number}.rejects.csv": f"line\n{bad}" if bad else "",
        }
        for name, text in texts.items():
            (tmp_path / "out" / name).write_text(text)
        outputs: dict[str, object] = {name: {} for name, text in texts.items() if text}
        rejects = {"empty": 1} if bad else {}
        results.append(part(10 * number, rejects=rejects, outputs=outputs, predicted_at=datetime.now(UTC)))
    return results


def test_each_range_is_joined_while_the_next_one_is_scored(
    tmp_path: Path, neuron: ModelVersion, ranges: list[FileResult]
) -> None:
    job = BatchRun(location=str(tmp_path / "out"), batch=Batch(max_rejects=1), model=neuron)
    seen: list[str] = []

    def score() -> Iterator[FileResult]:
        for result in ranges:
            yield result
            seen.extend(path.read_text() for path in sorted((tmp_path / "out").glob(".a.predictions.csv.*")))

    (joined,) = join_results(score(), job)
    assert seen == ["x,prediction\n1,3\n", "x,prediction\n1,3\n4,9\n", "x,prediction\n1,3\n4,9\n6,13\n"]
    assert (tmp_path / "out" / "a.predictions.csv").read_text() == seen[-1]
    assert (tmp_path / "out" / "a.rejects.csv").read_text() == "line\n2\n5\n"
    assert joined.outputs == {
        name: describe_file(tmp_path / "out" / name) for name in ("a.predictions.csv", "a.rejects.csv")
    }
    assert (joined.predicted, joined.rejects, joined.stop) == (3, {"empty": 2}, None)


def test_of_a_file_that_fails_no_output_is_left(tmp_path: Path, neuron: ModelVersion, ranges: list[FileResult]) -> None:
    job = BatchRun(location=str(tmp_path / "out"), batch=Batch(max_rejects=1), model=neuron)
    joined = join_ranges([*ranges, part(30, error="it was lost")], job)
    assert joined == FileResult(source=SOURCE, error="it was lost")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".work"]


def test_of_a_file_with_too_many_rejects_only_they_are_left(
    tmp_path: Path, neuron: ModelVersion, ranges: list[FileResult]
) -> None:
    joined = join_ranges(ranges, BatchRun(location=str(tmp_path / "out"), batch=Batch(max_rejects=0), model=neuron))
    assert (joined.rejected, joined.predicted_at, list(joined.outputs)) == (2, None, ["a.rejects.csv"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".work", "a.rejects.csv"]


def test_a_range_that_is_not_there_is_an_error(tmp_path: Path, neuron: ModelVersion, ranges: list[FileResult]) -> None:
    (tmp_path / "out" / ".work/a.1.predictions.csv").unlink()
    with pytest.raises(StoreError, match=r"The store refuses .*/a\.predictions\.csv: No such file or directory"):
        join_ranges(ranges, BatchRun(location=str(tmp_path / "out"), batch=Batch(max_rejects=1), model=neuron))
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".work"]


def test_files_come_in_order_whether_they_are_kept_or_scored(tmp_path: Path, neuron: ModelVersion) -> None:
    for name in "bc":
        (tmp_path / f"{name}.csv").write_text("RM\n5\n")
    files = [InputFile(path=str(tmp_path / f"{name}.csv"), name=name, size=5) for name in "abcd"]
    kept = [FileResult(source=files[index], predicted=7) for index in (3, 0)]
    job = BatchRun(location=str(tmp_path / "out"), batch=Batch(), model=neuron)
    results = score_groups([[Chunk(source=files[1])], [Chunk(source=files[2])]], kept, job)
    assert [(result.source.name, result.predicted) for result in results] == [("a", 7), ("b", 1), ("c", 1), ("d", 7)]


def test_ranges_of_parquet_in_a_bucket_are_put_together(s3: str, tmp_path: Path, neuron: ModelVersion) -> None:
    store = Store(f"{s3}/joined")
    results = []
    for number in (1, 2):
        name = f".work/a.{number}.predictions.parquet"
        pl.DataFrame({"x": [number]}).write_parquet(tmp_path / "part")
        store.write(store.root / name, (tmp_path / "part").read_bytes())
        results.append(part(number, outputs={name: {}}))
    joined = join_ranges(results, BatchRun(location=str(store.root), batch=Batch(), model=neuron))
    (tmp_path / "whole").write_bytes((UPath(f"{s3}/joined") / "a.predictions.parquet").read_bytes())
    assert pl.read_parquet(tmp_path / "whole")["x"].to_list() == [1, 2]
    assert joined.outputs["a.predictions.parquet"]["bytes"] == (tmp_path / "whole").stat().st_size


def test_a_range_that_changed_since_it_was_cut_is_refused(tmp_path: Path, neuron: ModelVersion) -> None:
    (tmp_path / "a.csv").write_text("RM\n5\n6\n")
    source = InputFile(path=str(tmp_path / "a.csv"), name="a")
    job = BatchRun(location=str(tmp_path / "out"), batch=Batch(), model=neuron)
    with pytest.raises(UserError, match="it changed while it was being read; run the batch again"):
        score_chunk(Chunk(source=source, start=5, stop=7, line=3, sha256="0" * 64), job)


@pytest.mark.usefixtures("server")
def test_files_of_a_lost_step_have_an_error(tmp_path: Path, neuron: ModelVersion) -> None:
    (tmp_path / "file").touch()  # Where a folder should be, so that not even results can be written.
    job = BatchRun(location=str(tmp_path / "file"), batch=Batch(), model=neuron)
    (result,) = flow(score_groups)([[Chunk(source=SOURCE)]], [], job)
    assert result.error.startswith("the step that scored it was lost (The store refuses ")


@pytest.mark.parametrize("damage", [None, b"", b"other bytes"])
def test_outputs_that_are_not_as_listed_are_not_kept(
    tmp_path: Path, neuron: ModelVersion, damage: bytes | None
) -> None:
    (tmp_path / "a.csv").write_text("RM\n5\n")
    source = InputFile(path=str(tmp_path / "a.csv"), name="a")
    job = BatchRun(location=str(tmp_path / "out"), batch=Batch(), model=neuron)
    result = score_chunk(Chunk(source=source), job)
    publish_batch.fn(sum_up([result], [], [source], job), job)
    if damage is None:
        (tmp_path / "out" / "a.predictions.csv").unlink()
    else:
        (tmp_path / "out" / "a.predictions.csv").write_bytes(damage)
    assert set_aside.fn([[Chunk(source=source)]], [], job.model_copy(update={"earlier": [result]})) == []
    assert read_manifest(job.location).files == {}


def test_an_error_keeps_no_outputs(tmp_path: Path, neuron: ModelVersion) -> None:
    job = BatchRun(location=str(tmp_path), batch=Batch(), model=neuron, earlier=[FileResult(source=SOURCE, error="x")])
    assert set_aside.fn([[Chunk(source=SOURCE)]], [], job) == []
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize("name", ["../x", "/x", ".work/x", ".older/x", "", "a/../../x"])
def test_a_record_that_leads_out_of_the_folder_is_refused(name: str) -> None:
    source = {"path": "/inbox/a.csv", "name": name}
    with pytest.raises(ValidationError, match="leads out of the batch's folder"):
        FileResult.model_validate({"source": source})
    outputs: dict[str, object] = {f"{name}.predictions.csv" if name not in ("", ".work/x") else "manifest.json": {}}
    with pytest.raises(ValidationError, match="is no output in the batch's folder"):
        FileResult.model_validate({"source": {"path": "/inbox/a.csv", "name": "a"}, "outputs": outputs})


def test_names_come_from_the_plan(tmp_path: Path, neuron: ModelVersion) -> None:
    (path := tmp_path / "a.csv").write_text("RM\n5\n")
    source = InputFile(path=str(path), name="a", size=path.stat().st_size, tag="1")
    job = BatchRun(location=str(tmp_path / "out"), batch=Batch(), model=neuron)
    result = score_chunk(Chunk(source=source), job)
    record = result.model_copy(update={"source": source.model_copy(update={"name": "elsewhere"})})
    (kept,) = plan_batch.fn([source], job.model_copy(update={"earlier": [record]}))[1]
    assert kept.source.name == "a"


def test_five_failed_files_are_named_and_others_counted(tmp_path: Path, neuron: ModelVersion) -> None:
    job = BatchRun(location=str(tmp_path), batch=Batch(), model=neuron)
    failed = [
        FileResult(source=InputFile(path=f"/inbox/{number}.csv", name=str(number)), error="bad") for number in range(7)
    ]
    now = datetime.now(UTC)
    manifest = Manifest(
        batch="b", version=neuron.version, created_at=now, settings=job.batch, total=Counts(), inputs=failed
    )
    with pytest.raises(WorkError, match=r"^7 of 7 files .*: /inbox/0\.csv: bad; .*/4\.csv: bad; and 2 more\. See "):
        check_files.fn(manifest, job)


@pytest.mark.parametrize("killed", ["publish_batch", "load_predictions", "check_files"])
def test_a_bad_file_of_a_killed_run_is_reported_once(
    store: Store, neuron: ModelVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    promote(store, neuron.version, "by hand")
    monkeypatch.setattr("linear_neuron.tasks.scoring.batch.is_deployed", lambda: True)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/bad.csv").write_text("id,ROOMS\n1,6\n")
    (tmp_path / "in/good.csv").write_text("id,RM\n1,6\n")
    batch = Batch(inputs=[str(tmp_path / "in")])
    with monkeypatch.context() as patch:
        patch.setattr(f"linear_neuron.flows.predict.{killed}", kill)
        with pytest.raises(KeyboardInterrupt):
            predict.fn(batch)
    with pytest.raises(WorkError, match=r"^1 of 2 files can't be predicted: .*bad\.csv: "):
        predict.fn(batch)
    for _ in range(2):
        predict.fn(batch)
    (tmp_path / "in/bad.csv").write_text("id,ROOMS\n1,7\n")
    with pytest.raises(WorkError):
        predict.fn(batch)
    predict.fn(batch)


def kill(*_: object) -> None:
    raise KeyboardInterrupt


def test_settings_of_an_older_version_are_read(tmp_path: Path, neuron: ModelVersion) -> None:
    manifest = Manifest(
        batch="b", version="v", created_at=datetime.now(UTC), settings=Batch(key="id"), total=Counts(), inputs=[]
    )
    written = manifest.model_dump(mode="json")
    odd = {"dask_address": "tcp://me:secret@host:1/x", "inputs": ["https://me:secret@host/a.csv"], "into": "a b c"}
    written["settings"] |= odd | {"gone": 1}
    read = Manifest.model_validate_json(json.dumps(written))
    assert {name: getattr(read.settings, name) for name in odd} == odd
    assert (read.settings.key, read.settings.interval) == ("id", 90)
    assert Manifest.model_validate(read.model_dump(mode="json")).settings == read.settings, "and so it is written"
    written["settings"]["interval"] = "many"
    with pytest.raises(ValidationError):
        Manifest.model_validate_json(json.dumps(written))
