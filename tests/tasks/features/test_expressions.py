"""Entries become trees; what cannot be understood is refused in a sentence with a caret at the position."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.features.expressions import (
    Binary,
    Call,
    Column,
    Negative,
    Node,
    Number,
    Slopes,
    Spline,
    TermError,
    TimePart,
    find_columns,
    find_kinds,
    parse,
    parse_category,
    parse_feature,
    write,
)
from tests.tasks.features.trees import trees

COLUMNS = ["carat", "area", "cut", "sold_on", "log(carat)", "a b", "größe", "if", "log", "tick`tick", "x:y", " edge "]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("carat", "`carat`"),
        ("log( area )", "log(`area`)"),
        ("log(carat)", "`log(carat)`"),
        (" log(carat)", "log(`carat`)"),
        ("carat + area * carat ** 2", "`carat` + (`area` * (`carat` ** 2))"),
        ("carat - area - 1", "(`carat` - `area`) - 1"),
        ("2 ** 3 ** carat", "2 ** (3 ** `carat`)"),
        ("-carat ** 2", "-(`carat` ** 2)"),
        ("+carat", "`carat`"),
        ("`a b` / .5e3", "`a b` / 500"),
        ("1. * größe", "1 * `größe`"),
        ("log(if)", "log(`if`)"),
        ("log(log)", "log(`log`)"),
        ("log", "`log`"),
        ("`tick``tick` + 1e300", "`tick``tick` + 1e+300"),
        ("max(area - 100, 0)", "max(`area` - 100, 0)"),
        ("clip(carat,\n 0, 007)", "clip(`carat`, 0, 7)"),
        ("days(sold_on) / 365.25", "days(`sold_on`) / 365.25"),
        (" edge ", "` edge `"),
        ("x:y", "`x:y`"),
    ],
)
def test_entry_becomes_its_canonical_text(text: str, canonical: str) -> None:
    assert write(parse(text, COLUMNS)) == canonical
    assert parse(canonical) == parse(text, COLUMNS)


ERRORS = {
    "": ("it is empty", 0),
    "   ": ("it is empty", 0),
    "log(carrat)": ("there is no column 'carrat'; did you mean 'carat'?", 4),
    "CARAT * 2": ("there is no column 'CARAT'; did you mean 'carat'?", 0),
    "1 + unknown": ("there is no column 'unknown'.", 4),
    "carat + lgo(area)": ("there is no function 'lgo'; did you mean 'log'?", 8),
    "zzz(area)": ("there is no function 'zzz'; there are log, log1p, exp", 0),
    "`log`(area)": ("there is no function '`log`'", 0),
    "2(area)": ("there is no function '2'", 0),
    "log(area": ("this parenthesis is not closed", 3),
    "(carat + (area)": ("this parenthesis is not closed", 0),
    "carat) + (area": ("this parenthesis was never opened", 5),
    "'carat'": ("text cannot be in an expression", 0),
    'carat + "b"': ("text cannot be in an expression", 8),
    "carat.real": ("an attribute or an index cannot be", 5),
    "carat[0]": ("an attribute or an index cannot be", 5),
    "carat < 3": ("a comparison or an assignment cannot be", 6),
    "carat == 3": ("a comparison or an assignment cannot be", 6),
    "carat ^ 2": ("a power is written as **", 6),
    "carat % 2": ("the operators are + - * / **", 6),
    "carat // 2": ("here is no expression of columns", 0),
    "carat; area": ("';' has no meaning here", 5),
    "carat\0": (r"'\x00' has no meaning here", 5),
    "`carat": ("this backtick is not closed", 0),
    "carat area": ("an operator is missing before 'area'", 6),
    "2carat": ("an operator is missing before 'carat'", 1),
    "(carat) area": ("an operator is missing before 'area'", 8),
    "lambda carat": ("an operator is missing before 'carat'", 7),
    "carat +": ("a value is missing, or there is an operator too many", 6),
    "* carat": ("a value is missing, or there is an operator too many", 0),
    "carat * * 2": ("a value is missing, or there is an operator too many", 8),
    "()": ("here is no expression", 0),
    "(carat, area)": ("here is no expression", 0),
    "log(*carat)": ("an operator has no value on its left", 0),
    "log(**carat)": ("an operator has no value on its left", 0),
    "log()": ("log has 1 argument, not 0", 0),
    "log(carat, 2)": ("log has 1 argument, not 2", 0),
    "max(carat)": ("max has 2 arguments or more, not 1", 0),
    "clip(carat, 1)": ("clip has 3 arguments, not 2", 0),
    "month(carat + 1)": ("month is a part of a time, so a column must be in its parentheses", 6),
    "month(sold_on, 1)": ("month has 1 argument, not 2", 0),
    "1e999 * carat": ("this number is too great", 0),
    "log(spline(area, 4))": ("spline is a whole feature, and no part of one", 4),
    "log(carat:cut)": ("an interaction is a whole feature", 9),
    "log(carat)(area)": ("an operator is missing before this parenthesis", 3),
    "(" * 10_000 + "carat" + ")" * 10_000: ("it is nested more than 100 levels deep", 100),
    "-" * 400 + "carat": ("it is nested more than 100 levels deep", 101),
    "+".join(["carat"] * 400): ("it has more than 500 parts", 6 * 250),
    "+".join(["carat"] * 200): ("it is nested more than 100 levels deep", 0),
}


@pytest.mark.parametrize("text", ERRORS, ids=[repr(text[:20]) for text in ERRORS])
def test_error_is_a_sentence_with_a_caret(text: str) -> None:
    sentence, position = ERRORS[text]
    with pytest.raises(TermError) as caught:
        parse(text, [name for name in COLUMNS if name != "log(carat)"])
    first, shown, caret = str(caught.value).split("\n")
    assert sentence in first
    assert re.search(r" is no term: .*[^?][.?]$", first)
    assert first.count(". ") == 0
    index = caret.index("^") - 2
    assert re.fullmatch(r" *\^", caret)
    if len(text) <= 60 and "\0" not in text:
        assert index == position
        assert shown[2:] == text
    else:
        assert len(shown) <= 70
        assert shown[2 + index : 3 + index] == text[position].replace("\0", " ")


@pytest.mark.parametrize(
    "name", ["a", "`", "``", "", "\n", "\0", "'; DROP TABLE x; --", "日本 語", "😀", "x" * 10_000, "(("]
)
def test_column_may_have_any_name(name: str) -> None:
    assert parse(name, [name]) == Column(name)
    assert parse(write(Column(name))) == Column(name)
    tree = Binary("*", Call("log", (Column(name),)), Column(name))
    assert parse(write(tree), [name]) == tree


@given(st.text(), st.text())
def test_names_of_any_text_survive(one: str, other: str) -> None:
    tree = Binary("+", Negative(Column(one)), Call("max", (Column(other), Number(2.5))))
    assert parse(write(tree)) == tree
    assert find_columns(tree) == list(dict.fromkeys([one, other]))


@given(trees())
def test_canonical_text_gives_the_same_tree(tree: Node) -> None:
    assert parse(write(tree)) == tree


@given(st.text(st.sampled_from("ab1.`'+-*/(),: \n_logmx<^²ǅ")))
def test_any_text_is_a_tree_or_an_error(text: str) -> None:
    try:
        tree = parse(text, ["a", "b", "x"])
    except TermError as error:
        found = str(error)
    else:
        found = "\n\n"
        assert parse(write(tree)) == tree
    assert found.count("\n") == 2


def test_columns_are_found_with_what_they_are_read_as() -> None:
    tree = parse("max(`b`, abs(-a)) + month(t) * 2 + b", ["a", "b", "t"])
    assert find_columns(tree) == ["b", "a", "t"]
    assert find_kinds(tree) == {"b": "number", "a": "number", "t": "time"}
    with pytest.raises(UserError, match="column 't' is read as a number and as a time in `t` - month"):
        find_kinds(parse("t - month(t)", ["t"]))


def test_feature_is_an_expression_a_curve_or_an_interaction() -> None:
    area, carat = Column("area"), Column("carat")
    assert parse_feature("log(carat)", COLUMNS) == Column("log(carat)")
    assert parse_feature("x:y", COLUMNS) == Column("x:y")
    assert parse_feature("spline(area, 4)", COLUMNS) == Spline(area, 4)
    assert parse_feature("spline(max(area, carat), 3)", COLUMNS) == Spline(Call("max", (area, carat)), 3)
    assert parse_feature("carat:cut", COLUMNS) == Slopes(carat, Column("cut"))
    assert parse_feature("log(area) : `a b`", COLUMNS) == Slopes(Call("log", (area,)), Column("a b"))
    assert parse_feature("area:a b", COLUMNS) == Slopes(area, Column("a b"))
    assert parse_feature("carat * 2:month(sold_on)", COLUMNS).label == TimePart("month", Column("sold_on"))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "sentence", "position"),
    [
        ("carat:area", "both sides of this interaction are numbers; write their product, carat * area", 5),
        ("cut:log(area)", "both sides of this interaction are numbers; write their product, cut * log(area)", 3),
        ("carat:cut:area", "an interaction has two sides", 9),
        ("carat:", "it is empty", 6),
        ("carat:ct", "there is no column 'ct'; did you mean 'cut'?", 6),
        ("spline(area)", "spline has an expression and degrees of freedom, as in spline(area, 4)", 0),
        ("spline(area, 1)", "the degrees of freedom are a whole number from 2 to 50", 13),
        ("spline(area, carat)", "the degrees of freedom are a whole number from 2 to 50", 13),
        ("spline(3, 4)", "it has no column, so it is the same in all rows", 0),
        ("2 * 3", "it has no column, so it is the same in all rows", 0),
        ("2:cut", "it has no column, so it is the same in all rows", 0),
    ],
)
def test_feature_that_is_none_is_refused(text: str, sentence: str, position: int) -> None:
    with pytest.raises(TermError) as caught:
        parse_feature(text, COLUMNS, ["carat", "area"])
    first, _, caret = str(caught.value).split("\n")
    assert sentence in first
    assert caret.index("^") - 2 == position


def test_category_is_a_column_or_a_part_of_a_time() -> None:
    assert parse_category("cut", COLUMNS) == Column("cut")
    assert parse_category("month(sold_on)", COLUMNS) == TimePart("month", Column("sold_on"))
    with pytest.raises(TermError, match=r"a category is a column, or a part of a time such as month\(COLUMN\)\."):
        parse_category("log(area)", COLUMNS)
