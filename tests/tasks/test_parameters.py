"""Every parameter as the form in the Prefect UI sees it."""

from typing import Any

import pytest
from pydantic import ValidationError

from tasks import parameters
from tasks.parameters import Actuals, Batch, Dataset, ExampleInputs, Parameters, Period, Promotion, Retention, Training

GROUPS: list[type[Parameters]] = [Dataset, Training, ExampleInputs, Promotion, Retention, Batch, Period, Actuals]


def fields_of(group: type[Parameters]) -> dict[str, dict[str, Any]]:
    return dict(group.model_json_schema()["properties"])


def test_the_groups_are_all_that_there_are() -> None:
    assert {group for group in vars(parameters).values() if group in Parameters.__subclasses__()} == set(GROUPS)


@pytest.mark.parametrize("group", GROUPS)
def test_fields_stand_in_order_and_say_what_they_are(group: type[Parameters]) -> None:
    fields = list(fields_of(group).values())
    assert [field["position"] for field in fields] == list(range(len(fields)))
    assert all(len(field["description"]) > 10 for field in fields)
    assert "\n" not in "".join(field["description"] for field in fields)


@pytest.mark.parametrize(
    ("group", "name", "bounds"),
    [
        (Training, "epochs", "fewer once it is at the optimum). From 1 to 100,000."),
        (Training, "learning_rate", "halved when an epoch gains nothing). From 1e-08 to 100."),
        (Retention, "leftover_hours", "From 1 to 8,760."),
        (Batch, "max_rejects", "From 0 to 1."),
    ],
)
def test_bounds_are_told_and_checked(group: type[Parameters], name: str, bounds: str) -> None:
    field = fields_of(group)[name]
    assert field["description"].endswith(bounds)
    group.model_validate({name: field["minimum"]})
    with pytest.raises(ValidationError, match="greater than or equal"):
        group.model_validate({name: field["minimum"] - 1})
    with pytest.raises(ValidationError, match="less than or equal"):
        group.model_validate({name: field["maximum"] + 1})


def test_a_list_with_a_minimum_tells_no_bounds() -> None:
    assert "From" not in fields_of(Dataset)["features"]["description"]


@pytest.mark.parametrize("group", GROUPS)
def test_an_unknown_name_is_refused(group: type[Parameters]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        group.model_validate({"sauce": 1})


def test_a_number_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValidationError, match="finite number"):
        ExampleInputs(values=[float("nan")])


def test_a_checked_value_stays_as_it_is() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Training().epochs = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("training", "own_table", "name"),
    [
        (Training(), False, "notebook"),
        (Training(), True, "converged"),
        (Training(recipe="notebook"), True, "notebook"),
        (Training(recipe="converged"), False, "converged"),
        (Training(seed=1), False, "custom"),
        (Training(epochs=50), True, "custom"),
    ],
)
def test_a_recipe_is_named_until_one_setting_differs(training: Training, own_table: bool, name: str) -> None:
    resolved = training.resolve(own_table)
    assert resolved.recipe_name == name
    assert resolved.resolve(not own_table) == resolved, "what is resolved stays so"


def test_a_recipe_fills_the_fields_that_were_not_set_by_hand() -> None:
    resolved = Training(epochs=50, seed=7).resolve(own_table=True)
    assert resolved.model_dump() == {
        "recipe": "converged",
        "epochs": 50,
        "batch_size": 1_000_000_000,
        "learning_rate": 0.25,
        "validation_split": 0.3,
        "seed": 7,
        "shuffle": True,
        "time_limit": 3600,
    }
    assert Training().resolve(own_table=False).model_dump() == Training().model_dump() | {"recipe": "notebook"}


def test_the_tutorials_dataset_is_nobodys_own() -> None:
    assert not Dataset().is_own
    assert not Dataset(source="package").is_own


def test_features_are_named_once() -> None:
    with pytest.raises(ValidationError, match="names a feature twice"):
        Dataset(features=["RM", "RM"])


def test_a_column_by_another_name_may_hold_an_equals_sign() -> None:
    mapping = Batch(columns=["RM=rooms", "AGE=a=b", "RM=zimmer"]).mapping
    assert mapping == {"RM": ["rooms", "zimmer"], "AGE": ["a=b"]}


def test_a_column_has_its_bounds_but_once() -> None:
    with pytest.raises(ValidationError, match="names a column twice"):
        Dataset(bounds=["rooms=1..", "rooms=..20"])
