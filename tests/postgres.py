"""A PostgreSQL of our own, for tests and benchmarks."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.deployments.helpers import free_port, report_missing


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL cluster, and the command that starts and stops it."""

    url: str  # of its database, without a driver
    control: list[str]

    def restart(self, seconds: float) -> None:
        """End every connection at once, as a machine that dies would, and start it again after some seconds."""
        subprocess.run([*self.control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd="/")
        time.sleep(seconds)
        subprocess.run([*self.control, "start"], check=True, capture_output=True, cwd="/")


@contextmanager
def run_postgres() -> Iterator[Postgres]:
    """Run a new cluster of its own user on loopback."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = found[-1] if found else shutil.which("initdb")
    if not initdb:
        report_missing("PostgreSQL", "postgresql")
    # PostgreSQL refuses to be root, and its own user can't see below pytest's private folder.
    folder = tempfile.mkdtemp(prefix="linear-neuron-postgres-")
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres")
    port = free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    data = f"{folder}/data"
    subprocess.run(
        [*user, str(initdb), "-D", data, "-U", "prefect", "-A", "trust"],
        check=True,
        capture_output=True,
        cwd="/",
    )
    control = [*user, str(Path(initdb).with_name("pg_ctl")), "-D", data, "-w", "-l", f"{folder}/log", "-o", options]
    subprocess.run([*control, "start"], check=True, capture_output=True, cwd="/")
    yield Postgres(f"postgresql://prefect@127.0.0.1:{port}/postgres", control)
    subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd="/")
    shutil.rmtree(folder)
