"""Ranges of a large file that stay as files of their own."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from linear_neuron.tasks.errors import StoreError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.scoring.batch import publish_batch, sum_up
from linear_neuron.tasks.scoring.join import join_ranges
from linear_neuron.tasks.scoring.manifest import BatchRun, Chunk, FileResult
from linear_neuron.tasks.scoring.run import score_chunk
from linear_neuron.tasks.storage.files import describe_file, digest_file
from linear_neuron.tasks.tables.inputs import InputFile
from tests.tasks.helpers import SOURCE, part


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, list[FileResult]]:
    """Results of ranges that stay as files of their own, and the folder of these."""
    (folder := tmp_path / "out").mkdir()
    results = []
    for start in (0, 10):
        for kind in ("predictions", "rejects"):
            (folder / f"a.{kind}.{start:015}.csv").write_text(f"{kind} {start}\n")
        names = [f"a.{kind}.{start:015}.csv" for kind in ("predictions", "rejects")]
        outputs = {name: describe_file(folder / name) for name in names}
        results.append(part(start, rejects={"empty": 1}, outputs=outputs, predicted_at=datetime.now(UTC)))
    return folder, results


def join_parts(parts: tuple[Path, list[FileResult]], neuron: ModelVersion, **batch: object) -> FileResult:
    settings = Batch.model_validate({"parts": True, "max_rejects": 1} | batch)
    return join_ranges(parts[1], BatchRun(location=str(parts[0]), batch=settings, model=neuron))


def test_parts_stay_as_they_are(parts: tuple[Path, list[FileResult]], neuron: ModelVersion) -> None:
    joined = join_parts(parts, neuron)
    names = [path.name for path in sorted(parts[0].iterdir())]
    assert joined.outputs == {name: describe_file(parts[0] / name) for name in names}
    assert (len(names), joined.predicted, joined.rejected, joined.stop) == (4, 2, 2, None)


def test_of_a_file_that_fails_no_part_is_left(parts: tuple[Path, list[FileResult]], neuron: ModelVersion) -> None:
    parts[1].append(part(20, error="it was lost"))
    (parts[0] / "a.predictions.000000000000020.csv").touch()  # The step wrote it before it was lost.
    assert join_parts(parts, neuron) == FileResult(source=SOURCE, error="it was lost")
    assert not list(parts[0].iterdir())


def test_of_parts_with_too_many_rejects_only_they_are_left(
    parts: tuple[Path, list[FileResult]], neuron: ModelVersion
) -> None:
    joined = join_parts(parts, neuron, max_rejects=0.4)
    names = ["a.rejects.000000000000000.csv", "a.rejects.000000000000010.csv"]
    assert (list(joined.outputs), joined.predicted_at) == (names, None)
    assert sorted(path.name for path in parts[0].iterdir()) == names


def test_rejects_of_predictions_that_are_predicted_again_are_kept(tmp_path: Path, neuron: ModelVersion) -> None:
    (tmp_path / (name := "a.predictions.rejects.000000000000000.csv")).touch()
    lost = part(0, source=InputFile(path="/a.predictions.csv", name="a.predictions"), predicted=0)
    ranges = [lost.model_copy(update={"rejects": {"empty": 1}, "outputs": {name: {}}})]
    assert list(join_parts((tmp_path, ranges), neuron, max_rejects=0).outputs) == [name]
    assert (tmp_path / name).exists()


def test_a_part_that_is_not_there_is_an_error(parts: tuple[Path, list[FileResult]], neuron: ModelVersion) -> None:
    (parts[0] / "a.predictions.000000000000010.csv").unlink()
    with pytest.raises(StoreError, match=r"refuses .*/a\.predictions\.000000000000010\.csv: No such file"):
        join_parts(parts, neuron)


def test_parts_of_an_earlier_input_are_removed(parts: tuple[Path, list[FileResult]], neuron: ModelVersion) -> None:
    earlier = [parts[1][1]]  # It was kept by a run that was killed, and the file has no such range any more.
    job = BatchRun(location=str(parts[0]), batch=Batch(parts=True), model=neuron, earlier=earlier)
    publish_batch(sum_up([parts[1][0]], [], [SOURCE], job), job)
    left = sorted(path.name for path in parts[0].iterdir())
    assert left == ["a.predictions.000000000000000.csv", "a.rejects.000000000000000.csv", "manifest.json"]


@pytest.mark.parametrize(("stop", "parts", "synced"), [(None, False, True), (5, True, True), (5, False, False)])
def test_all_outputs_that_stay_are_synced(
    tmp_path: Path, neuron: ModelVersion, monkeypatch: pytest.MonkeyPatch, stop: int | None, parts: bool, synced: bool
) -> None:
    (path := tmp_path / "a.csv").write_text("RM\n5\n")
    seen, sync = set[int](), os.fsync

    def watch(handle: int) -> None:
        seen.add(os.fstat(handle).st_ino)
        sync(handle)

    monkeypatch.setattr(os, "fsync", watch)
    job = BatchRun(location=str(tmp_path / "out"), batch=Batch(parts=parts), model=neuron)
    digest = digest_file(path)
    chunk = Chunk(source=InputFile(path=str(path), name="a", size=5), stop=stop, sha256=digest, file_sha256=digest)
    (name,) = score_chunk(chunk, job).outputs
    output = tmp_path / "out" / name
    assert [place.stat().st_ino in seen for place in (output, output.parent)] == [synced, synced]
