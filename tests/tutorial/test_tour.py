"""The whole product in eleven short tests, to be read in order. Each is the shortest real use of one thing."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from linear_neuron.flows.predict import predict
from linear_neuron.flows.promote import promote, rollback
from linear_neuron.flows.reproduce import reproduce
from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks.parameters import Batch, Dataset, Retention, Training
from linear_neuron.tasks.registry.retention import clean_store
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.registry.versions import list_versions, read_version
from linear_neuron.tasks.storage.store import Store
from tests.deployments.helpers import Stack, eventually
from tests.helpers import make_version


def test_01_train_a_version(store: Store) -> None:
    """A training publishes a folder: the model, its figures, its predictions and a report."""
    folder = Path(retrain(Dataset(source="package"), Training(epochs=2)))
    assert sorted(path.name for path in folder.iterdir()) == [
        "history.csv",
        "manifest.json",
        "metrics.json",
        "model.json",
        "model.keras",
        "plots",
        "predictions_table.csv",
        "predictions_test.csv",
        "report.html",
    ]


def test_02_look_at_a_version(store: Store, tutorial: str) -> None:
    """The whole model is one weight a feature and a bias, and it knows how wrong it is."""
    model = read_version(store, tutorial)
    assert model.linear_model.formula(model.features, model.target) == "MEDV = 3.3428 * RM + 1.2761"
    assert model.metrics["test"]["neuron"]["mse"] == pytest.approx(57.83, abs=0.01)
    assert model.metrics["test"]["least_squares"]["mse"] == pytest.approx(37.81, abs=0.01)


def test_03_promote_a_version(tutorial: str, simple: str) -> None:
    """The champion is the version that serves."""
    assert promote(tutorial, reason="simple is too simple").startswith(f"{tutorial} is the champion since ")


def test_04_predict_a_file(simple: str, homes: Path) -> None:
    """Predictions are the rows as they came, with four columns added."""
    folder = Path(predict(Batch(inputs=[str(homes)])))
    assert (folder / "homes.predictions.csv").read_text() == (
        "id,RM,prediction,prediction_low,prediction_high,extrapolated\n"
        "007,6,13.0,12.5,13.5,false\n"
    )  # fmt: skip


def test_05_see_why_rows_were_rejected(simple: str, homes: Path) -> None:
    """A row that can't be predicted stops no other, and is kept with the reason."""
    folder = Path(predict(Batch(inputs=[str(homes)])))
    assert (folder / "homes.rejects.csv").read_text() == (
        "line,column,value,reason,raw\n"
        '3,RM,many,not a number,"008,many"\n'
    )  # fmt: skip


def test_06_roll_back(tutorial: str, simple: str) -> None:
    """One step brings the previous champion back."""
    assert rollback(reason="prices look too low").startswith(f"{tutorial} is the champion since ")


def test_07_reproduce_a_version(tutorial: str) -> None:
    """A version trained again from what it noted of itself is the same bit for bit."""
    assert reproduce(tutorial) == (True, f"Reproduced bit for bit: {tutorial}, MEDV = 3.3428 * RM + 1.2761.")


def test_08_put_it_on_a_schedule(stack: Stack) -> None:
    """`linear-neuron up` starts a server that plans the trainings of the weeks to come."""
    wanted: dict[str, Any] = {
        "deployments": {"name": {"any_": ["weekly-retrain"]}},
        "flow_runs": {"state": {"name": {"any_": ["Scheduled"]}}},
    }
    planned = eventually(lambda: stack.api.ask("POST", "/flow_runs/filter", **wanted))
    starts = [datetime.fromisoformat(run["expected_start_time"]) for run in planned]
    assert {f"{start:%A %H:%M}" for start in starts} == {"Monday 06:00"}


def test_09_skip_what_is_done(store: Store, tutorial: str) -> None:
    """Nothing is trained where data, recipe and code are those of an existing version."""
    assert retrain(Dataset(source="package")) == str(store.root / "models" / tutorial)
    assert list_versions(store) == [tutorial]


def test_10_check_and_clean_the_store(store: Store, tutorial: str) -> None:
    """Damage is found by size and by digest, and a version that nobody needs any more is removed."""
    make_version(store, "20200101T000000Z-bbbbbb")
    report = store.root / "models" / tutorial / "report.html"
    assert verify(store) == []
    report.write_text("")
    (damage,) = verify(store)
    assert damage.startswith(f"{report} was emptied; its manifest says ")
    assert clean_store(store, Retention(newest=1, days=0)) == ["model 20200101T000000Z-bbbbbb"]


def test_11_learn_from_a_table_of_your_own(store: Store, tmp_path: Path) -> None:
    """A table of one's own is a file and the names of its columns; the neuron ends at its best line."""
    table = tmp_path / "sales.csv"
    table.write_text("area,price\n" + "".join(f"{area},{2 * area + 30 + area % 2}\n" for area in range(50, 150)))
    version = Path(retrain(Dataset(source=str(table), features=["area"], target="price"))).name
    assert read_version(store, version).weights == pytest.approx([2], abs=0.01)
