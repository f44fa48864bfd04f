"""Every version is measured on the rows of any table that has features and target."""

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.monitoring.compare_versions import Realized, add_realized, describe_realized, measure_versions
from linear_neuron.tasks.registry.catalogue import list_models, render_models
from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.registry.versions import version_folder
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version


@pytest.fixture
def versions(store: Store) -> list[str]:
    """Three versions for MEDV, of which `both` reads two columns, and one for another target."""
    make_version(store, "both", features=["LSTAT", "RM"], weights=[-0.5, 3.0], ranges={"RM": (0, 1), "LSTAT": (0, 1)})
    make_version(store, "other", target="price")
    make_version(store, "rooms", weights=[2.0], bias=0.0)
    make_version(store, "zoned", features=["RM", "ZN"], weights=[1.0, 1.0], ranges={"RM": (0, 1), "ZN": (0, 1)})
    promote(store, "rooms", "first")
    return ["both", "other", "rooms", "zoned"]


def test_each_version_has_its_error_on_the_same_rows(store: Store, versions: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,RM,LSTAT,MEDV\n1,5,2,11\n2,6,4,12\n3,n/a,4,12\n4,7,4,\n5,8,,16\n")
    found = measure_versions(store, versions, str(tmp_path / "a.csv"))
    # both: 15 and 17 where 11 and 12 are true; rooms: 10 and 12.
    assert found.mse == {"both": (16 + 25) / 2, "rooms": 0.5}
    assert (found.rows, found.left_out, found.mean_mse) == (2, 3, 0.25)
    assert found.reasons == {"other": "it predicts price, and not MEDV", "zoned": "the table has no column ZN"}
    assert found.first == f"{tmp_path}/a.csv, line 4, column RM: 'n/a' is rejected as not a number"
    assert describe_realized(found, "a.csv") == (
        "On 2 rows of a.csv rooms would have been the best of 2 versions: RMSE 0.7071, beside 0.5000 for always "
        "predicting the mean of these rows.\n"
        f"Left out for all: 3 rows; the first is {found.first}.\n"
        "Not measured: 2 versions; `--json` says why of each.\n"
    )


def test_the_error_is_a_column_of_the_models(store: Store, versions: list[str], tmp_path: Path) -> None:
    pl.DataFrame({"RM": [5, 6], "LSTAT": [2, 4], "MEDV": [11, 12]}).write_parquet(tmp_path / "a.parquet")
    (version_folder(store, "both") / "model.json").write_bytes(b"{}")
    rows = list_models(store)
    assert "realized" not in render_models(rows)
    add_realized(rows, measure_versions(store, versions, str(tmp_path / "a.parquet")))
    fields = ("realised_mse", "realised_rows", "realised_mean_mse", "realised_left_out", "realised_reason")
    assert [[row[field] for field in fields] for row in rows] == [
        [None, None, None, None, "it is damaged"],
        [None, None, None, None, "it predicts price, and not MEDV"],
        [0.5, 2, 0.25, 0, ""],
        [None, None, None, None, "the table has no column ZN"],
    ]
    lines = render_models(rows).splitlines()
    assert " ".join(lines[0].split()) == (
        "version created (UTC) predicts recipe test RMSE realized least squares status size"
    )
    assert lines[1].split() == ["both", "(damaged),", "see:", "linear-neuron", "verify"]
    assert [line.split()[7:9] for line in lines if line.startswith("rooms")] == [["7.07", "0.7071"]]


def test_a_folder_is_read_with_the_columns_that_all_files_have(
    store: Store, versions: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "sales"
    folder.mkdir()
    (folder / "a.csv").write_text("RM;MEDV;LSTAT\n5,5;11;1\n")
    (folder / "b.csv.gz").write_bytes(gzip.compress(b"RM,MEDV\n6,14\n"))
    pl.DataFrame({"MEDV": [12.0], "RM": [6.0], "ZN": [6.0]}).write_parquet(folder / "c.parquet")
    found = measure_versions(store, versions, str(folder))
    assert (found.mse, found.rows) == ({"rooms": 4 / 3}, 3)
    assert found.reasons["both"] == "the table has no column LSTAT"


def test_without_a_champion_the_newest_version_says_the_target(store: Store, tmp_path: Path) -> None:
    make_version(store, "a")
    make_version(store, "b", target="price")
    (tmp_path / "a.csv").write_text("RM,MEDV,price\n5,11,16\n")
    found = measure_versions(store, ["a", "b"], str(tmp_path / "a.csv"))
    assert (found.mse, found.reasons) == ({"b": 0.0}, {"a": "it predicts MEDV, and not price"})


def test_rows_out_of_a_versions_bounds_are_left_out_for_all(store: Store, tmp_path: Path) -> None:
    make_version(store, "a", dataset={"bounds": ["RM=1..20", "AGE=0..1"]})
    make_version(store, "b", dataset={"bounds": ["RM=..10"]})
    make_version(store, "c")
    (tmp_path / "a.csv").write_text("RM,MEDV\n5,16\n0.5,3\n11,30\n")
    found = measure_versions(store, ["a", "b", "c"], str(tmp_path / "a.csv"))
    assert (found.mse, found.rows, found.left_out) == ({"a": 0.0, "b": 0.0, "c": 0.0}, 1, 2)
    assert found.first.endswith("line 3, column RM: '0.5' is rejected as out of bounds")
    make_version(store, "d", dataset={"bounds": ["RM=30.."]})
    with pytest.raises(UserError, match=r"^No value of RM is in the bounds of all versions"):
        measure_versions(store, ["a", "b", "c", "d"], str(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("RM,MEDV\nx,1\n", r"a\.csv, line 2, column RM: 'x' is rejected as not a number; no version can be measured\."),
        ("RM,MEDV\n", r"a\.csv has no rows; no version can be measured\. Name another table\.$"),
        ("", r"a\.csv can't be read: the file is empty"),
    ],
)
def test_a_table_of_no_use_is_one_sentence(store: Store, tmp_path: Path, content: str, sentence: str) -> None:
    make_version(store, "a")
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(UserError, match=sentence):
        measure_versions(store, ["a"], str(tmp_path / "a.csv"))
    (tmp_path / "b.txt").write_text(content)
    with pytest.raises(UserError, match=r"b\.txt can't be read: its name must end in \.csv"):
        measure_versions(store, ["a"], str(tmp_path / "b.txt"))


def test_nothing_to_measure_is_said(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("rooms,MEDV\n5,16\n")
    none = measure_versions(store, [], str(tmp_path / "a.csv"))
    assert describe_realized(none, "a.csv") == "No version can be measured on a.csv: there is none.\n"
    make_version(store, "a")
    lacking = measure_versions(store, ["a"], str(tmp_path / "a.csv"))
    assert lacking == Realized({}, {"a": "the table has no column RM"})
    assert (lacking.rows, lacking.left_out, lacking.mean_mse) == (0, 0, 0)
    assert describe_realized(lacking, "a.csv") == "No version can be measured on a.csv: the table has no column RM.\n"


def test_features_are_rounded_as_in_a_prediction(store: Store, tmp_path: Path) -> None:
    make_version(store, "a", weights=[1.0], bias=0.0)
    (tmp_path / "a.csv").write_text("RM,MEDV\n16777217,16777216\n")
    assert measure_versions(store, ["a"], str(tmp_path / "a.csv")).mse == {"a": 0.0}


def test_many_versions_take_bounded_memory_and_keep_their_digits(store: Store, tmp_path: Path) -> None:
    names = [f"v{place:03}" for place in range(100)]
    for place, name in enumerate(names):
        make_version(store, name, weights=[float(place)], bias=1e6)
    x = np.linspace(-1, 1, 200_001)
    pl.DataFrame({"RM": x, "MEDV": 1e6 + 3 * x}).write_parquet(tmp_path / "a.parquet")
    tracemalloc.start()
    found = measure_versions(store, names, str(tmp_path / "a.parquet"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6, "all errors at once would be 160 MB"
    third = np.float32(x).astype(np.float64) @ x / len(x)
    assert found.mean_mse == pytest.approx(9 * third, rel=1e-6)
    assert found.mse["v003"] == pytest.approx(0, abs=1e-12)
    assert found.mse["v099"] == pytest.approx(96**2 * third, rel=1e-6)
