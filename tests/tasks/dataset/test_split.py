"""Rows are split exactly as Keras splits them."""

import os
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from linear_neuron.tasks.dataset.boston import COLUMNS, FILE, read_snapshot
from linear_neuron.tasks.dataset.rows import Column, Origin, Rows, Snapshot, Split, open_records, record_type
from linear_neuron.tasks.dataset.split import (
    check_columns,
    check_features,
    example_inputs,
    leave_out_dependent,
    recall_split,
    split,
    split_rows,
)
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Dataset
from tests.helpers import make_split

FEATURES = [column.name for column in COLUMNS[:-1]]
DATA = (resources.files("linear_neuron.tasks.dataset") / "data" / FILE.name).read_bytes()


@pytest.fixture
def snapshot() -> Snapshot:
    return read_snapshot(DATA, Origin(FILE.sha256, "package"))


@pytest.mark.xdist_group("references")
def test_split_equals_that_of_keras(snapshot: Snapshot) -> None:
    import keras

    cached = Path(os.environ["KERAS_HOME"]) / "datasets" / FILE.name
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(DATA)
    (x, y), (x_test, y_test) = keras.datasets.boston_housing.load_data()
    split = split_rows(snapshot, "MEDV", FEATURES, 0.3)
    assert np.array_equal(np.concatenate([split.train.x, split.validation.x]), x)
    assert np.array_equal(np.concatenate([split.train.y, split.validation.y]), y)
    assert np.array_equal(split.test.x, x_test)
    assert np.array_equal(split.test.y, y_test)


def test_validation_rows_are_the_last_share_as_keras_cuts_them(snapshot: Snapshot) -> None:
    assert [len(rows) for rows in split_rows(snapshot, "MEDV", FEATURES, 0.3).parts.values()] == [282, 122, 102]
    assert [len(rows) for rows in split_rows(snapshot, "MEDV", FEATURES, 0).parts.values()] == [404, 0, 102]


def test_row_numbers_lead_back_to_the_file(snapshot: Snapshot) -> None:
    test = split_rows(snapshot, "MEDV", FEATURES, 0.3).test
    assert np.array_equal(snapshot.values[test.number, :13], test.x)
    assert np.array_equal(snapshot.values[test.number, 13], test.y)
    assert len(set(test.number.tolist())) == 102


def test_validation_split_without_rows_to_fit_is_refused(snapshot: Snapshot) -> None:
    few = replace(snapshot, values=snapshot.values[:10])
    with pytest.raises(UserError, match=r"0\.99 leaves no row of 8 to fit"):
        split_rows(few, "MEDV", FEATURES, 0.99)
    assert len(split_rows(few, "MEDV", FEATURES, 0.8).train) == 1


def test_design_picks_columns_by_name(snapshot: Snapshot) -> None:
    split = split_rows(snapshot, "MEDV", ["LSTAT", "RM"], 0.3)
    assert [column.name for column in split.features] == ["LSTAT", "RM"]
    assert split.train.x.shape == (282, 2)
    assert np.array_equal(split.test.x[:, 1], split.rows["test"].x[:, 5])
    assert np.array_equal(split.design("test", ["AGE", "RM"]).x[:, 1], split.test.x[:, 1])
    assert (split.has(["AGE", "RM"]), split.has(["AGE", "MEDV"])) == (True, False)


def test_any_column_can_be_the_target(snapshot: Snapshot) -> None:
    split = split_rows(snapshot, "TAX", ["RM"], 0.3)
    assert split.target.name == "TAX"
    assert [column.name for column in split.columns] == [
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
    assert split.rows["test"].x[0, 9] == snapshot.values[split.test.number[0], 10]


def few_rows(*features: Column) -> Split:
    x = np.array([[float(number + place) for place, _ in enumerate(features)] for number in (4, 6, 8)])
    rows = Rows(x, np.array([1.0, 2.0, 3.0]), np.arange(3))
    return make_split(features, Column("MEDV", "price"), rows)


def test_examples_default_to_those_of_the_column() -> None:
    rooms = Column("RM", "rooms", examples=(3, 4, 5, 6, 7))
    assert example_inputs(few_rows(rooms), [])[:, 0].tolist() == [3, 4, 5, 6, 7]
    assert example_inputs(few_rows(rooms), [5.5])[:, 0].tolist() == [5.5]


def test_examples_span_the_first_feature_only() -> None:
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
def test_unknown_column_is_refused_with_the_known_ones(snapshot: Snapshot, dataset: Dataset, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_columns(snapshot, dataset)


def test_shapes_and_first_row_are_those_of_the_tutorial(snapshot: Snapshot, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="linear_neuron")
    rows = split(snapshot, Dataset(), 0.3)
    assert (len(rows.columns), rows.train.y[0]) == (13, 15.2)
    assert caplog.messages[0] == "Rows to learn from: (404, 13), to test on: (102, 13)"
    assert "RM 6.142, AGE 91.7, DIS 3.9769, RAD 4" in caplog.messages[1]
    assert caplog.messages[1].endswith("LSTAT 18.72; MEDV 15.2")


def test_tasks_check_names_and_rows(snapshot: Snapshot) -> None:
    with pytest.raises(UserError, match="no target 'price' in Boston housing"):
        split(snapshot, Dataset(target="price"), 0.3)
    rows = split(snapshot, Dataset(), 0.3)
    check_features(rows)
    assert rows.train.x.shape == (282, 1)
    few = replace(snapshot, values=snapshot.values[:4])
    with pytest.raises(UserError, match=r"There are too few rows: .* Collect more\.$"):
        check_features(split(few, Dataset(), 0.3))


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
    before, after = (split_rows(own_table(rows, times=False), "price", ["area"], 0.3) for rows in (500, 1000))
    for part in ("train", "validation", "test"):
        assert set(before.parts[part].y) < set(after.parts[part].y)
    assert [len(rows) for rows in after.parts.values()] == [564, 239, 197]
    assert after.rule == "hash of id"


def test_the_newest_rows_are_for_testing_and_no_time_is_cut() -> None:
    split = split_rows(own_table(100, times=True), "price", ["area"], 0.3)
    assert [len(rows) for rows in split.parts.values()] == [54, 24, 22]
    ends = [(int(rows.time[0]), int(rows.time[-1])) for rows in split.parts.values() if rows.time is not None]
    assert ends == [(0, 17), (18, 25), (26, 33)]
    assert split.rule == "time in sold_on"


@pytest.mark.parametrize("times", [[7] * 100, [7] * 90 + [8] * 10, [7] * 70 + [8] * 30], ids=["one", "early", "late"])
def test_too_few_different_times_are_refused(times: list[int]) -> None:
    different = len(set(times))
    with pytest.raises(UserError, match=f"The 100 rows have {different} different times, .* Take a finer time"):
        split_rows(replace(own_table(100, times=True), times=np.array(times)), "price", ["area"], 0.3)


def test_a_big_table_is_split_without_a_copy() -> None:
    snapshot = own_table(1000, times=False)
    split = split_rows(snapshot, "price", ["area"], 0.3)
    assert all(np.shares_memory(rows.x, snapshot.values) for rows in split.parts.values())


def test_split_is_recalled_from_the_file_of_its_rows(tmp_path: Path) -> None:
    rows = np.zeros(100, record_type(["area", "rooms", "price"], timed=False))
    rows["area"], rows["\0hash"] = np.arange(100), own_table(100, times=False).hashes
    np.save(tmp_path / "rows.npy", rows)
    snapshot = open_records(tmp_path / "rows.npy", Origin("", "", details={}))
    before = split_rows(snapshot, "price", ["area"], 0.3)
    assert before.recall is not None
    again = recall_split(before.recall)
    assert (again.names, again.recall) == (["area"], before.recall)
    assert all(np.array_equal(again.parts[part].x, rows.x) for part, rows in before.parts.items())


def test_another_process_leaves_out_the_same_features(tmp_path: Path) -> None:
    rows = np.zeros(100, record_type(["rooms", "area", "price"], timed=False))
    rows["area"], rows["price"] = np.arange(100), np.arange(100) ** 2
    rows["\0hash"] = own_table(100, times=False).hashes
    np.save(tmp_path / "rows.npy", rows)
    snapshot = open_records(tmp_path / "rows.npy", Origin("", "", details={}))
    split, left_out = leave_out_dependent(split_rows(snapshot, "price", ["rooms", "area"], 0.3))
    assert left_out == {"rooms": "it has one value in all rows to learn from"}
    assert split.recall is not None
    again = recall_split(split.recall)
    assert again.names == split.names == ["area"]
    assert np.array_equal(again.train.x, split.train.x)
