"""The image, built and run for real, from nothing: debootstrap and buildah, which need no container engine."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployments.helpers import eventually, free_port, report_missing

ROOT = Path(__file__).parents[2]
FILES = ROOT / "deployments" / "container"
HOME = "/var/lib/linear-neuron"
USER = 999
CERTIFICATES = "/run/certificates.crt"
MODULES = (
    "pytest",
    "playwright",
    "moto",
    "mypy",
    "ruff",
    "uv",
    "hypothesis",
    "sklearn",
    "statsmodels",
    "pip",
    "hatchling",
)
COMMANDS = ("gcc", "cc", "c++", "clang", "ld", "make", "cargo", "git", "pip", "pip3", "uv", "ruff", "mypy", "pytest")
MOST_BYTES = 2.1e9

pytestmark = [pytest.mark.on_demand, pytest.mark.timeout(3600)]


class Buildah:
    """buildah, with its images and containers in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.command = ["buildah", "--root", str(folder / "root"), "--runroot", str(folder / "run")]
        self.environment = os.environ | {"TMPDIR": str(folder)}

    def __call__(self, *words: str | Path) -> str:
        command = [*self.command, *map(str, words)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout.strip()

    def make_base(self) -> None:
        """Make a base image in the place of the Containerfile's: the smallest Debian."""
        container = self("from", "scratch")
        folder = self("mount", container)
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", folder], check=True, capture_output=True)
        self("umount", container)
        self("commit", container, "base")
        self("rm", container)

    def build(self) -> None:
        """Build the image; the index and the certificates of this machine are lent to the build alone."""
        lent = {name: os.environ[name] for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX") if name in os.environ}
        options: list[str] = []
        if file := os.environ.get("SSL_CERT_FILE"):
            options = ["--volume", f"{file}:{CERTIFICATES}:ro"]
            lent |= {"PIP_CERT": CERTIFICATES, "SSL_CERT_FILE": CERTIFICATES}
        for name, value in {"BASE": "localhost/base", **lent}.items():
            options += ["--build-arg", f"{name}={value}"]
        isolation = ("--isolation", "chroot", "--network", "host")
        self("bud", *isolation, *options, "--file", FILES / "Containerfile", "--tag", "ours", ROOT)


class Container:
    """A container of the image whose root is read-only: its home and /tmp are folders outside of it."""

    def __init__(self, buildah: Buildah, name: str, folder: Path) -> None:
        self.buildah, self.name = buildah, name
        buildah("from", "--name", name, "ours")
        self.root = Path(buildah("mount", name))
        self.home, self.tmp, self.log = folder / name, folder / f"{name}-tmp", folder / f"{name}.log"
        shutil.copytree(self.root / HOME[1:], self.home)  # as engines fill a new volume
        for path in (self.home, *self.home.rglob("*")):
            os.chown(path, USER, USER)
        self.tmp.mkdir()
        self.tmp.chmod(0o1777)

    def command(self, *words: str, **environment: str) -> list[str]:
        """Return the command that runs words in here; where it is killed, all that it started ends with it."""
        # buildah makes and removes a file in /run, which is no part of the root in an engine either.
        lock = 'mount -o remount,bind,ro "$0" && mount -t tmpfs -o mode=755 tmpfs "$0/run" && exec "$@"'
        alone = (
            "unshare",
            "--mount",
            "--pid",
            "--mount-proc",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            lock,
            str(self.root),
        )
        options = ["--isolation", "chroot", "--volume", f"{self.home}:{HOME}", "--volume", f"{self.tmp}:/tmp"]
        for name, value in environment.items():
            options += ["--env", f"{name}={value}"]
        return [*alone, *self.buildah.command, "run", *options, self.name, "--", *words]

    def try_run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = self.command(*words, **environment)
        return subprocess.run(command, env=self.buildah.environment, capture_output=True, text=True, check=False)

    def run(self, *words: str, **environment: str) -> str:
        done = self.try_run(*words, **environment)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def keep_running(self, *words: str, **environment: str) -> Iterator[None]:
        command = self.command(*words, **environment)
        with self.log.open("wb") as log:
            process = subprocess.Popen(command, env=self.buildah.environment, stdout=log, stderr=log)
        try:
            yield
            assert process.poll() is None, self.log.read_text()
        finally:
            process.kill()
            process.wait()

    def is_healthy(self, service: dict[str, Any], ports: dict[str, str]) -> bool:
        """Run the healthcheck of a service of compose.yaml in here."""
        kind, *words = replace_ports(service["healthcheck"]["test"], ports)
        assert kind == "CMD"
        return self.try_run(*words).returncode == 0


def replace_ports(words: list[str], ports: dict[str, str]) -> list[str]:
    """Put free ports of this machine, whose network a container shares here, in the place of the usual ones."""
    for usual, free in ports.items():
        words = [word.replace(usual, free) for word in words]
    return words


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    for command in ("debootstrap", "buildah"):
        if not shutil.which(command):
            report_missing(command, command)
    if os.geteuid() != 0:
        pytest.skip("needs root: debootstrap and buildah make devices and mounts")
    folder = Path(tempfile.mkdtemp(prefix="linear-neuron-image-", dir="/var/tmp"))
    folder.chmod(0o755)  # The user of the image reads below it.
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def buildah(folder: Path) -> Iterator[Buildah]:
    buildah = Buildah(folder)
    try:
        buildah.make_base()
        buildah.build()
        yield buildah
    finally:
        buildah("rm", "--all")
        buildah("rmi", "--all", "--force")


@pytest.fixture(scope="module")
def container(buildah: Buildah, folder: Path) -> Container:
    return Container(buildah, "alone", folder)


def test_the_image_is_small(container: Container) -> None:
    sizes = subprocess.check_output(["du", "--bytes", "--max-depth", "1", container.root], text=True)
    total = int(sizes.splitlines()[-1].split()[0])
    sys.stdout.write(f"The image has {total / 1e9:.2f} GB.\n{sizes}")
    assert total < MOST_BYTES


def test_the_image_has_no_tools_of_tests_and_builds(container: Container) -> None:
    code = "import importlib.util as i, shutil, sys\nfor name in sys.argv[1:]: print(name, {} is not None)"
    for search, names in (("i.find_spec(name)", MODULES), ("shutil.which(name)", COMMANDS)):
        found = container.run("python", "-c", code.format(search), *names).splitlines()
        assert found == [f"{name} False" for name in names]
    assert container.run("python", "-c", code.format("i.find_spec(name)"), "keras") == "keras True\n"


def test_the_image_keeps_nothing_of_the_build(container: Container) -> None:
    assert "SSL_CERT_FILE" not in container.run("env")
    left = [path for name in ("etc/pip.conf", "root/.cache", "build") if (path := container.root / name).exists()]
    left += [path for path in (container.root / "opt").rglob("*.pyc") if ".opt-" in path.name]
    assert [*left, *container.root.glob("var/lib/apt/lists/*"), *container.root.glob("var/cache/apt/*")] == []


def test_its_user_writes_its_home_and_tmp_alone(container: Container) -> None:
    assert container.run("id", "--user", "--name") == "neuron\n"
    seen = "find / ( -path /proc -o -path /sys -o -path /dev ) -prune -o -type d -writable -print"
    writable = {Path(line) for line in container.try_run(*seen.split()).stdout.splitlines()}
    assert {path for path in writable if not path.is_relative_to(HOME)} == {Path("/tmp")}  # noqa: S108
    assert Path(HOME) in writable
    assert "Read-only file system" in container.try_run("touch", f"{Path(HOME).parent}/file").stderr


def test_the_image_runs_the_whole_product_and_predicts(container: Container) -> None:
    printed = container.run("linear-neuron", "up", "--once")
    assert "MEDV = 3.3428 * RM + 1.2761" in printed
    (container.home / "inbox" / "rooms.csv").write_text("RM\n6.5\n")
    batch = container.run("linear-neuron", "predict", "inbox").splitlines()[-1]
    predictions = container.home / Path(batch).relative_to(HOME) / "rooms.predictions.csv"
    assert predictions.read_text().splitlines()[1].startswith("6.5,23.0")


def test_server_and_worker_of_compose_get_healthy_and_run(buildah: Buildah, folder: Path) -> None:
    services = yaml.safe_load((FILES / "compose.yaml").read_text())["services"]
    ports = {"4200": str(free_port()), "4202": str(free_port())}
    settings = {
        "PREFECT_API_URL": f"http://127.0.0.1:{ports['4200']}/api",
        "PREFECT_API_AUTH_STRING": "admin:s3cret",
        "PREFECT_SERVER_API_AUTH_STRING": "admin:s3cret",
        "PREFECT_WORKER_WEBSERVER_PORT": ports["4202"],
    }
    of_server, of_worker = services["server"], services["worker"]
    server, worker = Container(buildah, "server", folder), Container(buildah, "worker", folder)
    for_server, for_worker = (
        {key: value for key, value in service["environment"].items() if "$" not in value} | settings
        for service in (of_server, of_worker)
    )
    assert not server.is_healthy(of_server, ports)
    with server.keep_running(*replace_ports(of_server["command"], ports), **for_server):
        eventually(lambda: server.is_healthy(of_server, ports), "the server is healthy")
        assert not worker.is_healthy(of_worker, ports)
        with worker.keep_running(*of_worker["command"], **for_worker):
            eventually(lambda: worker.is_healthy(of_worker, ports), "the worker is healthy")
            worker.run("prefect", "deployment", "run", "retrain/weekly-retrain", "--watch", **for_worker)
            assert len(list(worker.home.glob("store/models/*/report.html"))) == 1
