"""The command line as people run it: a process of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import tomllib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prefect import Flow
from prefect.utilities.callables import parameter_schema

from deployments.cli import SETTINGS
from deployments.deploy import AUTOMATIONS_FILE
from deployments.prepare import UP_FILE
from deployments.runs import NOT_RECORDED
from flows.predict import predict
from flows.promote import promote, rollback
from flows.reproduce import reproduce
from flows.retrain import retrain
from tasks.registry.versions import list_versions, version_folder
from tasks.storage.store import Store
from tests.deployments.helpers import COMMAND, Server, free_port
from tests.helpers import Run, make_version


def without_server(tmp_path: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command where no server is configured, with an empty home."""
    clean = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return subprocess.run(
        [sys.executable, "-m", "deployments", *arguments],
        env=clean | {"PREFECT_HOME": str(tmp_path / "home")} | more,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


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


@pytest.mark.parametrize("flow", [predict, promote, reproduce, retrain, rollback], ids=lambda flow: flow.name)
def test_help_and_form_say_the_same_of_each_parameter_once(flow: Flow[..., Any]) -> None:
    wide = os.environ | {"COLUMNS": "500"}
    done = subprocess.run([*COMMAND, flow.name, "--help"], env=wide, capture_output=True, text=True, check=True)
    told = " ".join(done.stdout.split())
    schema = parameter_schema(flow)
    fields = [*schema.properties.values()]
    fields += [field for group in schema.definitions.values() for field in group["properties"].values()]
    descriptions = [" ".join(field["description"].split()) for field in fields if "$ref" not in field]
    assert [description for description in descriptions if told.count(description) != 1] == []
    for odd in ("[]", "['", '""', "False", "ARGS"):
        assert odd not in told


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


def test_a_recorded_run_beats_three_times_before_its_silence_counts_as_its_end() -> None:
    automations = yaml.safe_load(AUTOMATIONS_FILE.read_text())["automations"]
    (patience,) = [known["trigger"]["within"] for known in automations if "crash silent" in known["name"]]
    assert 3 * int(SETTINGS["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) <= patience


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
    news = next(line for line in again.stdout.splitlines() if line)
    assert news == f"Nothing has changed since {version}, so nothing was trained. There is no champion yet."
    assert again.stderr.count("Nothing has changed") == 0, "it is said once"


def test_versions_are_listed_promoted_rolled_back_verified_and_cleaned(run_cli: Run, store: Store) -> None:
    for version in ("a", "b", "c"):
        make_version(store, version)
    promoted = run_cli("promote", "a", "--reason", "first")
    assert "a is the champion" in promoted.stdout
    assert promoted.stderr == "", "its result says all"
    assert "before it a: better" in run_cli("promote", "b", "--reason", "better").stdout
    assert [row["status"] for row in json.loads(run_cli("models", "--json").stdout)] == ["previous", "champion", ""]
    (line,) = [line for line in run_cli("models").stdout.splitlines() if line.startswith("b ")]
    assert line.split()[-3] == "champion"
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


def test_a_run_without_a_server_is_plain_and_says_so(store: Store, tmp_path: Path) -> None:
    done = without_server(tmp_path, "retrain", "--training.epochs", "2", "--dataset.source", "package")
    assert done.returncode == 0, done.stderr
    (version,) = list_versions(store)
    assert done.stdout.splitlines()[-1] == str(version_folder(store, version))
    lines = done.stderr.splitlines()
    assert f"{lines[0]}\n" == NOT_RECORDED
    assert "Epoch 2 of 2: loss " in done.stderr
    assert len(lines) <= 12
    assert "http" not in done.stderr
    assert not list(tmp_path.rglob("*.db")), "no server was started"
    again = without_server(tmp_path, "retrain", "--training.epochs", "2", "--dataset.source", "package")
    assert f"Nothing has changed since {version}, " in again.stdout
    assert "Nothing has changed" not in again.stderr, "it is said once"
    assert again.stdout.endswith(done.stdout.lstrip())


def runs_of(server: str, store: Store) -> list[dict[str, Any]]:
    """The flow runs at a server that were given a version of this store to promote."""
    runs = httpx.post(f"{server}/flow_runs/filter", json={}).json()
    return [run for run in runs if run["parameters"].get("reason") == str(store.root)]


def stack_file(store: Store, url: str, pid: int) -> None:
    make_version(store, "a")
    (store.root / "prefect").mkdir()
    (store.root / UP_FILE).write_text(json.dumps({"url": url, "pid": pid}))


def test_a_run_is_recorded_at_the_stack_that_is_up_on_the_store(store: Store, server: str, tmp_path: Path) -> None:
    stack_file(store, server, os.getpid())
    done = without_server(tmp_path, "promote", "a", "--reason", str(store.root))
    assert done.returncode == 0, done.stderr
    assert "not recorded" not in done.stderr
    (run,) = runs_of(server, store)
    assert (run["name"], run["tags"], run["state_name"]) == ("promote a", ["linear-neuron"], "Completed")


def test_a_stack_that_is_gone_counts_for_none(store: Store, server: str, tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    stack_file(store, server, gone.pid)
    assert "not recorded" in without_server(tmp_path, "promote", "a", "--reason", str(store.root)).stderr
    (store.root / UP_FILE).write_text(json.dumps({"url": f"http://127.0.0.1:{free_port()}/api", "pid": os.getpid()}))
    assert "not recorded" in without_server(tmp_path, "promote", "a", "--reason", str(store.root)).stderr
    (store.root / UP_FILE).write_text("{")
    assert "not recorded" in without_server(tmp_path, "promote", "a", "--reason", str(store.root)).stderr
    assert runs_of(server, store) == []


def test_a_profile_that_names_an_api_comes_before_the_stack(store: Store, server: str, tmp_path: Path) -> None:
    (tmp_path / "health").touch()
    stack = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    threading.Thread(target=stack.serve_forever, daemon=True).start()  # It is healthy, and could record nothing.
    stack_file(store, f"http://127.0.0.1:{stack.server_port}", os.getpid())
    home = tmp_path / "home"
    home.mkdir()
    (home / "profiles.toml").write_text(f'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "{server}"\n')
    assert without_server(tmp_path, "promote", "a", "--reason", str(store.root)).returncode == 0
    assert len(runs_of(server, store)) == 1
    stack.shutdown()
    stack.server_close()


def test_an_api_that_does_not_answer_is_one_sentence_and_status_2(store: Store, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    done = without_server(tmp_path, "rollback", PREFECT_API_URL=url)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"linear-neuron: No Prefect API answers at {url}")
    assert done.stderr.count("\n") == 1


def test_an_api_that_refuses_us_is_one_sentence_and_status_2(
    store: Store, tmp_path: Path, guarded_server: Server
) -> None:
    stack_file(store, guarded_server.url, os.getpid())
    done = without_server(tmp_path, "promote", "a")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        f"The Prefect API at {guarded_server.url} refuses us (status 401): set PREFECT_API_AUTH_STRING" in done.stderr
    )
    assert done.stderr.count("\n") == 1
    assert without_server(tmp_path, "promote", "a", PREFECT_API_AUTH_STRING=guarded_server.auth).returncode == 0


@pytest.mark.parametrize("recorded", [True, False])
def test_an_error_is_said_once(store: Store, run_cli: Run, tmp_path: Path, recorded: bool) -> None:
    run = run_cli if recorded else partial(without_server, tmp_path)
    wrong = run("retrain", "--dataset.source", "package", "--dataset.features", "ROOMS")
    assert wrong.returncode == 2
    assert wrong.stderr.count("no feature 'ROOMS'") == 1
    assert "Traceback" not in wrong.stderr
    long = ("--training.epochs", "100000", "--training.time-limit", "1")
    failed = run("retrain", "--dataset.source", "package", *long)
    assert failed.returncode == 1
    assert failed.stderr.count("so nothing is published") == 1
    assert failed.stderr.splitlines()[-1].startswith("linear-neuron: Training passed its limit of 1 s")


def test_ctrl_c_in_mid_training_leaves_nothing(store: Store, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deployments", "retrain", "--training.epochs", "100000"]
    clean = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    quiet: dict[str, Any] = {"env": clean, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen([*command, "--dataset.source", "package"], **quiet) as run:
        assert run.stderr
        while "Epoch 1 of" not in run.stderr.readline():
            assert run.poll() is None
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to all of the group
        assert run.stderr.read().strip() == ""
    assert run.returncode == 130
    assert store.names("models") == []
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)


def test_verbose_says_more(store: Store, tmp_path: Path) -> None:
    arguments = ("retrain", "--training.epochs", "1000", "--dataset.source", "package", "--force")
    quiet, verbose = (without_server(tmp_path, *arguments, *more).stderr for more in ((), ("--verbose",)))
    assert "Epoch 1000 of 1000" in quiet
    assert "Epoch 500 of 1000" not in quiet
    assert "Epoch 500 of 1000" in verbose
    assert verbose.count("Epoch ") <= 20


def test_every_command_says_the_same_as_json(run_cli: Run, store: Store, tmp_path: Path) -> None:
    made = json.loads(run_cli("retrain", "--training.epochs", "300", "--dataset.source", "package", "--json").stdout)
    assert made["location"] == str(version_folder(store, made["version"]))
    assert made["metrics"]["test"]["rows"] == 102
    assert made["unchanged"] is False
    assert made["standing"].startswith("champion: it beats")
    (tmp_path / "a.csv").write_text("RM\n5\nx\n")
    batch = json.loads(run_cli("predict", str(tmp_path / "a.csv"), "--json").stdout)
    assert (batch["version"], batch["total"]["predicted"]) == (made["version"], 1)
    assert Path(batch["location"], "a.predictions.csv").exists()
    assert json.loads(run_cli("promote", made["version"], "--reason", "why", "--json").stdout)["reason"] == "why"
    assert json.loads(run_cli("verify", "--json").stdout) == []
    assert [row["reason"] for row in json.loads(run_cli("history", "--json").stdout)] == [
        made["standing"].partition(": ")[2],
        "why",
    ]


def test_the_store_is_named_before_the_command_or_after_it(store: Store, run_cli: Run, tmp_path: Path) -> None:
    make_version(store, "a")
    other = str(tmp_path / "other")
    assert run_cli("models", "--json").stdout.count("version") == 1
    assert run_cli("models", "--json", "--store", other).stdout == "[]\n"
    assert run_cli("--store", other, "models", "--json").stdout == "[]\n"


def test_nothing_to_clean_is_said(run_cli: Run) -> None:
    assert run_cli("clean", "--dry-run").stdout == run_cli("clean").stdout == "There is nothing to remove.\n"


def test_the_package_is_a_command_and_tells_its_version(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deployments", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "0.1.0\n"


def test_a_shell_can_be_taught_to_complete(tmp_path: Path) -> None:
    shell = os.environ | {"HOME": str(tmp_path), "SHELL": "/bin/bash"}
    command = [sys.executable, "-m", "deployments", "--install-completion"]
    subprocess.run(command, env=shell, capture_output=True, check=True)
    (script,) = [path for path in tmp_path.rglob("*") if path.is_file() and "rollback" in path.read_text()]
    subprocess.run(["bash", "-n", str(script)], check=True)
