"""The command line: a process of its own for each command, and a new Python where imports or signals matter."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from filelock import FileLock
from prefect import Flow
from prefect.utilities.callables import parameter_schema

from linear_neuron.deployments.cli import SETTINGS
from linear_neuron.deployments.deploy import AUTOMATIONS_FILE
from linear_neuron.deployments.runs import NOT_RECORDED
from linear_neuron.deployments.server_settings import UP_FILE
from linear_neuron.flows.predict import predict
from linear_neuron.flows.promote import promote, rollback
from linear_neuron.flows.reproduce import reproduce
from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.registry.champion import promote as make_champion
from linear_neuron.tasks.registry.versions import list_versions, version_folder
from linear_neuron.tasks.steps import BEAT_SECONDS
from linear_neuron.tasks.storage.store import Store
from tests.deployments.helpers import Api, Server, Site, free_port
from tests.forked import Forked
from tests.helpers import Run, make_version


@pytest.fixture
def without_server(forked: Forked, store: Store, tmp_path: Path) -> Run:
    """Return what runs the command where no server is configured, with an empty home."""

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
        return forked.run(arguments, clean | {"PREFECT_HOME": str(tmp_path / "home")} | more, tmp_path)

    return run


def test_retrain_prints_a_summary_and_the_folder_last(run_cli: Run, store: Store) -> None:
    done = run_cli("retrain", "--training.epochs", "2", "--dataset.source", "package", "--table.values", "5", "6")
    assert done.returncode == 0, done.stderr
    (version,) = list_versions(store)
    lines = done.stdout.splitlines()
    assert lines[-1] == str(version_folder(store, version))
    assert lines[1] == "Data          Boston housing (package), 102 test rows"
    assert "mean predictor" in done.stdout
    assert "Epoch 2 of 2: loss " in done.stderr


def test_help_tells_every_parameter_and_imports_nothing_heavy() -> None:
    code = "import atexit, sys; atexit.register(lambda: print(sorted(sys.modules))); "
    code += "from linear_neuron.deployments.cli import main; main()"
    help_of_retrain = [sys.executable, "-c", code, "retrain", "--help"]
    message, modules = subprocess.check_output(help_of_retrain, text=True).rsplit("[", 1)
    for flag in ("--dataset.source", "--training.epochs", "--training.learning-rate", "--table.values", "--store"):
        assert flag in message
    assert "From 1 to" in message
    assert [heavy for heavy in ("prefect", "keras", "pandas", "numpy", "polars") if f"'{heavy}'" in modules] == []
    assert "'cyclopts'" in modules


@pytest.mark.parametrize("flow", [predict, promote, reproduce, retrain, rollback], ids=lambda flow: flow.name)
def test_help_and_form_say_the_same_of_each_parameter_once(flow: Flow[..., Any], run_cli: Run) -> None:
    shown = " ".join(run_cli(flow.name, "--help", COLUMNS="500").stdout.split())
    schema = parameter_schema(flow)
    fields = [*schema.properties.values()]
    fields += [field for group in schema.definitions.values() for field in group["properties"].values()]
    descriptions = [" ".join(field["description"].split()) for field in fields if "$ref" not in field]
    assert [description for description in descriptions if shown.count(description) != 1] == []
    for odd in ("[]", "['", '""', "False", "ARGS"):
        assert odd not in shown


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


def test_unwritable_store_is_one_sentence_and_status_2(run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run_cli("retrain", "--dataset.source", "package", "--store", str(tmp_path / "file" / "store"))
    assert done.returncode == 2
    assert "The store refuses" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_analytics_are_off() -> None:
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["tool"]["prefect"]
    assert settings["server"]["analytics_enabled"] is False
    assert SETTINGS["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_silence_means_three_missed_heartbeats() -> None:
    automations = yaml.safe_load(AUTOMATIONS_FILE.read_text())["automations"]
    (patience,) = [known["trigger"]["within"] for known in automations if "crash silent" in known["name"]]
    assert patience >= 3 * BEAT_SECONDS


def test_unchanged_retrain_imports_no_tensorflow(store: Store, server: str, run_cli: Run) -> None:
    arguments = ["retrain", "--training.epochs", "2", "--dataset.source", "package"]
    assert run_cli(*arguments).returncode == 0
    code = "import atexit, sys; atexit.register(lambda: print('tensorflow' in sys.modules)); "
    again = subprocess.run(
        [sys.executable, "-c", code + "from linear_neuron.deployments.cli import main; main()", *arguments],
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


def test_recorded_predict_imports_nothing_that_only_others_need(
    store: Store, neuron: ModelVersion, server: str, tmp_path: Path
) -> None:
    make_champion(store, neuron.version, "by hand")
    (tmp_path / "in.csv").write_text("id,RM\n007,6\n")
    code = (
        "import atexit, sys; atexit.register(lambda: print({'fastapi', 'matplotlib', 'pandas'} & set(sys.modules))); "
    )
    command = [sys.executable, "-c", code + "from linear_neuron.deployments.cli import main; main()"]
    done = subprocess.run(
        [*command, "predict", str(tmp_path / "in.csv")],
        env=os.environ | {"PREFECT_API_URL": server},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "set()", done.stderr
    location = done.stdout.splitlines()[-2]
    runs = Api(server).ask("POST", "/flow_runs/filter", flows={"name": {"any_": ["predict"]}}, sort="START_TIME_DESC")
    parameters: dict[str, Any] = {"batch": Batch(inputs=[str(tmp_path / "in.csv")])}
    assert location.startswith(str(store.root))
    assert runs[0]["parameters"] == predict.serialize_parameters(parameters), "as Prefect's own way gives them"


def test_versions_are_listed_promoted_verified_and_cleaned(run_cli: Run, store: Store) -> None:
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
    assert refused.stderr.splitlines()[-1].startswith("linear-neuron: No previous champion")
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
    assert done.stdout == f"Reproduced bit for bit: {version}, MEDV = 3.3428 * RM + 1.2761.\n"


def test_a_run_without_a_server_is_plain_and_says_so(store: Store, tmp_path: Path, without_server: Run) -> None:
    done = without_server("retrain", "--training.epochs", "2", "--dataset.source", "package")
    assert done.returncode == 0, done.stderr
    (version,) = list_versions(store)
    assert done.stdout.splitlines()[-1] == str(version_folder(store, version))
    lines = done.stderr.splitlines()
    assert f"{lines[0]}\n" == NOT_RECORDED
    assert "Epoch 2 of 2: loss " in done.stderr
    assert len(lines) <= 12
    assert "http" not in done.stderr
    assert not list(tmp_path.rglob("*.db")), "no server was started"
    again = without_server("retrain", "--training.epochs", "2", "--dataset.source", "package")
    assert f"Nothing has changed since {version}, " in again.stdout
    assert "Nothing has changed" not in again.stderr, "it is said once"
    assert again.stdout.endswith(done.stdout.lstrip())


def runs_of(server: str, store: Store) -> list[dict[str, Any]]:
    """The flow runs at a server that were given a version of this store to promote."""
    runs = httpx.post(f"{server}/flow_runs/filter", json={}).json()
    return [run for run in runs if run["parameters"].get("reason") == str(store.root)]


@contextmanager
def stack_file(store: Store, url: str) -> Iterator[None]:
    """What a stack that is up on a store leaves there: its address, and the lock that it holds."""
    make_version(store, "a")
    (store.root / "prefect").mkdir()
    (store.root / UP_FILE).write_text(json.dumps({"url": url, "pid": os.getpid()}))
    with FileLock(Path(str(store.root), UP_FILE).with_suffix(".lock")):
        yield


def test_a_run_is_recorded_at_the_stack_that_is_up_on_the_store(store: Store, server: str, without_server: Run) -> None:
    with stack_file(store, server):
        done = without_server("promote", "a", "--reason", str(store.root))
    assert done.returncode == 0, done.stderr
    assert "not recorded" not in done.stderr
    (run,) = runs_of(server, store)
    assert (run["name"], run["tags"], run["state_name"]) == ("promote a", ["linear-neuron"], "Completed")


def test_a_stack_that_does_not_answer_is_ignored(store: Store, server: str, without_server: Run) -> None:
    with stack_file(store, f"http://127.0.0.1:{free_port()}/api"):
        promote = ("promote", "a", "--reason", str(store.root))
        assert "not recorded" in without_server(*promote).stderr
        for content in ("{", "[]", "{}", "null"):
            (store.root / UP_FILE).write_text(content)
            assert "not recorded" in without_server(*promote).stderr, content
    assert runs_of(server, store) == []


def test_stranger_at_the_port_of_a_dead_stack_gets_no_request(store: Store, without_server: Run) -> None:
    stranger = Site()
    with stack_file(store, f"{stranger.url}api"):
        pass  # Its lock is free again, as after a kill; its file is left, and its process id belongs to another.
    done = without_server("promote", "a", PREFECT_API_AUTH_STRING="admin:s3cret")
    stranger.close()
    assert "not recorded" in done.stderr
    assert stranger.asked == []


def test_a_profile_that_names_an_api_comes_before_the_stack(
    store: Store, server: str, tmp_path: Path, without_server: Run
) -> None:
    (tmp_path / "health").touch()
    stack = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    threading.Thread(target=stack.serve_forever, daemon=True).start()  # It is healthy, and could record nothing.
    home = tmp_path / "home"
    home.mkdir()
    (home / "profiles.toml").write_text(f'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "{server}"\n')
    with stack_file(store, f"http://127.0.0.1:{stack.server_port}"):
        assert without_server("promote", "a", "--reason", str(store.root)).returncode == 0
    assert len(runs_of(server, store)) == 1
    stack.shutdown()
    stack.server_close()


def test_an_api_that_does_not_answer_is_one_sentence_and_status_2(without_server: Run) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    done = without_server("rollback", PREFECT_API_URL=url)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"linear-neuron: No Prefect API answers at {url}")
    assert done.stderr.count("\n") == 1


def test_an_api_that_refuses_us_is_one_sentence_and_status_2(
    store: Store, guarded_server: Server, without_server: Run
) -> None:
    with stack_file(store, guarded_server.url):
        done = without_server("promote", "a")
        allowed = without_server("promote", "a", PREFECT_API_AUTH_STRING=guarded_server.auth)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        f"The Prefect API at {guarded_server.url} refuses us (status 401): set PREFECT_API_AUTH_STRING" in done.stderr
    )
    assert done.stderr.count("\n") == 1
    assert allowed.returncode == 0


@pytest.mark.parametrize("recorded", [True, False])
def test_an_error_is_said_once(run_cli: Run, without_server: Run, recorded: bool) -> None:
    run = run_cli if recorded else without_server
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
    command = [sys.executable, "-m", "linear_neuron", "retrain", "--training.epochs", "100000"]
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


def test_verbose_says_more(without_server: Run) -> None:
    arguments = ("retrain", "--training.epochs", "1000", "--dataset.source", "package", "--force")
    quiet, verbose = (without_server(*arguments, *more).stderr for more in ((), ("--verbose",)))
    assert "Epoch 1000 of 1000" in quiet
    assert "Epoch 500 of 1000" not in quiet
    assert "Epoch 500 of 1000" in verbose
    assert verbose.count("Epoch ") <= 20


def test_every_command_says_the_same_as_json(run_cli: Run, store: Store, tmp_path: Path) -> None:
    made = json.loads(run_cli("retrain", "--training.epochs", "300", "--dataset.source", "package", "--json").stdout)
    assert made["location"] == str(version_folder(store, made["version"]))
    assert made["metrics"]["test"]["rows"] == 102
    assert made["unchanged"] is False
    assert made["status"].startswith("champion: it beats")
    (tmp_path / "a.csv").write_text("RM\n5\nx\n")
    batch = json.loads(run_cli("predict", str(tmp_path / "a.csv"), "--json").stdout)
    assert (batch["version"], batch["total"]["predicted"]) == (made["version"], 1)
    assert Path(batch["location"], "a.predictions.csv").exists()
    assert json.loads(run_cli("promote", made["version"], "--reason", "why", "--json").stdout)["reason"] == "why"
    assert json.loads(run_cli("verify", "--json").stdout) == []
    assert [row["reason"] for row in json.loads(run_cli("history", "--json").stdout)] == [
        made["status"].partition(": ")[2],
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
        [sys.executable, "-m", "linear_neuron", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "0.1.0\n"


def test_a_shell_can_be_taught_to_complete(tmp_path: Path, run_cli: Run) -> None:
    assert run_cli("--install-completion", HOME=str(tmp_path), SHELL="/bin/bash").returncode == 0
    (script,) = [path for path in tmp_path.rglob("*") if path.is_file() and "rollback" in path.read_text()]
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_sql_is_a_select_of_the_champion_or_of_a_version(neuron: ModelVersion, store: Store, run_cli: Run) -> None:
    assert "has no champion yet" in run_cli("sql", "--dialect", "sqlite").stderr
    other = make_version(store, "20260102T000000Z-bbbbbb", intervals={"50": 2.0, "90": 10.0})
    make_champion(store, neuron.version, "first")
    with sqlite3.connect(":memory:") as session:
        session.execute("CREATE TABLE homes (id, RM)")
        session.execute("INSERT INTO homes VALUES ('007', 6)")
        query = run_cli("sql", "--dialect", "sqlite", "--table", "homes").stdout
        assert session.execute(query).fetchall() == [("007", 6, 13.0, 12.5, 13.5, 0)]
        query = run_cli("sql", other.version, "--dialect", "sqlite", "--table", "homes", "--interval", "50").stdout
        assert session.execute(query).fetchall() == [("007", 6, 19.0, 17.0, 21.0, 0)]
    session.close()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            ["--dialect", "oracle"],
            'Invalid value "oracle" for --dialect. Choose from: "postgres", "duckdb", "sqlite".',
        ),
        (["--dialect", "duckdb", "--interval", "49"], 'Invalid value "49" for --interval. Must be >= 50.'),
        (["--dialect", "duckdb", "--table", "a..b"], "There can be no table 'a..b'; name it as TABLE or SCHEMA.TABLE."),
        ([], 'Command "sql" parameter --dialect requires an argument.'),
    ],
)
def test_a_wrong_call_of_sql_is_one_sentence(
    neuron: ModelVersion, run_cli: Run, wrong: list[str], sentence: str
) -> None:
    done = run_cli("sql", neuron.version, *wrong)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"linear-neuron: {sentence}\n")


def test_models_are_measured_on_a_table(neuron: ModelVersion, store: Store, run_cli: Run, tmp_path: Path) -> None:
    make_version(store, "20260102T000000Z-bbbbbb")
    table = tmp_path / "actuals.csv"
    table.write_text("RM,MEDV\n5,10\n6,14\n")
    lines = run_cli("models", "--on", str(table)).stdout.splitlines()
    assert [line.split()[7:9] for line in lines[1:3]] == [["7.07", "1.00"], ["7.07", "5.52"]]
    assert lines[3].startswith(
        f"On 2 rows of {table} {neuron.version} would have been the best of 2 versions: RMSE 1.00, "
    )
    rows = json.loads(run_cli("models", "--on", str(table), "--json").stdout)
    assert [(row["realised_mse"], row["realised_rows"]) for row in rows] == [(1.0, 2), (30.5, 2)]
    wrong = run_cli("models", "--on", str(tmp_path / "none.csv"))
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith(f"linear-neuron: There is nothing at {tmp_path}/none.csv")


def test_models_on_a_table_without_the_target_exit_with_2(neuron: ModelVersion, run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("RM\n6\n")
    done = run_cli("models", "--on", str(tmp_path / "a.csv"))
    sentence = f"No version can be measured on {tmp_path}/a.csv: the table has no column MEDV."
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"linear-neuron: {sentence}\n")


def test_mistyped_name_names_the_models_that_exist(store: Store, run_cli: Run) -> None:
    for folder in ("store-sales", "store-rent"):
        make_version(Store(str(store.root.parent / folder)), "a")
    (Path(str(store.root)).parent / "store-empty").mkdir()
    for command in (["models"], ["predict", "a.csv"], ["promote", "a"], ["history"], ["verify"]):
        done = run_cli(*command, "--name", "salse")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"linear-neuron: There is no model 'salse': {store.root}-salse has no version. The models with a name: "
            "rent, sales. To make one: linear-neuron --name salse retrain\n"
        )
    assert run_cli("models", "--name", "sales").returncode == 0
    listed = run_cli("models", "--all")
    assert [line.split() for line in listed.stdout.splitlines()[1:]] == [
        ["rent", "1", *"------", f"{store.root}-rent"],
        ["sales", "1", *"------", f"{store.root}-sales"],
    ]
    assert [row["name"] for row in json.loads(run_cli("models", "--all", "--json").stdout)] == ["rent", "sales"]


def test_output_that_can_not_be_made_names_its_flag(
    neuron: ModelVersion, store: Store, run_cli: Run, tmp_path: Path
) -> None:
    make_champion(store, neuron.version, "first")
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "a.csv").write_text("RM\n6\n")
    done = run_cli("predict", str(tmp_path / "a.csv"), "--output", str(tmp_path / "file" / "out"))
    assert (done.returncode, done.stdout) == (2, "")
    sentence = f"The output folder {tmp_path}/file/out can't be written: Not a directory. Name another by --output."
    assert done.stderr.splitlines()[-1] == f"linear-neuron: {sentence}"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (["retrain", "--dataset.features"], "--dataset.features: needs 1 value or more."),
        (["retrain", "--dataset.categories", "--force"], "--dataset.categories: needs 1 value or more."),
        (["predict", "--columns", "RM"], "--columns: must be FEATURE=COLUMN, such as RM=rooms, not 'RM'."),
        (["predict", "--columns", "RM=a", "MEDV"], "--columns: must be FEATURE=COLUMN, such as RM=rooms, not 'MEDV'."),
        (
            ["rollback", "--to", "x"],
            "Unknown option: --to. `linear-neuron COMMAND --help` lists the options of a command.",
        ),
        (["rollback", "--reson", "x"], "Unknown option: --reson. Did you mean --reason?"),
        (["retrain", "--training.epoch", "3"], "Unknown option: --training.epoch. Did you mean --training.epochs?"),
    ],
)
def test_wrong_flag_is_one_sentence(run_cli: Run, call: list[str], sentence: str) -> None:
    done = run_cli(*call)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"linear-neuron: {sentence}\n")


def test_models_are_a_page_too(neuron: ModelVersion, store: Store, run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "actuals.csv").write_text("RM,MEDV\n5,10\n6,14\n")
    done = run_cli("models", "--html", str(tmp_path / "a.html"), "--on", str(tmp_path / "actuals.csv"))
    assert done.stdout.startswith("version "), "what is printed stays the same"
    assert done.stderr == ""
    page = (tmp_path / "a.html").read_text()
    assert page.count("data:image/png;base64,") == 1
    assert f"<p>On 2 rows of {tmp_path}/actuals.csv {neuron.version} would have been the best" in page
