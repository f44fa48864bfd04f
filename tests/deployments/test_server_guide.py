"""docs/server.md, typed word by word into a fresh machine."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.deployments.helpers import eventually, report_missing
from tests.deployments.machine import Machine

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "server.md"
REPOSITORY = "/srv/linear-neuron.git"
NEEDED = {
    "postgresql": "/usr/bin/pg_createcluster",
    "nginx-light": "/usr/sbin/nginx",
    "systemd": "/lib/systemd/systemd",
}
NAME_VERSION = "import importlib.metadata as m; print(m.version('linear-neuron'))"
WATCH = "prefect deployment run retrain/weekly-retrain --watch"

pytestmark = pytest.mark.timeout(600)


class Line(NamedTuple):
    """A line to be typed, by whom, and what it prints."""

    user: str
    typed: str
    printed: list[str]


def read_guide() -> dict[str, list[Line]]:
    """The lines of every section, in order."""
    sections: dict[str, list[Line]] = {}
    for section in GUIDE.read_text().split("\n## ")[1:]:
        lines = sections[section.splitlines()[0]] = []
        for block in re.findall(r"^ *```console\n(.*?)^ *```", section, re.DOTALL | re.MULTILINE):
            for line in map(str.strip, block.splitlines()):
                if line[:2] in ("# ", "$ "):
                    lines.append(Line("root" if line[0] == "#" else "neuron", line[2:], []))
                else:
                    lines[-1].printed.append(line)
    return sections


def follow(machine: Machine, section: str, **meant: str) -> None:
    """Types a section with what its words stand for, and compares what is printed, whatever the date."""
    for line in read_guide()[section]:
        typed = line.typed.replace("clone URL ", f"clone {REPOSITORY} ")
        for word, meaning in meant.items():
            typed = typed.replace(word, meaning)
        if typed.startswith("make ") and section == "Set it up":
            lend_packages(machine)
        if line.user == "neuron":
            printed = neuron(machine, typed)
        else:
            printed = machine.run(typed, online=typed.startswith(("apt-get ", "make ")))
        for expected in line.printed:
            assert without_dates(expected) in without_dates(printed), typed


def without_dates(text: str) -> str:
    return re.sub(r"\w{3} \d{4}-\d\d-\d\d (\d\d:\d\d) CES?T", r"DATE \1", text)


def neuron(machine: Machine, command: str) -> str:
    return machine.run(f"runuser -l neuron -c {shlex.quote(command)}")


def ask(machine: Machine, path: str, **body: object) -> Any:
    """Asks Prefect's API, with a GET for one thing's path and a POST otherwise."""
    auth = "$(sed -n s/^PREFECT_API_AUTH_STRING=//p /etc/linear-neuron.env)"
    sent = f"--json {shlex.quote(json.dumps(body))}" if body or path.endswith("filter") else ""
    return json.loads(machine.run(f"curl --silent --fail --user {auth} {sent} http://127.0.0.1:4200/api/{path}"))


def wait_for_readiness(machine: Machine, status: str) -> None:
    ready = "curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1:4200/api/ready"
    eventually(lambda: machine.run(ready) == status, f"the server's readiness is {status}")


def start_run(machine: Machine, **parameters: object) -> str:
    """Starts a run of weekly-retrain as a click in the UI does, and returns its id."""
    deployment = ask(machine, "deployments/name/retrain/weekly-retrain")["id"]
    return str(ask(machine, f"deployments/{deployment}/create_flow_run", parameters=parameters)["id"])


def wait_for_state(machine: Machine, run: str, state: str) -> None:
    eventually(lambda: ask(machine, f"flow_runs/{run}")["state_name"] == state, f"the run is {state}")


def put_repository(machine: Machine) -> None:
    """Puts our files as they stand here into a repository, which the machine knows instead of a URL."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    files = subprocess.run(
        ["tar", "--create", "--null", "--files-from=-"], cwd=ROOT, input=names.stdout, check=True, capture_output=True
    )
    machine.run(f"mkdir {REPOSITORY} && tar --extract --no-same-owner --directory {REPOSITORY}", given=files.stdout)
    commit(machine, "git init --quiet --initial-branch main && git add --all")


def lend_packages(machine: Machine) -> None:
    """Has `make` find the packages of this checkout in place, as copying and compiling them takes minutes at worst."""
    venv = "/opt/linear-neuron/.venv"
    machine.run(f"mkdir --parents {venv}/lib {venv}/bin /run/upper /run/work")
    machine.run(f"mount -t overlay overlay -o lowerdir=/srv/lent/lib,upperdir=/run/upper,workdir=/run/work {venv}/lib")
    machine.run(f"find /srv/lent/bin -type f -exec cp --target-directory {venv}/bin {{}} +")
    machine.run(f"sed --in-place '1s|^#!.*python.*|#!{venv}/bin/python|' {venv}/bin/*")


def commit(machine: Machine, change: str) -> None:
    by = "-c user.name=test -c user.email=test@example.com"
    machine.run(f"cd {REPOSITORY} && {change} && git {by} commit --quiet --all --message test")


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine on which the guide's first section has been followed."""
    for package, file in NEEDED.items():
        if not Path(file).exists():
            report_missing(file, package)
    machine = Machine(lent=Path(sys.prefix))
    try:
        machine.boot()
    except OSError as error:
        pytest.skip(f"no machine can be had here: {error}")
    try:
        put_repository(machine)
        # This machine's disk may hold a cluster that is in use; a fresh one is what Debian's package would make.
        machine.run("find /etc/postgresql /var/lib/postgresql -mindepth 2 -maxdepth 2 -exec rm -r {} +")
        machine.run("pg_createcluster $(ls /usr/lib/postgresql | tail -1) main && systemctl start postgresql")
        # What is installed already is not to be made newer.
        machine.run("echo 'APT::Get::Upgrade \"false\";' > /etc/apt/apt.conf.d/99-as-it-is")
        follow(machine, "Set it up")
        yield machine
    finally:
        machine.shut()


def test_the_ui_and_its_scripts_are_served(machine: Machine) -> None:
    for page in ("/", "/v2/"):
        html = machine.run(f"curl --silent --fail --location http://127.0.0.1:4200{page}")
        script = re.search(r'src="([^"]+\.js)"', html)
        assert script
        machine.run(f"curl --silent --fail --output /dev/null http://127.0.0.1:4200{script[1]}")


def test_the_secret_is_new_and_only_the_service_reads_it(machine: Machine) -> None:
    assert "a-secret" not in machine.run("cat /etc/linear-neuron.env")
    assert "Permission denied" in machine.run("runuser -u nobody cat /etc/linear-neuron.env", check=False)


def test_a_version_names_the_commit_that_made_it(machine: Machine) -> None:
    assert '"commit": null' not in neuron(machine, "cat store/models/*/model.json")


def test_temporary_files_are_the_services_own(machine: Machine) -> None:
    assert machine.run("find /tmp /var/tmp -user neuron -not -path '*/systemd-private-*'") == ""


def test_either_service_may_be_stopped_first(machine: Machine) -> None:
    run = start_run(machine, training={"epochs": 100_000, "batch_size": 1})
    wait_for_state(machine, run, "Running")
    stop_services(machine, "server", "worker")
    machine.run("systemctl start linear-neuron-server linear-neuron-worker")
    # With its server gone the worker could tell nobody. An automation would free the slot after 90 s.
    ask(machine, f"flow_runs/{run}/set_state", state={"type": "CRASHED"})
    stop_services(machine, "worker", "server")  # The next section starts both.


def stop_services(machine: Machine, *order: str) -> None:
    for name in order:
        machine.run(f"systemctl stop linear-neuron-{name}")  # which returns when it has ended
        limit = machine.run(f"systemctl show --property TimeoutStopUSec --value linear-neuron-{name}")
        assert limit == "20s\n", "systemd ends it by then, as the page says"
    assert machine.run("pgrep --uid neuron --list-full prefect", check=False) == ""


def test_tls_carries_the_api_and_its_web_sockets(machine: Machine) -> None:
    follow(machine, "TLS")
    evil = "--resolve evil.example:443:127.0.0.1 https://evil.example/api/health"
    for other in (
        evil,
        "--header 'Host: evil.example' https://neuron.example/api/health",
        "https://127.0.0.1/api/health",
    ):
        assert "answered" not in machine.run(f"curl --silent --insecure {other} && echo answered", check=False)
    log = machine.run("cat /var/log/nginx/access.log")
    assert re.search(r'"GET /api/events/out HTTP/1.1" 101 ', log)


def test_health_covers_the_database_and_metrics_work(machine: Machine) -> None:
    follow(machine, "Health, logs and metrics")
    auth = "$(sed -n s/^PREFECT_API_AUTH_STRING=//p /etc/linear-neuron.env)"
    assert "process_cpu_seconds" in machine.run(f"curl --silent --user {auth} http://127.0.0.1:4200/api/metrics")
    eventually(
        lambda: (
            "prefect_events_emitted_total" in machine.run("curl --silent http://127.0.0.1:4201/metrics", check=False)
        )
    )
    wait_for_state(machine, start_run(machine), "Unchanged")
    machine.run("systemctl stop postgresql")
    wait_for_readiness(machine, "503")
    machine.run("systemctl start postgresql")
    wait_for_readiness(machine, "200")


def test_what_was_backed_up_is_there_after_a_restore(machine: Machine) -> None:
    neuron(machine, "cp --recursive store store-sales && echo id,RM > inbox/a.csv && echo id,MEDV > actuals/a.csv")
    seen = "cat store/champion.json store-sales/champion.json inbox/a.csv actuals/a.csv"
    before, runs = neuron(machine, seen), ask(machine, "flow_runs/filter")
    follow(machine, "Back up and restore")
    assert neuron(machine, seen) == before
    assert {run["id"] for run in runs} <= {run["id"] for run in ask(machine, "flow_runs/filter")}


@pytest.mark.on_demand
def test_the_package_is_upgraded_and_rolled_back(machine: Machine) -> None:
    commit(machine, "git tag v0.1.0 && sed --in-place 's/^version = .*/version = \"0.2.0\"/' pyproject.toml")
    machine.run(f"cd {REPOSITORY} && git tag v0.2.0")
    for version in ("0.2.0", "0.1.0"):
        follow(machine, "Upgrade and roll back", **{"0.2.0": version})
        neuron(machine, WATCH)
        assert neuron(machine, f"python -c {shlex.quote(NAME_VERSION)}") == f"{version}\n"


@pytest.mark.on_demand
def test_a_worker_elsewhere_shares_a_store_in_a_bucket(machine: Machine) -> None:
    follow(machine, "TLS")
    run_service(machine, "bucket", "/opt/linear-neuron/.venv/bin/moto_server --port 5000")
    eventually(lambda: "Location" in machine.run("curl --silent -i -X PUT http://127.0.0.1:5000/bucket", check=False))
    bucket = re.findall(r"^LINEAR_NEURON_STORE=s3.*|^AWS.*", GUIDE.read_text(), re.MULTILINE)
    add = "\n".join([*bucket, "AWS_ENDPOINT_URL=http://127.0.0.1:5000"])
    machine.run("cat >> /etc/linear-neuron.env", given=add.encode())
    machine.run("mkdir /srv/elsewhere && chown neuron /srv/elsewhere")
    add = "\nHOME=/srv/elsewhere\nPREFECT_HOME=/srv/elsewhere\nPREFECT_API_URL=https://neuron.example/api"
    add += "\nSSL_CERT_FILE=/etc/ssl/linear-neuron.crt\nPREFECT_WORKER_WEBSERVER_PORT=5202\n"
    machine.run("cat /etc/linear-neuron.env - > /srv/elsewhere.env", given=add.encode())
    machine.run("systemctl stop linear-neuron-worker")
    elsewhere = "prefect worker start --pool linear-neuron --name elsewhere --with-healthcheck"
    settings = "--uid neuron -p EnvironmentFile=/srv/elsewhere.env -p WorkingDirectory=/srv/elsewhere"
    run_service(machine, "elsewhere", f"/opt/linear-neuron/.venv/bin/{elsewhere}", settings)
    neuron(machine, WATCH)
    machine.run("systemctl stop elsewhere && systemctl start linear-neuron-worker")
    assert "'Unchanged'" in neuron(machine, WATCH)
    assert "champion" in neuron(machine, "linear-neuron models")


def run_service(machine: Machine, name: str, command: str, settings: str = "") -> None:
    machine.run(f"systemd-run --quiet --unit {name} {settings} {command}")
