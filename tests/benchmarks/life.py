"""A year in the life of a model, and its figure: `python -m tests.benchmarks.life [PNG]`.

Every month the champion predicts what is asked, the actual values arrive, and the model is retrained; where what
is asked has drifted, it is trained at once and asked again. From the seventh month on homes are large. Each month is a
process of its own whose clock is set to that month; the figure is the product's own history of the versions.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.life import COLUMNS, LARGE, SMALL, write_month

FIGURE = Path(__file__).parents[2] / "docs" / "images" / "life.png"
MONTHS = [f"2026-{number:02}" for number in range(1, 12)]
BEFORE = "2025-12"  # what the first training learns from
LARGE_FROM = "2026-07"


def live(month: str) -> None:
    """Live through a month, as this process's clock has it."""
    from tests.faults.commands import actuals, predict, retrain_table
    from tests.faults.faults import set_clock

    set_clock((datetime.fromisoformat(f"{month}-15").replace(tzinfo=UTC) - datetime.now(UTC)).days)
    table = COLUMNS | {"source": "sales"}
    if month != BEFORE:
        for where, kind in (("inbox", "ask"), ("actuals", "sold")):
            Path(where).mkdir(exist_ok=True)
            shutil.copy(f"{kind}/{month}.csv", f"{where}/{month}.csv")
        alarms = count_drifts()
        predict(inputs=[f"inbox/{month}.csv"])
        if count_drifts() > alarms:
            retrain_table(**table)
            predict(inputs=[f"inbox/{month}.csv"])
        actuals(inputs=["actuals"])
    shutil.copy(f"later/{month}.csv", "sales")
    retrain_table(**table)


def count_drifts() -> int:
    """Count the alarms of drift so far."""
    path = Path("store/alarms.jsonl")
    return path.read_text().count('"drift.detected"') if path.exists() else 0


def draw(path: Path) -> None:
    """Draw the history of the versions."""
    from linear_neuron.tasks.monitoring.performance import read_performance
    from linear_neuron.tasks.registry.catalogue import list_models
    from linear_neuron.tasks.reporting.charts import draw_history
    from linear_neuron.tasks.reporting.history import collect_history
    from linear_neuron.tasks.storage.store import Store

    store = Store()
    history = collect_history(store, list_models(store), read_performance(store))
    assert history is not None
    draw_history(history, path)
    for result in read_performance(store):
        coverage = result.coverage or 0.0
        print(f"{result.predicted_at:%Y-%m} {result.version} rmse {result.rmse:6.2f} coverage {coverage:.0%}")  # noqa: T201


def main(path: Path) -> None:
    """Live through the months, and draw them."""
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        os.environ["LINEAR_NEURON_STORE"] = f"{name}/store"
        for number, month in enumerate([BEFORE, *MONTHS]):
            write_month(Path(name), month, int(400 * 1.25**number), LARGE if month >= LARGE_FROM else SMALL)
        Path("sales").rename("later")
        Path("sales").mkdir()
        for month in [BEFORE, *MONTHS]:
            subprocess.run([sys.executable, "-m", "tests.benchmarks.life", "month", month], check=True)
        draw(path)


if __name__ == "__main__":
    if sys.argv[1:2] == ["month"]:
        live(sys.argv[2])
    else:
        main(Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else FIGURE)
