"""Every parameter as the form in the Prefect UI sees it."""

from typing import Any

import pytest
from prefect.utilities.schema_tools import validate
from pydantic import ValidationError

from linear_neuron.deployments.explain import explain
from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks import parameters
from linear_neuron.tasks.parameters import (
    Actuals,
    Batch,
    Dataset,
    ExampleInputs,
    Parameters,
    Period,
    Promotion,
    Retention,
    Training,
)
from linear_neuron.tasks.parameters.base import read_sign

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
        "past": "auto",
        "l2": 0.0,
        "signs": [],
        "refit": "auto",
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


def test_a_term_has_its_sign_but_once() -> None:
    assert read_sign("a=b=-") == ("a=b", -1)
    with pytest.raises(ValidationError, match="names a term twice"):
        Training(signs=["area=+", "area=-"])


SECRETS = [
    "postgresql://me:hunter2@host/db",
    "postgresql://me:hunter2#/@host/db",
    "https://me:hunter2@host/a.csv",
    "http://me:hunter2/x@host/a.csv",
    "s3://me:hunter2@bucket/a.csv",
    "tls://me:hunter2@scheduler:8786",
    "sql:SELECT * FROM postgres_scan('postgresql://me:hunter2@host/db', 't')",
    "a.csv\nhttps://me:hunter2@host/a.csv",
]
ADDRESSES: list[tuple[type[Parameters], str]] = [
    (Dataset, "source"),
    (Batch, "inputs"),
    (Batch, "output"),
    (Batch, "done"),
    (Actuals, "inputs"),
    (Actuals, "predictions"),
]


@pytest.mark.parametrize(
    ("group", "name"), [*ADDRESSES, (Dataset, "connection"), (Batch, "connection"), (Batch, "dask_address")]
)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_password_is_refused_before_it_is_kept(group: type[Parameters], name: str, secret: str) -> None:
    value = [secret] if fields_of(group)[name]["type"] == "array" else secret
    assert validate({name: value}, group.model_json_schema(), raise_on_error=False), "a server refuses it by the schema"
    with pytest.raises(ValidationError) as caught:
        group.model_validate({name: value})
    assert "hunter2" not in str(caught.value)
    mistake = RuntimeError("refused")
    mistake.__cause__ = caught.value
    assert "hunter2" not in explain(mistake)
    assert "what was given" in explain(mistake)


@pytest.mark.parametrize(("group", "name"), ADDRESSES)
@pytest.mark.parametrize(
    "address",
    [
        "a.csv",
        "/in/b@c.csv",
        "s3://bucket/a@b.csv",
        "https://host:8080/a@b.csv?page=x@y",
        "tcp://host:8786",
        "file:///a@b",
        "sql:SELECT 'http://x', 'me@host' FROM t",
        "C:/a",
        "日本/*.csv",
    ],
)
def test_an_address_without_a_password_is_taken(group: type[Parameters], name: str, address: str) -> None:
    value = [address] if fields_of(group)[name]["type"] == "array" else address
    assert not validate({name: value}, group.model_json_schema(), raise_on_error=False)
    group.model_validate({name: value})


@pytest.mark.parametrize(("group", "name"), ADDRESSES)
def test_signed_url_is_taken_and_kept_by_no_server(group: type[Parameters], name: str) -> None:
    address = "https://host:8080/a@b.csv?sig=x@y"
    value = [address] if fields_of(group)[name]["type"] == "array" else address
    group.model_validate({name: value})
    assert validate({name: value}, group.model_json_schema(), raise_on_error=False)


@pytest.mark.parametrize(
    ("group", "name", "value", "sentence"),
    [
        (Dataset, "as_of", "yesterday", "must be a day, such as 2026-11-01"),
        (Batch, "as_of", "2026-02-31", "is no day of the calendar"),
        (Dataset, "as_of", "9999-01-01", "is a day that is still to come; name today or an earlier one"),
        (Batch, "columns", ["RM"], "must be FEATURE=COLUMN, such as RM=rooms"),
        (Batch, "into", "a b", "must be TABLE or SCHEMA.TABLE in letters, digits and _"),
        (Dataset, "bounds", ["rooms"], "must be COLUMN=LEAST..GREATEST, such as rooms=1..20"),
        (Dataset, "bounds", ["rooms=x..2"], "is not COLUMN=LEAST..GREATEST in numbers"),
        (Training, "signs", ["area"], "must be TERM=+ or TERM=-, such as area=+"),
        (Training, "signs", ["=+"], "must be TERM=+ or TERM=-, such as area=+"),
        (Dataset, "connection", "a\n", "must be a name of letters, digits, - and _, never an address"),
    ],
)
def test_a_value_of_the_wrong_form_is_a_sentence(group: type[Parameters], name: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        group.model_validate({name: value})
    (rule,) = caught.value.errors()
    assert rule["msg"].removeprefix("Value error, ") == sentence


def test_categories_alone_are_enough() -> None:
    assert Dataset.model_validate({"categories": ["cut"]}).entries == ["cut"]
    assert Dataset.model_validate({"features": [], "categories": ["cut"]}).features == []
    assert Dataset.model_validate({"features": ["carat"], "categories": ["cut"]}).entries == ["carat", "cut"]
    assert Dataset.model_validate({}).entries == ["RM"]


@pytest.mark.parametrize("given", [{}, {"features": []}, {"features": ["auto"]}])
def test_auto_is_the_default_of_an_own_table_alone(given: dict[str, object]) -> None:
    own = Dataset.model_validate({"source": "homes.csv", **given})
    assert own.features == ["auto"]
    assert own.model_fields_set == {"source", *given}
    assert Dataset.model_validate(given).features == ["RM"]


def test_the_form_leaves_the_features_of_another_table_open() -> None:
    form = retrain.parameters.properties["dataset"]["default"]
    assert (form["source"], form["features"]) == ("boston", [])
    assert Dataset.model_validate(form).features == ["RM"]
    assert Dataset.model_validate(form | {"source": "homes.csv", "target": "price"}).features == ["auto"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"categories": ["cut", "cut"]}, "names a category twice"),
        ({"features": ["cut"], "categories": ["cut"]}, "names cut, which is a feature already"),
        ({"min_level_rows": 0}, "greater than or equal to 1"),
        ({"missing": "mean"}, "'reject' or 'fill'"),
    ],
)
def test_features_and_categories_are_distinct(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Dataset.model_validate(given)
