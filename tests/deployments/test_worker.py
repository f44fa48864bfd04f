"""How the worker starts a run: as it says, whatever the run asks for."""

import asyncio
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse

from linear_neuron.deployments.fork_server import TRAIN
from linear_neuron.deployments.worker import NeuronJob, NeuronWorker
from tests.deployments.helpers import eventually


def test_run_cannot_choose_its_command_or_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LINEAR_NEURON_STORE", "models")
    job = NeuronJob(command="touch stolen", working_dir=tmp_path, env={"PYTHONPATH": "/evil", "PATH": "/evil"})
    job.prepare_for_flow_run(FlowRun(flow_id=uuid4()))
    program = "-P -m linear_neuron.deployments.engine"
    assert job.command == f"env PREFECT_CLIENT_METRICS_ENABLED=false {sys.executable} {program}"
    assert job.working_dir is None, "each run gets a new and empty folder"
    assert "/evil" not in job.env.values()
    assert job.env["LINEAR_NEURON_STORE"] == f"{tmp_path}/models"
    assert job.env["LINEAR_NEURON_FOLDER"] == str(tmp_path)


def test_a_deployments_name_says_whose_store_a_run_uses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LINEAR_NEURON_FOLDER", str(tmp_path))
    monkeypatch.setenv("LINEAR_NEURON_STORE", "models")
    monkeypatch.setenv("LINEAR_NEURON_NAME", "not-this-one")
    for deployment, name in (("sales.weekly-retrain", "sales"), ("nightly", ""), ("linear-neuron.nightly", "")):
        job = NeuronJob(env={"LINEAR_NEURON_NAME": "evil"})
        job.prepare_for_flow_run(
            FlowRun(flow_id=uuid4()), DeploymentResponse(name=deployment, flow_id=uuid4(), labels={})
        )
        assert job.env["LINEAR_NEURON_NAME"] == name
        assert job.env["LINEAR_NEURON_STORE"] == f"{tmp_path}/models"
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["actuals-sales", "inbox-sales"]


def test_run_finds_the_folder_it_looks_into(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LINEAR_NEURON_FOLDER", str(tmp_path))
    for flow, folders in (("retrain", []), ("actuals", ["actuals"]), ("predict", ["actuals", "inbox"])):
        deployment = DeploymentResponse(name=f"daily-{flow}", flow_id=uuid4(), labels={})
        deployment.entrypoint = f"linear_neuron.flows.{flow}.{flow}"
        NeuronJob().prepare_for_flow_run(FlowRun(flow_id=uuid4()), deployment)
        assert sorted(folder.name for folder in tmp_path.iterdir()) == folders


def test_only_a_run_that_trains_starts_to_import_keras_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAR_NEURON_FOLDER", str(tmp_path))
    for flow, program in (
        ("retrain.retrain", "linear_neuron.deployments.engine train"),
        ("predict.predict", "linear_neuron.deployments.engine"),
    ):
        job, deployment = NeuronJob(), DeploymentResponse(name="weekly", flow_id=uuid4(), labels={})
        deployment.entrypoint = f"linear_neuron.flows.{flow}"
        job.prepare_for_flow_run(FlowRun(flow_id=uuid4()), deployment)
        assert (job.command or "").endswith(f" -P -m {program}")


def test_the_pool_has_no_variables_that_a_run_could_set() -> None:
    template = NeuronWorker.get_default_base_job_template()
    assert template["variables"] == {"type": "object", "additionalProperties": False}
    assert "{{" not in str(template)


def test_ended_fork_server_is_replaced_after_a_run() -> None:
    worker = NeuronWorker(work_pool_name="none")
    worker._keep_fork_server([])
    first = worker._fork_server
    worker._keep_fork_server([])
    assert first is not None
    assert worker._fork_server is first
    first._process.kill()
    first._process.wait()
    worker._keep_fork_server([])
    second = worker._fork_server
    assert second is not None
    assert second is not first
    second.close()


@pytest.mark.usefixtures("server")
def test_fork_server_starts_when_no_run_is_going(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAR_NEURON_FOLDER", str(tmp_path))
    worker = NeuronWorker(work_pool_name="none")
    mark = tmp_path / "mark"
    waiting = f"{sys.executable} -c \"import os, time\nwhile not os.path.exists('{mark}'): time.sleep(0.1)\""

    async def start(command: str) -> None:
        async with get_client() as client:
            run = await client.create_flow_run(Flow(nothing))
        job = NeuronJob()
        job.prepare_for_flow_run(run)
        job.command = command
        await worker.run(run, job)

    async def start_two() -> list[bool]:
        trains = asyncio.create_task(start(f"{waiting} {TRAIN}"))
        while not worker._going:
            await asyncio.sleep(0.1)
        await start("true")
        first = worker._fork_server is None
        mark.touch()
        await trains
        return [first, worker._fork_server is not None]

    try:
        assert asyncio.run(start_two()) == [True, True]
        assert worker._fork_server is not None
        line = Path(f"/proc/{worker._fork_server._process.pid}/cmdline")
        command = eventually(line.read_text, "the program is loaded").split("\0")
        assert command[-3:-1] == [TRAIN, worker._fork_server.address], "a run of the two trains"
    finally:
        if worker._fork_server:
            worker._fork_server.close()


def nothing() -> None:
    """Do nothing, as a flow whose program is another."""


def test_no_room_for_a_fork_server_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    worker = NeuronWorker(work_pool_name="none")
    worker._keep_fork_server([])
    assert worker._fork_server is None


def test_idle_poll_is_a_single_request(server: str) -> None:
    requests: list[httpx.Request] = []

    async def note(request: httpx.Request) -> None:
        requests.append(request)

    async def poll() -> None:
        worker = NeuronWorker(work_pool_name=f"idle-{uuid4()}")
        async with get_client() as worker._client:
            await worker.client.create_work_pool(WorkPoolCreate(name=worker._work_pool_name, type=NeuronWorker.type))
            worker.client._client.event_hooks = {"request": [note], "response": []}
            assert await worker._get_scheduled_flow_runs() == []

    asyncio.run(poll())
    (request,) = requests
    assert str(request.url).startswith(f"{server}/work_pools/idle-")
    assert request.url.path.endswith("/get_scheduled_flow_runs")
