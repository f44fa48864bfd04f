"""Files cut into ranges, and dealt out to steps."""

import gzip
from pathlib import Path

import polars as pl
import pytest
from upath import UPath

from tasks.model import ModelVersion
from tasks.parameters import Batch
from tasks.scoring.batch import invalidate_manifest, read_results
from tasks.scoring.manifest import BatchRun, Chunk, FileResult
from tasks.scoring.plan import group_chunks, plan_batch, split_file
from tasks.scoring.run import score_chunk
from tasks.tables.inputs import InputFile
from tasks.tables.stream import open_input


def source_of(path: Path) -> InputFile:
    return InputFile(path=str(path), name=path.name, size=path.stat().st_size)


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.scoring.plan.RANGE_BYTES", 300)
    monkeypatch.setattr("tasks.scoring.plan.RANGE_ROWS", 40)
    monkeypatch.setattr("tasks.tables.csv.BLOCK_BYTES", 100)


@pytest.mark.usefixtures("small_ranges")
def test_ranges_of_csv_end_between_records_and_are_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("RM,note\n" + "".join(f'{n},"line\nbreak {n}"\n' for n in range(100)))
    parts = split_file(source_of(path))
    assert len(parts) > 3
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    assert parts[-1].stop == path.stat().st_size
    for part in parts[1:]:
        with open_input(str(path), part.start, part.stop) as (stream, hashing):
            assert hashing.read_first_line(100) == b"RM,note\n"
            assert stream.readline().split(b",")[1] == b'"line\n'
            assert hashing.finish() == part.sha256
        assert path.read_bytes()[: part.start].count(b"\n") + 1 == part.line


@pytest.mark.usefixtures("small_ranges")
def test_ranges_of_parquet_are_rows(tmp_path: Path) -> None:
    pl.DataFrame({"RM": list(range(100))}).write_parquet(tmp_path / "a.parquet")
    assert [(part.start, part.stop) for part in split_file(source_of(tmp_path / "a.parquet"))] == [
        (0, 40),
        (40, 80),
        (80, 100),
    ]


@pytest.mark.usefixtures("small_ranges")
def test_small_and_compressed_files_are_one_part(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("RM\n5\n")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(bytes(range(256)) * 9, compresslevel=0))
    for name in ("a.csv", "b.csv.gz"):
        (part,) = split_file(source_of(tmp_path / name))
        assert part.stop is None


def test_small_files_share_a_step_and_large_ones_do_not() -> None:
    def part(size: int) -> Chunk:
        return Chunk(source=InputFile(path="a.csv", name="a"), size=size)

    small, large = part(1000), part(30 << 20)
    assert [len(group) for group in group_chunks([small] * 250)] == [100, 100, 50]
    assert [len(group) for group in group_chunks([large, large, small, small])] == [1, 3]
    assert group_chunks([]) == []
    half = part(16 << 20)
    assert [len(group) for group in group_chunks([half, half, half, half, part(1)])] == [2, 2, 1]


def test_an_input_that_can_not_be_looked_at_is_left_for_its_step_to_tell(tmp_path: Path, neuron: ModelVersion) -> None:
    source = InputFile(path=str(tmp_path / "gone.csv"), name="gone", size=5)
    job = BatchRun(
        location=str(tmp_path), batch=Batch(), model=neuron, earlier=[FileResult(source=source, sha256="0" * 64)]
    )
    groups, kept = plan_batch([source], job)
    assert [chunk.source.path for (chunk,) in groups] == [source.path]
    assert kept == []


def test_an_input_with_an_error_is_told_and_not_scored(tmp_path: Path, neuron: ModelVersion) -> None:
    source = InputFile(path=str(tmp_path / "a.csv"), name="a", error="it is a folder")
    job = BatchRun(location=str(tmp_path), batch=Batch(), model=neuron)
    assert plan_batch([source], job) == ([], [FileResult(source=source, error="it is a folder", lasting=True)])


@pytest.mark.usefixtures("small_ranges")
def test_a_kept_range_that_was_not_synced_is_scored_again(tmp_path: Path, neuron: ModelVersion) -> None:
    (path := tmp_path / "a.csv").write_text("RM\n" + "5\n" * 1000)
    source = source_of(path)
    first, *_ = split_file(source)
    job = BatchRun(location=str(tmp_path), batch=Batch(runner="dask"), model=neuron)
    result = score_chunk(first, job)
    again = job.model_copy(update={"earlier": [result]})
    assert plan_batch([source], again)[1] == [result]
    (name,) = result.outputs
    # Some file systems leave such a file after a power cut.
    (tmp_path / name).write_bytes(b"\0" * result.outputs[name]["bytes"])
    assert plan_batch([source], again)[1] == []


@pytest.mark.usefixtures("small_ranges")
def test_ranges_that_are_done_are_not_scored_again(tmp_path: Path, neuron: ModelVersion) -> None:
    (path := tmp_path / "a.csv").write_text("RM\n" + "5\n" * 1000)
    source = source_of(path)
    first, *others = split_file(source)
    done = FileResult(source=source, start=first.start, stop=first.stop, sha256=first.file_sha256)
    job = BatchRun(location=str(tmp_path), batch=Batch(runner="dask"), model=neuron, earlier=[done])
    assert plan_batch([source], job) == ([others], [done])
    job = BatchRun(location=str(tmp_path), batch=Batch(), model=neuron, earlier=[done])
    assert plan_batch([source], job) == ([[Chunk(source=source, size=source.size)]], [])


@pytest.mark.parametrize("gone", [False, True])
def test_what_a_killed_run_was_to_make_again_stands_for_no_input(
    tmp_path: Path, neuron: ModelVersion, gone: bool
) -> None:
    (path := tmp_path / "a.csv").write_text("RM\n5\n")
    source = InputFile(path=str(path), name="a", size=path.stat().st_size, tag="as it was")
    facts = {"location": str(tmp_path / "out"), "batch": Batch(), "model": neuron}
    result = score_chunk(Chunk(source=source), BatchRun(**facts))
    job = BatchRun(**facts, earlier=[result])
    output, here = tmp_path / "out" / "a.predictions.csv", [] if gone else [source]
    assert plan_batch.fn(here, job) == ([], [result])
    invalidate_manifest.fn([[Chunk(source=source)]], job)  # The input has changed, and is as before after the kill.
    again = BatchRun(**facts, earlier=read_results(UPath(tmp_path / "out")))
    assert output.name in again.earlier[0].outputs  # The next run knows what to remove.
    output.write_bytes(output.read_bytes().replace(b"5", b"6"))
    groups, kept = plan_batch.fn(here, again)
    assert (len(groups), kept) == (0 if gone else 1, [])


def test_predictions_that_are_whole_are_kept_without_their_input(tmp_path: Path, neuron: ModelVersion) -> None:
    (path := tmp_path / "a.csv").write_text("RM\n5\n")
    job = BatchRun(location=str(tmp_path / "out"), batch=Batch(), model=neuron)
    result = score_chunk(Chunk(source=InputFile(path=str(path), name="a", size=5)), job)
    forgotten = result.model_copy(update={"sha256": ""})
    assert plan_batch.fn([], job.model_copy(update={"earlier": [forgotten]})) == ([], [forgotten])
