"""Where runs are started: our own work pool, or one that exists, with what its runs need to find the store.

Our worker sets all that itself. The worker of another pool (Prefect's process, docker, kubernetes, ecs) starts a run
with the job variables of its deployment, so these say which store, which folder and which model it is of.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import WorkPool
from prefect.exceptions import ObjectNotFound

from linear_neuron.deployments.worker import NeuronWorker
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.name import VARIABLE, find_base, name_setting
from linear_neuron.tasks.storage.store import Store

Variables = dict[str, Any]  # of a job: what fills in the base job template of its work pool

POOL = NeuronWorker.type  # The pool is named as its type is; prefect.yaml names it too, for `prefect deploy`.
PROCESS = "process"  # the type of pools whose runs are processes of the worker's machine; others start containers
PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")


class Infrastructure(NamedTuple):
    """Where and how this call has runs started; what it does not name stays as the server has it."""

    pool: str = ""  # the name of a work pool
    image: str = ""  # of the containers, with this package in it
    variables: tuple[str, ...] = ()  # more job variables, as KEY=VALUE


async def prepare_pools(client: PrefectClient, given: Infrastructure) -> dict[str, WorkPool]:
    """Read all work pools by name; ours is created or updated where this call may use it.

    Raises:
        UserError: there is no pool of the name that is given.
    """
    if given.pool in ("", POOL):
        await _ensure_ours(client)
    pools: dict[str, WorkPool] = {}
    while page := await client.read_work_pools(offset=len(pools)):
        pools |= {pool.name: pool for pool in page}
    if given.pool and given.pool not in pools:
        names = ", ".join(sorted(pools)) or "none"
        raise UserError(
            f"There is no work pool {given.pool} at {client.api_url}; there is {names}. "
            f"Create it with `prefect work-pool create {given.pool} --type process`, or another type."
        )
    return pools


async def _ensure_ours(client: PrefectClient) -> None:
    template = NeuronWorker.get_default_base_job_template()
    try:
        pool = await client.read_work_pool(POOL)
    except ObjectNotFound:
        pool = await client.create_work_pool(
            WorkPoolCreate(name=POOL, type=NeuronWorker.type, base_job_template=template)
        )
    if pool.type != NeuronWorker.type:
        raise UserError(
            f"The work pool {POOL} at {client.api_url} is of type {pool.type}, and ours is {NeuronWorker.type}: "
            f"remove it with `prefect work-pool delete {POOL}`, and deploy again."
        )
    # That of an older version had variables by which a run could name a command.
    if pool.base_job_template != template:
        await client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=template))


def choose_variables(pool: WorkPool, model: str, given: Infrastructure, before: Variables) -> Variables:
    """Choose the job variables of a deployment: those that it has on this pool, changed by what this call names.

    Args:
        pool: The work pool that its runs are started on.
        model: The model's name; empty for that without one.
        given: What this call names.
        before: The job variables that the server has of this deployment on this pool; empty on another.

    Raises:
        UserError: the pool has no such variable, its containers have no image or no store, or a value has a password.
    """
    if given == Infrastructure():
        return before
    own: Variables = {"image": given.image} if given.image else {}
    if given.pool and pool.type != NeuronWorker.type:
        own["env"] = _name_store(pool, model)
    variables = _merge(_merge(before, own), read_variables(given.variables))
    known = pool.base_job_template.get("variables", {}).get("properties", {})
    if unknown := [key for key in variables if key not in known]:
        names = ", ".join(known) or "none, since its worker sets all"
        raise UserError(
            f"The work pool {pool.name} of type {pool.type} has no job variable {unknown[0]}; it has {names}."
        )
    if "image" in known and not variables.get("image") and not known["image"].get("default"):
        raise UserError(
            f"The work pool {pool.name} of type {pool.type} starts containers: name an image with this package in it "
            "by --image; deployments/container/Containerfile builds one."
        )
    return variables


def read_variables(texts: Iterable[str]) -> Variables:
    """Read job variables as KEY=VALUE; the key may be that of an object's field, as env.KEY, and the value JSON.

    Raises:
        UserError: one has no value, or its value has a password that everybody who sees the deployment could read.
    """
    found: Variables = {}
    for text in texts:
        key, has_value, value = text.partition("=")
        if not key or not has_value:
            raise UserError(f"--job-variable {text!r}: write KEY=VALUE, such as env.AWS_DEFAULT_REGION=eu-central-1.")
        if PASSWORD.search(value):
            raise UserError(
                f"--job-variable {key}: its value has a password, which the server would show. Put it into a Secret "
                f"block of the name SECRET, and write {key}='{{{{ prefect.blocks.secret.SECRET }}}}'."
            )
        outer, is_field, inner = key.partition(".")
        found = _merge(found, {outer: {inner: value}} if is_field else {outer: _read_value(value)})
    return found


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _merge(before: Variables, after: Mapping[str, Any]) -> Variables:
    """Replace variables by others of the same name; of an object, such as `env`, only the fields that are named."""
    both = {
        key: before[key] | value
        for key, value in after.items()
        if isinstance(value, dict) and isinstance(before.get(key), dict)
    }
    return {**before, **after, **both}


def _name_store(pool: WorkPool, model: str) -> dict[str, str]:
    """Name the model, its store and the folder of its inbox, for a run that inherits nothing from this machine."""
    base, folder = find_base(), os.environ.get("LINEAR_NEURON_FOLDER", "")
    if pool.type == PROCESS:
        base, folder = str(Store(base).root), folder or str(Path.cwd())
    elif "://" not in base and not base.startswith("/"):
        raise UserError(
            f"Runs of the work pool {pool.name} of type {pool.type} do not see the folder {base} of this machine: name "
            "the store by a URL, such as --store s3://bucket/prefix, or by the path of a volume in the container."
        )
    own = {name_setting(model): os.environ.get(name_setting(model), "")} if model else {}
    settings = {
        "LINEAR_NEURON_STORE": base,
        "LINEAR_NEURON_FOLDER": folder,
        **own,
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # seconds; automations.yaml waits for three of them
    }
    return {VARIABLE: model} | {name: value for name, value in settings.items() if value}


def describe_differences(pools: Iterable[WorkPool]) -> list[str]:
    """Say what the workers of other pools do not do, a sentence for each pool."""
    return [
        f"The worker of {pool.name} (type {pool.type}) runs every run that was missed, not only the newest, and a run "
        "whose worker is stopped ends Crashed only after 90 s without a heartbeat."
        for pool in pools
        if pool.type != NeuronWorker.type
    ]
