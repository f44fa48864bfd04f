"""Realized performance adds up by version and day, and scores do not depend on the distribution of the errors."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator

from linear_neuron.tasks.dataset.profile import describe_errors
from linear_neuron.tasks.monitoring.performance import DayErrors, Expected, Performance, combine, score_errors

EXPECTED = Expected(mse=4.0, test_rows=200, mean=0.0, validation_rows=200)
DAY = datetime(2026, 11, 1, tzinfo=UTC)


def a_result(**changes: Any) -> Performance:
    figures: dict[str, Any] = {"mse": 4.0, "mae": 1.6, "bias": 0.0, "fourth": 48.0, "coverage": 0.9, "mean_mse": 9.0}
    facts = {
        "version": "v1",
        "batch": "v1-a",
        "predicted_at": DAY,
        "interval": 90,
        "matched": 400,
        "expected": EXPECTED,
    }
    return Performance(**{**facts, **figures, **changes})


def test_index_keeps_the_field_promise() -> None:
    written = a_result().model_dump(mode="json")
    assert written["promise"]["mse"] == 4.0
    assert "expected" not in written
    assert Performance.model_validate(written) == a_result()


def test_results_add_up_by_their_rows() -> None:
    first = a_result(matched=100, mse=1.0, mean_mse=None)
    second = a_result(matched=300, mse=5.0, batch="v1-b", predicted_at=DAY.replace(day=2))
    (total,) = combine([second, first], by_batch=False)
    assert (total.matched, total.mse, total.mean_mse, total.batch) == (400, 4.0, None, "v1-b")
    assert [result.batch for result in combine([second, first], by_batch=True)] == ["v1-a", "v1-b"]


def test_days_add_up_and_older_entries_are_one_day() -> None:
    one, other = DayErrors(rows=2, score=1.5, inside=2), DayErrors(rows=1, score=0.5, inside=0)
    first = a_result(days={"2026-11-02": one, "2026-11-03": other})
    (total,) = combine([first, a_result(batch="v1-b", days={"2026-11-03": one})], by_batch=False)
    assert total.days == {
        "2026-11-02": DayErrors(rows=2, score=1.5, inside=2, squares=8.0, fourths=96.0),
        "2026-11-03": DayErrors(rows=3, score=2.0, inside=2, squares=12.0, fourths=144.0),
    }
    (old,) = combine([a_result(matched=10)], by_batch=False)
    assert old.days == {"2026-11-01": DayErrors(rows=10, score=None, inside=9, squares=40.0, fourths=480.0)}


@pytest.mark.parametrize("draw", [Generator.normal, Generator.lognormal, Generator.uniform])
def test_scores_are_chi_square_for_any_distribution(draw: Any) -> None:
    rng = np.random.default_rng(5)
    scores = score_errors(draw(rng, size=20_000), describe_errors(draw(rng, size=20_000)), 20_000)
    assert float(scores.mean()) == pytest.approx(1.0, abs=0.05)
    assert float(np.mean(scores > 3.84)) == pytest.approx(0.05, abs=0.01)


def test_errors_that_many_test_rows_share_have_their_mean_score() -> None:
    errors = np.repeat([0.0, 1.0, 2.0, 3.0], [400, 300, 200, 100])
    assert float(score_errors(errors, describe_errors(errors), 1000).mean()) == pytest.approx(1.0, abs=0.05)


def test_scores_of_normal_errors_show_the_ratio_of_the_mse() -> None:
    rng = np.random.default_rng(5)
    scores = score_errors(rng.normal(0, 1.2, 20_000), describe_errors(rng.normal(size=20_000)), 20_000)
    assert float(scores.mean()) == pytest.approx(1.44, abs=0.08)
