"""What can't be learned from is told before any training."""

from collections.abc import Callable

import numpy as np
import pytest

from tasks.dataset.contract import check_rows, learn_contract
from tasks.dataset.rows import Column, Floats, Rows, Split
from tasks.errors import UserError


def a_split(x: Floats, y: Floats, test: int = 20) -> Split:
    rows = Rows(x[test:], y[test:], np.arange(len(y) - test))
    features = tuple(Column(name, name) for name in ("area", "rooms")[: x.shape[1]])
    return Split(features, Column("price", "price"), rows, rows, Rows(x[:test], y[:test], np.arange(test)))


@pytest.fixture
def x() -> Floats:
    return np.random.default_rng(0).normal(1e6, 1, (100, 2))


def test_what_varies_is_learned_from(x: Floats) -> None:
    check_rows(a_split(x, x[:, 0] + np.random.default_rng(1).normal(0, 1e-3, 100)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: (x * [1, 0] + [0, 7.1], x[:, 0]), "rooms has one value in all rows to learn from"),
        (lambda x: (x, np.full(100, 1 / 3)), "price has one value in all rows"),
        (lambda x: (x, 3 - 2 * x[:, 1]), "price is rooms in other units: nothing is left to learn"),
        (
            lambda x: (np.column_stack([x[:, 0], 1 - x[:, 0] / 3]), x[:, 1]),
            "area and rooms say the same in other units",
        ),
        (lambda x: (x[:23], x[:23, 0]), "too few rows: 3 to learn from, 3 to validate, 20 to test on; at least 4 are"),
    ],
)
def test_what_teaches_nothing_is_refused(
    x: Floats, spoil: Callable[[Floats], tuple[Floats, Floats]], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_rows(a_split(*spoil(x)))


def test_what_is_remembered_of_a_column() -> None:
    values = np.arange(120.0)
    contract = learn_contract(a_split(values[:, None], -values, test=19), {"area": 0.25})
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
