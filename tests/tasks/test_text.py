"""Names from outside stand in reports as they are, and mean nothing to Markdown, HTML or plots."""

import re
from html import unescape

import pytest

from tasks.reporting.markdown import as_table, render_page
from tasks.text import as_code, as_text, one_line

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
