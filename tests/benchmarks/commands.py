"""Predicting, promoting and rolling back as whole commands: `python -m tests.benchmarks.commands [rounds] [rows]`.

Beside `predict` runs a script of pandas and NumPy that writes the same columns. At the end come the lines that
`up --once` prints, which is `make run` after the build.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.measure import HEAD, interleave, run_once
from tests.benchmarks.retraining import PROGRAM, QUIET, running_server
from tests.benchmarks.scoring import pandas_numpy, write_rows


def main(rounds: int, rows: int) -> None:
    """Print a table; the ratio is that to the script of pandas and NumPy."""
    with tempfile.TemporaryDirectory() as scratch, running_server(f"{scratch}/server") as address:
        alone = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "LINEAR_"))}
        alone |= QUIET | {"LINEAR_NEURON_STORE": f"{scratch}/store", "PREFECT_HOME": f"{scratch}/home"}
        served = alone | {"PREFECT_API_URL": address}
        retrain = [PROGRAM, "retrain", "--dataset.source", "package", "--promotion.mode", "always", "--force"]
        for _ in range(2):
            run_once(retrain, alone)
        models = Path(scratch, "store", "models")
        newest = max(models.iterdir())
        large, small = Path(scratch, "large.csv"), Path(scratch, "small.csv")
        write_rows(large, rows)
        small.write_text("id,RM\n007,6\n008,5.5\n")
        script = [sys.executable, "-m", "tests.benchmarks.scoring", "peer", pandas_numpy.__name__]

        def predict(path: Path, environment: dict[str, str]) -> tuple[float, float, float]:
            shutil.rmtree(f"{scratch}/out", ignore_errors=True)  # What is done would be skipped.
            return run_once([PROGRAM, "predict", str(path), "--output", f"{scratch}/out"], environment)

        found = interleave(
            {
                f"pandas and NumPy, {rows:,} rows": lambda: run_once(
                    [*script, str(large), scratch, str(newest)], alone
                ),
                f"linear-neuron predict, {rows:,} rows, no server": lambda: predict(large, alone),
                f"linear-neuron predict, {rows:,} rows, running server": lambda: predict(large, served),
                "linear-neuron predict, 2 rows, no server": lambda: predict(small, alone),
                "linear-neuron rollback, no server": lambda: run_once([PROGRAM, "rollback"], alone),
                "linear-neuron promote, no server": lambda: run_once([PROGRAM, "promote", newest.name], alone),
            },
            rounds,
        )
        base = next(iter(found.values())).median
        once = {"LINEAR_NEURON_STORE": f"{scratch}/once", "PREFECT_HOME": f"{scratch}/once/prefect"}
        command = [PROGRAM, "up", "--once"]
        done = subprocess.run(command, env=alone | once, capture_output=True, text=True, check=True)
    sys.stdout.write("\n".join([HEAD, *(series.row(name, base) for name, series in found.items())]) + "\n")
    lines = len((done.stdout + done.stderr).splitlines())
    sys.stdout.write(f"Lines that make run prints after the build: {lines}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, int(sys.argv[2]) if len(sys.argv) > 2 else 5_000_000)
