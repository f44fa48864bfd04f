"""A table of 1,000,000 rows read from each kind of source: `python -m tests.benchmarks.sources [rounds]`.

Ours is the whole snapshot: read, checked, hashed, put in order, written and digested. Beside it stand bare Polars and
bare pandas, which only read the same columns into memory. Each run is a process of its own, with its imports.
"""

import os
import sqlite3
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from sqlalchemy import create_engine

from tests.benchmarks.measure import HEAD, interleave, run_once
from tests.postgres import run_postgres

ROWS = 1_000_000
QUERY = "select area, rooms, price from sales"
OURS = """
import sys
from linear_neuron.tasks.dataset.snapshot import take_snapshot
from linear_neuron.tasks.parameters import Dataset
from linear_neuron.tasks.storage.store import Store
connection = "bench" if sys.argv[1].startswith("sql:") else ""
take_snapshot(Store(), Dataset(source=sys.argv[1], connection=connection, features=["area", "rooms"], target="price"))
"""
CONNECT = "import sqlalchemy, sys; engine = sqlalchemy.create_engine(sys.argv[2]); "
BARE = {
    "csv": ("pl.read_csv(sys.argv[1], columns=C)", "pd.read_csv(sys.argv[1], usecols=C)"),
    "parquet": ("pl.read_parquet(sys.argv[1], columns=C)", ""),
    "sql": ("pl.read_database(sys.argv[1], engine)", "pd.read_sql(sys.argv[1], engine)"),
}


def write_table(folder: Path, postgres: str) -> dict[str, tuple[str, str, str]]:
    """Write the same rows everywhere; returns name -> kind, source, and address of a database."""
    rng = np.random.default_rng(0)
    area, rooms = rng.uniform(30, 200, ROWS).round(1), rng.integers(1, 9, ROWS)
    price = (3 * area + 20 * rooms + rng.normal(0, 15, ROWS)).round(2)
    table = pl.DataFrame({"id": np.arange(ROWS), "area": area, "rooms": rooms, "price": price})
    table.write_csv(folder / "sales.csv")
    table.write_parquet(folder / "sales.parquet")
    with sqlite3.connect(folder / "sales.db") as database:
        database.execute("create table sales (id integer, area real, rooms integer, price real)")
        database.executemany("insert into sales values (?, ?, ?, ?)", table.iter_rows())
    engine = create_engine(postgres)
    with engine.begin() as session:
        session.exec_driver_sql("create table sales (id int, area float8, rooms int, price float8)")
        with session.connection.cursor().copy("copy sales from stdin (format csv, header)") as copy:
            copy.write((folder / "sales.csv").read_bytes())
    engine.dispose()
    return {
        "CSV": ("csv", f"{folder}/sales.csv", ""),
        "Parquet": ("parquet", f"{folder}/sales.parquet", ""),
        "SQLite": ("sql", QUERY, f"sqlite:///{folder}/sales.db"),
        "PostgreSQL": ("sql", QUERY, postgres),
    }


def main(rounds: int) -> None:
    """Print a table: each source by ours, Polars and pandas."""
    with tempfile.TemporaryDirectory() as folder, run_postgres() as cluster:
        sources = write_table(Path(folder), cluster.url.replace("postgresql", "postgresql+psycopg"))
        environment = os.environ | {"LINEAR_NEURON_STORE": f"{folder}/store"}
        for name, (kind, source, database) in sources.items():
            ours = ("sql:" if database else "") + source
            programs = {f"{name}, snapshot": (OURS, ours)}
            for library, call in zip(("polars as pl", "pandas as pd"), BARE[kind], strict=True):
                if call:
                    connect = CONNECT if database else "import sys; "
                    program = f"import {library}; {connect}C = ['area', 'rooms', 'price']; {call}"
                    programs[f"{name}, bare {library.split()[0]}"] = (program, source)
            found = interleave(
                {
                    way: lambda program=program, source=source, database=database: run_once(  # type: ignore[misc]
                        [sys.executable, "-c", program, source, database],
                        environment | {"LINEAR_NEURON_CONNECTION_BENCH": database},
                    )
                    for way, (program, source) in programs.items()
                },
                rounds,
            )
            sys.stdout.write(f"{HEAD}\n" if name == "CSV" else "")
            base = next(iter(found.values())).median
            sys.stdout.write("".join(f"{series.row(way, base)}\n" for way, series in found.items()))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
