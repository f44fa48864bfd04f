"""Rows are dealt out exactly as Keras deals them."""

import os
from dataclasses import replace
from importlib import resources
from pathlib import Path

import keras
import numpy as np
import pytest

from tasks.dataset.boston import FILE, read_snapshot
from tasks.dataset.records import open_records, record_type
from tasks.dataset.rows import Column, Origin, Rows, Snapshot, Split
from tasks.dataset.split import (
    check_columns,
    example_inputs,
    extract_features,
    remake_split,
    select_features,
    split,
    split_rows,
)
from tasks.errors import UserError
from tasks.parameters import Dataset

DATA = (resources.files("tasks.dataset") / "data" / FILE.name).read_bytes()


@pytest.fixture
def snapshot() -> Snapshot:
    return read_snapshot(DATA, Origin(FILE.sha256, "package"))


def test_split_equals_that_of_keras_element_for_element(snapshot: Snapshot) -> None:
    cached = Path(os.environ["KERAS_HOME"]) / "datasets" / FILE.name
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(DATA)
    (x, y), (x_test, y_test) = keras.datasets.boston_housing.load_data()
    split = split_rows(snapshot, "MEDV", 0.3)
    assert np.array_equal(np.concatenate([split.train.x, split.validation.x]), x)
    assert np.array_equal(np.concatenate([split.train.y, split.validation.y]), y)
    assert np.array_equal(split.test.x, x_test)
    assert np.array_equal(split.test.y, y_test)


def test_validation_rows_are_the_last_share_as_keras_cuts_them(snapshot: Snapshot) -> None:
    assert [len(rows) for rows in split_rows(snapshot, "MEDV", 0.3).parts.values()] == [282, 122, 102]
    assert [len(rows) for rows in split_rows(snapshot, "MEDV", 0).parts.values()] == [404, 0, 102]


def test_row_numbers_lead_back_to_the_file(snapshot: Snapshot) -> None:
    test = split_rows(snapshot, "MEDV", 0.3).test
    assert np.array_equal(snapshot.values[test.number, :13], test.x)
    assert np.array_equal(snapshot.values[test.number, 13], test.y)
    assert len(set(test.number.tolist())) == 102


def test_a_validation_split_that_leaves_no_row_is_refused(snapshot: Snapshot) -> None:
    few = replace(snapshot, values=snapshot.values[:10])
    with pytest.raises(UserError, match=r"0\.99 leaves no row of 8 to fit"):
        split_rows(few, "MEDV", 0.99)
    assert len(split_rows(few, "MEDV", 0.8).train) == 1


def test_features_are_picked_by_name_in_the_order_asked_for(snapshot: Snapshot) -> None:
    split = split_rows(snapshot, "MEDV", 0.3)
    chosen = select_features(split, ["LSTAT", "RM"])
    assert chosen.names == ["LSTAT", "RM"]
    assert chosen.train.x.shape == (282, 2)
    assert np.array_equal(chosen.test.x[:, 1], split.test.x[:, 5])


def test_any_column_can_be_the_target_and_is_no_feature_then(snapshot: Snapshot) -> None:
    split = split_rows(snapshot, "TAX", 0.3)
    assert split.target.name == "TAX"
    assert split.names == [
        "CRIM",
        "ZN",
        "INDUS",
        "CHAS",
        "NOX",
        "RM",
        "AGE",
        "DIS",
        "RAD",
        "PTRATIO",
        "B",
        "LSTAT",
        "MEDV",
    ]
    assert split.test.y[0] == snapshot.values[split.test.number[0], 9]
    assert split.test.x[0, 9] == snapshot.values[split.test.number[0], 10]


def few_rows(*features: Column) -> Split:
    x = np.array([[float(number + place) for place, _ in enumerate(features)] for number in (4, 6, 8)])
    rows = Rows(x, np.array([1.0, 2.0, 3.0]), np.arange(3))
    return Split(features, Column("MEDV", "price"), rows, rows, rows)


def test_examples_are_those_of_the_column_unless_asked_otherwise() -> None:
    rooms = Column("RM", "rooms", examples=(3, 4, 5, 6, 7))
    assert example_inputs(few_rows(rooms), [])[:, 0].tolist() == [3, 4, 5, 6, 7]
    assert example_inputs(few_rows(rooms), [5.5])[:, 0].tolist() == [5.5]


def test_examples_span_the_training_rows_and_hold_other_features_at_their_mean() -> None:
    split = few_rows(Column("TAX", "tax"), Column("RM", "rooms"))
    assert example_inputs(split, []).tolist() == [[4, 7], [5, 7], [6, 7], [7, 7], [8, 7]]


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        (Dataset(features=["rooms"]), "no feature 'rooms' in Boston housing; choose from CRIM, ZN, .*LSTAT, MEDV"),
        (Dataset(target="price"), "no target 'price' in Boston housing"),
        (Dataset(features=["RM", "MEDV"]), "MEDV is the target and can't be a feature too"),
    ],
)
def test_names_that_the_dataset_lacks_are_refused_and_the_right_ones_listed(
    snapshot: Snapshot, dataset: Dataset, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        check_columns(snapshot, dataset)


def test_shapes_and_first_row_are_the_tutorials(snapshot: Snapshot, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="linear_neuron")
    rows = split(snapshot, Dataset(), 0.3)
    assert (len(rows.names), rows.train.y[0]) == (13, 15.2)
    assert caplog.messages[0] == "Rows to learn from: (404, 13), to test on: (102, 13)"
    assert "RM 6.142, AGE 91.7, DIS 3.9769, RAD 4" in caplog.messages[1]
    assert caplog.messages[1].endswith("LSTAT 18.72; MEDV 15.2")


def test_the_steps_check_names_and_rows(snapshot: Snapshot) -> None:
    with pytest.raises(UserError, match="no target 'price' in Boston housing"):
        split(snapshot, Dataset(target="price"), 0.3)
    rows = split(snapshot, Dataset(), 0.3)
    assert extract_features(rows, Dataset(features=["RM"])).train.x.shape == (282, 1)
    few = replace(snapshot, values=snapshot.values[:4])
    with pytest.raises(UserError, match="There are too few rows"):
        extract_features(split(few, Dataset(), 0.3), Dataset(features=["RM"]))


def own_table(rows: int, times: bool) -> Snapshot:
    """A table of which each row is its own hash, and every third has the time of the two before."""
    hashes = np.sort(np.random.default_rng(7).integers(0, 2**64, 1000, np.uint64)[:rows])
    return Snapshot(
        name="sales",
        origin=Origin("ab" * 32, "sales.csv", details={"time": "sold_on"}),
        columns=(Column("area", "area"), Column("price", "price")),
        values=np.column_stack([np.arange(rows), hashes]).astype(float),
        seed=None,
        train_share=0.8,
        times=np.arange(rows) // 3 if times else None,
        hashes=hashes,
        hashed="id",
    )


def test_a_row_stays_in_its_part_when_the_table_grows() -> None:
    before, after = (split_rows(own_table(rows, times=False), "price", 0.3) for rows in (500, 1000))
    for part in ("train", "validation", "test"):
        assert set(before.parts[part].y) < set(after.parts[part].y)
    assert [len(rows) for rows in after.parts.values()] == [564, 239, 197]
    assert after.rule == "hash of id"


def test_the_newest_rows_are_for_testing_and_no_time_is_cut() -> None:
    split = split_rows(own_table(100, times=True), "price", 0.3)
    assert [len(rows) for rows in split.parts.values()] == [54, 24, 22]
    ends = [(int(rows.time[0]), int(rows.time[-1])) for rows in split.parts.values() if rows.time is not None]
    assert ends == [(0, 17), (18, 25), (26, 33)]
    assert split.rule == "time in sold_on"


@pytest.mark.parametrize("times", [[7] * 100, [7] * 90 + [8] * 10, [7] * 70 + [8] * 30], ids=["one", "early", "late"])
def test_too_few_times_to_cut_between_are_told(times: list[int]) -> None:
    different = len(set(times))
    with pytest.raises(UserError, match=f"The 100 rows have {different} different times, .* Take a finer time"):
        split_rows(replace(own_table(100, times=True), times=np.array(times)), "price", 0.3)


def test_a_big_table_is_split_without_a_copy() -> None:
    snapshot = own_table(1000, times=False)
    split = select_features(split_rows(snapshot, "price", 0.3), ["area"])
    assert all(np.shares_memory(rows.x, snapshot.values) for rows in split.parts.values())


def test_a_split_is_made_again_from_the_file_of_its_rows(tmp_path: Path) -> None:
    rows = np.zeros(100, record_type(["area", "rooms", "price"], timed=False))
    rows["area"], rows["\0hash"] = np.arange(100), own_table(100, times=False).hashes
    np.save(tmp_path / "rows.npy", rows)
    snapshot = open_records(tmp_path / "rows.npy", Origin("", "", details={}))
    before = select_features(split_rows(snapshot, "price", 0.3), ["area"])
    assert before.recall is not None
    again = remake_split(before.recall)
    assert (again.names, again.recall) == (["area"], before.recall)
    assert all(np.array_equal(again.parts[part].x, rows.x) for part, rows in before.parts.items())
