"""Which changes of the code make a version stale."""

import shutil
from pathlib import Path

import pytest

from tasks.fingerprint import TASKS, digest_code


@pytest.fixture
def code(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TASKS, tmp_path / "tasks"))


@pytest.mark.parametrize("name", ["boston.py", "split.py", "tables.py", "neuron.py", "model.py"])
def test_a_change_of_decisive_code_counts(code: Path, name: str) -> None:
    with (code / name).open("a") as file:
        file.write("# changed\n")
    assert digest_code(code) != digest_code()


@pytest.mark.parametrize("name", ["retention.py", "champion.py", "plots.py", "scoring.py", "store.py", "new.py"])
def test_a_change_elsewhere_does_not_count(code: Path, name: str) -> None:
    with (code / name).open("a") as file:
        file.write("# changed\n")
    assert digest_code(code) == digest_code()


def test_a_renamed_module_counts(code: Path) -> None:
    (code / "split.py").rename(code / "cut.py")
    assert digest_code(code) != digest_code()
