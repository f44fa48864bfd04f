"""A step outside of a flow run, where it is a plain function, and in one, where Prefect records it."""

import errno
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
import pytest
from prefect import flow, runtime, tags
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)

from linear_neuron.tasks.errors import UnavailableError, UserError
from linear_neuron.tasks.steps import FIELDS, end_as, get_logger, is_recorded, name_fields, send_heartbeats, task

tries: list[str] = []


@task("Ask again", retries=2, retry_delay_seconds=0)
def ask(error: Exception, good_try: int) -> int:
    tries.append(str(error))
    if len(tries) < good_try:
        raise error
    return len(tries)


@task("Sleep", timeout_seconds=0.1)
def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


@task("Refuse")
def refuse(message: str) -> None:
    raise UserError(message)


@flow(name="steps")
def recorded(step: Callable[..., object], *arguments: object) -> object:
    return step(*arguments)


@pytest.fixture(params=[pytest.param("recorded", marks=pytest.mark.xdist_group("server")), "plain"])
def call(request: pytest.FixtureRequest) -> Callable[..., object]:
    """Calls a function inside a flow run or outside."""
    tries.clear()
    if request.param == "plain":
        return lambda step, *arguments: step(*arguments)
    request.getfixturevalue("server")
    return recorded.with_options(validate_parameters=False)


def test_what_may_pass_is_tried_again(call: Callable[..., object]) -> None:
    assert call(ask, UnavailableError("busy"), 3) == 3


def test_what_can_not_pass_is_tried_once(call: Callable[..., object]) -> None:
    with pytest.raises(UserError, match="no such column"):
        call(ask, UserError("no such column"), 2)
    assert tries == ["no such column"]


@pytest.mark.usefixtures("server")
def test_a_recorded_mistake_is_logged_once_and_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError):
        recorded.with_options(validate_parameters=False)(refuse, "100% wrong")
    said = [record for record in caplog.records if record.getMessage() == "100% wrong"]
    assert [record.exc_info for record in said] == [None]


def test_a_failed_run_has_its_reason_in_the_log(server: str) -> None:
    """Whoever looks at the run as soon as it is Failed sees the reason."""
    found = list[str]()

    def look(flow: Any, flow_run: Any, state: Any) -> None:
        body = {"logs": {"flow_run_id": {"any_": [str(flow_run.id)]}}}
        found.extend(line["message"] for line in httpx.post(f"{server}/logs/filter", json=body).json())

    failing = recorded.with_options(validate_parameters=False, on_failure=[look])
    with pytest.raises(UserError), temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: True}):
        failing(refuse, "1 of 2 files can't be predicted")
    assert "1 of 2 files can't be predicted" in found


def test_tries_come_to_an_end(call: Callable[..., object]) -> None:
    with pytest.raises(UnavailableError, match="busy"):
        call(ask, UnavailableError("busy"), 4)
    assert len(tries) == 3


@pytest.mark.slow
def test_a_plain_step_that_takes_too_long_is_given_up_with_a_sentence() -> None:
    assert sleep(0) == "slept"
    with pytest.raises(UnavailableError, match=r"^Sleep: given up after 0.1 s\.$"):
        sleep(5)


def test_a_plain_step_logs_to_the_terminal(caplog: pytest.LogCaptureFixture) -> None:
    assert not is_recorded()
    caplog.set_level(logging.INFO, "linear_neuron")
    get_logger().info("heard")
    assert end_as("Unchanged", "as it was", 7) == 7
    assert caplog.messages == ["heard"]


@pytest.mark.usefixtures("server")
def test_a_completed_step_adds_no_line_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    assert recorded.with_options(validate_parameters=False)(sleep, 0) == "slept"
    assert [record.name for record in caplog.records if "Finished in state" in record.getMessage()] == [
        "prefect.flow_runs"
    ]


@pytest.mark.usefixtures("server")
def test_a_recorded_step_knows_that_it_is() -> None:
    assert recorded(is_recorded)


def test_steps_are_defined_without_importing_prefect() -> None:
    code = "import sys; from linear_neuron.tasks.registry import catalogue, verify; sys.exit('prefect' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@task("Write", retries=2, retry_delay_seconds=60)
def write(number: int) -> None:
    raise OSError(number, os.strerror(number), "a.csv")


def test_a_full_disk_is_one_sentence_and_not_tried_again(call: Callable[..., object]) -> None:
    with pytest.raises(UserError, match=r"^This machine can't go on: No space left on device: a\.csv\. Free disk"):
        call(write, errno.ENOSPC)


def test_the_fields_of_the_form_are_named_beside_flags() -> None:
    assert name_fields("Leave them out by --dataset.max-bad-rows 3.", FIELDS) == "Max Bad Rows of dataset"
    assert name_fields("Give --key, or --dataset.time; not --store.", FIELDS) == "Key of batch, Time of dataset"
    assert name_fields("The table has no rows.", FIELDS) == ""
    assert name_fields("Give --key, or --dataset.time.", {"actuals"}) == "Key of actuals"
    assert name_fields("Give --key, or --dataset.time.", {"version", "reason"}) == ""


@flow(name="steps", validate_parameters=False)
def with_form(step: Callable[..., object], training: int) -> object:
    return step()


@flow(name="steps", validate_parameters=False)
def without_form(step: Callable[..., object]) -> object:
    return step()


@flow(name="list", validate_parameters=False)
def in_a_list(step: Callable[..., object]) -> object:
    return with_form(step, training=7)


@pytest.mark.usefixtures("server")
def test_a_run_of_a_deployment_fails_with_the_field_of_its_form(monkeypatch: pytest.MonkeyPatch) -> None:
    @task("Refuse")
    def refuse() -> None:
        raise UserError("Lower it by --training.epochs.")

    with pytest.raises(UserError, match=r"^Lower it by --training\.epochs\.$"):
        refuse()
    monkeypatch.setattr("linear_neuron.tasks.steps.is_deployed", lambda: True)
    with pytest.raises(UserError, match=r"^Lower it by --training\.epochs\.$"):
        without_form(refuse)
    with pytest.raises(UserError, match=r"^Lower it by --training\.epochs\. In the form: Epochs of training\.$"):
        with_form(refuse, training=7)
    with pytest.raises(UserError, match=r"^Lower it by --training\.epochs\.$"):
        in_a_list(refuse)


def find_heartbeats(server: str, run: str) -> list[dict[str, Any]]:
    """Return the heartbeats of a run that the server has by now, in their order."""
    wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}
    body = {"filter": wanted | {"order": "ASC"}}
    return list(httpx.post(f"{server}/events/filter", json=body).json()["events"])


def beat_until(server: str, count: int) -> str:
    """Wait until the server has some heartbeats of this run, and return the run."""
    run, deadline = str(runtime.flow_run.get_id()), time.monotonic() + 60
    while len(find_heartbeats(server, run)) < count:
        assert time.monotonic() < deadline, "the heartbeats do not arrive"
        time.sleep(0.1)
    return run


def test_a_run_sends_heartbeats_until_it_ends(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linear_neuron.tasks.steps.BEAT_SECONDS", 0.2)
    ended = list[datetime]()
    beating = flow(
        name="beating",
        on_completion=[lambda *args: ended.append(args[2].timestamp)],
        validate_parameters=False,
    )(send_heartbeats(beat_until))
    with tags("linear-neuron"):
        run = beating(server, 3)
    beats = find_heartbeats(server, run)
    related = {(item["prefect.resource.role"], item["prefect.resource.id"]) for item in beats[-1]["related"]}
    assert ("tag", "prefect.tag.linear-neuron") in related, "by which the automation knows our runs"
    assert datetime.fromisoformat(beats[-1]["occurred"]) <= ended[0]
    assert [thread for thread in threading.enumerate() if thread.name.startswith("heartbeats ")] == []


def test_heartbeats_are_left_to_prefect_where_it_sends_them(server: str) -> None:
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}):
        run = flow(name="beaten", validate_parameters=False)(send_heartbeats(beat_until))(server, 1)
    (beat,) = find_heartbeats(server, run)
    assert "prefect.version" in beat["resource"], "which ours do not have"
