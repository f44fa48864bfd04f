"""Two worlds to break, each with a process of its own, and the table of what was done to them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.matrix import TRIED, World, make_table
from tests.faults.zygote import Zygote

WORLDS = 2  # at a time, one a core


@pytest.fixture(scope="session")
def zygotes(s3: str) -> Iterator[list[Zygote]]:
    """Processes that know the address of the object store."""
    found = [Zygote() for _ in range(WORLDS)]
    yield found
    for zygote in found:
        zygote.close()


@pytest.fixture
def worlds(zygotes: list[Zygote], tmp_path: Path) -> list[World]:
    """Worlds on a disk."""
    return [
        World(zygote, str(tmp_path / f"world{number}"), tmp_path / f"scratch{number}")
        for number, zygote in enumerate(zygotes)
    ]


@pytest.fixture
def s3_worlds(zygotes: list[Zygote], s3: str, tmp_path: Path) -> list[World]:
    """Worlds in a bucket, which no other test sees."""
    return [
        World(zygote, f"{s3}/{tmp_path.name}/world{number}", tmp_path / f"scratch{number}")
        for number, zygote in enumerate(zygotes)
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TRIED:
        terminalreporter.section("faults")
        terminalreporter.write_line(make_table())
