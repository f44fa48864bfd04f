"""The entries of features and categories for a table."""

import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.entries import need_columns, parse_entries


def test_only_words_mean_the_same_in_every_table() -> None:
    assert not need_columns(["area", "straße"])
    assert need_columns(["area", "price, EUR"])


def test_numbers_alone_need_no_encoding() -> None:
    assert parse_entries(["area", "price, EUR"], [], ["area", "price, EUR"]).is_plain
    assert not parse_entries(["area"], [], missing="fill").is_plain
    assert not parse_entries(["area"], ["cut"]).is_plain
    assert not parse_entries(["log(area)"], [], ["area"]).is_plain
    assert parse_entries(["log(area)"], [], ["area", "log(area)"]).is_plain


def test_columns_are_of_the_kind_that_their_terms_read() -> None:
    columns = ["area", "rooms", "cut", "sold on", "listed"]
    entries = parse_entries(["log(area)", "area:cut", "days(listed) - 2"], ["rooms", "month(`sold on`)"], columns)
    assert entries.kinds == {
        "area": "number", "cut": "category", "listed": "time", "rooms": "category", "sold on": "time",
    }  # fmt: skip


def test_a_number_can_be_a_label_too() -> None:
    assert parse_entries(["log(rooms)", "rooms:area"], ["rooms"], ["rooms", "area"]).kinds == {
        "rooms": "number", "area": "category",
    }  # fmt: skip
    assert parse_entries(["area:rooms", "rooms"], [], ["rooms", "area"]).kinds["rooms"] == "number"


def test_a_time_is_nothing_else() -> None:
    with pytest.raises(UserError, match=r"'sold' is read as a time and as a category; .* such as month\(`sold`\)"):
        parse_entries(["month(sold)"], ["sold"], ["sold"]).kinds  # noqa: B018
