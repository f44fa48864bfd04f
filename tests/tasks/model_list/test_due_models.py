"""Which runs of a model are due, by its own store."""

from datetime import UTC, datetime, timedelta

import pytest

from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.model_list.due_models import is_due
from linear_neuron.tasks.model_list.read_models import Entry, Kind
from linear_neuron.tasks.registry.alarms import raise_alarm
from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.registry.last_runs import FILE, LastRun, read_runs, record_run
from linear_neuron.tasks.storage.store import Store

SUNDAY = datetime(2026, 11, 29, 12, tzinfo=UTC)


def make_entry(**due: str) -> Entry:
    return Entry.model_validate({"name": "sales", "dataset": {}, "due": due})


def run_at(store: Store, kind: Kind, at: datetime) -> None:
    record_run(store, kind, LastRun(at=at, state="Completed"))


def test_retrain_is_due_first_and_once_after_each_time(store: Store) -> None:
    model, monday = make_entry(), datetime(2026, 11, 30, 6, tzinfo=UTC)
    assert is_due(model, "retrain", store, SUNDAY)
    run_at(store, "retrain", SUNDAY)
    assert not is_due(model, "retrain", store, monday - timedelta(seconds=1))
    assert is_due(model, "retrain", store, monday)
    run_at(store, "retrain", monday + timedelta(seconds=5))
    assert not is_due(model, "retrain", store, monday + timedelta(days=7, seconds=-1))
    assert is_due(model, "retrain", store, monday + timedelta(days=7))


def test_a_time_zone_moves_the_time(store: Store) -> None:
    run_at(store, "retrain", SUNDAY)
    five = datetime(2026, 11, 30, 5, tzinfo=UTC)
    assert is_due(make_entry(timezone="Europe/Berlin"), "retrain", store, five)
    assert not is_due(make_entry(), "retrain", store, five)


def test_never_is_never_due(store: Store) -> None:
    assert not is_due(make_entry(retrain="never"), "retrain", store, SUNDAY)


@pytest.mark.parametrize("kind", ["predict", "actuals"])
def test_nothing_else_is_due_without_a_champion(store: Store, neuron: ModelVersion, kind: Kind) -> None:
    assert not is_due(make_entry(), kind, store, SUNDAY)
    promote(store, neuron.version, "by hand")
    assert is_due(make_entry(), kind, store, SUNDAY)


def test_a_new_champion_makes_predict_due(store: Store, neuron: ModelVersion) -> None:
    before, model = datetime.now(UTC) - timedelta(minutes=1), make_entry(predict="0 0 1 1 *", actuals="0 0 1 1 *")
    for kind in ("predict", "actuals"):
        run_at(store, kind, before)
    promote(store, neuron.version, "by hand")
    assert is_due(model, "predict", store, datetime.now(UTC))
    assert not is_due(model, "actuals", store, datetime.now(UTC))
    run_at(store, "predict", datetime.now(UTC))
    assert not is_due(model, "predict", store, datetime.now(UTC))


def test_an_alarm_of_drift_makes_retrain_due(store: Store, neuron: ModelVersion) -> None:
    model = make_entry(retrain="0 0 1 1 *")
    run_at(store, "retrain", datetime.now(UTC) - timedelta(minutes=1))
    raise_alarm(store, "error.high", neuron.version, "errors are high")
    assert not is_due(model, "retrain", store, datetime.now(UTC))
    raise_alarm(store, "drift.detected", neuron.version, "rows have changed")
    assert is_due(model, "retrain", store, datetime.now(UTC))


def test_runs_are_kept_by_kind_and_a_damaged_file_is_begun_again(store: Store) -> None:
    run_at(store, "retrain", SUNDAY)
    run_at(store, "predict", SUNDAY)
    assert set(read_runs(store)) == {"retrain", "predict"}
    store.write(store.root / FILE, b"{")
    assert read_runs(store) == {}
    run_at(store, "actuals", SUNDAY)
    assert read_runs(store) == {"actuals": LastRun(at=SUNDAY, state="Completed")}
