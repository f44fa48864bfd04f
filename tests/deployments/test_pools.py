"""Other work pools than ours: Prefect's own process worker runs everything, and containers get what they need."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import prefect
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import WorkPool
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.workers.base import BaseJobConfiguration

from linear_neuron.deployments.pools import Infrastructure, choose_variables, read_variables
from linear_neuron.deployments.worker import NeuronWorker
from linear_neuron.tasks.errors import UserError
from tests.deployments.helpers import Api, eventually
from tests.deployments.terminal import call
from tests.pages import ROOT

TEMPLATES = Path(prefect.__file__).parent / "server/api/collections_data/views/aggregate-worker-metadata.json"
SECRET = "{{ prefect.blocks.secret.warehouse }}"  # noqa: S105 - names a block


def read_template(kind: str) -> dict[str, Any]:
    """Read the base job template that Prefect gives a new pool of a type, without its worker being installed."""
    packages = json.loads(TEMPLATES.read_text()).values()
    (found,) = [package[kind] for package in packages if kind in package]
    return dict(found["default_base_job_configuration"])


def make_pool(kind: str) -> WorkPool:
    return WorkPool(name=f"{kind}-pool", type=kind, base_job_template=read_template(kind), default_queue_id=uuid4())


class Job(BaseJobConfiguration):
    """What a worker starts, with the fields that only those of containers have."""

    image: str | None = None
    job_manifest: dict[str, Any] | None = None


def render(pool: WorkPool, variables: dict[str, Any]) -> Job:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):  # No block is asked for.
        job = asyncio.run(Job.from_template_and_values(pool.base_job_template, variables))
    assert isinstance(job, Job)
    return job


@pytest.fixture
def worker(server: str, tmp_path: Path) -> Iterator[Path]:
    """Prefect's own process worker on a pool `laptop`, in a folder of its own; yields its log."""
    settings = os.environ | {"PREFECT_API_URL": server, "PREFECT_WORKER_QUERY_SECONDS": "1"}
    api = Api(server)
    api.ask("POST", "/work_pools/", name="laptop", type="process", base_job_template=read_template("process"))
    (tmp_path / "elsewhere").mkdir()
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", "laptop"],
            cwd=tmp_path / "elsewhere",
            env=settings,
            stdout=log,
            stderr=log,
        )
    yield tmp_path / "worker.log"
    process.terminate()
    process.wait(30)
    api.ask("DELETE", "/work_pools/laptop")


@pytest.fixture
def command(server: str, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `linear-neuron` in this process, in a new folder with an empty store, at the shared server."""
    return lambda *arguments, **settings: call(
        server, tmp_path, {"LINEAR_NEURON_STORE": "store"} | settings, *arguments
    )


Command = Callable[..., subprocess.CompletedProcess[str]]


def test_stock_process_worker_retrains_predicts_and_measures(
    worker: Path, command: Command, server: str, tmp_path: Path
) -> None:
    table = ["--dataset.source", str(ROOT / "docs/example/homes.csv"), "--dataset.features", "area", "rooms"]
    done = command("deploy", "--name", "pooled", "--work-pool", "laptop", *table, "--dataset.target", "price")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        "The worker of laptop (type process) runs every run that was missed, not only the newest, and a run whose "
        "worker is stopped ends Crashed only after 90 s without a heartbeat."
    )
    api = Api(server)

    def trigger(deployment: str, parameters: dict[str, Any]) -> str:
        with suppress(httpx.HTTPStatusError):  # A busy server of Prefect's own on SQLite answers 503 now and then.
            return api.trigger(parameters, deployment)
        return ""

    def run(deployment: str, parameters: dict[str, Any] | None = None) -> str:
        started = eventually(lambda: trigger(deployment, parameters or {}))
        return str(api.wait(started, "Completed")["state_name"])

    assert run("retrain/pooled.weekly-retrain") == "Completed"
    (tmp_path / "inbox-pooled").mkdir()
    (tmp_path / "inbox-pooled" / "homes.csv").write_text("id,area,rooms\n007,62.5,3\n")
    assert run("predict/pooled.daily-predict") == "Completed"
    (tmp_path / "actuals-pooled").mkdir()
    (tmp_path / "actuals-pooled" / "sold.csv").write_text("id,price\n007,201.5\n")
    assert run("actuals/pooled.daily-actuals", {"actuals": {"inputs": ["actuals-pooled"], "key": "id"}}) == "Completed"
    assert "007" in next((tmp_path / "store-pooled" / "predictions").glob("*/homes.predictions.csv")).read_text()
    again = command("deploy", "--name", "pooled", "--training.epochs", "7")
    assert again.returncode == 0, again.stderr
    kept = api.deployment("retrain/pooled.weekly-retrain")
    assert (kept["work_pool_name"], kept["parameters"]["training"]) == ("laptop", {"epochs": 7})
    assert kept["job_variables"]["env"]["LINEAR_NEURON_STORE"] == str(tmp_path / "store")
    moved = command("deploy", "--name", "pooled", "--work-pool", "linear-neuron")
    assert moved.returncode == 0, moved.stderr
    back = api.deployment("retrain/pooled.weekly-retrain")
    assert (back["work_pool_name"], back["job_variables"]) == ("linear-neuron", {})
    assert command("undeploy", "--name", "pooled").returncode == 0


def test_missing_pool_is_one_sentence_with_those_that_exist(command: Command) -> None:
    assert command("deploy", "--name", "lost").returncode == 0, "our own pool is made"
    done = command("deploy", "--name", "lost", "--work-pool", "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "There is no work pool nowhere at " in done.stderr
    assert "linear-neuron" in done.stderr.partition("; there is ")[2].partition(". Create it with")[0]
    assert done.stderr.count("\n") == 1
    assert command("undeploy", "--name", "lost").returncode == 0


def test_kubernetes_job_has_image_store_and_model(command: Command, server: str, tmp_path: Path) -> None:
    async def create() -> None:
        async with get_client() as client:
            await client._client.post(
                "/work_pools/",
                json={"name": "cluster", "type": "kubernetes", "base_job_template": read_template("kubernetes")},
            )

    asyncio.run(create())
    store = {"LINEAR_NEURON_STORE": "s3://models/prod", "LINEAR_NEURON_FOLDER": "s3://models/files"}
    flags = ["--work-pool", "cluster", "--image", "registry.example/neuron:1", "--job-variable", "memory_request=2Gi"]
    flags += ["env.AWS_ENDPOINT_URL=https://s3.example", f"env.LINEAR_NEURON_CONNECTION_WAREHOUSE={SECRET}"]
    done = command("deploy", "--name", "sales", *flags, **store)
    assert done.returncode == 0, done.stderr
    variables = Api(server).deployment("retrain/sales.weekly-retrain")["job_variables"]
    assert variables["env"]["LINEAR_NEURON_CONNECTION_WAREHOUSE"] == SECRET
    del variables["env"]["LINEAR_NEURON_CONNECTION_WAREHOUSE"]  # Only a worker with the block can fill it in.
    manifest = render(make_pool("kubernetes"), variables).job_manifest
    assert manifest
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/neuron:1"
    assert container["resources"]["requests"] == {"memory": "2Gi"}
    assert container["env"] == {
        "LINEAR_NEURON_NAME": "sales",
        "LINEAR_NEURON_STORE": "s3://models/prod",
        "LINEAR_NEURON_FOLDER": "s3://models/files",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "AWS_ENDPOINT_URL": "https://s3.example",
    }
    later = command("deploy", "--name", "sales", "--job-variable", "memory_request=3Gi", "env.AWS_ENDPOINT_URL=x")
    assert later.returncode == 0, later.stderr
    after = Api(server).deployment("retrain/sales.weekly-retrain")["job_variables"]
    assert (after["image"], after["memory_request"]) == ("registry.example/neuron:1", "3Gi")
    assert after["env"] == variables["env"] | {
        "AWS_ENDPOINT_URL": "x",
        "LINEAR_NEURON_CONNECTION_WAREHOUSE": SECRET,
    }
    assert command("undeploy", "--name", "sales").returncode == 0


def test_docker_container_has_image_store_and_volumes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAR_NEURON_STORE", "/data/store")
    monkeypatch.setenv("LINEAR_NEURON_STORE_SALES", "/data/own")
    monkeypatch.delenv("LINEAR_NEURON_FOLDER", raising=False)
    pool = make_pool("docker")
    given = Infrastructure(pool.name, "linear-neuron", ('volumes=["data:/data"]', "mem_limit=2g"))
    job = render(pool, choose_variables(pool, "sales", given, {}))
    assert job.image == "linear-neuron"
    assert job.env == {
        "LINEAR_NEURON_NAME": "sales",
        "LINEAR_NEURON_STORE": "/data/store",
        "LINEAR_NEURON_STORE_SALES": "/data/own",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }
    assert choose_variables(pool, "sales", given, {})["volumes"] == ["data:/data"]


def test_pool_with_an_image_of_its_own_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAR_NEURON_STORE", "s3://models/prod")
    pool = make_pool("ecs")
    pool.base_job_template["variables"]["properties"]["image"]["default"] = "registry.example/neuron:1"
    assert "image" not in choose_variables(pool, "", Infrastructure(pool.name), {})


@pytest.mark.parametrize(
    ("kind", "store", "image", "variable", "sentence"),
    [
        ("process", "store", "neuron", "", "process-pool of type process has no job variable image; it has name, env"),
        ("docker", "s3://a/b", "neuron", "cpu=2", "docker-pool of type docker has no job variable cpu; it has command"),
        ("docker", "s3://a/b", "", "", "docker-pool of type docker starts containers: name an image"),
        ("kubernetes", "store", "neuron", "", "do not see the folder store of this machine: name the store by a URL"),
        ("process", "store", "", "working_dir", "--job-variable 'working_dir': write KEY=VALUE, such as"),
        (
            "process",
            "store",
            "",
            "env.X=postgresql://reader:pa55word@db/shop",
            "env.X='{{ prefect.blocks.secret.SECRET",
        ),
    ],
)
def test_variables_that_no_run_can_start_with_are_refused(
    monkeypatch: pytest.MonkeyPatch, kind: str, store: str, image: str, variable: str, sentence: str
) -> None:
    monkeypatch.setenv("LINEAR_NEURON_STORE", store)
    given = Infrastructure(f"{kind}-pool", image, (variable,) if variable else ())
    with pytest.raises(UserError) as refused:
        choose_variables(make_pool(kind), "", given, {})
    assert sentence in str(refused.value)
    assert "pa55word" not in str(refused.value)


def test_our_own_pool_takes_no_variables() -> None:
    template = NeuronWorker.get_default_base_job_template()
    pool = make_pool("process").model_copy(update={"name": "linear-neuron", "type": "linear-neuron"})
    pool.base_job_template = template
    assert choose_variables(pool, "", Infrastructure(pool.name), {}) == {}
    with pytest.raises(UserError, match="has no job variable command; it has none, since its worker sets all"):
        choose_variables(pool, "", Infrastructure(variables=("command=sh",)), {})


def test_values_are_json_or_text_and_fields_are_text() -> None:
    texts = ("stream_output=false", "labels={}", "command=sh -c a=b", "env.A=1", "env.B=b")
    assert read_variables(texts) == {
        "stream_output": False,
        "labels": {},
        "command": "sh -c a=b",
        "env": {"A": "1", "B": "b"},
    }
