"""What a batch says of drift, and what it raises."""

from pathlib import Path

import numpy as np
import pytest

from flows.predict import predict
from tasks.dataset.contract import describe_column
from tasks.dataset.rows import Column, Origin, Rows, Snapshot, Split
from tasks.model import ModelVersion
from tasks.parameters import Batch, Dataset
from tasks.registry.alarms import read_alarms
from tasks.registry.champion import promote
from tasks.registry.drift import watch_rows
from tasks.reporting.predict import summarize, write_summary
from tasks.scoring.batch import read_manifest, start_batch
from tasks.storage.store import Store
from tests.helpers import make_version
from tests.tasks.scoring.helpers import Scoring

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


def test_drift_is_an_alarm_told_once(tmp_path: Path, champion: ModelVersion, store: Store) -> None:
    location = run(tmp_path, ["8"] * 100)
    (alarm,) = read_alarms(store)
    assert (alarm["action"], alarm["version"]) == ("drift.detected", champion.version)
    manifest = read_manifest(location)
    psi = f"{alarm['figures']['RM']:.2f}"
    assert f"\nDrifted       RM (PSI {psi}), prediction (PSI {psi})\nRejected" in summarize(
        manifest, champion, location
    )
    report = write_summary(manifest, start_batch(manifest.settings, str(tmp_path)), b"")
    assert f"| RM | {psi} | 0.42 | 0.0% | 0.0% | drifted |" in report
    run(tmp_path, ["8.5"] * 100)
    assert len(read_alarms(store)) == 1


def test_rows_as_in_training_raise_no_alarm(tmp_path: Path, champion: ModelVersion, store: Store) -> None:
    location = run(tmp_path, [str(value) for value in TRAINED])
    assert read_alarms(store) == []
    manifest = read_manifest(location)
    assert "Drifted" not in summarize(manifest, champion, location)
    report = write_summary(manifest, start_batch(manifest.settings, str(tmp_path)), b"")
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
    return snapshot, Split(columns, Column(target, "price"), part, part, part)


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
