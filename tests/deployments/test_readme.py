"""The commands in the README files are ones that the command line knows."""

import re
import shlex
from pathlib import Path

import pytest

from deployments.cli import app

ROOT = Path(__file__).parents[2]


def read_commands(page: Path) -> list[str]:
    """The commands of the console blocks, with the settings of the shell filled in."""
    commands, settings = [], {"VERSION": "20261123T060000Z-1a2b3c"}
    for line in re.findall(r"^\$ (.*)$", page.read_text(), re.MULTILINE):
        name, _, value = line.partition("=")
        if name.isupper() and name.isalpha():
            (settings[name],) = shlex.split(value)
        for setting, meaning in settings.items():
            line = line.replace(f"${setting}", meaning)
        if line.startswith("linear-neuron "):
            commands.append(line)
    return commands


@pytest.mark.parametrize(
    "command", [*read_commands(ROOT / "README.md"), *read_commands(ROOT / "deployments" / "README.md")]
)
def test_a_command_of_the_readme_is_understood(command: str) -> None:
    words = shlex.split(re.sub(r"--(name|store) \S+", "", command), comments=True)[1:]
    parsed, bound, *_ = app.parse_args(words, exit_on_error=False, print_error=False)
    assert parsed.__name__ == words[0]
    assert bound.arguments or len(words) == 1
