"""`linear-neuron up` at a server of somebody else's: PostgreSQL, an auth string, restarts and downtime."""

import signal
from contextlib import suppress
from datetime import UTC, datetime

import httpx

from tests.deployments.helpers import ENDLESS, QUICK, Server, Stack, eventually
from tests.deployments.trainings import pause_training
from tests.postgres import Postgres


def test_a_request_without_the_auth_string_gets_401(production: Stack) -> None:
    assert httpx.get(f"{production.api.url}/deployments/name/retrain/weekly-retrain").status_code == 401
    assert production.api.deployment()["schedules"][0]["schedule"]["timezone"] == "Europe/Berlin"


def test_a_run_outlives_restarts_of_server_and_database(
    production: Stack, guarded_server: Server, cluster: Postgres
) -> None:
    run = production.api.trigger({"training": {"epochs": 20_000}})
    production.api.wait(run, "Running")

    with pause_training(lambda: [pid for pid, line in production.processes().items() if "training_process" in line]):
        guarded_server.stop()
        guarded_server.start()

        assert production.api.run(run)["state_name"] == "Running"
        newcomer = production.api.wait(production.api.trigger(QUICK), "Cancelled")
        assert newcomer["state"]["message"] == "Deployment concurrency limit reached."
    shown = eventually(lambda: progress(production, run), "it shows how far it is")

    cluster.restart(seconds=3)  # long enough that an update is refused meanwhile

    eventually(lambda: progress(production, run) > shown, "it shows how far it is by now")
    assert production.api.run(run)["state_name"] == "Running", "the run was too short for this test"
    production.api.wait(run, "Completed")


def progress(stack: Stack, run: str) -> float:
    """How far a run says that it is, in percent; 0 where the server can't say for now."""
    with suppress(httpx.HTTPStatusError):
        return max([0.0, *(float(item["data"]) for item in stack.api.artifacts(run) if item["type"] == "progress")])
    return 0


def test_only_the_newest_missed_run_is_run(
    production: Stack,
) -> None:
    running = production.api.trigger(ENDLESS)
    production.api.wait(running, "Running")
    assert production.stop(signal.SIGTERM) == 0
    assert production.processes() == {}
    assert production.api.run(running)["state_name"] == "Crashed"
    since = datetime.now(UTC)
    schedule = production.api.schedule(count=3)
    asked = [production.api.trigger({}, "predict/daily-predict") for _ in range(2)]
    eventually(lambda: len(production.api.scheduled(since)) == 3, "the scheduler inserts three runs")
    eventually(lambda: all(overdue(run) for run in production.api.scheduled(since)), "three are missed")

    production.start()

    first, second, newest = production.api.scheduled(since)
    for run in (first, second):
        superseded = production.api.wait(run["id"], "Superseded")
        assert superseded["state_type"] == "CANCELLED"
        assert superseded["run_count"] == 0
        assert "superseded by the run due" in superseded["state"]["message"]
    production.api.wait(newest["id"], "Completed")
    for other_run in asked:  # What people asked for is never superseded.
        production.api.wait(other_run, "Completed")
    production.api.ask("DELETE", schedule)


def overdue(run: dict[str, str]) -> bool:
    return datetime.fromisoformat(run["expected_start_time"]) < datetime.now(UTC)
