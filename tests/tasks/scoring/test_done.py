"""Files that are predicted are moved, and nothing else."""

import gzip
from contextlib import suppress
from pathlib import Path

import pytest

from linear_neuron.flows.predict import predict
from linear_neuron.tasks.errors import UserError, WorkError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.scoring.batch import read_manifest
from linear_neuron.tasks.storage.files import digest_file
from linear_neuron.tasks.storage.store import Store


@pytest.fixture
def inbox(store: Store, neuron: ModelVersion, tmp_path: Path) -> Path:
    promote(store, neuron.version, "by hand")
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


def run(inbox: Path) -> str:
    return predict.fn(Batch(inputs=[str(inbox)], done=str(inbox.parent / "done")))


def test_predicted_files_are_moved_and_others_stay(store: Store, inbox: Path) -> None:
    (inbox / "good.csv").write_text("RM\n5\n")
    (inbox / "bad.csv").write_text("RM\nx\n")
    with pytest.raises(WorkError, match="1 of 2 files"):
        run(inbox)
    assert [path.name for path in inbox.iterdir()] == ["bad.csv"]
    assert (inbox.parent / "done" / "good.csv").read_text() == "RM\n5\n"
    assert verify(store) == []


def test_files_of_one_name_are_all_kept(store: Store, inbox: Path) -> None:
    days = ["RM\n5\n", "RM\n6\n", "RM\n5\n", "RM\n7\n"]
    for day in days:
        (inbox / "orders.csv").write_text(day)
        location = run(inbox)
    assert {path.read_text() for path in (inbox.parent / "done").iterdir()} == set(days)
    manifest = read_manifest(location)
    assert [result.predicted for result in [*manifest.inputs, *manifest.replaced]] == [1, 1, 1, 1]
    assert verify(store) == []


@pytest.mark.parametrize("gone", [True, False])
def test_an_output_of_the_same_name_is_kept(store: Store, inbox: Path, gone: bool) -> None:
    (inbox / "a.csv.gz").write_bytes(gzip.compress(b"RM\n5\n6\n"))
    predict.fn(Batch(inputs=[str(inbox)]))
    if gone:
        (inbox / "a.csv.gz").unlink()
    (inbox / "a.csv").write_text("RM\n7\n")
    with suppress(WorkError):  # Of two files whose outputs would have one name, only one is predicted.
        predict.fn(Batch(inputs=[str(inbox)]))
    (batch,) = (Path(store.root.path) / "predictions").iterdir()
    manifest = read_manifest(str(batch))
    assert sorted(result.predicted for result in [*manifest.inputs, *manifest.replaced] if result.outputs) == [1, 2]
    assert verify(store) == []


def test_a_file_below_the_folder_of_done_is_refused(inbox: Path) -> None:
    (inbox / "done" / "sub").mkdir(parents=True)
    (inbox / "done" / "sub" / "a.csv").write_text("RM\n5\n")
    with pytest.raises(UserError, match="is in the folder of --done already"):
        predict.fn(Batch(inputs=[f"{inbox}/**/*.csv"], done=str(inbox / "done")))


def test_a_link_is_predicted_and_stays(inbox: Path) -> None:
    (inbox.parent / "z.csv").write_text("RM\n5\n")
    (inbox / "a.csv").symlink_to("../z.csv")
    location = predict.fn(Batch(inputs=[str(inbox / "a.csv")], done=str(inbox.parent / "done")))
    assert read_manifest(location).total.predicted == 1
    assert (inbox / "a.csv").read_text() == "RM\n5\n"


def test_a_file_that_changes_after_it_was_predicted_stays(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        (inbox / "orders.csv").write_text("RM\n6\n")

    (inbox / "orders.csv").write_text("RM\n5\n")
    monkeypatch.setattr("linear_neuron.flows.predict.load_predictions", load)
    run(inbox)
    assert (inbox / "orders.csv").read_text() == "RM\n6\n"
    assert list((inbox.parent / "done").iterdir()) == []


class KilledError(BaseException):
    """What ends a run in the tests of kills."""


@pytest.mark.parametrize("changed", [False, True])
def test_a_kill_at_a_move_leaves_the_old_state_or_the_new(
    store: Store, inbox: Path, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    """A file that was not predicted is never in the folder, whether the run is killed before or after it moves one."""
    rename = Path.rename

    def load(*_: object) -> None:
        if changed:
            (inbox / "a.csv").write_text("RM\n6\n")

    for name in "ab":
        (inbox / f"{name}.csv").write_text("RM\n5\n")
    for when in ("before", "after"):

        def rename_and_die(path: Path, target: Path, when: str = when) -> None:
            if path.parent == inbox:
                if when == "after":
                    rename(path, target)
                raise KilledError

        with monkeypatch.context() as patch:
            patch.setattr("linear_neuron.flows.predict.load_predictions", load)
            patch.setattr(Path, "rename", rename_and_die)
            with pytest.raises(KilledError):
                run(inbox)
        done = sorted(path.name for path in (inbox.parent / "done").iterdir())
        assert done == ([] if when == "before" else ["b.csv" if changed else "a.csv"])
        assert all((inbox.parent / "done" / name).read_text() == "RM\n5\n" for name in done)
        assert sorted([*done, *(path.name for path in inbox.iterdir())]) == ["a.csv", "b.csv"]
        if changed and when == "before":
            (inbox / "a.csv").write_text("RM\n5\n")
    run(inbox)
    assert list(inbox.iterdir()) == []
    assert verify(store) == []


def test_a_file_that_is_replaced_just_before_its_move_is_put_back(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def digest_and_replace(path: Path) -> str:
        sha256 = digest_file(path)
        if path.parent == inbox:
            (inbox.parent / "new").write_text("RM\n6\n")
            (inbox.parent / "new").replace(path)
        return sha256

    (inbox / "a.csv").write_text("RM\n5\n")
    monkeypatch.setattr("linear_neuron.tasks.scoring.done.digest_file", digest_and_replace)
    run(inbox)
    assert (inbox / "a.csv").read_text() == "RM\n6\n"
    assert list((inbox.parent / "done").iterdir()) == []


def test_a_folder_that_files_cannot_be_moved_to_is_refused(inbox: Path) -> None:
    (inbox / "a.csv").write_text("RM\n5\n")
    with pytest.raises(UserError, match="--done moves files of this machine to a folder of it"):
        predict.fn(Batch(inputs=[str(inbox)], done="https://example.org/done"))
    with pytest.raises(UserError, match=r"a\.csv is in the folder of --done already; name another one"):
        predict.fn(Batch(inputs=[str(inbox)], done=str(inbox)))
    (inbox.parent / "file").touch()
    with pytest.raises(UserError, match=r"The store refuses .*/file/a\.csv"):
        predict.fn(Batch(inputs=[str(inbox)], done=str(inbox.parent / "file")))
    assert (inbox / "a.csv").exists()
