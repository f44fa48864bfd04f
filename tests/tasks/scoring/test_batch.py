"""Ranges put together, and files whose step was lost."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from prefect import flow
from upath import UPath

from tasks.errors import StoreError, UserError, WorkError
from tasks.model import ModelVersion
from tasks.parameters import Batch
from tasks.scoring.batch import check_failures, invalidate_manifest
from tasks.scoring.groups import score_groups
from tasks.scoring.join import join_ranges, join_results
from tasks.scoring.manifest import BatchRun, Chunk, Counts, FileResult, Manifest
from tasks.scoring.run import score_chunk
from tasks.storage.files import describe_file
from tasks.storage.store import Store
from tasks.tables.inputs import InputFile
from tests.tasks.scoring.helpers import SOURCE, part


def test_a_file_fails_with_the_first_of_its_ranges_that_failed(tmp_path: Path, neuron: ModelVersion) -> None:
    job = BatchRun(location=str(tmp_path), batch=Batch(), model=neuron)
    joined = join_ranges([part(0), part(10, error="it was lost"), part(20, error="later")], job)
    assert joined == FileResult(source=SOURCE, error="it was lost")


def test_the_limit_of_rejects_is_that_of_the_whole_file(tmp_path: Path, neuron: ModelVersion) -> None:
    job = BatchRun(location=str(tmp_path), batch=Batch(), model=neuron)
    dirty = part(0, predicted=0, rejects={"empty": 3})
    assert join_ranges([dirty, part(10, predicted=3)], job).error == ""
    assert join_ranges([dirty, part(10, predicted=2)], job).error.startswith("3 of 5 rows can't be predicted (empty 3)")


@pytest.fixture
def pieces(tmp_path: Path) -> list[FileResult]:
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
    tmp_path: Path, neuron: ModelVersion, pieces: list[FileResult]
) -> None:
    job = BatchRun(location=str(tmp_path / "out"), batch=Batch(max_rejects=1), model=neuron)
    seen: list[str] = []

    def score() -> Iterator[FileResult]:
        for result in pieces:
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


def test_of_a_file_that_fails_no_output_is_left(tmp_path: Path, neuron: ModelVersion, pieces: list[FileResult]) -> None:
    job = BatchRun(location=str(tmp_path / "out"), batch=Batch(max_rejects=1), model=neuron)
    joined = join_ranges([*pieces, part(30, error="it was lost")], job)
    assert joined == FileResult(source=SOURCE, error="it was lost")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".work"]


def test_of_a_file_with_too_many_rejects_only_they_are_left(
    tmp_path: Path, neuron: ModelVersion, pieces: list[FileResult]
) -> None:
    joined = join_ranges(pieces, BatchRun(location=str(tmp_path / "out"), batch=Batch(max_rejects=0), model=neuron))
    assert (joined.rejected, joined.predicted_at, list(joined.outputs)) == (2, None, ["a.rejects.csv"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".work", "a.rejects.csv"]


def test_a_range_that_the_workers_wrote_elsewhere_is_told(
    tmp_path: Path, neuron: ModelVersion, pieces: list[FileResult]
) -> None:
    (tmp_path / "out" / ".work/a.1.predictions.csv").unlink()
    with pytest.raises(StoreError, match=r"The store refuses .*/a\.predictions\.csv: No such file or directory"):
        join_ranges(pieces, BatchRun(location=str(tmp_path / "out"), batch=Batch(max_rejects=1), model=neuron))
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".work"]


def test_files_come_in_order_whether_they_are_kept_or_scored(tmp_path: Path, neuron: ModelVersion) -> None:
    for name in "bc":
        (tmp_path / f"{name}.csv").write_text("RM\n5\n")
    files = [InputFile(path=str(tmp_path / f"{name}.csv"), name=name, size=5) for name in "abcd"]
    kept = [FileResult(source=files[place], predicted=7) for place in (3, 0)]
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
def test_files_whose_step_was_lost_are_told(tmp_path: Path, neuron: ModelVersion) -> None:
    (tmp_path / "file").touch()  # Where a folder should be, so that not even results can be written.
    job = BatchRun(location=str(tmp_path / "file"), batch=Batch(), model=neuron)
    (result,) = flow(score_groups)([[Chunk(source=SOURCE)]], [], job)
    assert result.error.startswith("the step that scored it was lost (The store refuses ")


@pytest.mark.parametrize(
    ("changes", "stays"), [({"outputs": {"a.predictions.csv": {}}}, False), ({"error": "x"}, True)]
)
def test_only_a_file_with_predictions_takes_the_manifest_away(
    tmp_path: Path, neuron: ModelVersion, changes: dict[str, object], stays: bool
) -> None:
    earlier = FileResult(source=SOURCE).model_copy(update=changes)
    job = BatchRun(location=str(tmp_path), batch=Batch(), model=neuron, earlier=[earlier])
    (tmp_path / "manifest.json").write_text("{}")
    for _ in range(2):  # The second time is that of a run after one that was killed.
        invalidate_manifest.fn([[Chunk(source=SOURCE)]], job)
        assert (tmp_path / "manifest.json").exists() == stays


def test_of_many_failed_files_five_are_told_and_the_rest_counted(tmp_path: Path, neuron: ModelVersion) -> None:
    job = BatchRun(location=str(tmp_path), batch=Batch(), model=neuron)
    failed = [
        FileResult(source=InputFile(path=f"/inbox/{number}.csv", name=str(number)), error="bad") for number in range(7)
    ]
    now = datetime.now(UTC)
    manifest = Manifest(
        batch="b", version=neuron.version, created_at=now, settings=job.batch, total=Counts(), inputs=failed
    )
    with pytest.raises(WorkError, match=r"^7 of 7 files .*: /inbox/0\.csv: bad; .*/4\.csv: bad; and 2 more\. See "):
        check_failures.fn(manifest, job)
