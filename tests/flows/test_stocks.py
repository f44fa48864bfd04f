"""A real public table: prices of 1990 to 2022 from Yahoo Finance, which Matplotlib ships among its sample data."""

import csv
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks.parameters import Dataset, Training
from linear_neuron.tasks.registry.versions import read_version
from linear_neuron.tasks.storage.store import Store

INDEX, TECHNOLOGY = "^GSPC", "^IXIC"  # S&P 500 and NASDAQ Composite


@pytest.fixture
def stocks(tmp_path: Path) -> Path:
    """The table without its first line, which is a comment on where it is from."""
    lines = Path(mpl.get_data_path(), "sample_data", "Stocks.csv").read_text().splitlines(keepends=True)
    assert lines[0].startswith("# Data source: https://finance.yahoo.com")
    (path := tmp_path / "stocks.csv").write_text("".join(lines[1:]))
    return path


def test_the_candidate_learns_older_months_and_the_served_model_all(stocks: Path, store: Store) -> None:
    with stocks.open() as file:
        rows = list(csv.DictReader(file))
    good = np.array([(row[INDEX], row[TECHNOLOGY]) for row in rows if row[INDEX] and row[TECHNOLOGY]], float)
    empty = len(rows) - len(good)
    assert empty > 100, "days of dividends have no prices"
    dataset = Dataset(
        source=str(stocks),
        features=[INDEX],
        target=TECHNOLOGY,
        time="Date",
        max_bad_rows=empty,
        bounds=[f"{INDEX}=1.."],
    )
    model = read_version(store, Path(retrain.fn(dataset, Training(past="all"))).name)
    parts = {name: part["rows"] for name, part in model.metrics.items()}
    assert sum(parts.values()) == len(good)
    for line, fitted in ((model.candidate_model, good[: parts["train"]]), (model.linear_model, good)):
        slope, start = np.polyfit(fitted[:, 0], fitted[:, 1], 1)
        assert line.weights == pytest.approx([slope], rel=1e-3)
        assert line.bias == pytest.approx(start, rel=0.02)
    assert model.dataset["rows"] == len(good)
    rejects = (store.root / "models" / model.version / "rejects.csv").read_text().splitlines()
    assert len(rejects) == empty + 1
    assert model.metrics["test"]["neuron"]["mse"] > 50 * model.metrics["train"]["neuron"]["mse"], "times have changed"
