import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tasks.tables import parquet


@pytest.fixture
def little_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BATCH_CELLS", 6)
    monkeypatch.setattr(parquet, "DECODED_CELLS", 20)
    monkeypatch.setattr(parquet, "GROUP_CELLS", 8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pl.DataFrame({"a": range(100), "b": range(100, 200), "c": range(200, 300)}).write_parquet(tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


@pytest.mark.usefixtures("little_is_decoded")
@pytest.mark.parametrize("columns", [2, 32])
@pytest.mark.parametrize(("start", "stop"), [(0, None), (7, 8), (5, 93), (40, 40), (99, 100)])
def test_rows_come_in_order_a_few_at_a_time(
    path: Path, start: int, stop: int | None, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "COLUMNS", columns)
    tables = list(parquet.read_rows(parquet.open_parquet(str(path))[0], start, stop))
    rows = [row for table in tables for row in table.iter_rows()]
    numbers = range(start, 100 if stop is None else stop)
    assert rows == [(number + 1, number, 100 + number, 200 + number) for number in numbers]
    assert max((table.height for table in tables), default=0) <= 2


def test_rows_are_fewer_where_texts_are_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BATCH_BYTES", 1000)
    tables = parquet.read_rows(parquet.open_parquet(str(path))[0], 0, None, row_bytes=400)
    assert max(table.height for table in tables) == 2


@pytest.mark.usefixtures("little_is_decoded")
def test_pieces_join_to_the_file_made_at_once(path: Path, tmp_path: Path) -> None:
    table, schema = parquet.open_parquet(str(path))
    for name, start, stop in ("whole", 0, 100), ("first", 0, 37), ("second", 37, 100):
        rows = (each.select(list(schema)) for each in parquet.read_rows(table, start, stop))
        parquet.write_parquet(tmp_path / name, schema, rows, {"made": "by a test"})
    parquet.join_parquet(tmp_path / "joined", [tmp_path / "first", tmp_path / "second"], {"made": "by a test"})
    assert (tmp_path / "joined").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_row_group_that_packs_well_is_not_decoded_whole(tmp_path: Path) -> None:
    path, rows = tmp_path / "a.parquet", 100_000_000  # 800 MB of numbers
    pl.select(RM=pl.repeat(5.0, rows)).write_parquet(path, row_group_size=rows, statistics=False)
    assert path.stat().st_size < 1_000_000
    code = f"""if True:
        from pathlib import Path
        from tasks.tables.parquet import open_parquet, read_rows
        print(sum(table.height for table in read_rows(open_parquet({str(path)!r})[0], 0, None)))
        print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    read, peak = map(int, done.stdout.split())
    assert read == rows
    assert peak < 650_000, "kB"
