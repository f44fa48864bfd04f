"""What the candidate and the served model are fitted on, and that a training process needs only a few rows."""

from pathlib import Path

import numpy as np
import pytest

from linear_neuron.tasks.dataset.moments import measure_moments
from linear_neuron.tasks.dataset.rows import Column, Origin, Snapshot, Split
from linear_neuron.tasks.dataset.split import split_rows
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import ExampleInputs, Training
from linear_neuron.tasks.training.calibration import calibrate, merge_past, roll_errors
from linear_neuron.tasks.training.constraints import Constraints
from linear_neuron.tasks.training.describe import describe_signs
from linear_neuron.tasks.training.fit_data import condense, prepare_fit
from linear_neuron.tasks.training.metrics import evaluate
from linear_neuron.tasks.training.past import ALL, DAY, Past
from linear_neuron.tasks.training.train import train

CONVERGED = Training().resolve(own_table=True)


def make_split(change: float = 0.0, timed: bool = True, months: int = 14, count: int = 40, offset: float = 0) -> Split:
    """Split rows whose slope changes by so much a month of 30 days."""
    rng = np.random.default_rng(0)
    rows = months * count
    month = np.arange(rows) / count
    x = rng.uniform(1, 3, rows)
    y = 10 + (2 + change * month) * x + rng.normal(0, 0.3, rows)
    times = (np.datetime64("2024-01-01", "us").astype(np.int64) + month * 30.4 * DAY).astype(np.int64)
    hashes = np.sort(rng.integers(0, 2**64, rows, dtype=np.uint64))
    origin = Origin("0" * 64, "sales.csv", details={"time": "sold_on"} if timed else {})
    columns = (Column("area", "area"), Column("price", "price"))
    values = np.column_stack([x + offset, y])
    snapshot = Snapshot(
        "sales", origin, columns, values, None, 0.8, times if timed else None, None if timed else hashes
    )
    return split_rows(snapshot, "price", ["area"], 0.3)


def test_the_served_model_learns_from_all_rows_and_the_candidate_from_train_rows() -> None:
    split = make_split()
    data = prepare_fit.fn(split, CONVERGED)
    assert data.past == ALL
    assert (data.parts["train"].rows, data.parts["test"].rows) == (len(split.train), len(split.test))
    assert data.served_moments is not None
    assert data.served is not None
    assert data.served_moments.rows == len(data.served) == 560
    direct = measure_moments(["area", "price"], split.train.x, split.train.y).solve()
    assert data.parts["train"].solve().weights == pytest.approx(direct.weights, rel=1e-10)


def test_rows_without_times_are_refitted_too() -> None:
    data = prepare_fit.fn(make_split(timed=False), CONVERGED)
    assert data.served_moments is not None
    assert (data.served_moments.rows, data.periods, data.past) == (560, None, ALL)


def test_a_shorter_past_holds_for_candidate_and_served_model() -> None:
    split = make_split(change=0.5)
    data = prepare_fit.fn(split, CONVERGED)
    assert data.past == Past(half_life=30)
    assert data.split.train.time is not None
    assert split.train.time is not None
    assert data.split.train.time[-1] == split.train.time[-1]
    assert data.served_moments is not None
    assert data.parts["train"].solve().weights[0] < data.served_moments.solve().weights[0] - 2
    assert data.served_moments.solve().weights[0] == pytest.approx(2 + 0.5 * 13.5, abs=0.8)


def test_test_rows_do_not_choose_the_past() -> None:
    """The slope changes in the test rows alone."""
    split = make_split()
    split.test.y[:] = 100 - 30 * split.test.x[:, 0]
    assert prepare_fit.fn(split, CONVERGED).past == ALL


@pytest.mark.parametrize(
    ("training", "timed", "sentence"),
    [
        (
            {"past": "1d"},
            True,
            "--training.past 1d has the weight of 2 rows, and at least 6 are needed; take a longer past",
        ),
        ({"past": "half-life:1d"}, True, "--training.past half-life:1d has the weight of "),
        ({"past": "90d"}, False, "--training.past 90d needs --dataset.time, the column with the times."),
        ({"past": "90d", "recipe": "notebook"}, True, "The recipe notebook learns from all train rows"),
    ],
)
def test_a_past_that_can_not_be_learned_from_is_one_sentence(
    training: dict[str, str], timed: bool, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        prepare_fit.fn(make_split(timed=timed), CONVERGED.model_copy(update=training))


def test_no_refit_and_the_notebook_recipe_serve_the_candidate() -> None:
    for change in ({"refit": "never"}, {"recipe": "notebook"}):
        assert prepare_fit.fn(make_split(), CONVERGED.model_copy(update=change)).served is None


def test_the_training_process_gets_a_few_rows_and_fits_all(tmp_path: Path) -> None:
    data = prepare_fit.fn(make_split(change=0.5), CONVERGED)
    few = condense(data.split, data.parts["train"], data.parts["validation"])
    assert {name: len(rows) for name, rows in few.rows.items()} == {"train": 3, "validation": 3, "test": 3}
    fitted = train.fn(data, CONVERGED, tmp_path)
    assert (tmp_path / "model.keras").exists()
    assert data.served_moments is not None
    for result, moments in ((fitted.candidate, data.parts["train"]), (fitted.served, data.served_moments)):
        least = moments.solve()
        assert result.linear_model.weights == pytest.approx(least.weights, rel=1e-3)
        assert moments.measure_mse(result.linear_model) <= 1.00001 * moments.measure_mse(least)
        assert result.loss[-1] == pytest.approx(moments.measure_mse(least), rel=1e-4)
    assert fitted.served.val_loss == ()
    evaluation = evaluate.fn(data, fitted, ExampleInputs(values=[2]))
    assert evaluation.predicted["examples"] == fitted.served.linear_model.predict(np.array([[2.0]]))
    assert evaluation.metrics["train"]["neuron"]["mse"] == pytest.approx(
        evaluation.metrics["train"]["least_squares"]["mse"], rel=1e-4
    )
    assert evaluation.bins is not None
    assert evaluation.bins.floor == 0
    assert evaluation.calibrated.endswith("errors one month ahead, the newest counting most")
    assert len(evaluation.coverage_deciles) == 10


def test_without_times_the_candidates_errors_calibrate_the_interval(tmp_path: Path) -> None:
    data = prepare_fit.fn(make_split(timed=False), CONVERGED)
    evaluation = evaluate.fn(data, train.fn(data, CONVERGED, tmp_path), ExampleInputs(values=[2]))
    unseen = len(data.split.validation) + len(data.split.test)
    assert evaluation.calibrated == f"{unseen} errors of the candidate on validation and test rows"
    assert evaluation.coverage == pytest.approx(0.9, abs=0.08)


def test_of_many_errors_some_calibrate_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepare_fit.fn(make_split(timed=False), CONVERGED)
    line = data.parts["train"].solve()
    predicted = {name: line.predict(rows.x) for name, rows in data.split.parts.items()}
    unseen = len(predicted["validation"]) + len(predicted["test"])
    monkeypatch.setattr("linear_neuron.tasks.training.calibration.MOST_ROWS", 120)
    _, found = calibrate(data, predicted)
    assert found["calibrated"] == f"{len(range(0, unseen, -(-unseen // 120)))} errors of the candidate on " + (
        "validation and test rows"
    )
    assert found["coverage"] == pytest.approx(0.9, abs=0.08)


def test_rolled_errors_are_those_of_float64_arithmetic() -> None:
    near, far = make_split(), make_split(offset=2e7)
    errors = [roll_errors(prepare_fit.fn(split, CONVERGED)).errors for split in (near, far)]  # type: ignore[union-attr]
    assert errors[1].std() < 1.02 * errors[0].std()


def test_a_long_gap_leaves_the_newest_rows_before_it() -> None:
    moments = prepare_fit.fn(make_split(), CONVERGED).periods
    assert moments is not None
    merged = merge_past(moments, moments.numbers[-1] + 5_000, Past(half_life=1))
    assert merged is not None
    assert np.isfinite(merged.solve().weights).all()


def test_every_fit_keeps_to_the_same_ridge() -> None:
    data = prepare_fit.fn(make_split(), CONVERGED.model_copy(update={"l2": 1.0}))
    assert data.constraints == Constraints(1.0)
    free = prepare_fit.fn(make_split(), CONVERGED)
    assert data.choice.trials[0].mse > 2 * free.choice.trials[0].mse, "half of the slope is gone"
    shrunk, plain = roll_errors(data), roll_errors(free)
    assert shrunk is not None
    assert plain is not None
    assert shrunk.errors.std() > 1.4 * plain.errors.std()


def test_ridge_and_signs_are_trained_evaluated_and_described(tmp_path: Path) -> None:
    training = CONVERGED.model_copy(update={"l2": 1.0, "signs": ["area=+"]})
    data = prepare_fit.fn(make_split(), training)
    fitted = train.fn(data, training, tmp_path)
    evaluation = evaluate.fn(data, fitted, ExampleInputs(values=[2]))
    slope = data.parts["train"].solve().weights[0]
    assert evaluation.least_squares.weights[0] == pytest.approx(slope / 2, rel=1e-9)
    assert fitted.candidate.linear_model.weights[0] == pytest.approx(slope / 2, rel=2e-3)
    assert evaluation.result.remarks == ()
    assert describe_signs(evaluation)["bound"] == {}


def test_sign_that_binds_leaves_the_mean(tmp_path: Path) -> None:
    training = CONVERGED.model_copy(update={"signs": ["area=-"]})
    data = prepare_fit.fn(make_split(timed=False), training)
    fitted = train.fn(data, training, tmp_path)
    for line in (fitted.candidate.linear_model, fitted.served.linear_model):
        assert line.weights == (0,)
    evaluation = evaluate.fn(data, fitted, ExampleInputs(values=[2]))
    errors = evaluation.metrics["test"]
    assert errors["neuron"]["mse"] == pytest.approx(errors["mean"]["mse"], rel=1e-6)
    assert data.served_moments is not None
    assert describe_signs(evaluation)["bound"] == {"area": data.served_moments.solve().weights[0]}
