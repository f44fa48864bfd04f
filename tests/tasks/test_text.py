"""Names from outside stand in reports as they are, and mean nothing to Markdown, HTML or plots."""

import re
from html import unescape

import pytest

from linear_neuron.tasks.reporting.page import as_table, render_page
from linear_neuron.tasks.text import as_code, as_text, distinguish, draw_table, list_first, one_line, split_hint

HOSTILE = [
    "# x",
    "[a](http://b)",
    "![i](http://c/x.png)",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a|b",
    "a\\|b",
    "`",
    "a``b`",
    "`|`",
    "$x^2$",
    "**b** _i_ ~~s~~",
    "_x_",
    "http://b/c",
    "WWW.b.c",
    "me@b.c",
    "&lt;&#x3c;",
    "x\\",
    "</td></table>",
    "{{ x }}",
]
PLAIN = ["RM", "sold_on", "median price [$K]", "größe (m²)", "1. x", "- x", "50%/year", "面積", "it's 'best', or not?"]


def render(markdown: str) -> str:
    return render_page(markdown, "title").partition("<body>")[2]


def tags(html: str) -> set[str]:
    return set(re.findall(r"<(\w+)", html))


def shown(html: str) -> str:
    return unescape(re.sub(r"<[^>]*>", "", html)).strip()


@pytest.mark.parametrize("name", HOSTILE + PLAIN)
def test_a_name_is_shown_as_it_is_and_makes_nothing(name: str) -> None:
    for markdown, kind in ((f"# {as_text(name)}", "h1"), (f"of {as_text(name)}", "p"), (f"of {as_code(name)}", "p")):
        html = render(markdown)
        assert tags(html) <= {kind, "code"}
        assert shown(html).removeprefix("of ") == name


@pytest.mark.parametrize("name", HOSTILE + PLAIN)
def test_a_name_stays_in_its_cell(name: str) -> None:
    html = render(as_table([name, "n"], [[name, 1], [[name, "z"], {name: 2}]]))
    assert tags(html) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
    cells = [shown(cell) for cell in re.findall(r"<t[hd]>(.*?)</t[hd]>", html)]
    assert cells == [name, "n", name, "1", f"{name}, z", f"{name} 2"]


@pytest.mark.parametrize("name", PLAIN)
def test_an_ordinary_name_stays_plain(name: str) -> None:
    assert as_text(name) == name


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "{{ x }}"])
def test_what_a_reader_may_take_for_more_is_code(name: str) -> None:
    assert as_text(name).startswith("`")


def test_breaks_and_control_characters_are_spaces() -> None:
    assert one_line("a\nb\r\n# c\x1b[31m\u2028d\x00") == "a b # c [31m d"
    assert tags(render(f"of {as_text('a' + chr(10) * 2 + '# c')}")) == {"p", "code"}


def test_compared_numbers_do_not_look_the_same() -> None:
    assert distinguish(57.8265, 84.4812) == ("57.83", "84.48")
    assert distinguish(0.0012345, 0.0012401) == ("0.0012345", "0.0012401")
    assert distinguish(1.2e-7, 1.3e-7) == ("1.2e-07", "1.3e-07")
    assert distinguish(38027.31, 38027.44) == ("38,027.3", "38,027.4")
    assert distinguish(2.0, 2.0) == ("2.00", "2.00")


def test_names_joined_by_commas_get_a_hint() -> None:
    assert split_hint("RM,LSTAT", ["RM", "LSTAT"]) == "; give each name by itself: RM LSTAT"
    assert split_hint("RM, x", ["RM", "LSTAT"]) == ""
    assert split_hint("RN", ["RM"]) == ""


def test_a_long_list_ends_with_a_count() -> None:
    assert list_first(["a", "b"], 2) == "a, b"
    assert list_first(["a", "b", "c"], 2) == "a, b and 1 more"
    assert list_first(list(range(2000)), 1, "; ") == "0; and 1,999 more"


def test_a_table_is_aligned() -> None:
    assert draw_table(["name", "n"], [["a", "1"], ["bcdef", "20"]], left={"name"}) == [
        "name    n",
        "a       1",
        "bcdef  20",
    ]
