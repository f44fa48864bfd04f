"""The report says how certain the weights are, or why that is not known."""

from linear_neuron.tasks.model import Term, Uncertainty
from linear_neuron.tasks.reporting.uncertainty import add_uncertainty, describe_uncertainty, list_uncertainty
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version

ROOMS = Uncertainty(weight=8.84, error=0.6, low=7.66, high=10.02, inflation=1.0)


def test_weights_are_shown_with_error_interval_and_inflation(store: Store) -> None:
    model = make_version(store, "v1", uncertainty={"RM": ROOMS}, uncertainty_method="HC3")
    heading, table, text = describe_uncertainty(model)
    assert heading == "## How certain the weights are"
    assert table.splitlines()[2] == "| RM | 8.84 | 0.6000 | 7.66 to 10.02 | 1.0 |"
    assert "unequal variances too (HC3)" in text
    assert text.endswith("No variance inflation factor is above 10, so no weight borrows much from correlated columns.")
    assert add_uncertainty(store, [{"version": "v1"}]) == [
        {
            "version": "v1",
            "uncertainty": {"RM": ROOMS.model_dump()},
            "uncertainty_method": "HC3",
            "uncertainty_reason": "",
        }
    ]


def test_inflated_columns_are_named_and_many_are_counted(store: Store) -> None:
    found = {f"x{i}": ROOMS.model_copy(update={"inflation": 12.0 if i < 7 else None}) for i in range(70)}
    model = make_version(
        store, "v1", uncertainty=found, uncertainty_method="HC1", terms=[Term(name="x0", kind="number")]
    )
    _, table, more, text = describe_uncertainty(model)
    assert len(table.splitlines()) == 62
    assert more == "10 more are in `model.json`."
    assert text.endswith("so that its weight alone says little: x0, x1, x2, x3, x4 and 2 more.")
    assert "what it adds beside the average row" in text


def test_dashes_alone_are_no_praise(store: Store) -> None:
    found = {"x": ROOMS.model_copy(update={"inflation": None})}
    model = make_version(
        store, "v1", uncertainty=found, uncertainty_method="HC3", terms=[Term(name="x", kind="number")]
    )
    assert describe_uncertainty(model)[-1].endswith("only their sum is known. Here that is all of them.")


def test_a_reason_stands_where_there_are_none(store: Store) -> None:
    model = make_version(store, "v1", uncertainty_reason="the recipe stops after its epochs, not at the optimum")
    assert describe_uncertainty(model)[1] == "Not known: the recipe stops after its epochs, not at the optimum."
    assert describe_uncertainty(make_version(store, "v0")) == []
    assert list_uncertainty(None) == dict.fromkeys(("uncertainty", "uncertainty_method", "uncertainty_reason"))
