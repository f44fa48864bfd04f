"""Inputs that change while they are read fail alone, leave nothing, and are tried again."""

import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from linear_neuron.tasks.errors import ChangedError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.scoring.manifest import BatchRun, Chunk
from linear_neuron.tasks.scoring.plan import plan_batch, split_file
from linear_neuron.tasks.scoring.run import score_chunk, score_group
from linear_neuron.tasks.tables.inputs import InputFile

ROWS = 300_000  # more than is read at once, of either kind
LONG_AGO = 1_000_000_000
CSV = b"RM,id\n" + b"5,1\n" * ROWS


def parquet(value: float) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame({"RM": [value] * ROWS}).write_parquet(buffer)
    return buffer.getvalue()


CONTENTS = {"a.csv": CSV, "a.csv.gz": gzip.compress(CSV, 1), "a.parquet": parquet(5)}
OTHERS = {"a.csv": CSV.replace(b"RM,id", b"id,RM"), "a.csv.gz": gzip.compress(CSV[:-4], 1), "a.parquet": parquet(6)}


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"6,")  # the first half of a row


def replace(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(OTHERS[path.name])
    os.utime(other, (LONG_AGO, LONG_AGO))
    other.replace(path)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(OTHERS[path.name][:10])


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def remove(path: Path) -> None:
    path.unlink()


CHANGES = [append, replace, overwrite, truncate, remove]


class Once:
    """What changes a file after the first of it was read."""

    def __init__(self, change: Callable[[Path], None], path: Path) -> None:
        self.change, self.path, self.done = change, path, False

    def __call__(self, _: int) -> None:
        if not self.done:
            self.done = True
            self.change(self.path)


@pytest.fixture
def job(tmp_path: Path, neuron: ModelVersion) -> BatchRun:
    return BatchRun(location=str(tmp_path / "out"), batch=Batch(max_rejects=1), model=neuron)


def write_input(folder: Path, name: str) -> InputFile:
    (folder / name).write_bytes(CONTENTS[name])
    os.utime(folder / name, (LONG_AGO, LONG_AGO))
    return InputFile(path=str(folder / name), name="a", size=len(CONTENTS[name]))


def written(folder: Path) -> list[str]:
    return [str(path) for path in (folder / "out").rglob("*") if path.is_file() and path.suffix != ".json"]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_that_changes_in_mid_read_fails_and_leaves_nothing(
    tmp_path: Path, job: BatchRun, name: str, change: Callable[[Path], None]
) -> None:
    source = write_input(tmp_path, name)
    with pytest.raises(ChangedError, match="it changed while it was being read; run the batch again"):
        score_chunk(Chunk(source=source), job, Once(change, tmp_path / name))
    assert written(tmp_path) == []


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_range_of_a_file_that_changes_fails(
    tmp_path: Path, job: BatchRun, name: str, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linear_neuron.tasks.scoring.plan.RANGE_BYTES", 100)
    monkeypatch.setattr("linear_neuron.tasks.scoring.plan.RANGE_ROWS", 200_000)
    monkeypatch.setattr("linear_neuron.tasks.tables.csv.BLOCK_BYTES", 600_000)
    first, *_ = split_file(write_input(tmp_path, name))
    assert first.stop
    with pytest.raises(ChangedError):
        score_chunk(first, job, Once(change, tmp_path / name))
    assert written(tmp_path) == []


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_range_of_a_file_that_was_replaced_since_it_was_cut_fails(
    tmp_path: Path, job: BatchRun, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linear_neuron.tasks.scoring.plan.RANGE_BYTES", 100)
    monkeypatch.setattr("linear_neuron.tasks.scoring.plan.RANGE_ROWS", 200_000)
    monkeypatch.setattr("linear_neuron.tasks.tables.csv.BLOCK_BYTES", 600_000)
    *_, last = split_file(write_input(tmp_path, name))
    assert last.start
    replace(tmp_path / name)  # The other CSV file differs in its header alone.
    with pytest.raises(ChangedError):
        score_chunk(last, job)


@pytest.mark.parametrize("change", CHANGES[:-1])
def test_what_is_wrong_with_a_file_that_changes_is_not_held_against_it(
    tmp_path: Path, job: BatchRun, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_input(tmp_path, "a.csv")
    (tmp_path / "a.csv").write_bytes(b"no,id\n5,1\n")  # It is half written yet.
    os.utime(tmp_path / "a.csv", (LONG_AGO, LONG_AGO))
    late = Once(change, tmp_path / "a.csv")
    monkeypatch.setattr(
        "linear_neuron.tasks.scoring.run.score_chunk", lambda chunk, job, _: score_chunk(chunk, job, late)
    )
    (result,) = score_group([Chunk(source=source)], job)
    assert (result.error, result.lasting) == ("it changed while it was being read; run the batch again", False)
    again = job.model_copy(update={"earlier": [result]})
    assert [[chunk.source for chunk in group] for group in plan_batch([source], again)[0]] == [[source]]


def test_a_file_that_takes_the_place_of_a_bad_one_is_tried_whatever_its_age(
    tmp_path: Path, job: BatchRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_input(tmp_path, "a.csv")
    (tmp_path / "a.csv").write_bytes(b"no,id\n5,1\n")

    def score_then_replace(*arguments: object) -> None:
        try:
            score_chunk(Chunk(source=source), job)
        finally:
            replace(tmp_path / "a.csv")

    monkeypatch.setattr("linear_neuron.tasks.scoring.run.score_chunk", score_then_replace)
    (result,) = score_group([Chunk(source=source)], job)
    assert result.error.startswith("there is no column 'RM'")
    assert not result.lasting


def test_a_bad_file_that_stays_as_it_is_is_not_tried_again(tmp_path: Path, job: BatchRun) -> None:
    source = write_input(tmp_path, "a.csv").model_copy(update={"size": 10})
    (tmp_path / "a.csv").write_bytes(b"no,id\n5,1\n")
    (result,) = score_group([Chunk(source=source)], job)
    assert result.lasting
    assert plan_batch([source], job.model_copy(update={"earlier": [result]})) == ([], [result])


def test_a_change_is_never_held_against_a_file_whatever_the_clocks_say(
    tmp_path: Path, job: BatchRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_changed(*arguments: object) -> None:
        raise ChangedError

    monkeypatch.setattr("linear_neuron.tasks.scoring.run.score_chunk", find_changed)
    (result,) = score_group([Chunk(source=write_input(tmp_path, "a.csv"))], job)
    assert not result.lasting
