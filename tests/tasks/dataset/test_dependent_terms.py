"""Expressions and splines that add nothing are left out with one warning, and leakage through them is refused."""

import logging

import numpy as np
import pytest

from linear_neuron.tasks.dataset.rows import Column, Origin, Snapshot, Split
from linear_neuron.tasks.dataset.split import check_features, split
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Dataset, Training
from linear_neuron.tasks.training.fit_data import prepare_fit


def make_snapshot(price: str = "noisy") -> Snapshot:
    """Make rows of x, y and a price above 0: of noise, or exactly a function of x."""
    rng = np.random.default_rng(0)
    x, y, noise = rng.uniform(1, 3, (3, 400))
    target = {"noisy": np.exp(x + y + noise), "exponential": np.exp(2 * x + 1), "linear": 3 * x + 1}[price]
    columns = (Column("x", "x"), Column("y", "y"), Column("price", "price"))
    hashes = np.sort(rng.integers(0, 2**64, 400, dtype=np.uint64))
    return Snapshot("t", Origin("", ""), columns, np.column_stack([x, y, target]), None, 0.8, hashes=hashes)


def check(features: list[str], target: str = "price", price: str = "noisy") -> Split:
    return check_features.fn(split.fn(make_snapshot(price), Dataset(source="t", features=features, target=target), 0.3))


@pytest.mark.parametrize(
    ("features", "kept", "reasons"),
    [
        (["x", "2*x", "y", "x+y"], ["x", "y"], {"2*x": "x in other units", "x+y": "a combination of the features"}),
        (["x", "spline(x, 3)"], ["spline(x, 3)"], {"x": "a combination of the splines"}),
        (["spline(x, 3)", "3 - x/2", "y"], ["spline(x, 3)", "y"], {"3 - x/2": "a combination of the splines"}),
        (["spline(x, 3)", "x - y", "y"], ["spline(x, 3)", "x - y"], {"y": "a combination of the features before it"}),
        (["spline(x, 3)", "spline(2*x, 3)", "y"], ["spline(x, 3)", "y"], {"spline(2*x, 3)": "a combination of"}),
        (["x", "y*0", "log(x)"], ["x", "log(x)"], {"y*0": "one value in all rows"}),
    ],
)
def test_terms_that_others_make_up_are_left_out_with_one_warning(
    features: list[str], kept: list[str], reasons: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        terms = check(features).terms
    assert terms is not None
    assert terms.texts == kept
    (warning,) = (record.getMessage() for record in caplog.records)
    assert warning.startswith(f"{len(reasons)} feature{'s' * (len(reasons) > 1)} left out for adding nothing new: ")
    for name, reason in reasons.items():
        assert f"{name} (it " in warning
        assert reason in warning.partition(f"{name} (it ")[2]


@pytest.mark.parametrize(
    ("features", "target", "price"),
    [
        (["x", "y"], "price", "linear"),
        (["y", "x*6"], "price", "linear"),
        (["x", "y"], "log(price)", "exponential"),
        (["y", "exp(2*x)"], "log(price)", "exponential"),
    ],
)
def test_target_that_a_term_gives_away_is_refused(features: list[str], target: str, price: str) -> None:
    with pytest.raises(UserError, match=r"^price is .* in other units: nothing is left to learn"):
        check(features, target, price)


def test_logarithm_of_a_target_that_is_not_positive_is_refused() -> None:
    snapshot = make_snapshot()
    snapshot.values[7, 2] = 0
    with pytest.raises(UserError, match=r"^price has no logarithm where it is 0; take price itself as the target\.$"):
        split.fn(snapshot, Dataset(source="t", features=["x"], target="log(price)"), 0.3)


def test_log_target_is_learned_and_the_target_is_kept() -> None:
    rows = split.fn(make_snapshot(), Dataset(source="t", features=["x"], target="log(price)"), 0.3)
    assert (rows.target.name, rows.link) == ("price", "log")
    assert rows.learn(rows.train).y.tolist() == np.log(rows.train.y).tolist()


def test_sign_of_an_expression_is_kept_and_of_a_spline_refused() -> None:
    training = Training(recipe="converged", signs=["log(x)=-", "x*0=+"]).resolve(own_table=True)
    data = prepare_fit.fn(check(["log(x)", "spline(y, 3)", "x*0"]), training)
    assert data.constraints.signs == {"log(x)": -1}, "a term that is left out needs no sign"
    assert data.solve(data.parts["train"]).weights[0] == 0
    with pytest.raises(
        UserError, match=r"names 'spline\(y, 3\)', which is no numeric term; choose from log\(x\), x\*0"
    ):
        prepare_fit.fn(data.split, training.model_copy(update={"signs": ["spline(y, 3)=+"]}))
