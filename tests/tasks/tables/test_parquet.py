"""Read and write Parquet: in order, in bounded memory, with every type and all metadata as they are."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.tables import parquet
from linear_neuron.tasks.tables.parquet import ParquetTable


@pytest.fixture
def little_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BATCH_CELLS", 6)
    monkeypatch.setattr(parquet, "GROUP_CELLS", 8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pl.DataFrame({"a": range(100), "b": range(100, 200), "c": range(200, 300)}).write_parquet(tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


@pytest.mark.usefixtures("little_is_decoded")
@pytest.mark.parametrize("group", [7, 100])
@pytest.mark.parametrize(("start", "stop"), [(0, None), (7, 8), (5, 93), (40, 40), (99, 100)])
def test_rows_come_in_order_a_few_at_a_time(tmp_path: Path, start: int, stop: int | None, group: int) -> None:
    table = pl.DataFrame({"a": range(100), "b": range(100, 200), "c": range(200, 300)})
    table.write_parquet(tmp_path / "a.parquet", row_group_size=group)
    tables = [
        rows.select(["a", "b", "c"]) for rows in ParquetTable(str(tmp_path / "a.parquet")).read(None, start, stop)
    ]
    rows = [row for table in tables for row in table.iter_rows()]
    numbers = range(start, 100 if stop is None else stop)
    assert rows == [(number + 1, number, 100 + number, 200 + number) for number in numbers]
    assert max((table.height for table in tables), default=0) <= 2


def test_rows_are_fewer_where_texts_are_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BATCH_BYTES", 1000)
    tables = ParquetTable(str(path)).read(row_bytes=400)
    assert max(rows.table.num_rows for rows in tables) == 2


@pytest.mark.usefixtures("little_is_decoded")
def test_parts_join_to_the_file_made_at_once(path: Path, tmp_path: Path) -> None:
    table = ParquetTable(str(path))
    for name, start, stop in ("whole", 0, 100), ("first", 0, 37), ("second", 37, 100):
        tables = (rows.table for rows in table.read(None, start, stop))
        parquet.write_parquet(tmp_path / name, table.schema, tables, {"made": "by a test"})
    parquet.join_parquet(tmp_path / "joined", [tmp_path / "first", tmp_path / "second"], {"made": "by a test"})
    assert (tmp_path / "joined").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.slow
def test_row_group_that_packs_well_is_decoded_in_parts(tmp_path: Path) -> None:
    path, rows = tmp_path / "a.parquet", 100_000_000  # 800 MB of numbers
    pl.select(RM=pl.repeat(5.0, rows)).write_parquet(path, row_group_size=rows, statistics=False)
    assert path.stat().st_size < 1_000_000
    code = f"""if True:
        from pathlib import Path
        from linear_neuron.tasks.tables.parquet import ParquetTable
        print(sum(rows.select(["RM"]).height for rows in ParquetTable({str(path)!r}).read()))
        print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    read, peak = map(int, done.stdout.split())
    assert read == rows
    assert peak < 650_000, "kB"


@pytest.mark.parametrize("dtype", [pl.Int128, pl.UInt128])
def test_integers_of_128_bits_are_one_sentence(tmp_path: Path, dtype: pl.DataType) -> None:
    pl.DataFrame({"id": ["a"], "n": pl.Series([6], dtype=dtype)}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match="column 'n' holds integers of 128 bits, with which Arrow can't open the file"):
        ParquetTable(str(tmp_path / "a.parquet"))
