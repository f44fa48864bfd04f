"""Which changes of the code make a version stale."""

import shutil
from pathlib import Path

import pytest

from linear_neuron.tasks.registry.fingerprint import DECISIVE, TASKS, describe_code, digest_code


@pytest.fixture
def code(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TASKS, tmp_path / "tasks"))


@pytest.mark.parametrize(
    "name", ["dataset/split.py", "tables/csv.py", "training/neuron.py", "training/new.py", "model.py"]
)
def test_a_change_of_decisive_code_counts(code: Path, name: str) -> None:
    with (code / name).open("a") as file:
        file.write("# changed\n")
    assert digest_code(code) != digest_code()


@pytest.mark.parametrize(
    "name", ["registry/retention.py", "scoring/run.py", "reporting/plots.py", "storage/store.py", "steps.py"]
)
def test_a_change_elsewhere_does_not_count(code: Path, name: str) -> None:
    with (code / name).open("a") as file:
        file.write("# changed\n")
    assert digest_code(code) == digest_code()


def test_a_renamed_module_counts(code: Path) -> None:
    (code / "dataset" / "split.py").rename(code / "dataset" / "cut.py")
    assert digest_code(code) != digest_code()


def test_a_machine_without_git_knows_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe_code()["commit"] is None


def test_every_decisive_part_is_there() -> None:
    assert [part for part in DECISIVE if not (TASKS / part).exists()] == []
    assert {"neuron.py", "split.py", "read.py"} <= {
        path.name for part in DECISIVE for path in (TASKS / part).rglob("*.py")
    }
