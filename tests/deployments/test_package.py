"""The wheel, installed into an environment that knows nothing of the checkout."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from tasks.storage.store import Store
from tests.deployments.helpers import CLEAN

ROOT = Path(__file__).parents[2]


def run_uv(*arguments: str | Path) -> None:
    subprocess.run([Path(sys.executable).with_name("uv"), "--quiet", "--offline", *arguments], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout without the network."""
    folder = tmp_path_factory.mktemp("dist")
    run_uv("build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of a new environment with the wheel, which borrows the packages that ours depends on."""
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(folder, symlinks=True)
    run_uv("pip", "install", "--no-deps", "--python", folder / "bin/python", wheel)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_the_wheel_has_all_that_is_read(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    assert names >= {
        "deployments/automations.yaml",
        "deployments/prefect.yaml",
        "tasks/dataset/data/boston_housing.npz",
        *(f"{package}/py.typed" for package in ("deployments", "flows", "tasks")),
    }
    assert not [name for name in names if name.startswith("tests/") or "__pycache__" in name]


def test_the_installed_command_knows_its_version(installed: Path, tmp_path: Path) -> None:
    command = f"{installed}/linear-neuron"
    printed = subprocess.check_output([command, "--version"], cwd=tmp_path, env=CLEAN, text=True)
    assert printed.strip() == "0.1.0"


def test_the_installed_command_predicts(installed: Path, tmp_path: Path, trained_store: Store, server: str) -> None:
    (tmp_path / "homes.csv").write_text("id,RM\n007,6\n")
    done = subprocess.run(
        [installed / "linear-neuron", "predict", "homes.csv", "--output", "out"],
        env=CLEAN
        | {"PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": server, "LINEAR_NEURON_STORE": str(trained_store.root)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (predictions,) = tmp_path.glob("out/*/homes.predictions.csv")
    assert predictions.read_text().splitlines()[1].startswith("007,6,21.33")


def test_the_installed_code_is_not_that_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = "import deployments, flows, tasks; print(deployments.__file__, flows.__file__, tasks.__file__)"
    printed = subprocess.check_output([installed / "python", "-c", code], cwd=tmp_path, env=CLEAN, text=True)
    assert [Path(name).is_relative_to(installed.parent) for name in printed.split()] == [True, True, True]
