"""Paths, folders, globs and URLs stand for files, each with a name of its own in the batch."""

import os
from pathlib import Path

import pytest

from tasks.errors import UserError
from tasks.scoring.inputs import find_sources


@pytest.fixture
def inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "inbox"
    (folder / "sub" / "folder.csv").mkdir(parents=True)
    names = (
        "a.csv",
        "b.CSV.gz",
        "c.parquet",
        "e.tsv",
        "f.TSV.zst",
        "notes.txt",
        ".hidden.csv",
        "_SUCCESS",
        "a.predictions.csv",
        "sub/d.csv",
    )
    for name in names:
        (folder / name).write_text("RM\n5\n")
    return folder


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (["inbox"], ["a", "b", "c", "e", "f"]),
        (["inbox/"], ["a", "b", "c", "e", "f"]),
        (["inbox/*"], ["a", "b", "c", "e", "f"]),
        (["inbox/*.csv"], ["a"]),
        (["inbox/*.tsv", "inbox/f.TSV.zst"], ["e", "f"]),
        (["inbox/a.csv"], ["a"]),
        (["inbox/[ab].*", "inbox/a.csv"], ["a", "b"]),
        (["inbox/a.csv", "inbox/sub/d.csv"], ["a", "sub/d"]),
        (["inbox/**/d.csv"], ["sub/d"]),
        (["inbox/a.predictions.csv"], ["a.predictions"]),
    ],
)
def test_paths_folders_and_globs_stand_for_files_named_by_their_place(
    inbox: Path, inputs: list[str], names: list[str]
) -> None:
    root, sources = find_sources(inputs)
    assert root == str(inbox)
    assert [source.name for source in sources] == names
    assert all(source.size == 5 and not source.error for source in sources)


def test_a_file_named_alone_keeps_its_place_when_others_join(inbox: Path) -> None:
    assert find_sources(["inbox/sub/d.csv"])[0] == f"{inbox}/sub"
    assert find_sources(["inbox/sub/d.csv"])[1][0].path == f"{inbox}/sub/d.csv"


@pytest.mark.parametrize("text", ["nowhere", "inbox/x*.csv", "inbox/a.csv/b.csv"])
def test_an_input_that_stands_for_nothing_is_refused(inbox: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"There is nothing at .*; name files, folders, globs or URLs that exist"):
        find_sources([text])


def test_an_empty_folder_is_nothing_to_do(tmp_path: Path) -> None:
    assert find_sources([str(tmp_path)]) == (str(tmp_path), [])


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        (
            ["inbox/notes.txt"],
            "its name must end in .csv or .tsv, with .gz or .zst if it is compressed, or in .parquet",
        ),
        (["inbox/sub/*.csv"], "this is a folder and not a file"),
        (
            ["inbox/a.csv", "inbox/a.parquet"],
            "its predictions would take the place of those of {}/a.csv; rename one of them",
        ),
    ],
)
def test_what_is_no_input_fails_alone(inbox: Path, inputs: list[str], error: str) -> None:
    (inbox / "a.parquet").touch()
    _, sources = find_sources(inputs)
    assert [source.error for source in sources if source.error] == [error.format(inbox)]


def test_links_to_files_are_files_and_others_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "far.csv").write_text("RM\n5\n")
    (tmp_path / "inbox" / "near.csv").symlink_to(tmp_path / "far.csv")
    (tmp_path / "inbox" / "notes.txt").touch()
    caplog.set_level("WARNING", logger="linear_neuron")
    _, files = find_sources([str(tmp_path / "inbox")])
    assert [(file.name, file.size, file.error) for file in files] == [("near", 5, "")]
    assert caplog.messages == [f"Left out of {tmp_path / 'inbox'}, 1 file of another kind: notes.txt"]


def test_outputs_never_climb_out_of_the_batch(tmp_path: Path) -> None:
    for folder in ("here", "there", ".work"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.csv").write_text("RM\n5\n")
    root, files = find_sources([str(tmp_path / "here" / "a.csv"), str(tmp_path / "here" / ".." / "there" / "a.csv")])
    assert (root, [file.name for file in files]) == (str(tmp_path), ["here/a", "there/a"])
    _, files = find_sources([str(tmp_path / "here" / "a.csv"), str(tmp_path / ".work" / "a.csv")])
    assert [file.error for file in files] == ["its predictions can't be called .work/a; rename it or its folder", ""]


def test_a_name_that_is_no_text_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "good.csv").touch()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.csv")).touch()
    _, files = find_sources([str(tmp_path)])
    assert [(file.path.rpartition("/")[2], file.error) for file in files] == [
        ("\\udcff.csv", "its name is not UTF-8; rename it"),
        ("good.csv", ""),
    ]


def test_what_is_no_file_is_refused() -> None:
    ((_, (device,)),) = [find_sources(["/dev/zero"])]
    assert device.error == "this is not a file"
