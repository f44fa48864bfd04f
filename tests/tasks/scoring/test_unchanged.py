"""Which inputs of a batch are known to be the same without being read, and which have to be read to know."""

import os
from pathlib import Path

import pytest
from upath import UPath

from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.scoring.manifest import BatchRun, FileResult
from linear_neuron.tasks.scoring.plan import digest_input, find_sources, plan_batch
from linear_neuron.tasks.scoring.run import score_groups
from linear_neuron.tasks.tables.inputs import InputFile, list_files

DATA, OTHER = b"RM\n5\n6\n", b"RM\n7\n8\n"


class Runs:
    """Runs of one batch, and which inputs each of them read in order to know what is left to do."""

    def __init__(self, inbox: UPath, output: Path, neuron: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inbox, self.output, self.neuron = inbox, output, neuron
        self.read: list[str] = []
        self.kept: list[FileResult] = []
        monkeypatch.setattr("linear_neuron.tasks.scoring.plan.digest_input", self.digest)

    def digest(self, source: InputFile) -> str:
        self.read.append(source.name)
        return digest_input(source)

    def __call__(self) -> tuple[list[str], list[str]]:
        """Return which inputs were read and which were predicted."""
        _, files = find_sources([str(self.inbox)])
        job = BatchRun(location=str(self.output), batch=Batch(), model=self.neuron, earlier=self.kept)
        self.read = []
        groups, kept = plan_batch(files, job)
        self.kept = score_groups(groups, kept, job)
        return self.read, [chunk.source.name for group in groups for chunk in group]


@pytest.fixture(params=["disk", "bucket"])
def runs(request: pytest.FixtureRequest, tmp_path: Path, neuron: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """A batch of two files that were there for some time, of which each is predicted."""
    monkeypatch.setattr("linear_neuron.tasks.storage.files.DOUBT", -60)
    bucket = request.param == "bucket"
    inbox = UPath(request.getfixturevalue("s3"), tmp_path.name) if bucket else UPath(tmp_path / "inbox")
    for name in "ab":
        inbox.mkdir(exist_ok=True, parents=True)
        (inbox / f"{name}.csv").write_bytes(DATA)
    runs = Runs(inbox, tmp_path / "out", neuron, monkeypatch)
    assert runs() == ([], ["a", "b"])
    return runs


def test_a_run_with_nothing_to_do_reads_no_input(runs: Runs) -> None:
    assert runs() == ([], [])


def test_an_input_with_other_bytes_of_the_same_size_is_predicted_again(runs: Runs) -> None:
    (runs.inbox / "b.csv").write_bytes(OTHER)
    assert runs() == (["b"], ["b"])
    assert (runs.output / "b.predictions.csv").read_bytes().splitlines()[1].startswith(b"7,15.0")
    assert runs() == ([], [])


@pytest.mark.parametrize("runs", ["disk"], indirect=True)  # A bucket tells seconds alone.
def test_an_input_that_was_only_written_again_is_read_once(runs: Runs) -> None:
    (runs.inbox / "b.csv").write_bytes(DATA)
    assert runs() == (["b"], [])
    assert runs() == ([], [])


@pytest.mark.parametrize("runs", ["disk"], indirect=True)  # Nobody can set the time of an object.
def test_an_old_time_does_not_hide_a_change(runs: Runs) -> None:
    path = (runs.inbox / "b.csv").path
    before = Path(path).stat()
    Path(path).write_bytes(OTHER)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert runs() == (["b"], ["b"])


def test_an_input_that_has_just_changed_is_read(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linear_neuron.tasks.storage.files.DOUBT", 60)
    (runs.inbox / "c.csv").write_bytes(DATA)
    assert runs()[1] == ["c"]
    assert runs() == (["a", "b", "c"] if runs.inbox.protocol != "s3" else [], [])


def test_a_lasting_error_is_reported_as_before(runs: Runs) -> None:
    (runs.inbox / "b.csv").write_bytes(b"rm\n5\n")
    assert runs() == ([], ["b"])
    before = runs.kept
    for result in before:
        result.lasting = bool(result.error)
    assert runs() == ([], [])
    assert runs.kept == before


def test_an_input_that_is_gone_or_no_file_has_no_tag(tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to(tmp_path / "nowhere")
    (tmp_path / "b.csv").mkdir()
    _, files = list_files(f"{tmp_path}/*.csv")
    assert [(Path(file.path).name, file.tag) for file in files] == [("a.csv", ""), ("b.csv", "")]
