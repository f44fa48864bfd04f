"""What would help: changes that lower the error on validation rows by more than chance, and none where nothing does."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from linear_neuron.tasks.dataset.raw_columns import Labels
from linear_neuron.tasks.dataset.rows import Column, Floats, Origin, Snapshot, Split
from linear_neuron.tasks.dataset.split import check_features, split_table
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import AutoTerms, ColumnChoice
from linear_neuron.tasks.parameters import Dataset, Training
from linear_neuron.tasks.training.diagnostics import take_sample
from linear_neuron.tasks.training.findings import find_obstacle, look, write_flags
from linear_neuron.tasks.training.fit_data import FitData, prepare_fit
from linear_neuron.tasks.training.metrics import fit_least_squares, measure_errors
from linear_neuron.tasks.training.suggestions import MOST_TRIED, ROOM, Change, Suggestions, list_changes, suggest

CONVERGED = Training().resolve(own_table=True)
NUMBERS = ["area", "age", "rooms", "floor"]
Rule = Callable[[Floats, Floats], Floats]  # what is learned, of numbers of shape (n, 4) and of levels


def make_snapshot(values: Floats, levels: Floats, y: Floats) -> Snapshot:
    """Make a table of numbers, two categories of four levels each, and a price."""
    rng = np.random.default_rng(1)
    hashes = np.sort(rng.integers(0, 2**64, len(y), dtype=np.uint64))
    columns = tuple(Column(name, name) for name in [*NUMBERS, "price"])
    labels = {
        name: Labels(codes.astype(np.int64), ("a", "b", "c", "d"))
        for name, codes in zip(("town", "kind"), levels.T, strict=True)
    }
    return Snapshot(
        "homes",
        Origin("0" * 64, "homes.csv"),
        columns,
        np.column_stack([values, y]),
        None,
        0.8,
        None,
        hashes,
        labels=labels,
    )


def simulate(count: int, seed: int, rule: Rule | None = None, noise: float = 1.0) -> Snapshot:
    """Simulate a table: linear with errors of one variance, and what a rule adds."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(1, 10, (count, len(NUMBERS)))
    levels = rng.integers(0, 4, (count, 2)).astype(float)
    y = 50 + values @ [3.0, -2.0, 1.0, 0.0] + levels[:, 0] + noise * rng.normal(size=count)
    return make_snapshot(values, levels, y + rule(values, levels) if rule else y)


def prepare(snapshot: Snapshot, **changes: object) -> FitData:
    """Prepare a fit on all columns."""
    given = {"source": "homes.csv", "features": NUMBERS, "categories": ["town", "kind"], "target": "price"}
    dataset = Dataset.model_validate(given | changes)
    return prepare_fit.fn(check_features.fn(split_table(snapshot, dataset, 0.3)), CONVERGED)


def look_at(snapshot: Snapshot, **changes: object) -> Suggestions:
    """Return what would help a fit on all columns."""
    return suggest(take_sample(prepare(snapshot, **changes), ROOM))


def name_changes(found: Suggestions) -> list[str]:
    """Name what is suggested."""
    return [change.text for change in found.changes]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (lambda x, _: 8 * np.log(x[:, 0]), "log(area)"),
        (lambda x, _: 0.5 * (x[:, 1] - 5) ** 2, "age ** 2"),
        (lambda x, _: 4 * np.sin(x[:, 2]), "spline(rooms, 4)"),
        (lambda x, levels: x[:, 0] * levels[:, 0], "area:town"),
    ],
)
def test_the_shape_that_the_rows_have_is_suggested(rule: Rule, expected: str) -> None:
    found = look_at(simulate(1500, 0, rule))
    assert name_changes(found)[:1] == [expected]
    assert found.steps[0].rmse < 0.9 * found.rmse
    assert found.steps[0].chance < 0.01


def test_of_twenty_tables_without_a_shape_one_at_most_has_a_suggestion() -> None:
    found = [look_at(simulate(400, seed)) for seed in range(20)]
    assert sum(bool(one.steps) for one in found) <= 1
    assert all(20 < one.tried <= MOST_TRIED for one in found)


def exponentiate(count: int, seed: int, curved: float) -> Snapshot:
    """Simulate prices of which the logarithm is linear, but for a curve."""
    plain = simulate(count, seed, noise=2)
    values, y = plain.values[:, :-1], plain.values[:, -1]
    price = np.exp(y / 20 + curved * np.log(values[:, 0]))
    return replace(plain, values=np.column_stack([values, price]))


def test_a_log_target_is_suggested_where_terms_are_factors() -> None:
    found = look_at(exponentiate(1500, 0, 0.0))
    assert name_changes(found) == ["log(price)"]
    assert found.log == pytest.approx(found.steps[0].rmse)


def test_a_log_target_and_a_curve_are_suggested_together() -> None:
    found = look_at(exponentiate(1500, 0, 3.0))
    assert set(name_changes(found)) >= {"log(price)", "log(area)"}
    assert found.steps[-1].rmse < 0.5 * found.rmse


def test_no_logarithm_is_tried_of_what_is_not_above_zero() -> None:
    snapshot = simulate(600, 0)
    snapshot.values[-1, [0, -1]] = 0  # a test row
    data = prepare(snapshot)
    sample = take_sample(data, ROOM)
    texts = [change.text for change in list_changes(sample, np.zeros(len(sample.train)))]
    assert "log(age)" in texts
    assert "log(area)" not in texts
    assert suggest(sample).log is None


def test_gains_are_those_of_fitting_the_suggestion_itself() -> None:
    snapshot = simulate(1500, 0, lambda x, _: 0.5 * (x[:, 1] - 5) ** 2)
    found = look_at(snapshot)
    rmse = [
        measure(prepare(snapshot).split),
        measure(prepare(snapshot, features=[*NUMBERS, *name_changes(found)]).split),
    ]
    assert [found.rmse, found.steps[-1].rmse] == pytest.approx(rmse, rel=1e-9)


def measure(split: Split) -> float:
    """Measure least squares of the train rows on the validation rows."""
    line = fit_least_squares(split.train)
    rows = split.validation
    return float(measure_errors(rows.y, rows.x @ line.weights + line.bias)["rmse"] or 0)


def test_test_rows_are_not_looked_at() -> None:
    snapshot = simulate(1500, 0, lambda x, _: 8 * np.log(x[:, 0]))
    before = look_at(snapshot)
    first = len(prepare(snapshot).split.rows["train"]) + len(prepare(snapshot).split.rows["validation"])
    snapshot.values[first:, -1] = 1 + np.random.default_rng(5).uniform(0, 1000, len(snapshot.values) - first)
    assert look_at(snapshot) == before


def test_few_validation_rows_give_no_suggestion() -> None:
    assert "at least 50 are needed" in look_at(simulate(120, 0)).obstacle


def test_a_fit_with_a_ridge_is_not_looked_at() -> None:
    data = prepare(simulate(300, 0))
    assert find_obstacle(data) == ""
    assert "ridge" in find_obstacle(replace(data, constraints=replace(data.constraints, l2=1.0)))


def test_flags_keep_what_was_named_and_replace_a_term_by_its_spline() -> None:
    changes = [Change("log(price)"), Change("spline(area, 4)", "area", replaces=True), Change("log(age)", "age")]
    named = Dataset(source="homes.csv", features=["area", "age"], target="price")
    assert write_flags(changes, named, None) == (
        "--dataset.target 'log(price)' --dataset.features age 'spline(area, 4)' 'log(age)'"
    )
    choices = [ColumnChoice(column=name, kind="number", entries=[name]) for name in ("area", "age")]
    auto = AutoTerms(features=["area", "age"], categories=[], missing="reject", columns=choices)
    assert write_flags(changes[1:], named, auto) == "--dataset.features auto 'spline(area, 4)' 'log(age)'"


def test_names_that_are_no_words_can_be_pasted() -> None:
    snapshot = simulate(1500, 0, lambda x, _: 8 * np.log(x[:, 0]))
    columns = (Column("living area [m²]", ""), *snapshot.columns[1:])
    dataset = Dataset(source="homes.csv", features=["living area [m²]", "age"], target="price")
    data = prepare_fit.fn(check_features.fn(split_table(replace(snapshot, columns=columns), dataset, 0.3)), CONVERGED)
    found = look.fn(data, snapshot, dataset, None)
    assert found is not None
    assert found.flags == "--dataset.features 'living area [m²]' age 'log(`living area [m²]`)'"


def test_a_term_without_a_value_is_not_tried() -> None:
    """A spline of a column with two values can't be made, which is no reason to fail."""
    snapshot = simulate(600, 0)
    snapshot.values[:, 0] = snapshot.values[:, 0] > 5
    with pytest.raises(UserError, match="at least 3 different values"):
        prepare(snapshot, features=["spline(area, 4)"])
    assert not look_at(snapshot).steps
