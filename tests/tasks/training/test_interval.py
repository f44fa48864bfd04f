"""Intervals by level cover what they say at every level of the prediction."""

import numpy as np
import pytest

from linear_neuron.tasks.training.interval import bound, calibrate_bins, find_edges, measure_bin_coverage, widen


def test_one_bin_takes_the_conformal_ranks_of_both_tails() -> None:
    errors = np.arange(-20.0, 19.0)
    bins = calibrate_bins(np.zeros(39, np.float32), errors)
    assert bins.edges == []
    assert (bins.lower["90"], bins.upper["90"]) == ([-19], [17]), "the 38th of 39 from either end"
    assert (bins.lower["95"], bins.upper["95"]) == ([-20], [18])
    assert (bins.lower["96"], bins.upper["96"]) == ([None], [None]), "more errors would be needed"
    assert list(bins.lower) == [str(percent) for percent in range(50, 100)]


def test_bins_have_fifty_rows_each_and_are_at_most_five() -> None:
    counts = []
    for rows in (0, 49, 99, 100, 170, 250, 10_000):
        predicted = np.arange(rows, dtype=np.float32)
        edges = find_edges(predicted)
        sizes = np.diff([0, *np.searchsorted(predicted, edges), rows])
        counts.append(len(sizes))
        assert len(edges) == 0 or min(sizes) >= 50
    assert counts == [1, 1, 1, 2, 3, 4, 5]


def test_rows_of_bins_count_by_their_weights() -> None:
    predicted, weights = np.arange(400, dtype=np.float32), np.repeat([0.1, 1.0], 200)
    edges = find_edges(predicted, weights)
    heights = [weights[part].sum() for part in np.split(np.arange(400), np.searchsorted(predicted, edges))]
    assert len(edges) == 2
    assert min(heights) >= 50
    assert calibrate_bins(predicted, np.ones(400), 7 * weights).rows == pytest.approx(heights)
    assert find_edges(predicted, np.full(400, 0.3)) == find_edges(predicted)


def test_a_quantile_lies_between_two_rows() -> None:
    bins = calibrate_bins(np.zeros(40, np.float32), np.arange(1.0, 41))
    assert bins.lower["90"] == pytest.approx([2.05])
    assert bins.upper["90"] == pytest.approx([38.95])


def test_two_intervals_are_widened_to_what_either_holds() -> None:
    values = np.zeros(39, np.float32)
    one, other = calibrate_bins(values, np.arange(-20.0, 19)), calibrate_bins(values, np.arange(-10.0, 29))
    both = widen(one, other)
    assert (both.lower["90"], both.upper["90"], both.upper["96"]) == ([-19], [27], [None])


def test_equal_predictions_are_in_one_bin() -> None:
    predicted = np.repeat([1.0, 2.0, 3.0], [150, 30, 70]).astype(np.float32)
    assert find_edges(predicted) == [3.0]
    assert find_edges(np.ones(500, np.float32)) == []


def test_each_level_has_its_own_errors_on_both_sides() -> None:
    predicted = np.repeat([10.0, 100.0], 200).astype(np.float32)
    errors = np.tile(np.linspace(-1, 3, 200), 2) * np.repeat([1, 10], 200)
    bins = calibrate_bins(predicted, errors)
    assert bins.edges == [100]
    low, high = bound(bins, np.array([99.9, 100.0]), 80)
    assert low - [99.9, 100] == pytest.approx([-0.6, -6], rel=0.05)
    assert high - [99.9, 100] == pytest.approx([2.6, 26], rel=0.05)


def test_a_target_that_is_never_negative_has_no_negative_bound() -> None:
    bins = calibrate_bins(np.zeros(99, np.float32), np.linspace(-5, 5, 99), floor=0)
    low, high = bound(bins, np.array([1.0, -9.0, 20.0]), 90)
    assert low.tolist() == pytest.approx([0, 0, 15.5], abs=0.1)
    assert high.tolist() == pytest.approx([5.5, 0, 24.5], abs=0.1)


def test_a_percent_that_needs_more_rows_takes_those_of_all_bins() -> None:
    predicted = np.repeat([1.0, 2.0], 60).astype(np.float32)
    bins = calibrate_bins(predicted, np.arange(120.0))
    assert bins.lower["98"] == pytest.approx([0.21, 0.21]), "60 rows are too few for 1% in each tail, and 120 enough"
    assert bins.lower["99"] == [None, None]
    low, _ = bound(bins, predicted, 99)
    assert np.isnan(low).all()
    assert measure_bin_coverage(bins, np.zeros(120), predicted, 99) == (None, [None] * 10)


def test_the_newest_errors_count_most() -> None:
    errors = np.repeat([1.0, 10.0], 100)
    even = calibrate_bins(np.zeros(200, np.float32), errors * np.tile([-1, 1], 100))
    newest = calibrate_bins(np.zeros(200, np.float32), errors * np.tile([-1, 1], 100), np.repeat([1.0, 0.01], 100))
    assert even.upper["80"] == [10]
    assert newest.upper["80"] == [1]


def test_weights_of_one_size_are_no_weights() -> None:
    errors = np.random.default_rng(0).normal(size=300)
    predicted = np.arange(300, dtype=np.float32)
    assert calibrate_bins(predicted, errors, np.full(300, 0.3)) == calibrate_bins(predicted, errors)


def test_no_rows_give_no_interval() -> None:
    bins = calibrate_bins(np.zeros(0, np.float32), np.zeros(0))
    assert (bins.edges, bins.lower["50"]) == ([], [None])
    assert measure_bin_coverage(bins, np.zeros(0), np.zeros(0, np.float32)) == (None, [None] * 10)


@pytest.mark.parametrize("seed", range(3))
def test_every_decile_is_covered_where_errors_grow_with_the_prediction(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted = rng.lognormal(0, 1, 24_000).astype(np.float32)
    actual = predicted * rng.lognormal(0, 0.4, len(predicted))
    known, fresh = slice(0, 4000), slice(4000, None)
    bins = calibrate_bins(predicted[known], actual[known] - predicted[known], floor=0)
    total, deciles = measure_bin_coverage(bins, actual[fresh], predicted[fresh])
    assert total == pytest.approx(0.9, abs=0.02)
    assert min(share or 0 for share in deciles) >= 0.8
    width = np.quantile(np.abs(actual[known] - predicted[known]), 0.9)
    constant = np.abs(actual[fresh] - predicted[fresh]) <= width
    order = np.argsort(predicted[fresh])
    assert min(part.mean() for part in np.array_split(constant[order], 10)) < 0.6, "what one width does"
    low, high = bound(bins, predicted[fresh], 90)
    assert np.median(high - low) < 2 * width


def test_each_bin_knows_the_error_to_expect() -> None:
    predicted = np.arange(200, dtype=np.float32)
    bins = calibrate_bins(predicted, np.where(predicted < 100, 2.0, -4.0), np.ones(200))
    assert bins.edges == [60.0, 140.0]
    assert bins.mse == pytest.approx([4.0, 10.0, 16.0])
    assert bins.sum_squares(np.array([-5.0, 60.0, 139.0, 140.0, 9e9])) == pytest.approx(4 + 2 * 10 + 2 * 16)
    assert calibrate_bins(predicted, np.repeat([2.0, 4.0], 100), np.repeat([3.0, 1.0], 100)).mse[0] == 4.0
    weighted = calibrate_bins(predicted[:60], np.repeat([2.0, 4.0], 30), np.repeat([3.0, 1.0], 30))
    assert weighted.mse == pytest.approx([(3 * 4 + 16) / 4]), "the newest errors count most"


def test_older_bins_and_bins_of_no_row_expect_nothing() -> None:
    none = calibrate_bins(np.zeros(0, np.float32), np.zeros(0))
    assert none.sum_squares(np.ones(3)) is None
