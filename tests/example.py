"""The example of docs/own-tables.md, by its own commands: a table that grows month by month, and whose slope shifts."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "own-tables.md"
FEATURE, TARGET = "area", "price"
DATASET = {"source": "sales", "features": [FEATURE], "target": TARGET, "time": "sold_on"}
MONTHS = 18


def read_script() -> str:
    """Read from the page the program that makes the table."""
    return PAGE.read_text().partition("$ cat > sales.py <<'END'\n")[2].partition("\nEND\n")[0] + "\n"


def read_commands() -> list[str]:
    """Read from the page the commands on the example, a line each."""
    block = PAGE.read_text().partition("\nEND\n")[2].partition("\n```")[0]
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]


def write_months(folder: Path, count: int) -> None:
    """Make the first months of the table, each a file in `sales`."""
    (folder / "sales").mkdir(exist_ok=True)
    (folder / "sales.py").write_text(read_script())
    subprocess.run([sys.executable, "sales.py", str(count)], cwd=folder, check=True)


def list_months(folder: Path) -> list[Path]:
    """List the files of the months that are there, oldest first."""
    return sorted((folder / "sales").glob("*.csv"))


def true_slope(number: int) -> float:
    """What a square metre costs in a month, of which the first has the number 1."""
    return float(2 + np.clip(number - 6, 0, 6) / 6)


def measure_error(predictions: Path) -> float:
    """Compute the root mean squared error of a file of predictions, which has the target too."""
    with predictions.open() as file:
        errors = [float(row[TARGET]) - float(row["prediction"]) for row in csv.DictReader(file)]
    return float(np.sqrt(np.mean(np.square(errors))))
