"""Two versions are compared by weights, predictions on a file, and the worst case."""

from pathlib import Path

import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import Uncertainty
from linear_neuron.tasks.monitoring.difference import compare, compare_weights, list_cells, render
from linear_neuron.tasks.reporting.changes import write_difference
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version
from tests.tasks.registry.random_models import make_pair


def make_uncertainty(weight: float, error: float) -> dict[str, Uncertainty]:
    return {"RM": Uncertainty(weight=weight, error=error, low=0, high=0, inflation=1.0)}


def test_weights_move_by_standard_errors(store: Store) -> None:
    old = make_version(store, "a", uncertainty=make_uncertainty(3.0, 0.3))
    new = make_version(store, "b", weights=[4.0], uncertainty=make_uncertainty(4.0, 0.4))
    (change,) = compare_weights(old, new)
    assert (change.old, change.new) == (3.0, 4.0)
    assert change.errors == pytest.approx(2.0)
    (alone,) = compare_weights(old.model_copy(update={"uncertainty": {}}), new)
    assert alone.errors == pytest.approx(2.5)
    other = make_version(store, "c", features=["LSTAT"], ranges={"LSTAT": (0.0, 1.0)})
    assert list_cells(compare(old, other)) == [["LSTAT", "-", "3.00", "-"], ["RM", "3.00", "-", "-"]]


def test_predictions_move_on_a_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("RM\n4\n5\n8\nn/a\n")
    old, new = make_version(store, "a"), make_version(store, "b", weights=[3.5], bias=-1.0)
    found = compare(old, new, str(tmp_path / "a.csv"))
    assert found.moves is not None
    assert (found.moves.rows, found.moves.left_out) == (3, 1)
    assert (found.moves.mean, found.moves.typical, found.moves.largest) == pytest.approx((5 / 6, 0.5, 2.0))
    assert found.moves.at == {"RM": 8.0}
    text = render(found)
    assert text.splitlines()[:2] == ["weight     a     b  standard errors", "RM      3.00  3.50                -"]
    assert "On 3 rows predictions move by +0.8333 on average, typically by 0.5000, 95% of them by at most 1.85" in text
    assert "the largest move is +2.00 (RM 8.00). 1 row left out." in text
    assert found.dump()["worst"]["highest"] == pytest.approx(0.5 * 8.7 - 2, abs=1e-4)


def test_terms_of_all_kinds_are_compared_on_a_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,c,k,m\n1,2,10.5,x,1\n,3,10.2,new,2\n-1,70,10.1,,1\n")
    old, new = make_pair(store, 3, monotone=False)
    found = compare(old, new, str(tmp_path / "a.csv"))
    assert found.moves is not None
    assert found.moves.rows == 3
    assert found.worst.lowest <= found.moves.largest <= found.worst.highest
    assert len(list_cells(found)) == 20 or len(found.weights) < 20


def test_what_can_not_be_compared_is_refused(store: Store, tmp_path: Path) -> None:
    old, new = make_version(store, "a"), make_version(store, "b", target="price")
    with pytest.raises(UserError, match="a predicts MEDV and b price; name two of one target"):
        compare(old, new)
    assert write_difference(old, new) == []
    (tmp_path / "a.csv").write_text("RM\nn/a\n")
    with pytest.raises(UserError, match="no row can be compared"):
        compare(old, old, str(tmp_path / "a.csv"))


def test_report_of_a_challenger_shows_the_worst_case(store: Store) -> None:
    heading, text, table = write_difference(make_version(store, "a"), make_version(store, "b", weights=[3.5]))
    assert heading == "## What it would change"
    assert "no prediction moves by more than 4.35" in text
    assert table.splitlines()[2] == "| RM | 3.00 | 3.50 |"
