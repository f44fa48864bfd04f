"""What the rows say of a fit: unequal variance, rows that move it, near-collinear columns, and samples of many rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from linear_neuron.tasks.dataset.rows import Floats, Snapshot
from linear_neuron.tasks.dataset.sources import download
from linear_neuron.tasks.dataset.split import check_features, split, split_rows
from linear_neuron.tasks.parameters import Dataset, Training
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.training import diagnostics
from linear_neuron.tasks.training.diagnostics import diagnose_fit, examine_spread, take_sample
from linear_neuron.tasks.training.findings import look
from linear_neuron.tasks.training.fit_data import FitData, prepare_fit

CONVERGED = Training().resolve(own_table=True)


def make_data(x: Floats, y: Floats) -> FitData:
    """Prepare a fit of columns called a, b and so on."""
    from linear_neuron.tasks.dataset.rows import Column, Origin

    names = list("abcdef"[: x.shape[1]])
    hashes = np.sort(np.random.default_rng(3).integers(0, 2**64, len(y), dtype=np.uint64))
    columns = tuple(Column(name, name) for name in [*names, "y"])
    snapshot = Snapshot("t", Origin("0" * 64, "t.csv"), columns, np.column_stack([x, y]), None, 0.8, None, hashes)
    return prepare_fit.fn(check_features.fn(split_rows(snapshot, "y", names, 0.3)), CONVERGED)


def draw_rows(count: int = 600) -> tuple[Floats, Floats]:
    """Draw rows of a linear table."""
    rng = np.random.default_rng(0)
    x = rng.normal(5, 1, (count, 3))
    return x, x @ [1.0, 2.0, 3.0] + rng.normal(size=count)


@pytest.mark.xdist_group("references")
def test_rows_that_move_the_fit_are_those_of_statsmodels() -> None:
    import statsmodels.api as sm
    from statsmodels.stats.outliers_influence import OLSInfluence

    x, y = draw_rows()
    y[[7, 40]] += [30, -25]
    x[40] += 4
    data = make_data(x, y)
    train, found = data.split.train, diagnose_fit(take_sample(data)).moving
    influence = OLSInfluence(sm.OLS(train.y, sm.add_constant(train.x)).fit())
    order = np.argsort(-influence.cooks_distance[0])[:5]
    assert [row.number for row in found] == train.number[order].tolist()
    assert {7, 40} == {row.number for row in found[:2]}
    assert [row.distance for row in found] == pytest.approx(influence.cooks_distance[0][order].tolist(), rel=1e-6)
    moved = influence.dfbetas[order][:, 1:]
    most = np.abs(moved).argmax(axis=1)
    assert [row.errors for row in found] == pytest.approx(moved[np.arange(5), most].tolist(), rel=1e-6)
    assert [row.column for row in found] == [data.split.names[index] for index in most]


def test_variance_that_grows_with_the_prediction_is_found() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.uniform(1, 10, 2000)
    found = examine_spread(predicted, predicted * rng.normal(size=2000))
    assert found.unequal
    assert found.typical == tuple(sorted(found.typical))
    assert not examine_spread(predicted, rng.standard_t(3, size=2000)).unequal


def test_equal_variance_passes_the_test_as_often_as_it_should() -> None:
    rng = np.random.default_rng(0)
    chances = [examine_spread(rng.normal(size=500), rng.normal(size=500)).chance for _ in range(400)]
    assert 0.02 < np.mean(np.array(chances) < 0.05) < 0.09


def test_columns_that_nearly_agree_are_named() -> None:
    x, y = draw_rows()
    x[:, 2] = -x[:, 0] + 0.1 * x[:, 1]
    x[:, 2] += np.random.default_rng(1).normal(0, 0.1, len(x))
    found = diagnose_fit(take_sample(make_data(x, y)))
    assert [(pair.one, pair.other) for pair in found.pairs] == [("a", "c")]
    assert found.pairs[0].correlation < -0.98
    assert found.inflated == ("a", "c")


def test_of_many_rows_evenly_spaced_ones_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "MOST_ROWS", 100)
    data = make_data(*draw_rows())
    sample = take_sample(data)
    assert diagnose_fit(sample).rows["of"] == len(data.split.train) + len(data.split.validation)
    assert len(sample.train) + len(sample.validation) == pytest.approx(100, abs=1)
    assert np.diff(sample.train.number).max() <= np.diff(sample.train.number).min() + 1
    assert sample.train.number[-1] == data.split.train.number[-1]


def test_the_lines_of_moving_rows_are_named_without_keys(store: Store, tmp_path: Path) -> None:
    x, y = draw_rows(300)
    y[123] += 60
    path = tmp_path / "homes.csv"
    lines = [
        f"k{index}!,{row[0]},{row[1]},{row[2]},{value}" for index, (row, value) in enumerate(zip(x, y, strict=True))
    ]
    path.write_text("\n".join(["id,a,b,c,y", *lines]))
    dataset = Dataset(source=str(path), key="id", features=["a", "b", "c"], target="y")
    snapshot = download(dataset)
    data = prepare_fit(check_features(split(snapshot, dataset, 0.3)), CONVERGED)
    found = look(data, snapshot, dataset, None)
    assert found is not None
    assert found.lines[0] == "homes.csv, line 125"
    assert "k123!" not in str(found.to_data())
    assert str(y[123])[:6] not in str(found.to_data())
    path.unlink()
    gone = look(data, snapshot, dataset, None)
    assert gone is not None
    assert gone.lines == ()


def test_neither_the_tutorials_dataset_nor_its_recipe_is_looked_at() -> None:
    data = make_data(*draw_rows())
    snapshot = Snapshot("t", None, (), np.zeros((0, 0)), None, 0.8)  # type: ignore[arg-type]
    assert look.fn(replace(data, parts={}), snapshot, Dataset(), None) is None
    assert look.fn(replace(data, split=replace(data.split, whole=None)), snapshot, Dataset(), None) is None
