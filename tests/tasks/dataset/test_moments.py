"""Triangles of rows: they merge in any order, and give the fit and the errors that all rows give."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from linear_neuron.tasks.dataset.moments import Moments, measure_moments, merge_moments
from linear_neuron.tasks.dataset.rows import Floats, Rows
from linear_neuron.tasks.model import LinearModel

STRD = Path(__file__).parents[2] / "data" / "strd"
CERTIFIED = {
    "norris": (-0.262323073774029, 1.00211681802045),
    "pontius": (0.673565789473684e-03, 0.732059160401003e-06, -0.316081871345029e-14),
    "longley": (
        -3482258.63459582,
        15.0618722713733,
        -0.358191792925910e-01,
        -2.02022980381683,
        -1.03322686717359,
        -0.511041056535807e-01,
        1829.15146461355,
    ),
    "filip": (
        -1467.48961422980,
        -2772.17959193342,
        -2316.37108160893,
        -1127.97394098372,
        -354.478233703349,
        -75.1242017393757,
        -10.8753180355343,
        -1.06221498588947,
        -0.670191154593408e-01,
        -0.246781078275479e-02,
        -0.402962525080404e-04,
    ),
}


def measure(x: Floats, y: Floats, **more: Floats) -> Moments:
    return measure_moments([*(f"x{index}" for index in range(x.shape[1])), "y"], x, y, **more)


def make_rows(count: int) -> tuple[Floats, Floats]:
    """Make features of sizes 1e-6 and 1e6 far from zero, two of which correlate at 0.99."""
    rng = np.random.default_rng(0)
    first, noise, third, error = rng.normal(size=(4, count))
    second = 0.99 * first + (1 - 0.99**2) ** 0.5 * noise
    x = np.column_stack([1e6 * (first + 5), 1e-6 * (second - 2), 1e6 * (third + 3)])
    return x, 1e9 * (2 * first - second + third / 2 + 3 * error + 7)


def sum_squares(x: Floats, y: Floats, model: LinearModel) -> float:
    return float(np.sum((y - x @ model.weights - model.bias) ** 2))


def test_a_triangle_gives_the_fit_and_errors_of_its_rows() -> None:
    x, y = make_rows(50_000)
    moments = measure(x, y)
    design = np.column_stack([np.ones(len(y)), (x - x.mean(axis=0)) / x.std(axis=0)])
    expected, *_ = np.linalg.lstsq(design, y, rcond=None)
    model = moments.solve()
    assert np.multiply(model.weights, x.std(axis=0)) == pytest.approx(expected[1:], rel=1e-10)
    assert moments.measure_mse(model) == pytest.approx(sum_squares(x, y, model) / len(y), rel=1e-10)
    other = LinearModel((1e3, 2e14, 0.0), 5e8)
    assert moments.measure_mse(other) == pytest.approx(sum_squares(x, y, other) / len(y), rel=1e-12)
    assert moments.rows == 50_000
    assert moments.weight == pytest.approx(50_000)
    assert moments.means == pytest.approx(np.append(x.mean(axis=0), y.mean()), rel=1e-12)
    assert moments.variances == pytest.approx(np.append(x.var(axis=0), y.var()), rel=1e-10)
    assert moments.correlations == pytest.approx(np.corrcoef(np.column_stack([x, y]).T), abs=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_parts_merge_in_any_order_to_twelve_digits(seed: int) -> None:
    x, y = make_rows(40_000)
    rng = np.random.default_rng(seed)
    cuts = [0, *sorted(rng.integers(1, 40_000, 30)), 40_000]
    whole = measure(x, y)
    parts = [measure(x[a:b], y[a:b]) for a, b in pairwise(cuts) if b > a]
    merged = merge_moments([parts[index] for index in rng.permutation(len(parts))])
    tree = parts
    while len(tree) > 1:
        tree = [merge_moments(tree[index : index + 2]) for index in range(0, len(tree), 2)]
    best = whole.solve()
    for model in (best, LinearModel((1e3, 2e14, 0.0), 5e8)):
        expected = whole.measure_mse(model)
        assert merged.measure_mse(model) == pytest.approx(expected, rel=1e-12)
        assert tree[0].measure_mse(model) == pytest.approx(expected, rel=1e-12)
    assert merged.variances == pytest.approx(whole.variances, rel=1e-12)
    assert merged.rows == tree[0].rows == 40_000


def test_large_means_cost_no_digits() -> None:
    x = 1e9 + np.arange(100_000.0)[:, None] % 7
    y = 1e12 + 3 * (x[:, 0] - 1e9) + np.arange(100_000) % 2
    moments = measure(x, y)
    assert moments.solve().weights == pytest.approx((3.0,), rel=1e-5)
    exact = np.arange(100_000) % 7
    assert moments.variances[0] == pytest.approx(exact.var(), rel=1e-12)


@pytest.mark.parametrize("name", CERTIFIED)
def test_certified_values_of_nist_are_reached(name: str) -> None:
    """Data and certified values: NIST Statistical Reference Datasets, https://www.itl.nist.gov/div898/strd/ .

    Filip's columns depend on each other in their first ten digits, so that six are left in float64.
    """
    table = np.loadtxt(STRD / f"{name}.csv", delimiter=",", skiprows=1)
    powers = {"pontius": 2, "filip": 10}.get(name, 1)
    x = np.hstack([table[:, 1:] ** power for power in range(1, powers + 1)])
    whole = measure(x, table[:, 0])
    parts = merge_moments([measure(x[part], table[part, 0]) for part in np.array_split(np.arange(len(x)), 3)])
    for moments, digits in ((whole, 6 if name == "filip" else 9), (parts, 5 if name == "filip" else 9)):
        model = moments.solve()
        assert (model.bias, *model.weights) == pytest.approx(CERTIFIED[name], rel=10.0**-digits)


DELTA = [759, -2048, 2048, -2048, 2523, -2048, 2048, -2048, 1838, -2048, 2048]


@pytest.mark.parametrize(
    ("base", "noise", "digits"), [(1.0, 0, 9), (0.1, 0, 9), (1.0, 1, 9), (1.0, 100, 7), (1.0, 10_000, 5)]
)
def test_wamplers_polynomials_are_reached(base: float, noise: float, digits: int) -> None:
    """Wampler 1 to 5 of the same source, which are formulas; the noise costs the digits that it costs any QR."""
    x = np.arange(21.0)[:, None] ** np.arange(1, 6)
    y = 1 + x @ base ** np.arange(1, 6) + noise * np.array([*DELTA[:-1], DELTA[10], *DELTA[-2::-1]], float)
    model = measure(x, y).solve()
    assert (model.bias, *model.weights) == pytest.approx(base ** np.arange(6), rel=10.0**-digits)


def test_selected_columns_are_those_of_the_rows() -> None:
    x, y = make_rows(1000)
    selected = measure(x, y).select(["x2", "x0", "y"])
    direct = measure_moments(["x2", "x0", "y"], x[:, [2, 0]], y)
    assert selected.names == ("x2", "x0", "y")
    assert selected.solve().weights == pytest.approx(direct.solve().weights, rel=1e-10)
    assert selected.correlations == pytest.approx(direct.correlations, abs=1e-12)


def test_weights_count_as_often_as_they_say() -> None:
    x, y = make_rows(300)
    times = np.arange(300) % 3
    weighted = measure(x, y, weights=times.astype(float))
    repeated = measure(np.repeat(x, times, axis=0), np.repeat(y, times))
    assert weighted.weight == pytest.approx(repeated.weight)
    assert weighted.solve().weights == pytest.approx(repeated.solve().weights, rel=1e-9)
    halves = merge_moments([measure(x[:100], y[:100]).scale(0.5), measure(x[100:], y[100:])])
    direct = measure(x, y, weights=np.repeat([0.5, 1.0], [100, 200]))
    assert halves.solve().weights == pytest.approx(direct.solve().weights, rel=1e-9)


def test_a_penalty_is_that_of_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    x, error = rng.normal(size=(100, 2)), rng.normal(size=100)
    y = x @ [1.0, 2.0] + 3 + error
    centred, target = x - x.mean(axis=0), y - y.mean()
    expected = np.linalg.solve(centred.T @ centred + np.diag([7.0, 0.5]), centred.T @ target)
    assert measure(x, y).penalize(np.array([7.0, 0.5])).solve().weights == pytest.approx(expected, rel=1e-10)


def test_dependent_and_constant_columns_take_the_smallest_weights() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(size=500)
    x = np.column_stack([first, np.full(500, 0.1), np.zeros(500), 2 * first + 1])
    model = measure(x, 3 * first + 1).solve()
    assert model.weights == pytest.approx((1.5, 0, 0, 0.75), abs=1e-12), "each of one spread, so each explains half"
    assert np.isnan(measure(x, 3 * first + 1).correlations[1]).all()


def test_rounding_is_no_spread_seen_from_another_origin() -> None:
    rng, names = np.random.default_rng(1), ("a", "seldom", "y")
    a, y = rng.normal(size=(2, 300))
    plain = measure_moments(names, np.c_[a[:150], np.zeros(150)], y[:150])
    for share in (0.03, 0.1, 0.7):  # the origin of rows, of which these are all that do not have the level
        origin = np.array([0.1, share, 0.2])
        other = measure_moments(names, np.c_[a[150:], np.zeros(150)], y[150:], origin=origin)
        for order in ([plain, other], [other, plain]):
            assert merge_moments(order).solve().weights[1] == 0


def test_fewer_rows_than_columns_are_fitted_exactly() -> None:
    x = np.array([[1.0, 2.0, 3.0], [2.0, 1.0, 5.0]])
    moments = measure(x, np.array([1.0, 4.0]))
    assert moments.triangle.shape == (5, 5)
    assert moments.measure_mse(moments.solve()) == pytest.approx(0, abs=1e-20)
    one = measure(x[:1], np.array([1.0])).solve()
    assert one.weights == (0, 0, 0)
    assert one.bias == 1


def test_condensed_rows_have_the_loss_and_gradient_of_all_rows() -> None:
    x, y = make_rows(10_000)
    rows = measure(x, y, weights=np.linspace(0.1, 1, 10_000)).condense()
    assert rows.x.shape == (5, 3)
    weights = np.linspace(0.1, 1, 10_000) / np.linspace(0.1, 1, 10_000).sum()
    for model in (LinearModel((1e3, 2e14, 5.0), 5e8), LinearModel((0.0, 0.0, 0.0), 7e9)):
        left, few = (some.y - some.x @ model.weights - model.bias for some in (Rows(x, y, np.arange(len(y))), rows))
        assert np.mean(few**2) == pytest.approx(weights @ left**2, rel=1e-10)
        assert np.mean(few) == pytest.approx(weights @ left, rel=1e-9)
        assert few @ rows.x / 5 == pytest.approx((weights * left) @ x, rel=1e-9)
