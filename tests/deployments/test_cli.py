"""The command line as people run it: a process of its own."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from deployments.cli import SETTINGS
from tasks.registry.versions import list_versions, version_folder
from tasks.storage.store import Store
from tests.helpers import Run, make_version


def test_retrain_prints_a_summary_and_the_versions_folder_as_the_last_line(run_cli: Run, store: Store) -> None:
    done = run_cli("retrain", "--training.epochs", "2", "--dataset.source", "package", "--table.values", "5", "6")
    assert done.returncode == 0, done.stderr
    (version,) = list_versions(store)
    lines = done.stdout.splitlines()
    assert lines[-1] == str(version_folder(store, version))
    assert lines[1] == "Data          Boston housing (package), 102 test rows"
    assert "mean predictor" in done.stdout
    assert "Epoch 2 of 2: loss " in done.stderr


def test_help_tells_every_parameter_and_imports_nothing_heavy(run_cli: Run) -> None:
    message = run_cli("retrain", "--help").stdout
    for flag in ("--dataset.source", "--training.epochs", "--training.learning-rate", "--table.values", "--store"):
        assert flag in message
    assert "From 1 to" in message
    code = "import sys, deployments.cli; sys.exit(bool({'prefect', 'keras', 'pandas', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--training.epochs", "0"], "--training.epochs: Input should be greater than or equal to 1, not '0'."),
        (["--training.learning-rate", "0"], "--training.learning-rate: Input should be greater than or equal to"),
        (
            ["--training.validation-split", "1"],
            "--training.validation-split: Input should be less than or equal to 0.99",
        ),
        (["--training.validation-split", "-0.1"], "--training.validation-split: Input should be greater than or equal"),
        (["--dataset.features", "RM", "RM"], "names a feature twice; name each once"),
        (["--dataset.sauce", "x"], "Unknown option"),
        (["--dataset.features", "ROOMS"], "no feature 'ROOMS' in Boston housing; choose from CRIM, ZN"),
    ],
)
def test_a_users_mistake_is_one_sentence_and_status_2(
    run_cli: Run, store: Store, arguments: list[str], sentence: str
) -> None:
    done = run_cli("retrain", *arguments, "--dataset.source", "package")
    assert done.returncode == 2
    assert sentence in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("linear-neuron: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list_versions(store) == []


def test_a_store_that_can_not_be_written_is_one_sentence_and_status_2(run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run_cli("retrain", "--dataset.source", "package", "--store", str(tmp_path / "file" / "store"))
    assert done.returncode == 2
    assert "The store refuses" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_analytics_are_off_in_the_projects_own_settings_and_in_the_command() -> None:
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["tool"]["prefect"]
    assert settings["server"]["analytics_enabled"] is False
    assert SETTINGS["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_an_unchanged_retrain_points_to_the_version_without_importing_tensorflow(
    store: Store, server: str, run_cli: Run
) -> None:
    arguments = ["retrain", "--training.epochs", "2", "--dataset.source", "package"]
    assert run_cli(*arguments).returncode == 0
    code = "import atexit, sys; atexit.register(lambda: print('tensorflow' in sys.modules)); "
    again = subprocess.run(
        [sys.executable, "-c", code + "from deployments.cli import main; main()", *arguments],
        env=os.environ | {"PREFECT_API_URL": server},
        capture_output=True,
        text=True,
        check=True,
    )
    (version,) = list_versions(store)
    assert again.stdout.splitlines()[-2:] == [str(version_folder(store, version)), "False"]
    assert f"Nothing has changed since {version}" in again.stderr


def test_versions_are_listed_promoted_rolled_back_verified_and_cleaned(run_cli: Run, store: Store) -> None:
    for version in ("a", "b", "c"):
        make_version(store, version)
    assert "a is the champion" in run_cli("promote", "a", "--reason", "first").stdout
    assert "before it a: better" in run_cli("promote", "b", "--reason", "better").stdout
    assert [row["status"] for row in json.loads(run_cli("models", "--json").stdout)] == ["previous", "champion", ""]
    assert run_cli("models").stdout.splitlines()[2].split()[-3] == "champion"
    assert "a is the champion" in run_cli("rollback", "--reason", "slow").stdout
    refused = run_cli("rollback")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.splitlines()[-1].startswith("linear-neuron: There is no champion before")
    strict = ("--retention.newest", "1", "--retention.days", "0")
    assert run_cli("clean", *strict, "--dry-run").stdout == "would remove model b\n"
    assert run_cli("clean", *strict).stdout == "removed model b\n"
    assert run_cli("verify").stdout == "Every file is as its manifest says.\n"
    (version_folder(store, "a") / "model.json").unlink()
    damaged = run_cli("verify")
    assert (damaged.returncode, damaged.stdout) == (1, f"{version_folder(store, 'a') / 'model.json'} is missing.\n")


def test_reproduce_exits_with_0_when_the_weights_agree(run_cli: Run, store: Store, trained_store: Store) -> None:
    (version,) = list_versions(trained_store)
    done = run_cli("reproduce", version, "--store", str(trained_store.root))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{version} came out again to the bit: MEDV = 3.3428 * RM + 1.2761.\n"


def without_server(tmp_path: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command where no server is configured, with an empty home."""
    clean = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return subprocess.run(
        [sys.executable, "-c", "from deployments.cli import main; main()", *arguments],
        env=clean | {"PREFECT_HOME": str(tmp_path / "home")} | more,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


def test_retrain_brings_its_own_server_where_none_is_configured_and_profiles_itself(
    store: Store, tmp_path: Path
) -> None:
    arguments = ("retrain", "--training.epochs", "2", "--dataset.source", "package", "--profile")
    done = without_server(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert len(list_versions(store)) == 1
    message = done.stdout.partition("Where the time went")[2]
    for phase in ("Start-up", "Train the neuron", "Draw the plots", "in all"):
        assert phase in message
    assert "Traceback" not in done.stderr


def test_a_temporary_server_that_does_not_start_is_one_sentence_and_status_2(store: Store, tmp_path: Path) -> None:
    database = "sqlite+aiosqlite:////proc/nowhere/prefect.db"
    done = without_server(tmp_path, "rollback", PREFECT_SERVER_DATABASE_CONNECTION_URL=database)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("linear-neuron: Prefect's temporary server does not start")
