"""The scoring step on the files of real life, beside bare Polars.

Run it by `python -m tests.benchmarks.kinds [ROWS] [ROUNDS] [KIND ...]`.

Prints for each kind of file the rows per CPU second of both, interleaved, each run a process of its own, imports left
out; and for each shape of file that could take much memory, the peak of the scoring process. Nothing fails for being
slow. Bare Polars reads what it can, and puts nothing aside: of a file that it refuses, only our figure is printed.
"""

import gzip
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl

from linear_neuron.tasks.model import ModelVersion, Term
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.storage.store import Store
from tests.benchmarks.scoring import tell_peak
from tests.helpers import make_version

PIECE = 250_000  # rows that are made at a time
Row = tuple[int, str, str]  # an id, the rooms, and a place


def make_rows(rows: int, bad: float = 1e-4) -> Iterator[list[Row]]:
    """Make rows as those of the other benchmark, some at a time; a share of the rooms is no number."""
    rng = np.random.default_rng(0)
    names = np.array(["Back Bay", "Roxbury", "Allston", "Charlestown", "Hyde Park"])
    for start in range(0, rows, PIECE):
        count = min(PIECE, rows - start)
        rooms = rng.normal(6.28, 0.7, count).round(4).astype(str)
        rooms[rng.random(count) < bad] = "n/a"
        yield list(zip(range(start, start + count), rooms.tolist(), rng.choice(names, count).tolist(), strict=True))


def write_csv(path: Path, rows: int, line: Callable[[Row], str], bad: float = 1e-4, encoding: str = "utf-8") -> None:
    """Write a CSV file, each row as `line` has it."""
    if path.suffix == ".gz":
        file: IO[str] = gzip.open(path, "wt", compresslevel=1)  # noqa: SIM115, it is closed below
    else:
        file = path.open("w", encoding=encoding, newline="")
    with file:
        file.write("id,RM,place\n")
        for piece in make_rows(rows, bad):
            file.writelines(map(line, piece))


def plain(row: Row) -> str:
    """Write a row as most people do."""
    return f"{row[0]:07d},{row[1]},{row[2]}\n"


def quoted(row: Row) -> str:
    """Write a row with every field in quotes."""
    return f'"{row[0]:07d}","{row[1]}","{row[2]}"\n'


def rarely_quoted(row: Row) -> str:
    """Write one row in 100,000 with a quoted separator."""
    return plain(row) if row[0] % 100_000 else f'{row[0]:07d},{row[1]},"{row[2]}, MA"\n'


def many_lines(row: Row) -> str:
    """Write one row in ten over two lines."""
    return plain(row) if row[0] % 10 else f'{row[0]:07d},{row[1]},"{row[2]}\nMA"\n'


def write_parquet(path: Path, rows: int) -> None:
    """Write the same rows as Parquet, with the rooms as numbers."""
    table = pl.concat(pl.DataFrame(piece, schema=["id", "RM", "place"], orient="row") for piece in make_rows(rows))
    table.with_columns(pl.col("RM").cast(pl.Float64, strict=False)).write_parquet(path)


KINDS: dict[str, tuple[str, Callable[[Path, int], object]]] = {
    "plain": ("a.csv", lambda path, rows: write_csv(path, rows, plain)),
    "CRLF": ("a.csv", lambda path, rows: write_csv(path, rows, lambda row: plain(row)[:-1] + "\r\n")),
    "Latin-1": (
        "a.csv",
        lambda path, rows: write_csv(path, rows, lambda row: plain(row)[:-1] + "é\n", encoding="latin-1"),
    ),
    "all fields quoted": ("a.csv", lambda path, rows: write_csv(path, rows, quoted)),
    "one quoted line in 100,000": ("a.csv", lambda path, rows: write_csv(path, rows, rarely_quoted)),
    "one record in ten over two lines": ("a.csv", lambda path, rows: write_csv(path, rows, many_lines)),
    "all rejects": ("a.csv", lambda path, rows: write_csv(path, rows, plain, bad=1)),
    "gz": ("a.csv.gz", lambda path, rows: write_csv(path, rows, plain)),
    "Parquet": ("a.parquet", write_parquet),
    "Parquet to CSV": ("b.parquet", write_parquet),
    "terms": ("a.csv", lambda path, rows: write_terms(path, rows)),
    "terms, no level seen": ("a.csv", lambda path, rows: write_terms(path, rows, unseen="x")),
    "terms in Parquet": ("a.parquet", lambda path, rows: write_terms(path, rows)),
}
CUTS = {name: float(index) for index, name in enumerate(["Fair", "Good", "Very Good", "Premium", "Ideal"])}
SUBURBS = {f"suburb {index:03d}": index / 10 for index in range(200)}
SHAPES: dict[str, tuple[str, Callable[[Path, int], object]]] = {
    "one column": ("a.csv", lambda path, rows: path.write_text("RM\n" + "6.25\n" * (4 * rows))),
    "blank lines": ("a.csv", lambda path, rows: path.write_text("id,RM\n1,6\n" + "\n" * (20 * rows))),
    "all rejects": ("a.csv", lambda path, rows: write_csv(path, rows, plain, bad=1)),
    "lines of 15 MB": ("a.csv", lambda path, rows: path.write_text("id,RM\n" + f"{'x' * 15_000_000},6\n" * 12)),
    "Parquet, 500 columns": ("a.parquet", lambda path, rows: write_wide(path, rows // 10)),
    "Parquet, texts of 2 MB": ("a.parquet", lambda path, rows: write_long(path, 500)),
}


def write_terms(path: Path, rows: int, unseen: str = "") -> None:
    """Write a number whose logarithm is taken, and two categories, of 5 and of 200 levels; each level may be unseen."""
    rng = np.random.default_rng(0)
    table = pl.DataFrame(
        {
            "id": np.arange(rows),
            "carat": rng.lognormal(0, 0.5, rows).round(2),
            "cut": pl.Series(list(CUTS)).gather(rng.integers(0, len(CUTS), rows)) + unseen,
            "suburb": pl.Series(list(SUBURBS)).gather(rng.integers(0, len(SUBURBS), rows)) + unseen,
        }
    )
    if path.suffix == ".csv":
        table.write_csv(path)
    else:
        table.write_parquet(path)


def make_terms(store: Store) -> ModelVersion:
    """Make a version of the logarithm and both categories."""
    terms = [Term(name="log(carat)", kind="number", value="log(`carat`)", weight=7.5, center=0.1)]
    for name, levels in (("cut", CUTS), ("suburb", SUBURBS)):
        seen = dict.fromkeys(levels, 100)
        terms.append(Term(name=name, kind="category", label=f"`{name}`", levels=levels, rows=seen))
    profile = {"type": "number", "mean": 1.1, "deciles": [0.05, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.3, 1.5, 1.9, 9.0]}
    return make_version(
        store,
        "20260102T000000Z-bbbbbb",
        features=["log(carat)", "cut", "suburb"],
        terms=terms,
        columns={"carat": "number", "cut": "category", "suburb": "category"},
        arithmetic="float64",
        base=3.0,
        ranges={"carat": (0.2, 5.0)},
        contract={"carat": profile, "cut": {"levels": dict.fromkeys(CUTS, 100)}},
    )


def write_wide(path: Path, rows: int) -> None:
    """Write a table with 500 columns of numbers."""
    rng = np.random.default_rng(0)
    table = pl.DataFrame({f"c{number}": rng.random(rows) for number in range(499)})
    table.with_columns(RM=pl.Series(rng.normal(6, 1, rows))).write_parquet(path)


def write_long(path: Path, rows: int) -> None:
    """Write a table with long texts that do not compress."""
    rng = np.random.default_rng(0)
    texts = [rng.bytes(1 << 20).hex() for _ in range(rows)]
    pl.DataFrame({"RM": rng.normal(6, 1, rows), "text": texts}).write_parquet(path, compression="uncompressed")


def ours(source: str, folder: str, kind: str) -> None:
    """Run the scoring step: rejects, digests, whole-or-nothing and counts included."""
    from linear_neuron.tasks.scoring.manifest import BatchRun, Chunk
    from linear_neuron.tasks.scoring.run import score_chunk
    from linear_neuron.tasks.tables.inputs import InputFile

    name = "terms.json" if kind.startswith("terms") else "model.json"
    model = ModelVersion.model_validate_json(Path(folder, name).read_bytes())
    batch = Batch(format="csv" if kind.endswith("to CSV") else "same", max_rejects=1)
    chunk = Chunk(source=InputFile(path=source, name="ours"), size=Path(source).stat().st_size)
    began = time.process_time()
    score_chunk(chunk, BatchRun(location=folder, batch=batch, model=model))
    print("phase", time.process_time() - began)  # noqa: T201


def polars(source: str, folder: str, kind: str) -> None:
    """Scan to a sink: no rejects, no digests; a bad value leaves its prediction empty."""
    f32, parquet = pl.Float32(), source.endswith(".parquet")
    began = time.process_time()
    rows = pl.scan_parquet(source) if parquet else pl.scan_csv(source, infer_schema=False, encoding="utf8-lossy")
    prediction = pl.col("prediction")
    if kind.startswith("terms"):
        x = pl.col("carat").cast(pl.Float64(), strict=False)
        found = [
            pl.col(name).replace_strict(levels, default=0.0, return_dtype=pl.Float64)
            for name, levels in (("cut", CUTS), ("suburb", SUBURBS))
        ]
        total, outside = (3.0 + (x.log() - 0.1) * 7.5 + found[0] + found[1]).cast(f32), ~x.is_between(0.2, 5.0)
    else:
        x = pl.col("RM").cast(pl.Float64(), strict=False).cast(f32)
        total, outside = x * pl.lit(3.0, f32) + pl.lit(1.0, f32), ~x.is_between(3.5, 8.7)
    table = rows.with_columns(prediction=total).with_columns(
        prediction_low=prediction - pl.lit(10.0, f32),
        prediction_high=prediction + pl.lit(10.0, f32),
        extrapolated=outside,
    )
    if parquet and not kind.endswith("to CSV"):
        table.sink_parquet(f"{folder}/polars.parquet")
    else:
        table.sink_csv(f"{folder}/polars.csv")
    print("phase", time.process_time() - began)  # noqa: T201


def run(peer: str, source: Path, folder: Path, kind: str) -> tuple[float, float] | None:
    """Run a peer as a process of its own: CPU seconds and peak MB; None where it refuses the file."""
    command = [sys.executable, "-m", "tests.benchmarks.kinds", peer, str(source), str(folder), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    found = dict(line.split() for line in done.stdout.splitlines())
    return float(found["phase"]), float(found["peak"]) / 1024


def compare(folder: Path, rows: int, rounds: int, chosen: list[str]) -> None:
    """Print rows per CPU second of both for each kind of file, or the chosen ones, and the ratio."""
    print(f"{'million rows per CPU second':36s}{'ours':>8s}{'Polars':>8s}{'ratio':>8s}   spread of ours")  # noqa: T201
    for kind, (name, write) in KINDS.items():
        if chosen and kind not in chosen:
            continue
        source = folder / name
        write(source, rows)
        pairs = [(run("ours", source, folder, kind), run("polars", source, folder, kind)) for _ in range(rounds)]
        own = [rows / mine[0] / 1e6 for mine, _ in pairs if mine]
        other = [rows / theirs[0] / 1e6 for _, theirs in pairs if theirs]
        ratio = f"{statistics.median(own) / statistics.median(other):8.2f}" if other else " " * 8
        peer = f"{statistics.median(other):8.2f}" if other else f"{'refused':>8s}"
        spread = f"{min(own):.2f} to {max(own):.2f}"
        print(f"{kind:36s}{statistics.median(own):8.2f}{peer}{ratio}   {spread}", flush=True)  # noqa: T201
        source.unlink()


def tell_shapes(folder: Path, rows: int) -> None:
    """Print the peak memory for each shape of file."""
    print(f"\n{'peak MB':36s}{'ours':>8s}{'file MB':>9s}")  # noqa: T201
    for shape, (name, write) in SHAPES.items():
        source = folder / name
        write(source, rows)
        found = run("ours", source, folder, shape)
        peak = f"{found[1]:8.0f}" if found else f"{'refused':>8s}"
        print(f"{shape:36s}{peak}{source.stat().st_size / 1e6:9.0f}", flush=True)  # noqa: T201
        source.unlink()


def main(arguments: list[str]) -> None:
    """Run one peer, or all comparisons."""
    if arguments and arguments[0] in ("ours", "polars"):
        tell_peak()
        {"ours": ours, "polars": polars}[arguments[0]](*arguments[1:])
        return
    rows, rounds = (*map(int, arguments[:2]), *(5_000_000, 3)[len(arguments) :])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(str(folder / "store"))
        (folder / "model.json").write_text(make_version(store, "20260101T000000Z-aaaaaa").model_dump_json())
        (folder / "terms.json").write_text(make_terms(store).model_dump_json())
        compare(folder, rows, rounds, arguments[2:])
        if not arguments[2:]:
            tell_shapes(folder, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
