"""Inputs found, named, cut into ranges and dealt out to steps."""

import gzip
import os
from pathlib import Path

import polars as pl
import pytest

from tasks.errors import UserError
from tasks.model import ModelVersion
from tasks.parameters import Batch
from tasks.scoring.inputs import find_sources
from tasks.scoring.manifest import BatchRun, Chunk, FileResult
from tasks.scoring.plan import group_chunks, plan_batch, split_file
from tasks.tables.inputs import InputFile
from tasks.tables.stream import open_input


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


def source_of(path: Path) -> InputFile:
    return InputFile(path=str(path), name=path.name, size=path.stat().st_size)


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.scoring.plan.RANGE_BYTES", 300)
    monkeypatch.setattr("tasks.scoring.plan.RANGE_ROWS", 40)
    monkeypatch.setattr("tasks.tables.csv.BLOCK_BYTES", 100)


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


def test_an_input_that_can_not_be_looked_at_is_left_for_its_step_to_tell(tmp_path: Path, neuron: ModelVersion) -> None:
    source = InputFile(path=str(tmp_path / "gone.csv"), name="gone", size=5)
    job = BatchRun(
        location=str(tmp_path), batch=Batch(), model=neuron, earlier=[FileResult(source=source, sha256="0" * 64)]
    )
    groups, kept = plan_batch([source], job)
    assert [chunk.source.path for (chunk,) in groups] == [source.path]
    assert kept == []
