"""Random terms and settings through months of a model's life: all goes well, or ends in a sentence; no row is lost."""

import csv
import logging
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from linear_neuron import load_champion
from linear_neuron.flows.actuals import actuals
from linear_neuron.flows.backtest import backtest
from linear_neuron.flows.predict import predict
from linear_neuron.flows.promote import promote, rollback
from linear_neuron.flows.reproduce import reproduce
from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks.errors import UserError, WorkError
from linear_neuron.tasks.monitoring.compare_versions import measure_versions
from linear_neuron.tasks.monitoring.difference import compare, render
from linear_neuron.tasks.monitoring.performance import load_index
from linear_neuron.tasks.parameters import Actuals, Batch, Dataset, Period, Promotion, Training
from linear_neuron.tasks.registry.catalogue import list_history, list_models, render_history
from linear_neuron.tasks.registry.champion import read_champion
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.registry.versions import list_versions, read_version
from linear_neuron.tasks.scoring.sql_expression import write_select
from linear_neuron.tasks.storage.store import Store

LIVES = max(2, int(os.environ.get("FAULTS", "0")) // 100)
MONTHS = 5
ASKED = 50  # rows of each file to predict
COLUMNS = ["id", "sold_on", "area", "rooms", "suburb", "garden", "price"]
SUBURBS = ["Allston", "Roxbury", "Back Bay, west", 'Fen"way', "Ærø", "x|y"]  # The last one is new in the third month.
TERMS: dict[tuple[str, ...], list[tuple[str, ...]]] = {  # features, and the categories that may be named beside them
    (): [()],
    ("auto",): [()],
    ("area", "rooms"): [(), ("suburb",), ("month(sold_on)", "suburb")],
    ("log(area)", "rooms"): [(), ("suburb", "garden")],
    ("spline(area, 3)",): [(), ("weekday(sold_on)", "rooms")],
    ("area:suburb", "rooms"): [("suburb",)],
    ("max(area - 100, 0)", "area", "area*rooms"): [(), ("suburb",)],
    ("area", "days(sold_on)"): [(), ("suburb",)],
    ("rooms:garden", "sqrt(area)"): [("garden",), ("garden", "suburb")],
    ("area / rooms",): [(), ("garden",)],
}


@dataclass
class Life:
    """A table that grows by a month at a time, and how it is learned from."""

    seed: int
    folder: Path
    done: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)  # noqa: S311
        self.numbers = np.random.default_rng(self.seed)
        self.rows = self.draw.choice([60, 150, 400])  # a month
        self.holes = self.draw.random() < 0.6
        self.table = self.folder / "sales"
        self.table.mkdir()
        self.dataset = self.choose_dataset()
        self.training = self.choose_training()
        slices, mode = self.draw.choice(["report", "refuse"]), self.draw.choice(["auto", "auto", "manual", "always"])
        self.promotion = Promotion(mode=mode, slices=slices, max_change=self.draw.choice([0, 0, 0.5, 5]))
        self.batch = {
            "key": "id",
            "interval_follow": self.draw.choice(["none", "actuals"]),
            "explain": self.draw.choice(["none", "top", "all"]),
            "max_rejects": 1,
        }

    def choose_dataset(self) -> Dataset:
        features = self.draw.choice(list(TERMS))
        chosen: dict[str, Any] = {
            "source": str(self.table),
            "features": list(features),
            "categories": list(self.draw.choice(TERMS[features])),
            "target": self.draw.choice(["price", "price", "log(price)"]),
            "missing": self.draw.choice(["fill", "reject"]),
            "max_rejects": 0.9,
            "min_level_rows": self.draw.choice([1, 10, 30]),
        }
        for name, value, share in (
            ("time", "sold_on", 0.8),
            ("key", "id", 0.8),
            ("by", ["garden"], 0.3),
            ("sample", 0.7, 0.15),
            ("bounds", ["area=0..1000"], 0.2 if features == ("area", "rooms") else 0),
            ("without", ["garden"], 0.2 if features in ((), ("auto",)) else 0),
        ):
            if self.draw.random() < share:
                chosen[name] = value
        return Dataset.model_validate(chosen)

    def choose_training(self) -> Training:
        chosen: dict[str, Any] = {"refit": self.draw.choice(["auto", "auto", "never"])}
        if self.dataset.time:
            chosen["past"] = self.draw.choice(["auto", "auto", "all", "90d", "half-life:60d"])
        if self.dataset.features == ["area", "rooms"] and self.draw.random() < 0.4:
            chosen["signs"] = ["area=+"]
        return Training.model_validate(chosen)

    def make_rows(self, count: int, begin: date, first: int, levels: int, shift: float) -> list[list[str]]:
        """Make rows of four weeks, some with an empty cell."""
        rows = []
        for number in range(count):
            area, rooms = self.numbers.uniform(20, 220) * shift, int(self.numbers.integers(1, 6))
            suburb, garden = int(self.numbers.integers(0, levels)), bool(self.numbers.integers(0, 2))
            price = 3 * area + 20 * suburb + 15 * rooms * garden + 60 + self.numbers.normal(0, 15)
            day = begin + timedelta(days=int(number * 28 / count))
            row = [f"k{first + number}", str(day), f"{area:.1f}", str(rooms), SUBURBS[suburb]]
            row += ["yes" if garden else "no", f"{price:.1f}"]
            if self.holes and self.numbers.random() < 0.06:
                row[int(self.numbers.integers(2, 6))] = ""
            rows.append(row)
        return rows

    def write(self, path: Path, rows: list[list[str]], columns: list[str]) -> Path:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([columns, *([row[COLUMNS.index(name)] for name in columns] for row in rows)])
        return path

    def attempt(self, step: str, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Do a piece of work that may be refused, but in no other way than by a sentence."""
        try:
            result = work(*arguments, **options)
        except (UserError, WorkError, ValidationError) as error:
            self.done.append(f"{step}: {error}")
            return None
        self.done.append(step)
        return result

    def live(self) -> None:
        for month in range(MONTHS):
            begin, levels = date(2026, 1 + month, 1), 5 + (month >= 2)
            shift = 2.5 if month == 3 and self.draw.random() < 0.5 else 1
            rows = self.make_rows(self.rows, begin, month * self.rows, levels, shift)
            self.write(self.table / f"{month}.csv", rows, COLUMNS)
            self.attempt("retrain", retrain.fn, self.dataset, self.training, promotion=self.promotion)
            if not read_champion(Store()):
                if not (versions := list_versions(Store())):
                    continue
                self.attempt("promote", promote.fn, versions[-1])
            self.predict_month(begin + timedelta(days=28), month, 6, shift)

    def predict_month(self, begin: date, month: int, levels: int, shift: float) -> None:
        asked = self.make_rows(ASKED, begin, 10_000 + month * ASKED, levels, shift)
        inbox = self.write(self.folder / f"asked{month}.csv", asked, COLUMNS[:-1])
        location = self.attempt("predict", predict.fn, Batch.model_validate({"inputs": [str(inbox)], **self.batch}))
        if location is None:
            return
        predicted = pd.read_csv(Path(location) / f"asked{month}.predictions.csv", index_col="id")
        rejected = Path(location) / f"asked{month}.rejects.csv"
        rejects = list(csv.DictReader(rejected.read_text().splitlines())) if rejected.exists() else []
        assert len(predicted) + len({row["line"] for row in rejects}) == ASKED, "no row is lost"
        self.compare_ways(inbox, predicted)
        sold = self.write(self.folder / f"sold{month}.csv", asked, ["id", "price"])
        self.attempt("actuals", actuals.fn, Actuals(inputs=[str(sold)], key="id"))
        entry = next(entry for entry in load_index(Store())[0].entries if entry.source.endswith(sold.name))
        assert (entry.rows, entry.matched) == (ASKED, len(predicted))

    def compare_ways(self, inbox: Path, predicted: pd.DataFrame) -> None:
        """The file of predictions, Python and DuckDB say the same."""
        values = predicted["prediction"].to_numpy()
        assert np.isfinite(values).all()
        assert (predicted["prediction_low"] <= predicted["prediction_high"]).all()
        frame = load_champion().predict(pd.read_csv(inbox, dtype=str, keep_default_na=False, index_col="id"))
        assert np.allclose(frame["prediction"].dropna().loc[predicted.index], values, rtol=1e-6)
        assert frame["prediction"].notna().sum() == len(predicted)
        with duckdb.connect() as session:
            session.execute(f"CREATE TABLE inputs AS FROM read_csv('{inbox}', all_varchar = true, nullstr = '')")
            model = read_version(Store(), load_champion().model.version)
            cursor = session.execute(write_select(model, "duckdb", "inputs"))
            found = cursor.df().set_index("id")["prediction"].dropna()
        assert np.allclose(found.loc[predicted.index], values, rtol=1e-5)
        assert len(found) == len(predicted)

    def look_back(self) -> None:
        """What people do with a store that has a history."""
        store, (first, *_, last) = Store(), list_versions(Store())
        list_models(store)
        render_history(list_history(store))
        old, new = read_version(store, first), read_version(store, last)
        self.attempt("diff", lambda: render(compare(old, new, str(self.table / "0.csv"))))
        self.attempt("measure", measure_versions, store, [first, last], str(self.table))
        self.attempt("rollback", rollback.fn)
        agrees, _ = reproduce.fn(last)
        assert agrees
        if self.dataset.time:
            period = Period.model_validate({"from": "2026-03-01", "to": "2026-05-01"})
            self.attempt("backtest", backtest.fn, period, self.dataset, self.training)
        assert verify(store) == []


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("linear_neuron.tasks.reporting.plots.PLOTS", ())
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("quiet", "store")
@pytest.mark.parametrize("seed", range(LIVES))
def test_a_model_lives_through_months(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    life = Life(seed, tmp_path)
    try:
        life.live()
        if len(list_versions(Store())) > 1:
            life.look_back()
    except BaseException as error:
        error.add_note(f"{life.dataset!r} {life.training!r} {life.promotion!r} {life.batch}\n" + "\n".join(life.done))
        raise
    assert "predict" in life.done, "\n".join(life.done)
