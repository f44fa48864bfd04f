"""The converged recipe ends where least squares is, whatever the features' scales and however they correlate."""

from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from linear_neuron.tasks.dataset.boston import COLUMNS, FILE, read_snapshot
from linear_neuron.tasks.dataset.rows import Column, Floats, Origin, Rows
from linear_neuron.tasks.dataset.split import leave_out_dependent, split_rows
from linear_neuron.tasks.model import LinearModel
from linear_neuron.tasks.parameters import Training
from linear_neuron.tasks.training.basis import describe_end, find_basis
from linear_neuron.tasks.training.metrics import fit_least_squares, interval_half_widths, measure_coverage
from linear_neuron.tasks.training.results import TrainingResult
from tests.helpers import make_split

pytestmark = pytest.mark.xdist_group("references")

DATA = (resources.files("linear_neuron.tasks.dataset") / "data" / FILE.name).read_bytes()
FEATURES = [column.name for column in COLUMNS[:-1]]
BOSTON = split_rows(read_snapshot(DATA, Origin(FILE.sha256, "package")), "MEDV", FEATURES, 0.3)
STRD = Path(__file__).parents[2] / "data" / "strd"
CONVERGED = Training(recipe="converged").resolve(own_table=True)


def as_rows(x: Floats, y: Floats) -> Rows:
    return Rows(x, y, np.arange(len(y)))


def train(rows: Rows, **changes: object) -> TrainingResult:
    from linear_neuron.tasks.training.neuron import train_neuron

    none = Rows(rows.x[:0], rows.y[:0], rows.number[:0])
    return train_neuron(rows, none, CONVERGED.model_copy(update=changes))[1]


def measure_mse(model: LinearModel, rows: Rows) -> float:
    """Measure the predictions, which are float32."""
    return float(np.mean((rows.y - model.predict(rows.x)) ** 2))


def compare_with_least_squares(model: LinearModel, rows: Rows) -> float:
    """Return how many times the least mean squared error, in float64, the model's is."""
    best = fit_least_squares(rows)
    return measure_mse(model, rows) / float(np.mean((rows.y - rows.x @ best.weights - best.bias) ** 2))


def make_rows(count: int) -> Rows:
    """Make features of sizes 1e-6 and 1e6, two of which correlate at 0.99, and a target of a size of 1e9."""
    rng = np.random.default_rng(0)
    first, noise, third, error = rng.normal(size=(4, count))
    second = 0.99 * first + (1 - 0.99**2) ** 0.5 * noise
    x = np.column_stack([1e6 * (first + 5), 1e-6 * (second - 2), 1e6 * (third + 3)])
    return as_rows(x, 1e9 * (2 * first - second + third / 2 + 3 * error + 7))


@pytest.mark.parametrize(
    "feature", ["CRIM", "ZN", "CHAS", "NOX", "TAX"]
)  # skewed, mostly 0, of two values, small, large
def test_each_column_alone_ends_at_least_squares(feature: str) -> None:
    rows = BOSTON.design("train", [feature])
    assert compare_with_least_squares(train(rows).linear_model, rows) <= 1.001


def test_all_columns_together_end_at_least_squares() -> None:
    trained = train(BOSTON.train)
    assert compare_with_least_squares(trained.linear_model, BOSTON.train) <= 1.001
    assert trained.remarks == ()
    assert len(trained.loss) < 30, "it stops when it is there"
    assert trained.loss[-1] == pytest.approx(measure_mse(trained.linear_model, BOSTON.train), rel=1e-5)


@pytest.mark.parametrize("change", [{}, {"batch_size": 64}, {"batch_size": 5, "epochs": 400}, {"learning_rate": 50.0}])
def test_every_minibatch_and_rate_ends_at_least_squares(change: dict[str, object]) -> None:
    rows = make_rows(1000)
    trained = train(rows, **change)
    assert compare_with_least_squares(trained.linear_model, rows) <= 1.001
    assert trained.remarks == ()


@pytest.mark.parametrize(
    "count", [1000, 100_000, pytest.param(1_000_000, marks=pytest.mark.on_demand)], ids="{:,} rows".format
)
def test_badly_scaled_and_correlated_features_end_at_least_squares(tmp_path: Path, count: int) -> None:
    from linear_neuron.tasks.training.neuron import check_parity, train_neuron

    rows = make_rows(count)
    model, trained = train_neuron(rows, as_rows(rows.x[:9], rows.y[:9]), CONVERGED)
    assert compare_with_least_squares(trained.linear_model, rows) <= 1.001
    assert len(trained.val_loss) == len(trained.loss) < 30
    model.save(tmp_path / "model.keras")
    check_parity(tmp_path / "model.keras", trained.linear_model, rows.x)


def test_one_row_far_away_does_not_make_the_loss_explode() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(10_000, 1))
    x[0] = 1e6
    rows = as_rows(x, rng.normal(size=10_000))
    assert compare_with_least_squares(train(rows).linear_model, rows) <= 1.001


@pytest.mark.parametrize(
    ("name", "powers", "certified", "variance", "parameters"),
    [
        ("norris", 1, (-0.262323073774029, 1.00211681802045), 0.782864662630069, 2),
        (
            "pontius",
            2,
            (0.673565789473684e-03, 0.732059160401003e-06, -0.316081871345029e-14),
            0.205177424076185e-03**2,
            3,
        ),
        (
            "longley",
            1,
            (
                -3482258.63459582,
                15.0618722713733,
                -0.358191792925910e-01,
                -2.02022980381683,
                -1.03322686717359,
                -0.511041056535807e-01,
                1829.15146461355,
            ),
            304.854073561965**2,
            7,
        ),
    ],
    ids=["norris", "pontius", "longley"],
)
def test_certified_values_of_nist_are_reached(
    name: str, powers: int, certified: tuple[float, ...], variance: float, parameters: int
) -> None:
    """Data and certified values: NIST Statistical Reference Datasets, https://www.itl.nist.gov/div898/strd/ ."""
    table = np.loadtxt(STRD / f"{name}.csv", delimiter=",", skiprows=1)
    rows = as_rows(np.hstack([table[:, 1:] ** power for power in range(1, powers + 1)]), table[:, 0])
    best = fit_least_squares(rows)
    assert (best.bias, *best.weights) == pytest.approx(certified, rel=1e-9)
    freedom = len(rows) / (len(rows) - parameters)
    assert measure_mse(train(rows).linear_model, rows) * freedom <= 1.001 * variance


def test_a_training_that_ends_too_early_says_so() -> None:
    (remark,) = train(BOSTON.train, epochs=3).remarks
    assert remark.startswith("At the last epoch ")
    assert "% of the loss was still to be gained: allow more epochs" in remark


@pytest.mark.parametrize("scale", [1e7, 1e12])
def test_features_far_from_zero_end_at_least_squares(scale: float) -> None:
    rng = np.random.default_rng(1)
    x = scale + rng.normal(size=(1000, 1))
    rows = as_rows(x, x[:, 0] - scale + 0.1 * rng.normal(size=1000))
    trained = train(rows)
    assert trained.remarks == ()
    assert compare_with_least_squares(trained.linear_model, rows) <= 1.001


def test_pairs_of_unix_seconds_end_at_least_squares() -> None:
    rng = np.random.default_rng(1)
    start = 1.7e9 + rng.integers(0, 86_400 * 365, 1000).astype(float)
    end = start + rng.integers(60, 3600, 1000)
    rows = as_rows(np.column_stack([start, end]), (end - start) / 60 + rng.normal(size=1000))
    trained = train(rows)
    assert trained.remarks == ()
    assert compare_with_least_squares(trained.linear_model, rows) <= 1.001


def test_target_that_float32_cannot_separate_is_the_cause() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1000, 1))
    rows = as_rows(x, 1e9 + 30 + x[:, 0] + rng.normal(size=1000))
    trained = train(rows)
    (remark,) = trained.remarks
    assert "since the values of the target lie close together but far from zero. Subtract a constant from it." in remark
    assert measure_mse(trained.linear_model, rows) > 100
    assert np.mean((rows.y - trained.linear_model.compute(rows.x)) ** 2) == pytest.approx(1, rel=0.1)


def test_filip_of_nist_is_reached() -> None:
    """A polynomial of degree 10, whose powers nearly depend on each other."""
    table = np.loadtxt(STRD / "filip.csv", delimiter=",", skiprows=1)
    rows = as_rows(np.hstack([table[:, 1:] ** power for power in range(1, 11)]), table[:, 0])
    trained = train(rows)
    assert trained.remarks == ()
    certified = 0.334801051324544e-02**2 * (82 - 11) / 82
    assert measure_mse(trained.linear_model, rows) <= 1.001 * certified
    split = make_split(tuple(Column(f"x{n}", "") for n in range(10)), Column("y", ""), rows)
    assert leave_out_dependent(split)[1] == {}


@pytest.mark.parametrize(
    ("name", "weights", "noise"), [("wampler1", [1.0] * 5, 0.0), ("wampler2", [0.1**n for n in range(1, 6)], 0.0)]
)
def test_exact_polynomials_of_nist_are_reached(name: str, weights: list[float], noise: float) -> None:
    """Wampler1 and Wampler2: x from 0 to 20, y = 1 + sum(weight * x**power), so least squares leaves nothing."""
    x = np.arange(21.0)
    powers = np.column_stack([x**power for power in range(1, 6)])
    trained = train(rows := as_rows(powers, 1 + powers @ weights))
    assert trained.remarks == (), name
    assert measure_mse(trained.linear_model, rows) <= 1e-12 * rows.y.var()


def test_end_above_least_squares_is_named_with_its_cause() -> None:
    rows = make_rows(1000)
    basis = find_basis(rows)
    worse = replace(basis, matrix=basis.matrix * [1, 1, 0])
    (remark,) = describe_end(worse.leave(np.ones(3, np.float32), 0.0), rows, basis, left=0.0)
    assert "some features are nearly a combination of others. Leave one of these out." in remark


def test_columns_that_say_nothing_new_get_no_weight() -> None:
    rng = np.random.default_rng(1)
    x = np.column_stack([rng.normal(size=50), np.full(50, 0.1), np.zeros(50)])
    rows = as_rows(np.hstack([x, 2 * x[:, :1] + 1]), 3 * x[:, 0] + 1)
    trained = train(rows).linear_model
    assert trained.weights[1:3] == (0, 0)
    assert trained.weights[0] + 2 * trained.weights[3] == pytest.approx(3, rel=1e-5)
    assert np.allclose(trained.predict(rows.x), rows.y, rtol=1e-5)


def test_a_target_that_does_not_vary_is_predicted() -> None:
    trained = train(as_rows(np.arange(8.0)[:, None], np.full(8, 5.0))).linear_model
    assert trained.weights[0] == pytest.approx(0, abs=1e-5)
    assert trained.bias == pytest.approx(5, rel=1e-5)


def test_the_basis_has_features_of_one_size_without_correlation() -> None:
    rows = make_rows(70_000)
    x = find_basis(rows).enter(rows.x)
    assert np.allclose(x.mean(axis=0), 0, atol=1e-9)
    assert np.allclose(x.T @ x / len(rows), np.eye(3), atol=1e-9)


def test_rows_may_be_a_read_only_map_of_a_file(tmp_path: Path) -> None:
    rows = make_rows(1000)
    np.save(tmp_path / "x.npy", rows.x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert train(as_rows(mapped, rows.y), batch_size=100) == train(rows, batch_size=100)


def test_the_interval_covers_what_it_says_of_fresh_rows() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(104_000, 3))
    rows = as_rows(x, x @ [1.0, -2.0, 3.0] + 5 * rng.normal(size=len(x)))
    known, watched, fresh = (as_rows(rows.x[part], rows.y[part]) for part in np.split(rows.number, [3000, 4000]))
    model = train(known).linear_model
    width = interval_half_widths(watched.y, model.predict(watched.x))["90"]
    assert width == pytest.approx(8.22, rel=0.1), "1.645 times the noise"
    assert 0.88 <= (measure_coverage(fresh.y, model.predict(fresh.x), width) or 0) <= 0.92
