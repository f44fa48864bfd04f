"""What `linear-neuron up` says, in one sentence and with status 2, when something is in the way of a start."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from linear_neuron.deployments.deploy import read_deployments
from linear_neuron.deployments.server_settings import prepare_server
from linear_neuron.tasks.errors import UserError
from tests.deployments.helpers import CLEAN, Api, Server, free_port
from tests.forked import Forked


def check_refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line on standard error with which a start is refused; nothing else may be said."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("linear-neuron: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.fixture
def refusal(forked: Forked, tmp_path: Path) -> Callable[..., str]:
    """Return what runs the command in an empty folder, and returns the line with which it is refused."""

    def run(*arguments: str, **settings: str) -> str:
        start = arguments or ("up", "--port", str(free_port()))
        return check_refusal(forked.run(start, CLEAN | settings, tmp_path))

    return run


def refusal_of_a_new_python(folder: Path, **settings: str) -> str:
    """Return the line with which `up` is refused that starts as a user does."""
    command = [sys.executable, "-m", "linear_neuron.deployments.cli", "up", "--port", str(free_port())]
    return check_refusal(
        subprocess.run(
            command, env=CLEAN | settings, cwd=folder, capture_output=True, text=True, check=False, timeout=120
        )
    )


def test_a_time_zone_that_does_not_exist(tmp_path: Path, refusal: Callable[..., str]) -> None:
    said = refusal(LINEAR_NEURON_TIMEZONE="Mars/Olympus")
    assert "prefect.yaml, schedule weekly of weekly-retrain: cron '0 6 * * MON' in time zone 'Mars/Olympus'" in said
    assert not list(tmp_path.rglob("*.db")), "no server was started"


def test_a_cron_line_that_does_not_exist(tmp_path: Path) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text("deployments: [{name: daily, schedules: [{slug: morning, cron: 0 25 * * *, timezone: UTC}]}]")
    with pytest.raises(UserError, match="schedule morning of daily: cron '0 25 \\* \\* \\*' in time zone 'UTC'"):
        read_deployments(file)


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    said = refusal_of_a_new_python(tmp_path, PREFECT_HOME=str(tmp_path / "file" / "home"))
    assert f"The server's state can't be kept in {tmp_path}/file/home: Not a directory" in said


def test_a_store_in_a_bucket_and_no_folder_for_the_server(refusal: Callable[..., str]) -> None:
    pytest.importorskip("s3fs")
    assert "set PREFECT_HOME to a local folder" in refusal(LINEAR_NEURON_STORE="s3://bucket/prefix")


def test_a_host_that_others_can_reach_and_no_auth_string(refusal: Callable[..., str]) -> None:
    said = refusal("up", "--host", "0.0.0.0", "--port", str(free_port()))  # noqa: S104
    assert "set PREFECT_SERVER_API_AUTH_STRING=user:password" in said


def test_a_host_that_is_not_this_machine(refusal: Callable[..., str]) -> None:
    said = refusal("up", "--host", "192.0.2.1", PREFECT_SERVER_API_AUTH_STRING="a:b")
    assert "can't listen on 192.0.2.1 port 4200 (Cannot assign requested address)" in said


def test_a_database_that_does_not_answer(tmp_path: Path) -> None:
    database = f"postgresql+asyncpg://prefect:s3cret@127.0.0.1:{free_port()}/prefect"
    said = refusal_of_a_new_python(tmp_path, PREFECT_SERVER_DATABASE_CONNECTION_URL=database)
    assert "The Prefect server did not start" in said
    assert "Connect call failed" in said
    assert "s3cret" not in said


def test_an_api_that_does_not_answer(refusal: Callable[..., str]) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    assert f"No Prefect API answers at {url}" in refusal(PREFECT_API_URL=url)


@pytest.mark.parametrize("auth", [{}, {"PREFECT_API_AUTH_STRING": "admin:guess"}])
def test_an_api_that_refuses_us(guarded_server: Server, auth: dict[str, str], refusal: Callable[..., str]) -> None:
    said = refusal(PREFECT_API_URL=guarded_server.url, **auth)
    assert f"The Prefect API at {guarded_server.url} refuses us (status 401): set PREFECT_API_AUTH_STRING" in said


def test_a_work_pool_of_our_name_and_another_type(guarded_server: Server, refusal: Callable[..., str]) -> None:
    api = Api(guarded_server.url, guarded_server.auth)
    api.ask("POST", "/work_pools/", name="linear-neuron", type="docker")
    said = refusal(PREFECT_API_URL=guarded_server.url, PREFECT_API_AUTH_STRING=guarded_server.auth)
    assert (
        "is of type docker, and ours is linear-neuron: remove it with `prefect work-pool delete linear-neuron`" in said
    )
    api.ask("DELETE", "/work_pools/linear-neuron")


def test_deploying_with_no_server_named(refusal: Callable[..., str]) -> None:
    assert "set PREFECT_API_URL" in refusal("deploy")


def test_parameters_without_a_model_to_keep_them(refusal: Callable[..., str]) -> None:
    assert "add --name, such as --name sales" in refusal("deploy", "--training.epochs", "3")


def test_a_hostile_name_of_a_model(refusal: Callable[..., str]) -> None:
    assert "A model can't have the name '../store'" in refusal("deploy", "--name", "../store")
    assert "`up --once` runs the model without a name" in refusal("up", "--once", "--name", "sales")


def test_a_port_is_held_from_the_check_until_the_server_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as first:
        prepare(first, tmp_path / "first", monkeypatch)
        port = int(os.environ["PREFECT_SERVER_API_PORT"])
        with ExitStack() as second, pytest.raises(UserError, match=f"can't listen on 127.0.0.1 port {port}"):
            prepare(second, tmp_path / "second", monkeypatch, port)
    with ExitStack() as third:
        prepare(third, tmp_path / "second", monkeypatch, port)


def prepare(stack: ExitStack, store: Path, patch: pytest.MonkeyPatch, port: int = 0) -> None:
    """Prepare a server as `up` does, in this process."""
    patch.setattr(os, "environ", CLEAN | {"LINEAR_NEURON_STORE": str(store)})
    prepare_server(stack, "127.0.0.1", port, once=False)
