"""What the tests share: one real Prefect server, and one version trained by the real flow."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Both read their home once, when they are first imported; the tests leave the user's own alone.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="prefect-home-")
os.environ["KERAS_HOME"] = tempfile.mkdtemp(prefix="keras-home-")
for _name in ("PREFECT_API_URL", "PREFECT_PROFILE", "LINEAR_NEURON_STORE"):
    os.environ.pop(_name, None)
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"

from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

from flows.retrain import retrain
from tasks.parameters import Dataset
from tasks.store import Store

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The API address of a real server on its own database, which flows in this process use too."""
    with prefect_test_harness(server_startup_timeout=120):
        yield PREFECT_API_URL.value()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store, which is also the default one."""
    monkeypatch.setenv("LINEAR_NEURON_STORE", str(tmp_path / "store"))
    return Store()


@pytest.fixture(scope="session")
def trained_store(server: str, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with one version in it, made by the retrain flow with the default recipe. Not to be changed."""
    root = tmp_path_factory.mktemp("trained") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAR_NEURON_STORE", str(root))
        retrain(Dataset(source="package"))  # The network may be slow to say no.
    return Store(str(root))


@pytest.fixture
def run_cli(server: str, store: Store) -> Run:
    """Runs `linear-neuron` with arguments as a process of its own, against the shared server and an empty store."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from deployments.cli import main; main()", *arguments],
            env=os.environ | {"PREFECT_API_URL": server} | environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run
