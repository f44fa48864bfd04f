"""A ridge and signs give the optimum that other solvers find, and the neuron is trained to it."""

from itertools import product

import numpy as np
import pytest

from linear_neuron.tasks.dataset.moments import Moments, measure_moments
from linear_neuron.tasks.dataset.rows import Floats, Rows
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Training
from linear_neuron.tasks.training.constraints import FREE, Constraints, find_positive, read_constraints

pytestmark = pytest.mark.xdist_group("references")

CONVERGED = Training(recipe="converged").resolve(own_table=True)
NAMES = ["a", "b", "c", "d"]


def make_rows(count: int = 500) -> tuple[Floats, Floats]:
    """Make features of sizes 1e-3 to 1e6, far from zero, that correlate; least squares has weights of both signs."""
    rng = np.random.default_rng(0)
    common, noise = rng.normal(size=(count, 1)), rng.normal(size=(count, 4))
    x = (noise + 2 * common) * [1.0, 1e6, 1e-3, 10] + [5, 1e7, 1, -300]
    y = x @ [2.0, -1e-6, 500, 0.02] + 100 + rng.normal(size=count)
    return x, np.asarray(y)


def measure(x: Floats, y: Floats, weights: Floats | None = None) -> Moments:
    return measure_moments([*NAMES[: x.shape[1]], "y"], x, y, weights)


@pytest.mark.parametrize("l2", [1e-6, 0.1, 1.0, 1000.0])
def test_ridge_is_scikit_learns(l2: float) -> None:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = make_rows()
    reference = make_pipeline(StandardScaler(), Ridge(alpha=l2 * len(y), solver="svd")).fit(x, y)
    model = Constraints(l2).solve(measure(x, y))
    scale = reference[0].scale_
    assert np.array(model.weights) * scale == pytest.approx(reference[1].coef_, rel=1e-9)
    assert model.compute(x) == pytest.approx(reference.predict(x), rel=1e-9)


def test_ridge_of_rows_with_weights_is_that_of_repeated_rows() -> None:
    x, y = make_rows(60)
    counts = np.random.default_rng(1).integers(1, 5, 60)
    repeated = Constraints(0.3).solve(measure(np.repeat(x, counts, axis=0), np.repeat(y, counts)))
    weighted = Constraints(0.3).solve(measure(x, y, counts.astype(np.float64)))
    assert weighted.weights == pytest.approx(repeated.weights, rel=1e-9)


def test_ridge_leaves_the_bias_alone() -> None:
    x, y = make_rows()
    model = Constraints(1e6).solve(measure(x, y + 1e5))
    assert model.compute(x).mean() == pytest.approx(y.mean() + 1e5, rel=1e-12)


def test_ridge_decides_between_columns_that_depend() -> None:
    x, y = make_rows()
    model = Constraints(0.1).solve(measure(np.column_stack([x[:, 0], 2 * x[:, 0]]), y))
    assert model.weights[0] == pytest.approx(2 * model.weights[1], rel=1e-9)


@pytest.mark.parametrize("l2", [0.0, 0.2])
@pytest.mark.parametrize("signs", [signs for signs in product((-1, 0, 1), repeat=4) if any(signs)])
def test_signs_give_the_optimum_that_scipy_finds(signs: tuple[int, ...], l2: float) -> None:
    from scipy.optimize import lsq_linear

    x, y = make_rows()
    constraints = Constraints(l2, dict(zip(NAMES, signs, strict=True)))
    model = constraints.solve(measure(x, y))
    scale = x.std(axis=0)
    rows = np.vstack([(x - x.mean(axis=0)) / scale, np.sqrt(l2 * len(y)) * np.eye(4)])
    target = np.append(y - y.mean(), np.zeros(4))
    bounds = [-np.inf if sign <= 0 else 0 for sign in signs], [np.inf if sign >= 0 else 0 for sign in signs]
    best = lsq_linear(rows, target, bounds, method="bvls", tol=1e-14).x
    weights = np.array(model.weights) * scale
    assert weights == pytest.approx(best, rel=1e-7, abs=1e-9 * y.std())
    # The conditions of an optimum: no gradient along what may move, none inward along what is bound.
    gradient = rows.T @ (target - rows @ weights) / len(y) / y.std()
    for weight, slope, sign in zip(weights, gradient, signs, strict=True):
        assert weight * sign >= 0
        assert abs(slope) < 1e-9 if weight else slope * sign <= 1e-9


def test_many_random_problems_are_those_of_nnls() -> None:
    from scipy.optimize import nnls

    rng = np.random.default_rng(0)
    for _ in range(200):
        columns = rng.normal(size=(30, 12)) + rng.normal(size=(30, 1))
        columns /= np.linalg.norm(columns, axis=0)
        target = rng.normal(size=30)
        target /= np.linalg.norm(target)
        assert (find_positive(columns, target) == (nnls(columns, target)[0] > 1e-9)).all()


def test_signed_column_that_others_explain_is_bound() -> None:
    x, y = make_rows()
    model = Constraints(signs={"b": 1}).solve(measure(np.column_stack([x[:, 0], x[:, 0] * 3 + 1]), y))
    assert model.weights[1] == 0
    assert model.weights[0] == pytest.approx(measure(x[:, :1], y).solve().weights[0], rel=1e-9)


def test_column_that_does_not_vary_is_bound() -> None:
    x, y = make_rows()
    x[:, 3] = 7
    assert Constraints(signs={"d": 1}).solve(measure(x, y)).weights[3] == 0


def test_signs_that_bind_are_described_with_their_cost() -> None:
    x, y = make_rows()
    moments = measure(x, y)
    found = Constraints(signs={"a": 1, "b": 1}).describe_signs(moments)
    free = moments.solve()
    assert found["bound"] == {"b": free.weights[1]}
    assert found["mse_without"] == moments.measure_mse(free)
    assert found["mse"] == moments.measure_mse(Constraints(signs={"b": 1}).solve(moments))
    assert found["mse"] > 1.01 * found["mse_without"]
    assert FREE.describe_signs(moments) == {}


@pytest.mark.parametrize(
    "constraints", [Constraints(0.5), Constraints(0.1, {"b": 1, "a": 1}), Constraints(0, {"d": -1})]
)
def test_neuron_is_trained_to_the_constrained_optimum(constraints: Constraints) -> None:
    from linear_neuron.tasks.training.neuron import train_neuron

    x, y = make_rows()
    moments = constraints.apply(measure(x, y))
    rows = moments.condense()
    none = Rows(rows.x[:0], rows.y[:0], rows.number[:0])
    signs = np.array([float(constraints.signs.get(name, 0)) for name in NAMES])
    model, result = train_neuron(rows, none, CONVERGED, signs=signs)
    best, line = constraints.solve(measure(x, y)), result.linear_model
    assert result.remarks == ()
    assert np.array(line.weights) * x.std(axis=0) == pytest.approx(np.array(best.weights) * x.std(axis=0), abs=1e-2)
    assert moments.measure_mse(line) <= moments.measure_mse(best) * (1 + 2e-6)
    bound = [weight == 0 for weight in best.weights]
    assert [weight == 0 for weight in line.weights] == bound
    assert [float(weight) == 0 for weight in model.get_weights()[0][:, 0]] == bound


def test_weight_that_training_leaves_on_the_wrong_side_is_zero() -> None:
    from linear_neuron.tasks.training.neuron import train_neuron

    x, y = make_rows()
    rows = measure(x, y).condense()
    none = Rows(rows.x[:0], rows.y[:0], rows.number[:0])
    free = train_neuron(rows, none, CONVERGED)[1].linear_model
    _, result = train_neuron(rows, none, CONVERGED, signs=-np.sign(free.weights))
    line = result.linear_model
    assert line.weights == (0, 0, 0, 0)
    assert line.bias == line.base == pytest.approx(y.mean())


def test_recipe_is_read_with_its_signs() -> None:
    training = CONVERGED.model_copy(update={"l2": 0.5, "signs": ["a=b=+", "c=-", "gone=+"]})
    found = read_constraints(training, ["a=b", "c", "d"], ["a=b", "c", "d", "gone"])
    assert found == Constraints(0.5, {"a=b": 1, "c": -1})
    assert read_constraints(CONVERGED, ["c"], ["c"]) == FREE


def test_sign_of_an_unknown_name_is_refused() -> None:
    training = CONVERGED.model_copy(update={"signs": ["aera=+"]})
    with pytest.raises(
        UserError, match=r"^--training.signs names 'aera', which is no numeric term; choose from area\.$"
    ):
        read_constraints(training, ["area"], ["area"])
    with pytest.raises(UserError, match=r"^--training.signs names 'aera', which is no numeric term; there is none\.$"):
        read_constraints(training, ["spline(area, 4) 1"], [])


@pytest.mark.parametrize("change", [{"l2": 0.1}, {"signs": ["RM=+"]}])
def test_notebook_recipe_refuses_constraints(change: dict[str, object]) -> None:
    training = Training().resolve(own_table=False).model_copy(update=change)
    with pytest.raises(UserError, match=r"^The recipe notebook knows no ridge and no signs: leave --training.l2"):
        read_constraints(training, ["RM"], ["RM"])
