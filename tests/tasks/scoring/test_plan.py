"""Inputs are found and named, cut into ranges, and grouped into steps."""

import gzip
import os
from pathlib import Path

import polars as pl
import pytest
from upath import UPath

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.scoring.batch import publish_batch, read_earlier, set_aside, sum_up
from linear_neuron.tasks.scoring.manifest import BatchRun, Chunk, FileResult
from linear_neuron.tasks.scoring.plan import find_sources, group_chunks, plan_batch, split_file
from linear_neuron.tasks.scoring.run import score_chunk
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.tables.inputs import InputFile
from linear_neuron.tasks.tables.stream import open_input


def source_of(path: Path) -> InputFile:
    return InputFile(path=str(path), name=path.name, size=path.stat().st_size)


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linear_neuron.tasks.scoring.plan.RANGE_BYTES", 300)
    monkeypatch.setattr("linear_neuron.tasks.scoring.plan.RANGE_ROWS", 40)
    monkeypatch.setattr("linear_neuron.tasks.tables.csv.BLOCK_BYTES", 100)


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


def test_an_input_with_an_error_is_not_scored(tmp_path: Path, neuron: ModelVersion) -> None:
    source = InputFile(path=str(tmp_path / "a.csv"), name="a", error="it is a folder")
    job = BatchRun(location=str(tmp_path), batch=Batch(), model=neuron)
    assert plan_batch([source], job) == (
        [],
        [FileResult(source=source, error="it is a folder", lasting=True, reported=False)],
    )


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
def test_a_killed_run_leaves_older_predictions_and_no_wrong_result(
    tmp_path: Path, neuron: ModelVersion, gone: bool
) -> None:
    (path := tmp_path / "a.csv").write_text("RM\n5\n")
    source = InputFile(path=str(path), name="a", size=path.stat().st_size, tag="as it was")
    facts = {"location": str(tmp_path / "out"), "batch": Batch(), "model": neuron}
    result = score_chunk(Chunk(source=source), BatchRun(**facts))
    job = BatchRun(**facts, earlier=[result])
    output, here = tmp_path / "out" / "a.predictions.csv", [] if gone else [source]
    assert plan_batch.fn(here, job) == ([], [result])
    publish_batch.fn(sum_up([result], [], [source], job), job)
    before = output.read_bytes()
    set_aside.fn([[Chunk(source=source)]], [], job)  # The input has changed, and is as before after the kill.
    Store(str(tmp_path / "out")).write(UPath(output), before.replace(b"5", b"6"))
    again = read_earlier(BatchRun(**facts))
    groups, kept = plan_batch.fn(here, again)
    assert (len(groups), kept) == (0 if gone else 1, [])
    (older,) = again.replaced
    assert [(tmp_path / "out" / name).read_bytes() for name in older.outputs] == [before]


def test_predictions_that_are_whole_are_kept_without_their_input(tmp_path: Path, neuron: ModelVersion) -> None:
    (path := tmp_path / "a.csv").write_text("RM\n5\n")
    job = BatchRun(location=str(tmp_path / "out"), batch=Batch(), model=neuron)
    result = score_chunk(Chunk(source=InputFile(path=str(path), name="a", size=5)), job)
    forgotten = result.model_copy(update={"sha256": ""})
    assert plan_batch.fn([], job.model_copy(update={"earlier": [forgotten]})) == ([], [forgotten])


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


@pytest.mark.parametrize("length", [201, 230, 231, 251])
def test_a_name_of_any_length_leaves_room_for_its_outputs(tmp_path: Path, length: int) -> None:
    names = [f"{letter * (length - 1)}{last}" for letter, last in (("a", "1"), ("a", "2"), ("é"[:1], ""))][:2]
    for name in names:
        (tmp_path / f"{name}.csv").touch()
    found = [source.name for source in find_sources([str(tmp_path)])[1]]
    assert len(set(found)) == 2
    assert all(name.startswith("aaa") and len(name) == 200 for name in found)


def test_a_name_is_not_cut_within_a_letter(tmp_path: Path) -> None:
    (tmp_path / f"{'é' * 120}.csv").touch()
    (source,) = find_sources([str(tmp_path)])[1]
    assert source.name.startswith("é" * 95 + "-")
    assert len(source.name.encode()) == 199
