"""Sequential tests spend their budget over all looks, and their quantiles are those of the distributions."""

import numpy as np
import pytest

from linear_neuron.tasks.monitoring.sequential import (
    NORMAL,
    Days,
    bound_score,
    chi_square_quantile,
    count_alike,
    estimate_day_effect,
    estimate_effects,
    list_windows,
    score_ratio,
    spend,
    t_square_quantile,
    tail_of_share,
)


def test_all_looks_together_spend_the_budget() -> None:
    assert sum(3 * spend(0.01, look, 3) for look in range(1, 100_000)) == pytest.approx(0.01, rel=1e-3)
    assert sum(spend(0.01, look, 1) for look in range(1, 11)) == pytest.approx(0.005)


@pytest.mark.parametrize(("days", "windows"), [(0, []), (1, [1]), (2, [1, 2]), (5, [1, 2, 4, 5]), (8, [1, 2, 4, 8])])
def test_windows_double_and_end_with_all_days(days: int, windows: list[int]) -> None:
    assert list_windows(days) == windows
    assert list_windows(days, alone=False) == windows[len(windows) > 1 :]


def test_quantiles_are_those_of_the_tables() -> None:
    # NIST/SEMATECH e-Handbook of Statistical Methods, sections 1.3.6.7.2 to 1.3.6.7.4.
    assert float(chi_square_quantile(9.0, 0.001)) == pytest.approx(27.877, rel=0.01)
    assert float(chi_square_quantile(1.0, 0.001)) == pytest.approx(10.828, rel=0.04)
    assert t_square_quantile(20, 0.002) ** 0.5 == pytest.approx(3.552, rel=0.002)
    assert t_square_quantile(60, 0.02) ** 0.5 == pytest.approx(2.390, rel=0.002)
    assert 1 - NORMAL.cdf(float(score_ratio(2.348, 10, 20))) == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize(
    ("inside", "rows", "percent", "validation", "tail"),
    [
        (0, 1, 50, 1, 0.5),  # one validation row: the value is as likely on either side of it
        (1, 1, 50, 1, 1.0),
        (0, 2, 50, 1, 1 / 3),  # of the three positions among two values
        (90, 100, 90, 10**9, 0.548709),  # of this many rows it is the binomial: SciPy's binom.cdf(90, 100, 0.9)
        (80, 100, 90, 10**9, 0.001979),
    ],
)
def test_tails_are_those_of_the_distribution(
    inside: int, rows: int, percent: int, validation: int, tail: float
) -> None:
    rank = min(-(-(validation + 1) * percent // 100), validation)
    assert tail_of_share(inside, rows, rank, validation + 1 - rank) == pytest.approx(tail, abs=2e-6)


def test_the_day_effect_is_the_variance_between_days() -> None:
    rng, days, rows = np.random.default_rng(1), 2_000, 50
    sums = (rng.normal(0, 0.3, (days, 1)) + rng.normal(size=(days, rows))).sum(axis=1)
    inside, outside, weight, freedom = Days(np.full(days, float(rows)), sums).spread(days)
    effect, certainty = estimate_day_effect(inside + outside, 1.0, weight, freedom, 0.5)
    assert float(effect) == pytest.approx(0.09, abs=0.02)
    assert (freedom, certainty) == (days - 1, days + 19)


def test_a_change_does_not_count_as_a_day_effect() -> None:
    rows = np.full(20, 100.0)
    sums = np.concatenate([np.zeros(15), np.full(5, 100.0)])
    assert [float(part) for part in Days(rows, sums).spread(5)[:2]] == [0, 0]
    assert float(Days(rows, sums).spread(20)[0]) > 0


def test_the_first_days_are_those_of_a_shorter_life() -> None:
    rows, sums = np.arange(1.0, 9.0), np.arange(8.0) ** 2
    short, cut = Days(rows[:5], sums[:5]), Days(rows, sums).until(5)
    assert cut.count == 5
    assert cut.rows(3) == short.rows(3) == 12
    assert cut.sums(2) == short.sums(2) == 25
    assert [float(it) for it in cut.spread(2)] == [float(it) for it in short.spread(2)]


def test_one_bound_holds_for_all_looks() -> None:
    """The ratio of all rows so far to the test rows crosses it in 5% of lives, though each has 40 looks."""
    rng, tested = np.random.default_rng(7), 100
    below = rng.chisquare(tested, 4000) / tested
    rows = np.asarray(np.arange(1, 41)[:, None] * 50, float)
    ratio = np.cumsum(rng.chisquare(50, (40, 4000)), axis=0) / rows / below
    crossed = score_ratio(ratio, rows, tested) > bound_score(0.05, rows, tested)
    assert 0.03 < float(crossed.any(axis=0).mean()) <= 0.05


def test_columns_share_what_they_show_of_day_effects() -> None:
    typical, weight = np.array([True] * 10 + [False]), np.full(11, 50.0)
    total = np.where(typical, 50 * 0.3 + 9.0, 0.0)
    effect, certainty = estimate_effects(total, 9.0, weight, 1, typical, 0.05)
    assert 0.1 < float(effect[0]) < 0.3
    assert float(effect[-1]) > 0.05
    assert certainty == 19
    effect, _ = estimate_effects(np.zeros(11), 9.0, weight, 1, typical, 0.05)
    assert float(effect[0]) == pytest.approx(0.05 * 20 / 21)


def test_rows_of_a_day_that_are_alike_count_for_less() -> None:
    rows = np.full(30, 100.0)
    assert count_alike(Days(rows, rows * 0.1), 30, 0.0) == 3000
    assert count_alike(Days(rows, np.tile([0.0, 20.0], 15)), 30, 0.0) < 1500
    assert count_alike(Days(rows, np.tile([0.0, 20.0], 15)), 4, 0.0) < 150


def test_without_days_the_prior_is_taken() -> None:
    inside, _, weight, freedom = Days(np.array([10.0]), np.array([3.0])).spread(1)
    effect, certainty = estimate_day_effect(inside, 1.0, weight, freedom, 0.05)
    assert float(effect) == pytest.approx(0.05)
    assert certainty == 20
