"""A machine for a test: its own root folder, users, processes, network and systemd, on the kernel of this one."""

import os
import secrets
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.deployments.helpers import eventually

# systemd wants a tree of control groups of its own.
GROUP = """
set -e
mount -t cgroup2 cgroup2 "$FOLDER"
mkdir "$FOLDER/$GROUP"
echo $$ > "$FOLDER/$GROUP/cgroup.procs"
umount "$FOLDER"
exec unshare --mount --pid --net --ipc --uts --cgroup --fork --kill-child sh -c "$BOOT"
"""
NO_GROUP = 'mount -t cgroup2 cgroup2 "$FOLDER" && find "$FOLDER/$GROUP" -depth -type d -exec rmdir {} +'
# What this machine's disk has is there too; what is written stays in memory. The only network is loopback.
BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$FOLDER"
cd "$FOLDER"
mkdir --mode 755 upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
cd root
mkdir srv/lent
mount --bind "$LENT" srv/lent
mount -t proc proc proc
mount --rbind /dev dev
mount --bind /sys sys
mount -t tmpfs tmpfs sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
ip link set lo up
pivot_root . mnt
umount --lazy /mnt
exec env --ignore-environment container=test /lib/systemd/systemd --system --unit=basic.target
"""


class Machine:
    """Boots in a second or two, and ends with this process, however that ends."""

    def __init__(self, lent: Path) -> None:
        """Prepares a machine that finds the folder `lent` at /srv/lent."""
        self.folder = tempfile.mkdtemp(prefix="linear-neuron-machine-")
        ours = ("PREFECT_", "LINEAR_NEURON_", "PYTHON", "COV", "VIRTUAL_ENV", "KERAS_", "AWS_")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.environment |= {"FOLDER": self.folder, "LENT": str(lent), "BOOT": BOOT}
        self.environment |= {"GROUP": f"linear-neuron-{secrets.token_hex(4)}"}
        self.process: subprocess.Popen[bytes] | None = None
        self.init = 0

    def boot(self) -> None:
        """Starts systemd.

        Raises:
            OSError: we are not root, or the kernel does not allow it.
        """
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c", GROUP],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        eventually(self._booted, "systemd is up")

    def _booted(self) -> bool:
        assert self.process
        if self.process.poll() is not None:
            raise OSError(self.process.communicate()[1].decode().strip())
        pid = self.process.pid
        with suppress(OSError):
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                if Path(f"/proc/{child}/cmdline").read_text().startswith("/lib/systemd/systemd"):
                    self.init = int(child)
                    return "active" in self.run("systemctl is-active basic.target", check=False).split()
        return False

    def run(self, command: str, *, check: bool = True, online: bool = False, given: bytes = b"") -> str:
        """Runs a shell command as root and returns what it printed. Online, it uses the network of this machine."""
        spaces = ["--mount", "--pid", "--ipc", "--uts", "--cgroup", "--root", "--wd"] + ["--net"] * (not online)
        done = subprocess.run(
            ["nsenter", "--target", str(self.init), *spaces, "sh", "-c", command],
            env=self.environment,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=280,
            check=False,
        )
        printed = done.stdout.decode(errors="replace")
        assert not check or done.returncode == 0, f"{command}\nended with {done.returncode}:\n{printed}"
        return printed

    def shut(self) -> None:
        """Ends every process of the machine, and what it wrote goes with them."""
        assert self.process
        self.process.kill()
        self.process.communicate()
        remove = ["unshare", "--mount", "sh", "-c", NO_GROUP]

        def removed() -> bool:
            return subprocess.run(remove, env=self.environment, capture_output=True, check=False).returncode == 0

        eventually(removed, "all of it has ended")
        Path(self.folder).rmdir()
