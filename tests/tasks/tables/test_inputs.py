"""Find files: what folders and globs leave out, and which tables are refused."""

from pathlib import Path

import polars as pl
import pytest
from upath import UPath

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.tables.inputs import list_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


def list_names(text: str | Path) -> list[str]:
    return sorted(Path(file.path).name for file in list_files(str(text))[1])


def test_what_a_folder_leaves_out_is_logged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.csv", "_b.csv", ".c.csv", "notes.txt", "a.predictions.csv", "a.rejects.csv", ".gitkeep"):
        (folder / name).write_text("RM\n5\n")
    for name in ("spark.csv", "archive"):
        (folder / name).mkdir()
    (folder / "gone.csv").symlink_to(folder / "nowhere.csv")
    caplog.set_level("WARNING", logger="linear_neuron")
    assert list_names(folder) == ["a.csv"]
    (line,) = caplog.messages
    assert line.startswith(f"Left out of {folder}: ")
    assert sorted(line.removeprefix(f"Left out of {folder}: ").replace("), ", ")|").split("|")) == [
        "broken links 1 (gone.csv)",
        "files of other kinds 1 (notes.txt)",
        "folders with names of files 1 (spark.csv)",
        "hidden files 2 (.c.csv, _b.csv)",
        "outputs of a batch 2 (a.predictions.csv, a.rejects.csv)",
    ]


@pytest.mark.parametrize("pattern", ["", "/*.csv", "/*"])
def test_link_out_of_a_folder_is_left_out(folder: Path, pattern: str, caplog: pytest.LogCaptureFixture) -> None:
    (folder.parent / "far.csv").write_text("RM\n5\n")
    (folder / "near.txt").write_text("RM\n5\n")
    (folder / "out.csv").symlink_to(folder.parent / "far.csv")
    (folder / "inside.csv").symlink_to(folder / "near.txt")
    caplog.set_level("WARNING", logger="linear_neuron")
    assert list_names(f"{folder}{pattern}") == ["inside.csv"]
    assert "links out of the folder 1 (out.csv)" in caplog.messages[0]


@pytest.mark.parametrize("pattern", ["/**/*.csv", "/*/*.csv"])
def test_hidden_folder_is_left_out_of_a_glob(folder: Path, pattern: str) -> None:
    for name in (".ipynb_checkpoints", "_temporary", "may"):
        (folder / name).mkdir()
        (folder / name / f"{name.strip('._')}.csv").write_text("RM\n5\n")
    assert list_names(f"{folder}{pattern}") == ["may.csv"]


def test_linked_folder_is_left_out_of_a_glob(folder: Path) -> None:
    (folder.parent / "far").mkdir()
    (folder.parent / "far" / "a.csv").write_text("RM\n5\n")
    (folder / "out").symlink_to(folder.parent / "far")
    with pytest.raises(UserError, match="There is nothing at"):
        list_files(f"{folder}/*/*.csv")


def test_linked_folder_or_file_named_alone_is_read(folder: Path) -> None:
    (folder / "a.csv").write_text("RM\n5\n")
    (folder.parent / "link").symlink_to(folder)
    (folder.parent / "link.csv").symlink_to(folder / "a.csv")
    assert list_names(folder.parent / "link") == ["a.csv"]
    assert list_names(folder.parent / "link.csv") == ["link.csv"]


FORMATS = [("_delta_log", "Delta Lake"), (".hoodie", "Hudi"), ("metadata", "Iceberg")]


@pytest.mark.parametrize(("marker", "name"), FORMATS)
@pytest.mark.parametrize("text", ["", "/data", "/*.parquet", "/data/*.parquet", "/**/*.parquet"])
def test_folder_of_a_table_format_is_refused(folder: Path, marker: str, name: str, text: str) -> None:
    (folder / marker).mkdir()
    (folder / "data").mkdir()
    (folder / marker / "00000.metadata.json").touch()
    for path in (folder / "a.parquet", folder / "data" / "a.parquet"):
        pl.DataFrame({"RM": [5]}).write_parquet(path)
    with pytest.raises(UserError, match=f"inbox is a table of {name}, whose files may hold rows that were removed"):
        list_files(f"{folder}{text}")


def test_table_format_in_a_bucket_is_refused(s3: str) -> None:
    UPath(f"{s3}/lake/_delta_log/0.json").write_bytes(b"{}")
    UPath(f"{s3}/lake/a.parquet").write_bytes(b"")
    UPath(f"{s3}/plain/a.parquet").write_bytes(b"")
    with pytest.raises(UserError, match="lake is a table of Delta Lake"):
        list_files(f"{s3}/lake")
    assert list_names(f"{s3}/plain") == ["a.parquet"]


def test_folder_called_metadata_alone_is_no_format(folder: Path) -> None:
    (folder / "metadata").mkdir()
    (folder / "a.csv").write_text("RM\n5\n")
    assert list_names(folder) == ["a.csv"]


def test_partitioned_folder_is_refused_with_its_column(folder: Path) -> None:
    for year in (2023, 2024):
        (folder / f"year={year}").mkdir()
        pl.DataFrame({"RM": [5]}).write_parquet(folder / f"year={year}" / "a.parquet")
    with pytest.raises(
        UserError, match=r"has folders such as year=2023/, and the column 'year' is in their names alone"
    ):
        list_files(str(folder))
    assert len(list_names(f"{folder}/**/*.parquet")) == 2
