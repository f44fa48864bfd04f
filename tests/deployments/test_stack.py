"""`linear-neuron up` on one machine: schedules, triggers, kills, alerts, and the end of it all."""

import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.workers.process import ProcessWorker

from linear_neuron.deployments.worker import NeuronWorker
from tests.deployments.helpers import CLEAN, ENDLESS, LONG, QUICK, Api, Stack, Webhook, eventually, free_port
from tests.deployments.terminal import deploy

pytestmark = pytest.mark.usefixtures("silenced")


def test_no_click_is_lost_on_a_busy_database(stack: Stack) -> None:
    path = f"/deployments/{stack.api.deployment()['id']}/create_flow_run"
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    later = {"type": "SCHEDULED", "state_details": {"scheduled_time": tomorrow}}
    with ThreadPoolExecutor(16) as pool:
        runs = list(pool.map(lambda _: stack.api.ask("POST", path, state=later), range(100)))
        list(pool.map(lambda run: stack.api.ask("DELETE", f"/flow_runs/{run['id']}"), runs))
    assert "database is locked" not in (stack.store / "prefect/server.log").read_text()


def test_of_two_triggers_one_runs_and_killed_frees_its_slot(stack: Stack, webhook: Webhook) -> None:
    runs = [stack.api.wait(run, "Running", "Cancelled") for run in [stack.api.trigger(ENDLESS) for _ in range(2)]]
    cancelled, running = sorted(runs, key=lambda run: str(run["state_name"]))
    assert (cancelled["state_name"], running["state_name"]) == ("Cancelled", "Running")
    assert cancelled["state"]["message"] == "Deployment concurrency limit reached."
    assert not stack.api.is_free()
    run = running["id"]
    pid = eventually(lambda: stack.api.run(run)["infrastructure_pid"], "the worker knows the process")
    os.kill(int(pid), signal.SIGKILL)
    crashed = stack.api.wait(run, "Crashed")
    alert = eventually(lambda: [text for text in webhook.texts if run in text], "an alert")[0]
    assert alert.startswith(f"{running['name']}: Crashed\n{crashed['state']['message']}\n")
    assert f"http://127.0.0.1:{stack.port}/runs/flow-run/{run}" in alert
    assert stack.api.is_free()


def test_a_late_run_and_a_failed_one_alert_with_the_reason(stack: Stack, webhook: Webhook) -> None:
    stack.api.ask("PATCH", "/work_pools/linear-neuron", is_paused=True)
    run = stack.api.trigger({"dataset": {"features": ["ROOMS"], "source": "package"}})
    late = eventually(lambda: [text for text in webhook.texts if run in text], "an alert of the late run")[0]
    assert ": Late\n" in late
    stack.api.ask("PATCH", "/work_pools/linear-neuron", is_paused=False)
    failed = stack.api.wait(run, "Failed")
    alert = eventually(lambda: [text for text in webhook.texts if run in text][1:], "an alert of the failure")[0]
    assert alert.startswith(f"{failed['name']}: Failed\n")
    assert "no feature 'ROOMS' in Boston housing" in alert


def test_an_alarm_is_sent_and_the_log_says_who(stack: Stack, webhook: Webhook) -> None:
    parameters = {"promotion": {"mode": "manual"}, "dataset": {"source": "package"}, "training": {"epochs": 3}}
    run = stack.api.wait(stack.api.trigger(parameters), "Completed")
    alarm = "linear-neuron.approval.awaited"
    text = eventually(lambda: [text for text in webhook.texts if text.startswith(alarm)], "an alarm")[0]
    assert "waits to be promoted: promotion is manual; to promote it: linear-neuron promote " in text
    (shown,) = [artifact["data"] for artifact in stack.api.artifacts(run["id"]) if artifact["key"] == "alarms"]
    assert shown.startswith("**approval.awaited**: ")
    entry = json.loads((stack.store / "promotions.jsonl").read_text().splitlines()[-1])
    assert entry["by"] == f"weekly-retrain by hand, run {run['name']}"


def deployed(api: Api) -> dict[str, Any]:
    """What a deploy makes, but for the time of it."""
    deployment = api.deployment()
    # Prefect's own deploy writes the triggers of prefect.yaml again; these are ours.
    automations = [
        known for known in api.ask("POST", "/automations/filter") if known["name"].startswith("linear-neuron ")
    ]
    for thing in [deployment, *deployment["schedules"]]:
        del thing["updated"]
    for automation in automations:  # These may not even be written again.
        for members in ("after", "expect", "for_each"):
            automation["trigger"][members].sort()
    for moving in ("status", "last_polled", "global_concurrency_limit"):
        deployment.pop(moving, None)
    return {
        "deployment": deployment,
        "automations": sorted(automations, key=lambda automation: str(automation["name"])),
    }


def test_second_deploy_only_removes_what_left_the_files(stack: Stack) -> None:
    before = deployed(stack.api)
    assert "{{" not in str(before["deployment"])
    assert str(stack.store) not in str(before["deployment"])
    path = f"/deployments/{before['deployment']['id']}/schedules"
    stray = {"schedule": {"cron": "0 0 1 1 *", "timezone": "UTC"}, "active": False, "slug": "yearly"}
    stack.api.ask("POST", path, [stray])
    known = before["automations"][0]
    stack.api.ask("POST", "/automations/", name="linear-neuron x", trigger=known["trigger"], actions=known["actions"])

    deploy(stack)

    assert deployed(stack.api) == before


def test_deploy_keeps_schedules_added_or_paused_in_the_ui(stack: Stack) -> None:
    deployment = stack.api.deployment()
    path = f"/deployments/{deployment['id']}/schedules"
    weekly = f"{path}/{deployment['schedules'][0]['id']}"
    (added,) = stack.api.ask("POST", path, [{"schedule": {"cron": "0 12 * * *", "timezone": "UTC"}, "active": True}])
    stack.api.ask("PATCH", weekly, active=False)

    deploy(stack)

    active = {schedule["schedule"]["cron"]: schedule["active"] for schedule in stack.api.ask("GET", path)}
    assert active == {"0 6 * * MON": False, "0 12 * * *": True}
    stack.api.ask("DELETE", f"{path}/{added['id']}")
    stack.api.ask("PATCH", weekly, active=True)


def test_silent_runs_crash_within_two_minutes(stack: Stack, silenced: dict[str, datetime]) -> None:
    for run, killed in silenced.items():
        state = stack.api.wait(run, "Crashed")["state"]
        assert "No heartbeat for 90 seconds" in state["message"]
        assert datetime.fromisoformat(state["timestamp"]) - killed < timedelta(minutes=2)
    for name in ("powerless-retrain", "workerless-retrain"):
        assert stack.api.is_free(f"retrain/{name}")


def start_another(stack: Stack, port: int, **settings: str) -> str:
    """What `up` says when it is refused."""
    command = [sys.executable, "-m", "linear_neuron.deployments.cli", "up", "--port", str(port)]
    second = subprocess.run(
        command, env=CLEAN | settings, cwd=stack.log.parent, capture_output=True, text=True, check=False
    )
    assert (second.returncode, second.stdout) == (2, "")
    return second.stderr


def test_a_second_start_on_a_busy_port_says_so(stack: Stack, tmp_path: Path) -> None:
    said = start_another(stack, stack.port, LINEAR_NEURON_STORE=str(tmp_path))
    assert f"can't listen on 127.0.0.1 port {stack.port} (Address already in use)" in said


def test_second_stack_on_a_store_is_refused(stack: Stack) -> None:
    assert stack.process
    found = json.loads((stack.store / "prefect/up.json").read_text())
    assert found == {"url": stack.api.url, "pid": stack.process.pid}
    first = f"http://127.0.0.1:{stack.port} (process {stack.process.pid})"
    assert f"A stack is up at {first} on this store" in start_another(stack, free_port())


def test_a_run_can_not_name_a_command(stack: Stack, tmp_path: Path) -> None:
    path = f"/deployments/{stack.api.deployment()['id']}/create_flow_run"
    for variables in ({"command": f"touch {tmp_path}/stolen"}, {"env": {"PYTHONPATH": str(tmp_path)}}):
        with pytest.raises(httpx.HTTPStatusError, match=r"409|422"):
            stack.api.ask("POST", path, job_variables=variables)


def test_deploy_removes_the_variables_of_an_older_pool(stack: Stack) -> None:
    stack.api.ask("PATCH", "/work_pools/linear-neuron", base_job_template=ProcessWorker.get_default_base_job_template())
    deploy(stack)
    pool = stack.api.ask("GET", "/work_pools/linear-neuron")
    assert pool["base_job_template"] == NeuronWorker.get_default_base_job_template()


def test_requests_by_another_name_or_from_another_site_are_refused(stack: Stack) -> None:
    url = f"{stack.api.url}/flows/count"
    assert httpx.post(url, headers={"Host": "evil.example"}).status_code == 403
    assert httpx.post(url, headers={"Origin": "http://evil.example"}).status_code == 403
    assert httpx.post(url, headers={"Origin": f"http://127.0.0.1:{stack.port}"}).status_code == 200
    preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    assert httpx.options(url, headers=preflight).status_code == 400


def find_forked(stack: Stack) -> list[str]:
    """List the fork server, its processes and the programs that wait for them, by their last argument."""
    ends = ["".join(line.split()[-1:]) for line in stack.processes().values()]
    return [end for end in ends if end.endswith("/socket")]


def wait_for_imports(address: str) -> None:
    """Wait until a fork server answers, be it to a request that says nothing."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(LONG)
        eventually(lambda: link.connect_ex(address) == 0, "the fork server listens")
        link.shutdown(socket.SHUT_WR)
        assert link.recv(1) == b""


def test_cancelled_forked_training_ends_at_once_and_leaves_nothing(stack: Stack) -> None:
    stack.api.wait(stack.api.trigger({}, "predict/daily-predict"), "Completed")  # A worker's first run is not forked.
    address = eventually(lambda: find_forked(stack), "the fork server is there")[0]
    wait_for_imports(address)
    before = set(stack.store.glob("models/*"))
    said = len(stack.log.read_text())
    run = stack.api.trigger(ENDLESS)
    trainer = eventually(lambda: [pid for pid, line in stack.processes().items() if "training_process" in line])[0]
    eventually(lambda: stack.api.artifacts(run), "the training shows its progress")
    assert find_forked(stack) == [address] * 4, "the fork server, the run's program, who watches, and the run"
    stack.api.ask("POST", f"/flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    stack.api.wait(run, "Cancelled")
    assert trainer not in stack.processes()
    eventually(lambda: find_forked(stack) == [address], "only the fork server stays")
    assert "Traceback" not in stack.log.read_text()[said:]
    assert "RuntimeWarning" not in stack.log.read_text()[said:], "nothing that only a forked run says"
    assert set(stack.store.glob("models/*")) == before


def test_ctrl_c_leaves_no_process_and_keeps_the_state(stack: Stack) -> None:
    schedules = deployed(stack.api)
    run = stack.api.trigger(ENDLESS)
    stack.api.wait(run, "Running")
    assert len(stack.processes()) >= 4, "up, the server, the worker and the run"

    assert stack.stop(signal.SIGINT) == 0

    assert stack.processes() == {}
    stack.start()
    stopped = stack.api.run(run)
    assert stopped["state_name"] == "Crashed"
    assert stopped["state"]["message"] == "The worker was stopped while this run was going. Run it again."
    assert deployed(stack.api) == schedules
    assert stack.api.is_free()


def test_a_scheduled_run_is_completed_and_its_champion_predicts(stack: Stack) -> None:
    (stack.log.parent / "inbox" / "homes.csv").write_text("id,RM\n007,6\n")
    since = datetime.now(UTC)
    always = {"force": True, "promotion": {"mode": "always"}} | QUICK
    schedule = stack.api.schedule(count=1, parameters=always)
    (run,) = eventually(lambda: stack.api.scheduled(since), "the scheduler inserts the run")
    assert run["created_by"]["type"] == "SCHEDULE"
    completed = stack.api.wait(run["id"], "Completed")
    assert completed["name"] == f"retrain RM custom {datetime.now(UTC):%Y-%m-%d}"
    found = eventually(lambda: list(stack.store.glob("predictions/*/homes.predictions.csv")), "predictions")
    assert found[0].read_text().startswith("id,RM,prediction,")
    stack.api.ask("DELETE", schedule)


def test_nothing_outlives_a_killed_up(stack: Stack) -> None:
    assert stack.process
    stack.process.kill()
    stack.process.wait()
    eventually(lambda: stack.processes() == {}, "the server and the worker end")
    stack.rest()  # The next test that needs it starts it again.
