"""Progress in the terminal and in the Prefect UI."""

import os
import pty
import subprocess
import sys
import time
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import artifacts, flow, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import Artifact
from prefect.settings import PREFECT_API_URL, temporary_settings

from linear_neuron.tasks.progress import progress


def artifacts_of(run_id: str) -> list[tuple[str | None, object]]:
    return [(artifact.description, artifact.data) for artifact in read_artifacts(run_id)]


def read_artifacts(run_id: str) -> list[Artifact]:
    chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run_id)]))
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=chosen)


def delete_artifacts(run_id: str) -> None:
    with get_client(sync_client=True) as client:
        for artifact in read_artifacts(run_id):
            client.delete_artifact(artifact.id)


@flow
def count(seconds: float, delete: bool = False) -> str:
    run_id, now = str(runtime.flow_run.id), time.monotonic()
    with pytest.MonkeyPatch.context() as patch, progress("Scoring a [b] {c}", 4) as advance:
        for number in range(3):
            patch.setattr("time.monotonic", lambda passed=number + 1: now + seconds * passed)
            advance(1, f"text {number}")
            if delete:
                delete_artifacts(run_id)
    return run_id


@pytest.mark.usefixtures("server")
def test_a_recorded_run_has_one_progress_artifact() -> None:
    assert artifacts_of(count(seconds=0.1)) == [("`Scoring a [b] {c}`", 100.0)]
    assert artifacts_of(count(seconds=2)) == [("`Scoring a [b] {c}`", 100.0)]


@pytest.mark.usefixtures("server")
def test_progress_that_the_server_refuses_does_not_end_a_run() -> None:
    assert artifacts_of(count(seconds=2, delete=True)) == []


@flow
def count_updates(takes: float, pauses: list[float], refused: list[int]) -> list[int]:
    """Advance after each pause, while the server refuses some updates, and answers these after some seconds.

    Returns how often it was asked by the end of each pause, and by the end of the work.
    """
    clock, asked, update = 0.0, 0, artifacts.update_progress_artifact

    def ask(artifact: UUID, percent: float) -> Any:
        nonlocal clock, asked
        asked += 1
        if asked not in refused:
            return update(artifact, percent)
        clock += takes
        return update(uuid4(), percent)

    counts = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.monotonic", lambda: clock)
        patch.setattr(artifacts, "update_progress_artifact", ask)
        with progress("Scoring", 10) as advance:
            for pause in pauses:
                clock += pause
                advance(1)
                counts.append(asked)
        return [*counts, asked]


@pytest.mark.usefixtures("server")
def test_an_update_refused_at_once_is_soon_tried_again() -> None:
    assert count_updates(takes=0, pauses=[2, 2, 0.5, 1], refused=[1, 2]) == [0, 1, 1, 2, 3]


@pytest.mark.usefixtures("server")
def test_one_that_was_waited_for_is_tried_again_later() -> None:
    assert count_updates(takes=60, pauses=[2, 2, 1199, 2], refused=[1, 2]) == [0, 1, 1, 2, 2]


@pytest.mark.usefixtures("server")
def test_after_one_that_succeeds_the_next_comes_soon() -> None:
    assert count_updates(takes=60, pauses=[2, 2, 1201, 2], refused=[1]) == [0, 1, 2, 3, 4]


def test_outside_of_a_run_progress_asks_no_server(capfd: pytest.CaptureFixture[str]) -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), progress("Scoring", 1) as advance:
        advance(1)
    assert capfd.readouterr() == ("", "")


def test_a_terminal_shows_a_bar_with_title_and_text() -> None:
    code = (
        "from linear_neuron.tasks.progress import *\nwith progress('A [b] {c}', 4) as advance: advance(3, 'loss [1]')"
    )
    leader, terminal = pty.openpty()
    subprocess.run([sys.executable, "-c", code], stderr=terminal, check=True, env=os.environ | {"COLUMNS": "120"})
    os.close(terminal)
    shown = os.read(leader, 1 << 16).decode()
    os.close(leader)
    assert "A [b] {c}" in shown
    assert "75%" in shown
    assert "loss [1]" in shown
