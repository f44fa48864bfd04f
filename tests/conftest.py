"""What the tests share: one real Prefect server, and one version trained by the real flow."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

# Both read their home once, when they are first imported; the tests leave the user's own alone.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="prefect-home-")
os.environ["KERAS_HOME"] = tempfile.mkdtemp(prefix="keras-home-")
for _name in ("PREFECT_API_URL", "PREFECT_PROFILE", "LINEAR_NEURON_STORE", "LINEAR_NEURON_NAME"):
    os.environ.pop(_name, None)
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"] = "False"  # See linear_neuron.tasks.scoring.run.

from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_SERVER_DATABASE_CONNECTION_URL,
    temporary_settings,
)
from upath import UPath

from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks.model import Histogram, ModelVersion
from linear_neuron.tasks.parameters import Dataset
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.training import training_process
from tests.deployments.helpers import CLEAN, RUNNING, Stack, Webhook, answers, eventually, free_port
from tests.forked import Forked
from tests.helpers import Run, make_version
from tests.postgres import Postgres, run_postgres

TESTS = Path(__file__).parent
SHARED = ("server", "silenced", "guarded_server", "stack")  # started once, so that its tests stay in one process
# Groups that begin first, so that no process is left alone with one at the end. References are Keras, statsmodels, and
# others that numbers are compared with: they take seconds to import. Stacks copy the new database of the server.
LONG = ("server", "references", "guarded_server", "silenced", "stack", "models")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests of one file, stack or server in one process, and mark those of servers and faults as slow."""
    ranks: dict[pytest.Item, int] = {}
    for item in items:
        if item.path.is_relative_to(TESTS / "deployments") or item.path.is_relative_to(TESTS / "faults"):
            item.add_marker(pytest.mark.slow)
        marker = item.get_closest_marker("xdist_group")
        group = marker.args[0] if marker else name_group(item)
        if not marker:
            item.add_marker(pytest.mark.xdist_group(group))
        ranks[item] = LONG.index(group) if group in LONG else len(LONG)
    items.sort(key=lambda item: ranks[item])


def name_group(item: pytest.Item) -> str:
    """Name the tests that a test shares a process with: those of a server or stack, or of its file."""
    used = getattr(item, "fixturenames", ())
    return next((name for name in SHARED if name in used), item.nodeid.partition("::")[0])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start what rested since no test needed it."""
    for name, part in RUNNING.items():
        if name in getattr(item, "fixturenames", ()) and part.resting:
            part.start()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Let a stack rest that the next test does without: an idle one takes 6% of a core, for the rest of all tests."""
    yield
    for name, part in reversed(RUNNING.items()):  # a stack before its server
        if name not in getattr(nextitem, "fixturenames", ()) and not part.ended():
            part.rest()


@pytest.fixture(scope="session", autouse=True)
def warm_trainer() -> None:
    """Have all flows of this process train in one other, so that Keras is imported once; coverage does not trace it."""
    training_process.IGNORED = (*training_process.IGNORED, "COVERAGE_")
    training_process.keep_warm()


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a new database, which the server's fixture makes and stacks copy: making one takes 16 s of CPU."""
    folder = tmp_path_factory.getbasetemp()
    return (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "new.db"


@pytest.fixture(scope="session")
def server(new_database: Path) -> Iterator[str]:
    """The API address of a real server on its own database, which flows in this process use too."""
    from prefect.testing.utilities import prefect_test_harness  # It imports all of the server.

    # A flow waits up to a second for its heartbeat thread to end; the stack's tests have heartbeats.
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # None of the server's code is ours.
            stack.enter_context(prefect_test_harness(server_startup_timeout=500))  # on a machine however busy
        _, _, path = PREFECT_SERVER_DATABASE_CONNECTION_URL.value().partition("///")
        made = new_database.with_name(f"new-{os.getpid()}.db")
        with closing(sqlite3.connect(path)) as running:
            running.execute("VACUUM INTO ?", [str(made)])
        made.rename(new_database)
        stack.enter_context(temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
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


@pytest.fixture(scope="session")
def cluster() -> Iterator[Postgres]:
    """A new PostgreSQL cluster."""
    with run_postgres() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres(cluster: Postgres) -> str:
    """Prefect's connection URL for the cluster."""
    return cluster.url.replace("postgresql://", "postgresql+asyncpg://")


@pytest.fixture(scope="session")
def webhook() -> Iterator[Webhook]:
    webhook = Webhook()
    yield webhook
    webhook.server.shutdown()
    webhook.server.server_close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, webhook: Webhook, new_database: Path) -> Iterator[Stack]:
    """The stack as a user has it on a laptop: SQLite, and an address for alerts."""
    stack = Stack(
        tmp_path_factory.mktemp("stack"),
        LINEAR_NEURON_ALERT_WEBHOOK=webhook.url,
        PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS="2",
        PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS="10",
    )
    if new_database.exists():
        home = stack.store / "prefect"
        home.mkdir(parents=True)
        shutil.copy(new_database, home / "prefect.db")
    stack.start()
    RUNNING["stack"] = stack
    yield stack
    stack.rest()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URL of a bucket on a real S3-speaking server on loopback."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    # In a process of its own, which coverage does not see: it answers many thousand requests.
    command = [sys.executable, "-m", "moto.server", "--port", str(port)]
    server = subprocess.Popen(command, env=CLEAN, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**keys, "AWS_ENDPOINT_URL": address}.items():
            patch.setenv(name, value)
        eventually(lambda: server.poll() is not None or answers(address), "the object store answers")
        UPath("s3://bucket").mkdir()
        yield "s3://bucket"
    server.terminate()
    server.wait()


@pytest.fixture(scope="session")
def forked() -> Iterator[Forked]:
    """What runs `linear-neuron` as a process of its own."""
    forked = Forked()
    yield forked
    forked.close()


@pytest.fixture
def run_cli(server: str, store: Store, forked: Forked) -> Run:
    """Return what runs `linear-neuron` as a process of its own, against the shared server and an empty store."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return forked.run(arguments, os.environ | {"PREFECT_API_URL": server} | environment, Path.cwd())

    return run


@pytest.fixture
def neuron(store: Store) -> ModelVersion:
    """The one version in the store, whose arithmetic can be done in one's head: twice the rooms plus one, +-0.5."""
    return make_version(
        store,
        "20260101T000000Z-aaaaaa",
        weights=[2.0],
        ranges={"RM": (3.0, 9.0)},
        intervals={str(percent): 0.5 for percent in range(50, 100)},
        targets=Histogram(edges=[5.0, 10.0, 15.0, 20.0], counts=[1, 2, 1]),
    )
