"""What a batch says of drift, and what it raises."""

from pathlib import Path

import numpy as np
import pytest

from linear_neuron.flows.predict import predict
from linear_neuron.tasks.dataset.profile import describe_column
from linear_neuron.tasks.dataset.rows import Column, Origin, Rows, Snapshot, Split
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.monitoring.drift import watch_rows
from linear_neuron.tasks.parameters import Batch, Dataset
from linear_neuron.tasks.registry.alarms import LOOKS, read_alarms
from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.reporting.batch_report import summarize, write_summary
from linear_neuron.tasks.scoring.batch import read_manifest, start_batch
from linear_neuron.tasks.storage.store import Store
from tests.benchmarks.alarms import Inputs, count_false, measure_power
from tests.helpers import make_split, make_version
from tests.tasks.helpers import Scoring

TRAINED = np.linspace(5, 7, 201)


def make(store: Store, version: str = "20260101T000000Z-cccccc", **changes: object) -> ModelVersion:
    """Publish twice the rooms plus one, trained on 201 rows of 5 to 7 rooms."""
    known = {"contract": {"RM": describe_column(TRAINED)}, "predictions": describe_column(TRAINED * 2 + 1)}
    return make_version(store, version, **{"weights": [2.0], **known, **changes})


@pytest.fixture
def champion(store: Store) -> ModelVersion:
    model = make(store)
    promote(store, model.version, "by hand")
    return model


def run(folder: Path, values: list[str], **batch: object) -> str:
    (folder / "a.csv").write_text("\n".join(["RM", *values, ""]))
    return predict.fn(Batch(inputs=[str(folder / "a.csv")], output=str(folder), **batch))


def test_rows_are_counted_in_the_bins_of_training(tmp_path: Path, store: Store) -> None:
    result = Scoring(tmp_path, make(store))(b"RM,x\n5.2,\n5.21,\n9,\n,\nx,\nnan,\ninf,\n1\n")
    assert result.bins == {"RM": [1, 1, 0, 0, 0, 0, 0, 0, 0, 1]}
    assert result.prediction_bins == [1, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert result.nulls == {"RM": 3}
    result.add(result.model_copy())
    assert (result.bins["RM"][0], result.prediction_bins[0], result.nulls) == (2, 2, {"RM": 6})


def test_an_older_version_counts_nothing(score: Scoring) -> None:
    result = score(b"RM\n5\n")
    assert (result.bins, result.prediction_bins) == ({}, [])


def test_drift_raises_an_alarm_once(tmp_path: Path, champion: ModelVersion, store: Store) -> None:
    location = run(tmp_path, ["8"] * 100)
    (alarm,) = read_alarms(store)
    assert (alarm["action"], alarm["version"]) == ("drift.detected", champion.version)
    manifest = read_manifest(location)
    psi = f"{alarm['figures']['RM']:.2f}"
    assert f"\nDrifted       RM (PSI {psi}), prediction (PSI {psi})\nRejected" in summarize(manifest, location)
    report = write_summary(manifest, start_batch(manifest.settings, str(tmp_path)))
    assert f"| RM | {psi} | 0.42 | 0.0% | 0.0% | drifted |" in report
    assert "RM (PSI " in alarm["reason"]
    assert "in at most 0.5% of a champion's years" in alarm["reason"]
    run(tmp_path, ["8.5"] * 100)
    assert len(read_alarms(store)) == 1


def test_rows_as_in_training_raise_no_alarm(tmp_path: Path, champion: ModelVersion, store: Store) -> None:
    location = run(tmp_path, [str(value) for value in TRAINED])
    assert read_alarms(store) == []
    manifest = read_manifest(location)
    assert "Drifted" not in summarize(manifest, location)
    report = write_summary(manifest, start_batch(manifest.settings, str(tmp_path)))
    assert "| prediction | 0.00 | 0.28 | 0.0% | 0.0% | as before |" in report


def test_only_of_the_champion_an_alarm_is_raised(tmp_path: Path, champion: ModelVersion, store: Store) -> None:
    make(store, "20260102T000000Z-dddddd")
    run(tmp_path, ["8"] * 100, model="20260102T000000Z-dddddd")
    assert read_alarms(store) == []


def rows(values: list[float], target: str = "MEDV") -> tuple[Snapshot, Split]:
    x = np.array(values)
    part = Rows(np.column_stack([x * 0, x]), x, np.arange(len(x)))
    columns = (Column("AGE", "age"), Column("RM", "rooms"))
    snapshot = Snapshot("own", Origin("", "", details={"missing": {"RM": 0.01}}), columns, x[:, None], None, 0.8)
    return snapshot, make_split(columns, Column(target, "price"), part)


def test_training_rows_that_drifted_raise_the_alarm(champion: ModelVersion, store: Store) -> None:
    watch_rows.fn(*rows(list(TRAINED)), Dataset())
    watch_rows.fn(*rows([8.0] * 100, target="rent"), Dataset())
    watch_rows.fn(
        *rows([8.0] * 100), Dataset(source="x.csv", features=["RM"], target="MEDV", as_of="2026-01-01", time="t")
    )
    assert read_alarms(store) == []
    watch_rows.fn(*rows([8.0] * 100), Dataset())
    (alarm,) = read_alarms(store)
    assert list(alarm["figures"]) == ["RM", "prediction"]


def test_training_rows_say_nothing_without_a_champion_that_knows(store: Store, neuron: ModelVersion) -> None:
    watch_rows.fn(*rows([8.0] * 100), Dataset())
    promote(store, neuron.version, "by hand")
    watch_rows.fn(*rows([8.0] * 100), Dataset())
    assert read_alarms(store) == []


def make_flag(store: Store, ones: int) -> ModelVersion:
    """Publish a version that was trained on 100 rows of a flag."""
    values = np.repeat([0.0, 1.0], [100 - ones, ones])
    model = make(store, contract={"RM": describe_column(values)}, predictions={}, ranges={"RM": (0.0, 1.0)})
    promote(store, model.version, "by hand")
    return model


def test_a_flag_of_nearly_equal_values_can_drift(tmp_path: Path, store: Store) -> None:
    make_flag(store, ones=95)
    run(tmp_path, ["1"] * 95 + ["0"] * 5)
    assert read_alarms(store) == []
    (tmp_path / "b").mkdir()
    run(tmp_path / "b", ["0"] * 100)
    (alarm,) = read_alarms(store)
    assert "RM (PSI " in alarm["reason"]


@pytest.mark.parametrize(("trained", "wrong", "of"), [(201, 20, 201), (1001, 40, 804)], ids=["10%", "5%"])
def test_rows_out_of_the_training_range_are_drift(
    trained: int, wrong: int, of: int, tmp_path: Path, store: Store
) -> None:
    known = {"RM": describe_column(np.linspace(5, 7, trained))}
    model = make(store, contract=known, predictions={}, ranges={"RM": (5.0, 7.0)})
    promote(store, model.version, "by hand")
    values = np.resize(TRAINED, of)
    values[-wrong:] *= 1000
    run(tmp_path, [str(value) for value in values])
    (alarm,) = read_alarms(store)
    assert f"{wrong / of:.1%} of the rows out of the training range, most different is RM (PSI " in alarm["reason"]


def test_ten_rows_are_too_few_for_an_alarm(tmp_path: Path, champion: ModelVersion, store: Store) -> None:
    run(tmp_path, ["6"] * 10)
    assert read_alarms(store) == []


def test_the_same_predictions_are_one_look(tmp_path: Path, champion: ModelVersion, store: Store) -> None:
    for _ in range(2):
        run(tmp_path, [str(value) for value in TRAINED])
        assert b'"count": 1' in (store.read(store.root / LOOKS) or b"")
    (tmp_path / "b").mkdir()
    run(tmp_path / "b", [str(value) for value in TRAINED[:100]])
    assert b'"count": 2' in (store.read(store.root / LOOKS) or b"")


def test_a_table_without_the_drifted_rows_is_no_cure(
    tmp_path: Path, champion: ModelVersion, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, ["8"] * 100)
    watch_rows.fn(*rows([8.0] * 100), Dataset())
    assert "can't learn from them" not in caplog.text
    watch_rows.fn(*rows(list(TRAINED)), Dataset())
    assert "The table has none of the rows that have drifted" in caplog.text
    assert "(RM), so this training can't learn from them" in caplog.text


@pytest.mark.parametrize(
    "setting",
    [Inputs(), Inputs(day_effect=0.05), Inputs(features=1, rows=(5, 20), day_effect=0.05)],
    ids=["20 features", "20 features, day effect", "few rows"],
)
def test_a_month_without_change_raises_no_drift_alarm(setting: Inputs) -> None:
    assert count_false(setting, years=5, seed=3, days=30) == 0


def test_days_that_differ_much_raise_no_drift_alarm() -> None:
    assert count_false(Inputs(features=8, day_effect=0.3), years=20, seed=3, days=30) <= 1


def test_a_shift_is_found_in_five_batches() -> None:
    assert measure_power(Inputs(features=1, day_effect=0.05, shift=1), days=5, times=40, seed=4) >= 0.9
