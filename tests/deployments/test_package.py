"""The wheel, installed by its name and an extra into an environment that knows nothing of the checkout."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest

from linear_neuron.tasks.storage.store import Store
from tests.deployments.helpers import CLEAN

ROOT = Path(__file__).parents[2]
PACKAGES = Path(sysconfig.get_path("purelib"))
EXTRA = ("psycopg", "psycopg_binary")  # what linear-neuron[postgres] adds
OWN = ("tasks", "flows", "deployments")  # modules that a user may have


def run_uv(*arguments: str | Path) -> None:
    subprocess.run([Path(sys.executable).with_name("uv"), "--quiet", "--offline", *arguments], check=True)


def pack_wheel(name: str, folder: Path) -> None:
    """Make a wheel again of a package that is installed here."""
    package = distribution(name)
    (tag,) = [line[5:] for line in (package.read_text("WHEEL") or "").splitlines() if line.startswith("Tag: ")][:1]
    with ZipFile(folder / f"{name}-{package.version}-{tag}.whl", "w") as wheel:
        for file in package.files or []:
            if ".." not in file.parts and "__pycache__" not in file.parts:
                wheel.write(str(package.locate_file(file)), str(file))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with our wheel, built from the checkout without the network, and those of the extra."""
    folder = tmp_path_factory.mktemp("wheels")
    run_uv("build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder, ROOT)
    for name in EXTRA:
        pack_wheel(name, folder)
    return folder


@pytest.fixture(scope="module")
def installed(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of a new environment, which borrows all other packages that ours depends on."""
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for path in PACKAGES.iterdir():
        if path.name.startswith((*EXTRA, "linear_neuron", "_linear_neuron")):
            continue
        if path.suffix == ".dist-info":  # uv takes no link for a package that is there.
            shutil.copytree(path, packages / path.name)
        else:
            (packages / path.name).symlink_to(path)
    options = ("--no-index", "--find-links", wheels, "--python", folder / "bin/python")
    run_uv("pip", "install", *options, "linear-neuron[postgres]")
    return folder / "bin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a user whose own modules have the names of our folders."""
    for name in OWN:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write('{name} ')")
    return tmp_path


def test_the_wheel_has_one_package_with_all_that_is_read(wheels: Path) -> None:
    (wheel,) = wheels.glob("linear_neuron-*.whl")
    names = set(ZipFile(wheel).namelist())
    assert names >= {
        "linear_neuron/py.typed",
        "linear_neuron/deployments/automations.yaml",
        "linear_neuron/deployments/prefect.yaml",
        "linear_neuron/tasks/dataset/data/boston_housing.npz",
    }
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"linear_neuron"}
    assert not [name for name in names if "__pycache__" in name]


def test_the_installed_command_knows_its_version(installed: Path, folder: Path) -> None:
    for command in ([f"{installed}/linear-neuron"], [f"{installed}/python", "-m", "linear_neuron"]):
        printed = subprocess.check_output([*command, "--version"], cwd=folder, env=CLEAN, text=True)
        assert printed.strip() == "0.1.0"


def test_the_extra_is_installed(installed: Path, folder: Path) -> None:
    code = "import psycopg, psycopg_binary; print(psycopg.__file__, psycopg_binary.__file__)"
    printed = subprocess.check_output([installed / "python", "-c", code], cwd=folder, env=CLEAN, text=True)
    assert [Path(name).is_relative_to(installed.parent) for name in printed.split()] == [True, True]


def test_the_installed_command_predicts_beside_modules_of_the_user(
    installed: Path, folder: Path, trained_store: Store, server: str
) -> None:
    (folder / "homes.csv").write_text("id,RM\n007,6\n")
    settings = {"PREFECT_HOME": str(folder), "PREFECT_API_URL": server, "LINEAR_NEURON_STORE": str(trained_store.root)}
    done = subprocess.run(
        [installed / "linear-neuron", "predict", "homes.csv", "--output", "out"],
        env=CLEAN | settings | {"PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (predictions,) = folder.glob("out/*/homes.predictions.csv")
    assert predictions.read_text().splitlines()[1].startswith("007,6,21.33")
    assert not (folder / "imported").exists()


def test_a_program_imports_ours_and_its_own_modules(installed: Path, folder: Path, trained_store: Store) -> None:
    (folder / "program.py").write_text(
        "import deployments, flows, tasks\n"
        "import linear_neuron, pandas\n"
        "print(linear_neuron.predict(pandas.DataFrame({'RM': [6]})).prediction[0], linear_neuron.__file__)"
    )
    environment = CLEAN | {"LINEAR_NEURON_STORE": str(trained_store.root)}
    command = [f"{installed}/python", "program.py"]
    prediction, file = subprocess.check_output(command, cwd=folder, env=environment, text=True).split()
    assert prediction.startswith("21.33")
    assert Path(file).is_relative_to(installed.parent)
    assert (folder / "imported").read_text() == "deployments flows tasks "
