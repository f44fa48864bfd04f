"""The factor of an interval comes from all recorded actual values, and the next batch that asks for it uses it."""

from pathlib import Path

import numpy as np
import pytest

from linear_neuron.flows.actuals import actuals
from linear_neuron.flows.predict import predict
from linear_neuron.tasks.model import IntervalBins, ModelVersion
from linear_neuron.tasks.monitoring.follow_actuals import follow_actuals, measure_ratios
from linear_neuron.tasks.parameters import Actuals, Batch
from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.registry.interval_factors import FACTORS, STEP, read_factor
from linear_neuron.tasks.reporting.batch_report import summarize
from linear_neuron.tasks.scoring.batch import read_manifest
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version

VERSION = "20260101T000000Z-aaaaaa"


@pytest.fixture
def served(store: Store) -> ModelVersion:
    """A champion that predicts 2 * RM + 1, with an interval of 5 to both sides."""
    model = make_version(store, VERSION, weights=[2.0], intervals={str(percent): 5.0 for percent in range(50, 100)})
    promote(store, VERSION, "first")
    return model


def ask(folder: Path, name: str, **settings: object) -> Path:
    """Predict the rows a to c, for which the model says 3, 5 and 7."""
    (folder / name).write_text("id,RM\na,1\nb,2\nc,3\n")
    return Path(predict.fn(Batch.model_validate({"inputs": [str(folder / name)], "key": "id", **settings})))


def learn(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    actuals.fn(Actuals(inputs=[str(folder / name)], key="id"))


def count(store: Store, *values: bool) -> float:
    """Compute the factor after values that were missed or not."""
    return float(np.exp(STEP * sum(0.9 if missed else -0.1 for missed in values)))


def test_the_next_batch_uses_and_records_the_factor(tmp_path: Path, store: Store, served: ModelVersion) -> None:
    before = ask(tmp_path, "a.csv")
    assert read_manifest(str(before)).interval_factor == 1
    learn(tmp_path, "known.csv", "id,MEDV\na,9\nb,5\n")
    factor = count(store, True, False)
    assert read_factor(store, VERSION, 90) == pytest.approx(factor)
    plain, wide = ask(tmp_path, "b.csv"), ask(tmp_path, "b.csv", interval_follow="actuals")
    assert (plain / "b.predictions.csv").read_text().splitlines()[1] == "a,1,3.0,-2.0,8.0,true"
    low, high = map(float, (wide / "b.predictions.csv").read_text().splitlines()[1].split(",")[3:5])
    assert (low, high) == pytest.approx((3 - 5 * factor, 3 + 5 * factor), rel=1e-6)
    manifest = read_manifest(str(wide))
    assert (manifest.interval_factor, manifest.inputs[0].interval_factor) == (factor, factor)
    assert f"Interval      {factor:.2f} times as wide as calibrated" in summarize(manifest, str(wide))
    assert "Interval  " not in summarize(read_manifest(str(plain)), str(plain))


def test_each_value_counts_once(tmp_path: Path, store: Store, served: ModelVersion) -> None:
    ask(tmp_path, "a.csv")
    learn(tmp_path, "known.csv", "id,MEDV\na,9\n")
    kept = store.read(store.root / FACTORS)
    learn(tmp_path, "known.csv", "id,MEDV\na,9\n")
    learn(tmp_path, "copy.csv", "id,MEDV\na,9\n")
    assert read_factor(store, VERSION, 90) == pytest.approx(count(store, True))
    learn(tmp_path, "known.csv", "id,MEDV\nb,50\na,9\n")
    assert read_factor(store, VERSION, 90) == pytest.approx(count(store, True, True))
    assert store.read(store.root / FACTORS) != kept


def test_what_a_killed_run_has_recorded_is_followed_later(tmp_path: Path, store: Store, served: ModelVersion) -> None:
    ask(tmp_path, "a.csv")
    learn(tmp_path, "known.csv", "id,MEDV\na,9\n")
    kept = store.read(store.root / FACTORS)
    store.remove(store.root / FACTORS)
    learn(tmp_path, "known.csv", "id,MEDV\na,9\n")
    assert store.read(store.root / FACTORS) == kept


def test_a_version_that_is_gone_is_passed_over(tmp_path: Path, store: Store, served: ModelVersion) -> None:
    ask(tmp_path, "a.csv")
    learn(tmp_path, "known.csv", "id,MEDV\na,9\n")
    store.remove(store.root / FACTORS)
    store.remove(store.root / "models" / VERSION)
    follow_actuals.fn()
    assert store.read(store.root / FACTORS) is None


def test_ratios_are_those_of_the_calibrated_interval(served: ModelVersion) -> None:
    percents = [str(percent) for percent in range(50, 100)]
    lower, upper = ({key: list(side) for key in percents} for side in ([-1.0, None], [3.0, 1.0]))
    bins = IntervalBins(edges=[10], lower=lower, upper=upper, floor=0)
    model = served.model_copy(update={"interval_bins": bins})
    actual, predicted = np.array([1.0, 4.0, 5.0, 9.0]), np.array([1.0, 1.0, 1.0, 11.0])
    assert measure_ratios(model, actual, predicted, 90).tolist() == [0.5, 1.0, 1.5], "no interval from 10 on"
    none = served.model_copy(update={"intervals": {"90": None}})
    assert measure_ratios(none, actual, predicted, 90).tolist() == []
