"""The steps of the Containerfile, taken in a plain root folder: debootstrap and chroot, and no container engine."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployments.helpers import report_missing

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "deployments" / "container" / "Containerfile"
# So that the network of this machine works in there, and what it downloaded once is not downloaded again.
LENT = {"/etc/resolv.conf": "/etc/resolv.conf", "/etc/pip.conf": "/etc/pip.conf"}
CERTIFICATES = "/run/certificates.crt"
LENT |= {"/etc/ssl/certs/ca-certificates.crt": CERTIFICATES}

pytestmark = [pytest.mark.on_demand, pytest.mark.timeout(1800)]


class Image:
    """A root folder, and what the Containerfile's ENV, USER and WORKDIR say of the next command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}
        self.user = "root"
        self.workdir = "/"

    def build(self) -> None:
        for line in CONTAINERFILE.read_text().replace("\\\n", " ").splitlines():
            instruction, _, rest = line.partition(" ")
            if instruction == "RUN":
                self.run(rest)
            elif instruction == "COPY":
                *sources, target = rest.split()
                for source in sources:
                    self.copy(ROOT / source, self.folder / target.lstrip("/"), into=target.endswith("/"))
            elif instruction == "ENV":
                self.environment |= dict([rest.split("=", 1)])
            elif instruction == "USER":
                self.user = rest
            elif instruction == "WORKDIR":
                self.workdir = rest

    def copy(self, source: Path, target: Path, *, into: bool) -> None:
        target = target / source.name if into else target
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy(source, target)

    def run(self, command: str) -> str:
        """Runs a shell command in the image as its user, in its folder and with its environment."""
        path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "UV_CACHE_DIR": "/var/cache/uv"}
        inside = f"cd {self.workdir} && {command}"
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh", self.user, inside],
            env=path
            | {name: os.environ[name] for name in ("http_proxy", "https_proxy") if name in os.environ}
            | {"SSL_CERT_FILE": CERTIFICATES, "PIP_CERT": CERTIFICATES, "FOLDER": str(self.folder)}
            | {"CACHE": os.environ.get("UV_CACHE_DIR", str(Path("~/.cache/uv").expanduser()))}
            | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout


LEND = "\n".join(
    f'[ ! -e {file} ] || {{ touch "$FOLDER{target}" && mount --bind {file} "$FOLDER{target}"; }}'
    for file, target in LENT.items()
)
ENTER = f"""
set -e
{LEND}
mkdir -p "$CACHE" "$FOLDER/var/cache/uv"
mount --bind "$CACHE" "$FOLDER/var/cache/uv"
mount -t proc proc "$FOLDER/proc"
mount --rbind /dev "$FOLDER/dev"
exec /usr/sbin/chroot "$FOLDER" setpriv --reuid "$1" --regid "$1" --init-groups sh -c "$2"
"""


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    if not shutil.which("debootstrap"):
        report_missing("debootstrap", "debootstrap")
    folder = tempfile.mkdtemp(prefix="linear-neuron-image-", dir="/var/tmp")
    Path(folder).chmod(0o755)  # It is the root folder of everybody in there.
    suite = "bookworm"
    assert f"debian:{suite}-slim" in CONTAINERFILE.read_text()
    subprocess.run(["debootstrap", "--variant=minbase", suite, folder], check=True, capture_output=True)
    image = Image(Path(folder))
    image.build()
    yield image
    shutil.rmtree(folder)


def test_the_image_trains_promotes_and_predicts_as_its_own_user(image: Image) -> None:
    assert image.run("id --user --name") == "neuron\n"
    assert "/var/lib/linear-neuron/store/models/" in image.run("linear-neuron retrain").splitlines()[-1]
    image.run("printf 'RM\\n6.5\\n' > inbox/rooms.csv && linear-neuron predict inbox")
