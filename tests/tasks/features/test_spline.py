"""A spline is the natural cubic spline through its knots, and plain polynomials give the same bits."""

import numpy as np
import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.spline import Floats, encode, evaluate, explain_knots, find_knots, to_polynomials

pytestmark = pytest.mark.xdist_group("references")

KNOTS = [1.0, 2.5, 3.0, 7.0, 20.0]


@pytest.mark.parametrize(
    ("knots", "weights"),
    [
        (KNOTS, [3.0, -1.0, 4.0, 2.5]),
        ([-1e6, 0.0, 1e9], [1e-6, 5.0]),
        ([1e9, 1e9 + 1, 1e9 + 3, 1e9 + 4], [-2.0, 1.0, 7.0]),
        ([float(knot) for knot in range(21)], np.random.default_rng(1).normal(size=20).tolist()),
    ],
)
def test_curve_is_scipys_natural_spline(knots: list[float], weights: list[float]) -> None:
    from scipy.interpolate import CubicSpline

    reference = CubicSpline(knots, [2.0, *(2.0 + weight for weight in weights)], bc_type="natural")
    values = np.linspace(knots[0], knots[-1], 1001)
    curve = evaluate(knots, to_polynomials(knots, weights, level=2.0), values)
    assert curve == pytest.approx(reference(values), rel=1e-9, abs=1e-9)


def test_curve_is_straight_beyond_the_outer_knots() -> None:
    from scipy.interpolate import CubicSpline

    weights = [3.0, -1.0, 4.0, 2.5]
    reference = CubicSpline(KNOTS, [0, *weights], bc_type="natural")
    polynomials = to_polynomials(KNOTS, weights)
    below, above = np.array([-50.0, 0.0, 0.999]), np.array([20.0, 21.0, 1e6])
    slopes = reference([KNOTS[0], KNOTS[-1]], 1)
    assert evaluate(KNOTS, polynomials, below) == pytest.approx((below - 1) * slopes[0], rel=1e-12)
    assert evaluate(KNOTS, polynomials, above) == pytest.approx(2.5 + (above - 20) * slopes[1], rel=1e-12)
    assert polynomials[0][2:] == polynomials[-1][2:] == [0, 0]


def test_design_columns_times_weights_are_the_curve() -> None:
    values, weights = np.random.default_rng(0).uniform(-5, 40, 1000), [3.0, -1.0, 4.0, 2.5]
    columns = encode(KNOTS, values)
    assert columns.shape == (1000, 4)
    assert columns @ weights == pytest.approx(evaluate(KNOTS, to_polynomials(KNOTS, weights), values), rel=1e-12)
    assert encode(KNOTS, np.array(KNOTS)).tolist() == [[0, 0, 0, 0], *np.eye(4).tolist()]


def test_horner_gives_the_bits_of_plain_arithmetic() -> None:
    polynomials = to_polynomials(KNOTS, [3.0, -1.0, 4.0, 2.5])
    values = np.random.default_rng(0).uniform(-5, 40, 200)
    for value, found in zip(values.tolist(), evaluate(KNOTS, polynomials, values).tolist(), strict=True):
        interval = sum(value >= knot for knot in KNOTS)
        a0, a1, a2, a3 = polynomials[interval]
        t = value - KNOTS[max(interval - 1, 0)]
        assert found == ((a3 * t + a2) * t + a1) * t + a0


def test_missing_value_stays_missing() -> None:
    values = np.array([np.nan, 3.0])
    assert np.isnan(evaluate(KNOTS, to_polynomials(KNOTS, [1.0, 2, 3, 4]), values)).tolist() == [True, False]
    assert (
        find_knots(np.append(np.arange(10.0), np.nan), 2, "s").tolist() == find_knots(np.arange(10.0), 2, "s").tolist()
    )


def test_knots_are_at_quantiles_in_any_order_of_rows() -> None:
    values = np.random.default_rng(0).lognormal(size=5000)
    knots = find_knots(values, 4, "spline(x, 4)")
    assert knots.tolist() == np.sort(values)[[4, 1252, 2499, 3747, 4994]].tolist()
    assert find_knots(values[::-1], 4, "spline(x, 4)").tolist() == knots.tolist()


def test_one_wild_value_moves_no_knot_far() -> None:
    values = np.random.default_rng(0).uniform(0, 10, 10_000)
    values[17] = 1e6
    assert find_knots(values, 4, "spline(x, 4)")[-1] < 10


def test_knots_of_tied_values_are_those_of_different_ones() -> None:
    values: Floats = np.append(np.zeros(900), np.arange(1, 101)).astype(np.float64)
    knots = find_knots(values, 4, "spline(x, 4)")
    assert knots.tolist() == [0, 25, 50, 75, 100]
    assert explain_knots("spline(x, 4)", knots.tolist(), 4) == ""


def test_fewer_values_than_knots_are_the_knots() -> None:
    knots = find_knots(np.array([1.0, 2, 2, 5, 5, 5]), 4, "spline(x, 4)")
    assert knots.tolist() == [1, 2, 5]
    assert explain_knots("spline(x, 4)", knots.tolist(), 4) == (
        "spline(x, 4) has 2 degrees of freedom: its column has 3 different values."
    )


@pytest.mark.parametrize("values", [[], [1.0, 1.0], [1.0, 2.0, np.nan], [1.0, 1.0 + 1e-15, 2.0]])
def test_two_different_values_are_no_curve(values: list[float]) -> None:
    with pytest.raises(
        UserError, match=r"^spline\(x, 4\) needs at least 3 different values .*: take the column itself"
    ):
        find_knots(np.array(values), 4, "spline(x, 4)")
