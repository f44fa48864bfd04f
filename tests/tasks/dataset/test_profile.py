"""Rows that nothing can be learned from are refused before any training, and the rest is profiled."""

from collections.abc import Callable

import numpy as np
import pytest

from linear_neuron.tasks.dataset.profile import count_bins, describe_column, describe_errors, make_profile
from linear_neuron.tasks.dataset.rows import Column, Floats, Rows, Split
from linear_neuron.tasks.dataset.split import check_features, leave_out_dependent
from linear_neuron.tasks.errors import UserError
from tests.helpers import make_split

PRICE = Column("price", "price")


def a_split(x: Floats, y: Floats, test: int = 20) -> Split:
    rows = Rows(x[test:], y[test:], np.arange(len(y) - test))
    features = tuple(Column(name, name) for name in ("area", "rooms")[: x.shape[1]])
    return make_split(features, PRICE, rows, rows, Rows(x[:test], y[:test], np.arange(test)))


@pytest.fixture
def x() -> Floats:
    return np.random.default_rng(0).normal(1e6, 1, (100, 2))


def test_what_varies_is_learned_from(x: Floats) -> None:
    leave_out_dependent(a_split(x, x[:, 0] + np.random.default_rng(1).normal(0, 1e-3, 100)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: (x, np.full(100, 1 / 3)), "price has one value in all rows"),
        (lambda x: (x, 3 - 2 * x[:, 1]), "price is rooms in other units: nothing is left to learn"),
        (
            lambda x: (x * 0 + 7.1, x[:, 0]),
            r"No feature varies in the rows to learn from: area \(it has one value .*; rooms \(it .*\); name others",
        ),
        (
            lambda x: (x[:23], x[:23, 0]),
            "rows: 3 to learn from, 3 to validate, 20 to test on; at least 4 are .* more, or name fewer terms by --",
        ),
    ],
)
def test_what_teaches_nothing_is_refused(
    x: Floats, spoil: Callable[[Floats], tuple[Floats, Floats]], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        leave_out_dependent(a_split(*spoil(x)))


def test_dependent_features_are_left_out_in_one_list() -> None:
    rng = np.random.default_rng(0)
    area, rooms = rng.normal(1e6, 1, (2, 100))
    columns = {
        "constant": np.full(100, 0.1),
        "area": area,
        "feet": 1 - area / 3,
        "rooms": rooms,
        "sum": area + 2 * rooms,
        "zero": np.zeros(100),
        "near": area + rooms + 1e-5 * rng.normal(size=100),
    }
    rows = Rows(np.column_stack(list(columns.values())), area + rng.normal(size=100), np.arange(100))
    split, left_out = leave_out_dependent(make_split(tuple(Column(name, name) for name in columns), PRICE, rows))
    assert split.names == ["area", "rooms", "near"]
    assert left_out == {
        "constant": "it has one value in all rows to learn from",
        "feet": "it is area in other units",
        "sum": "it is a combination of the features before it",
        "zero": "it has one value in all rows to learn from",
    }
    assert np.array_equal(split.train.x[:, 1], rooms)


def test_forty_eight_columns_with_two_to_spare_are_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    x = np.random.default_rng(0).normal(size=(500, 46))
    rows = Rows(np.column_stack([x, x[:, 3] * 2, x[:, 0] - x[:, 5]]), x.sum(axis=1) + x[:, 0] ** 2, np.arange(500))
    split = check_features.fn(make_split(tuple(Column(f"x{n}", "") for n in range(48)), PRICE, rows))
    assert split.names == [f"x{n}" for n in range(46)]
    assert caplog.messages == [
        "2 features left out for adding nothing new: x46 (it is x3 in other units); x47 (it is a combination of the "
        "features before it)"
    ]


def test_what_is_remembered_of_a_column() -> None:
    values = np.arange(120.0)
    contract = make_profile(a_split(values[:, None], -values, test=19).train, ["area", "price"], {"area": 0.25})
    assert contract["area"] == {
        "type": "float64",
        "low": 19,
        "high": 119,
        "mean": 69,
        "nulls": 0.25,
        "deciles": [19, 29, 39, 49, 59, 69, 79, 89, 99, 109, 119],
        "counts": [11, 10, 10, 10, 10, 10, 10, 10, 10, 10],
    }
    assert contract["price"]["low"] == -119


def test_a_frequent_value_has_a_bin_of_its_own() -> None:
    profile = describe_column(np.repeat([0.0, 1.0], [5, 95]))
    assert profile["counts"] == [5, 95, 0, 0, 0, 0, 0, 0, 0, 0]
    assert count_bins(np.zeros(10), profile["deciles"])[0] == 10
    assert describe_column(np.repeat([0.0, 1.0, 9.0], [50, 45, 5]))["counts"] == [50, 0, 0, 0, 0, 0, 45, 0, 0, 5]


def test_errors_are_described_by_their_absolute_quantiles() -> None:
    assert describe_errors(np.array([-2.0, 0.0, 1.0]))[::50] == [0.0, 1.0, 2.0]
    assert describe_errors(np.array([])) == []
