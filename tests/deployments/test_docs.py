"""Every command on a page of the documentation runs, and prints what the page shows."""

import re
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from linear_neuron.deployments.cli import app
from tests.forked import Forked
from tests.pages import ROOT, agrees, find_difference, read_steps, run_steps

NEW_PYTHON = ("README.md",)
COMMANDS = Path(sys.executable).parent
GUIDE = ROOT / "docs" / "server.md"  # test_server_guide.py types it into a machine of its own
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"))]


def name_page(page: Path) -> str:
    return str(page.relative_to(ROOT))


RUN = [
    pytest.param(page, marks=pytest.mark.xdist_group(name_page(page)))  # Any process may take a page.
    for page in PAGES
    if page != GUIDE and read_steps(page)
]


@pytest.mark.parametrize("page", RUN, ids=name_page)
def test_commands_print_what_the_page_shows(page: Path, tmp_path: Path, forked: Forked) -> None:
    """Pages in NEW_PYTHON are typed as a user does; on others commands are forked, which is several times cheaper."""
    (tmp_path / "home").mkdir()
    steps = read_steps(page)
    with nullcontext(COMMANDS) if page.name in NEW_PYTHON else forked.offer() as commands:
        outcomes = run_steps(steps, tmp_path / "home", commands)
    differences = [find_difference(step, outcome) for step, outcome in zip(steps, outcomes, strict=True)]
    shown = "\n\n".join(filter(None, differences))
    assert not shown, f"`python -m tests.pages {name_page(page)}` writes what is printed into the page:\n{shown}"


@pytest.mark.parametrize(
    ("printed", "same"),
    [
        ("price = 4.2389 * area\nMSE 5,705", True),
        ("price = 4.2439 * area\nMSE 5,705", False),
        ("price = 4.2389 * area\nMSE 5,709", False),
        ("price = 4.2389 * rooms\nMSE 5,705", False),
        ("price = 4.2389 * area\n7 more\nMSE 5,705", False),
    ],
)
def test_numbers_of_a_page_are_close_and_words_the_same(printed: str, same: bool) -> None:
    assert agrees(["price = 4.2392 * area", "MSE 5,704"], printed) is same
    assert agrees(["...", "price = 4.2392 * area", "MSE 5,704"], f"Data 1.5\n{printed}") is same


def read_inline_commands() -> list[str]:
    """Read the commands that pages name within a sentence or a table."""
    found = {command for page in PAGES for command in re.findall(r"`(linear-neuron [a-z][^`\n]*)`", page.read_text())}
    return sorted(command for command in found if "up" not in command.split()[1:2])


@pytest.mark.parametrize("command", read_inline_commands())
def test_inline_command_is_understood(command: str) -> None:
    words = shlex.split(
        re.sub(r"--(name|store) \S+|\.\.\.$", "", command).replace("DAY", "2026-01-01", 1).replace("DAY", "2026-10-01")
    )[1:]
    parsed, _, *_ = app.parse_args(words, exit_on_error=False, print_error=False)
    assert parsed.__name__ == words[0]


@pytest.mark.parametrize("page", TEXTS, ids=name_page)
def test_links_name_files_that_exist(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S))
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", TEXTS[:-1], ids=name_page)
def test_named_files_exist(page: Path) -> None:
    names = re.findall(r"`((?:tasks|flows|deployments|tests|docs)/[^`*\s]*)`", page.read_text())
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_readme_has_at_most_900_words() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 900
