"""Splits whose columns are made of terms."""

import numpy as np
import pytest

from linear_neuron.tasks.dataset.design_matrix import decode, encode, find_ranges, measure_effects, predict, predict_by
from linear_neuron.tasks.dataset.raw_columns import Labels, RawColumns
from linear_neuron.tasks.dataset.rows import Column, Origin, Snapshot, Split
from linear_neuron.tasks.dataset.split import check_columns, leave_out_dependent, split_table
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import LinearModel
from linear_neuron.tasks.parameters import Dataset
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version

COUNT = 300


def make_snapshot(seed: int | None = None) -> Snapshot:
    rng = np.random.default_rng(0)
    area, rooms = rng.uniform(1, 5, COUNT), rng.integers(1, 4, COUNT).astype(float)
    codes = rng.integers(0, 3, COUNT)
    price = 10 * np.log(area) + codes + rng.normal(0, 0.1, COUNT)
    return Snapshot(
        "sales",
        Origin("0" * 64, "sales.csv"),
        (Column("area", "area"), Column("rooms", "rooms"), Column("price", "price")),
        np.column_stack([area, rooms, price]),
        seed,
        0.8,
        hashes=np.sort(rng.integers(0, 2**64, COUNT, dtype=np.uint64)),
        labels={"cut": Labels(codes, ("a", "b", "c"))},
        time_columns={"sold": rng.integers(0, 2**50, COUNT)},
    )


def make_split(seed: int | None = None, **options: object) -> Split:
    given = {"features": ["log(area)", "rooms"], "categories": ["cut"], "target": "price", "source": "sales.csv"}
    return split_table(make_snapshot(seed), Dataset.model_validate(given | options), 0.3)


@pytest.mark.parametrize("seed", [None, 113])
def test_each_part_has_the_columns_of_its_own_rows(seed: int | None) -> None:
    split = make_split(seed)
    encoded = encode(split)
    assert encoded.names == ["log(area)", "rooms", "cut=a", "cut=b", "cut=c"]
    for part, rows in encoded.parts.items():
        before = split.rows[part]
        np.testing.assert_array_equal(rows.x[:, 0], np.log(before.x[:, 0]))
        np.testing.assert_array_equal(rows.x[:, 1], before.x[:, 1])
        np.testing.assert_array_equal(rows.y, before.y)
        assert (rows.x[:, 2:].sum(axis=1) == 1).all()
    assert (encoded.whole is None) == (seed is not None)
    assert encoded.kinds == {"area": "number", "rooms": "number", "cut": "category", "sold": "time"}
    assert encoded.has(["cut", "sold"])
    assert not encoded.has(["price"])


def test_columns_of_numbers_are_not_encoded() -> None:
    split = make_split(features=["area", "rooms"], categories=[])
    assert encode(split) is split
    assert split.entries is None


def test_terms_that_add_nothing_are_left_out() -> None:
    features = ["rooms", "log(area)", "log(area ** 2)", "rooms - rooms"]
    encoded, left_out = leave_out_dependent(encode(make_split(features=features)))
    assert left_out == {
        "log(area ** 2)": "it is log(area) in other units",
        "rooms - rooms": "it has one value in all rows to learn from",
    }
    assert encoded.names == ["rooms", "log(area)", "cut=a", "cut=b", "cut=c"]
    assert encoded.train.x.shape[1] == 5


def test_the_target_in_other_units_is_refused_as_a_level_too() -> None:
    snapshot = make_snapshot()
    values = snapshot.values.copy()
    values[:, 2] = snapshot.labels["cut"].codes == 1
    leaking = Snapshot(**{**snapshot.__dict__, "values": values})
    dataset = Dataset(source="sales.csv", features=["area"], categories=["cut"], target="price")
    with pytest.raises(UserError, match="price is cut=b in other units"):
        leave_out_dependent(encode(split_table(leaking, dataset, 0.3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ["log(price)"]}, r"price is the target and can't be read by log\(price\); leave it out"),
        ({"categories": ["price"]}, "price is the target and can't be read by price"),
        ({"features": ["area:price"]}, "price is the target and can't be read by area:price"),
        ({"features": ["cut"], "categories": []}, "Column 'cut' of sales holds no numbers; name another column"),
        ({"features": ["month(area)"]}, "Column 'area' of sales holds no times"),
        ({"categories": ["sold"]}, "Column 'sold' of sales holds no labels"),
        ({"categories": ["Cut"]}, "There is no feature 'Cut' in sales; choose from area, rooms, price, cut, sold"),
        ({"features": ["log(aera)"]}, r"'log\(aera\)' is no term: there is no column 'aera'; did you mean 'area'"),
    ],
)
def test_what_cannot_be_read_is_named(options: dict[str, object], message: str) -> None:
    given = {"features": ["area"], "categories": ["cut"], "target": "price", "source": "sales.csv"}
    with pytest.raises(UserError, match=message):
        check_columns(make_snapshot(), Dataset.model_validate(given | options))


def test_terms_predict_as_the_columns_do(store: Store) -> None:
    encoded = encode(make_split())
    assert encoded.terms is not None
    model = encoded.terms.settle(LinearModel((10.0, 0.0, 0.0, 1.0, 2.0), 0.5), encoded.train.x.mean(axis=0))
    predicted = predict(encoded, model, encoded.test)
    np.testing.assert_allclose(predicted, model.predict(encoded.test.x), rtol=1e-6)
    assert np.mean((predicted - encoded.test.y) ** 2) < 0.3
    terms = decode(encoded, model, encoded.train)
    assert sum(terms[2].rows.values()) == len(encoded.train)
    version = make_version(
        store, "v", features=["log(area)", "rooms", "cut"], target="price", weights=list(model.weights),
        centers=list(model.centers), base=model.base, terms=terms, columns=encoded.terms.kinds, arithmetic="float64",
    )  # fmt: skip
    assert predict_by(version, encoded, encoded.rows["test"]).tolist() == predicted.tolist()
    assert predict_by(version, make_split(), make_split().rows["test"]).tolist() == predicted.tolist()
    effects = measure_effects(
        RawColumns({}) if encoded.raw is None else encoded.raw, encoded.train, terms, version.kinds
    )
    assert effects["log(area)"] == pytest.approx(10 * encoded.train.x[:, 0].std())
    assert effects["rooms"] == 0


def test_a_version_without_terms_predicts_rows_of_an_encoded_split(store: Store) -> None:
    plain = make_version(store, "v", features=["rooms", "area"], weights=[1.0, 2.0], bias=0.5, target="price")
    split, encoded = make_split(), encode(make_split())
    expected = plain.linear_model.predict(split.rows["test"].x[:, [1, 0]])
    assert predict_by(plain, encoded, encoded.rows["test"]).tolist() == expected.tolist()
    assert predict_by(plain, split, split.rows["test"]).tolist() == expected.tolist()


def test_ranges_are_those_of_known_values() -> None:
    raw = RawColumns({"a": np.array([1.0, np.nan, 3.0, 9.0]), "b": np.full(4, np.nan)})
    assert find_ranges(raw, np.arange(3), ["a", "b"]) == {"a": (1.0, 3.0)}
