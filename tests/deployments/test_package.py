"""The wheel, installed by its name and an extra into an environment that knows nothing of the checkout."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from linear_neuron.tasks.storage.store import Store
from tests.deployments.helpers import CLEAN

ROOT = Path(__file__).parents[2]
PACKAGES = Path(sysconfig.get_path("purelib"))
EXTRA = ("psycopg", "psycopg_binary")  # what linear-neuron[postgres] adds
OWN = ("tasks", "flows", "deployments")  # modules that a user may have

pytestmark = pytest.mark.xdist_group("server")  # One wheel and one environment are for all of them.


def run_uv(*arguments: str | Path) -> None:
    subprocess.run([Path(sys.executable).with_name("uv"), "--quiet", "--offline", *arguments], check=True)


def pack_wheel(name: str, folder: Path) -> None:
    """Make a wheel again of a package that is installed here."""
    package = distribution(name)
    lines = (package.read_text("WHEEL") or "").splitlines()
    tags = [line[5:].split("-") for line in lines if line.startswith("Tag: ")]
    tag = "-".join(".".join(dict.fromkeys(column)) for column in zip(*tags, strict=True))  # py2.py3-none-any
    with ZipFile(folder / f"{name.replace('-', '_')}-{package.version}-{tag}.whl", "w") as wheel:
        for file in package.files or []:
            if ".." not in file.parts and "__pycache__" not in file.parts:
                wheel.write(str(package.locate_file(file)), str(file))


def find_needed(requirement: str) -> set[str]:
    """Name the packages that a requirement needs, those that they need, and so on, itself included."""
    waiting = [Requirement(requirement)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        for extra in {"", *wanted.extras} - {extra for name, extra in seen if name == wanted.name}:
            seen.add((wanted.name, extra))
            needs = map(Requirement, distribution(wanted.name).requires or [])
            waiting += [need for need in needs if not need.marker or need.marker.evaluate({"extra": extra})]
    return {canonicalize_name(name) for name, _ in seen}


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


@pytest.mark.on_demand
@pytest.mark.timeout(1800)
def test_plain_pip_installs_what_runs_in_an_empty_folder(wheels: Path, tmp_path: Path) -> None:
    index, home, work = tmp_path / "index", tmp_path / "home", tmp_path / "work"
    for path in (index, home, work):
        path.mkdir()
    for name in find_needed("linear-neuron[postgres]") - {"linear-neuron"}:
        pack_wheel(name, index)
    (ours,) = wheels.glob("linear_neuron-*.whl")
    # Nothing of this machine's settings, and no commands but the system's.
    environment = {"HOME": str(home), "PATH": os.defpath, "PIP_CONFIG_FILE": os.devnull}

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "venv", tmp_path / "venv")
    commands = tmp_path / "venv" / "bin"
    run(commands / "pip", "install", "--no-index", "--no-cache-dir", "--find-links", index, f"{ours}[postgres]")
    assert "MEDV = 3.3428 * RM + 1.2761" in run(commands / "linear-neuron", "up", "--once")
    (work / "rooms.csv").write_text("RM\n6.5\n")
    batch = Path(run(commands / "linear-neuron", "predict", "rooms.csv").splitlines()[-1])
    assert (batch / "rooms.predictions.csv").read_text().splitlines()[1].startswith("6.5,23.0")
    assert {path.name for path in work.iterdir()} == {"rooms.csv", "store"}
    size = sum(path.lstat().st_size for path in (tmp_path / "venv").rglob("*"))
    for page in ("README.md", "docs/install.md"):
        (given,) = re.findall(r"([\d.]+) GB without test tools", (ROOT / page).read_text())
        assert float(given) == pytest.approx(size / 1e9, abs=0.1), page
