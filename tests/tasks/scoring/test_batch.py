"""Ranges put together, and files whose step was lost."""

from pathlib import Path

import polars as pl
import pytest
from prefect import flow
from upath import UPath

from tasks.errors import UserError
from tasks.model import ModelVersion
from tasks.parameters import Batch
from tasks.scoring.batch import join_ranges
from tasks.scoring.manifest import BatchRun, Chunk, FileResult
from tasks.scoring.run import score_chunk, score_groups
from tasks.storage.store import Store
from tasks.tables.inputs import InputFile

SOURCE = InputFile(path="/inbox/a.csv", name="a")


def part(start: int, **changes: object) -> FileResult:
    return FileResult(source=SOURCE, start=start, stop=start + 10, sha256="0", predicted=1).model_copy(update=changes)


def test_a_file_fails_with_the_first_of_its_ranges_that_failed(tmp_path: Path, neuron: ModelVersion) -> None:
    job = BatchRun(location=str(tmp_path), batch=Batch(), model=neuron)
    joined = join_ranges([part(20, error="later"), part(0), part(10, error="it was lost")], job)
    assert joined == FileResult(source=SOURCE, error="it was lost")


def test_the_limit_of_rejects_is_that_of_the_whole_file(tmp_path: Path, neuron: ModelVersion) -> None:
    job = BatchRun(location=str(tmp_path), batch=Batch(), model=neuron)
    dirty = part(0, predicted=0, rejects={"empty": 3})
    assert join_ranges([dirty, part(10, predicted=3)], job).error == ""
    assert join_ranges([dirty, part(10, predicted=2)], job).error.startswith("3 of 5 rows can't be predicted (empty 3)")


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
    (result,) = flow(score_groups)([[Chunk(source=SOURCE)]], job)
    assert result.error.startswith("the step that scored it was lost (The store refuses ")
