"""Bring a Prefect server in line with prefect.yaml and automations.yaml, however often it is called.

Parameters and schedules belong to the user: those that the server has stay, unless this call changes them.
"""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from copy import deepcopy
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import yaml
from prefect import Flow
from prefect.blocks.fields import SecretDict
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import ConcurrencyOptions, WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import DeploymentSort
from prefect.deployments.runner import DeploymentApplyError, RunnerDeployment
from prefect.events import DeploymentTriggerTypes
from prefect.events.schemas.automations import AutomationCore
from prefect.flows import load_flow_from_entrypoint
from prefect.server.schemas.schedules import SCHEDULE_TYPES
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.templating import apply_values
from pydantic import TypeAdapter

from linear_neuron.deployments.pools import POOL, Infrastructure, choose_variables, describe_differences, prepare_pools
from linear_neuron.deployments.runs import TAG, api_errors, find_api
from linear_neuron.deployments.schedules import check_schedule, choose_schedules, read_times
from linear_neuron.deployments.server_settings import is_loopback
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model_list.read_models import check_signatures, read_models
from linear_neuron.tasks.name import PATTERN, name_champion, name_folder
from linear_neuron.tasks.parameters import Dataset
from linear_neuron.tasks.parameters.base import hide_signatures
from linear_neuron.tasks.storage.store import locate
from linear_neuron.tasks.tables.inputs import list_files
from linear_neuron.tasks.tables.sql import PREFIX

Config = dict[str, Any]
Parameters = dict[str, dict[str, Any]]  # of a flow: the fields that were named, in their groups

PREFECT_FILE = Path(__file__).with_name("prefect.yaml")
MANY_FILE = Path(__file__).with_name("many_models.yaml")  # deployments that serve all models of a list
AUTOMATIONS_FILE = Path(__file__).with_name("automations.yaml")
ALERT_BLOCK = "linear-neuron-alerts"
BY_HAND = "by-hand-"
PARAMETER_BYTES = 524_288  # of a deployment, in JSON: what a Prefect server takes by default
DATED_SCHEDULE: TypeAdapter[SCHEDULE_TYPES] = TypeAdapter(SCHEDULE_TYPES)
TRIGGER: TypeAdapter[DeploymentTriggerTypes] = TypeAdapter(DeploymentTriggerTypes)


def run(name: str, given: Parameters, crons: list[str], timezone: str, where: Infrastructure, models: str = "") -> None:
    """Deploy to the server that is found, and print which deployments run next and when, and what is paused.

    Raises:
        UserError: there is no server; or what `check_signatures`, `check_source`, `check_models` and `deploy` raise.
    """
    if models and (name or given):
        raise UserError("--models names a file with the names and parameters of models; put them there, not on flags.")
    if given and not name:
        raise UserError("Parameters are deployed for a model with a name: add --name, such as --name sales.")
    check_signatures(given)
    with _find_server("Deploying"):
        check_source(Dataset.model_validate(given.get("dataset", {})), PREFECT_API_URL.value() or "")
        if models:
            check_models(models, PREFECT_API_URL.value() or "")
        lines = asyncio.run(deploy(name, given, crons, timezone, where, models))
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def remove(name: str, models: bool = False) -> None:
    """Delete the deployments of a model, or those for a list of models, with their automations; print their names.

    Raises:
        UserError: there is no name, no server, or no such deployment.
    """
    if not name and not models:
        raise UserError("Name the model whose deployments are to go: add --name, such as --name sales; or --models.")
    with _find_server("Undeploying"):
        names = asyncio.run(undeploy(name, models))
    sys.stdout.write("".join(f"removed {deployment}\n" for deployment in names))


def check_source(dataset: Dataset, api: str) -> None:
    """Look for the files of a table, since a run that finds none fails.

    Raises:
        UserError: there are none, and the server is on this machine; a worker elsewhere may have them.
    """
    if not dataset.is_own or dataset.source.startswith(PREFIX):
        return
    try:
        if not list_files(dataset.source)[1]:
            raise UserError(f"There is no table in {dataset.source}; put CSV or Parquet files there.")
    except UserError as error:
        if is_loopback(urlsplit(api).hostname or ""):
            raise
        sys.stderr.write(f"On this machine: {error} The worker's machine needs it.\n")


def check_models(file: str, api: str) -> None:
    """Read the list of models, since no run could read a wrong one.

    Raises:
        UserError: it has mistakes, or is missing and the server is on this machine; a worker elsewhere may have it.
    """
    try:
        read_models(file)
    except UserError as error:
        if is_loopback(urlsplit(api).hostname or "") or locate(file).exists():
            raise
        sys.stderr.write(f"On this machine: {error} The worker's machine needs it.\n")


def _find_server(doing: str) -> Any:
    if not (url := find_api()):
        raise UserError(f"{doing} needs a server: set PREFECT_API_URL, or start one with `linear-neuron up`.")
    return temporary_settings({PREFECT_API_URL: url})


async def deploy(
    name: str = "",
    given: Parameters | None = None,
    crons: list[str] | None = None,
    timezone: str = "",
    where: Infrastructure = Infrastructure(),
    models: str = "",
) -> list[str]:
    """Create or update the work pool, the deployments and the automations, and remove what left the files.

    Args:
        name: The model whose deployments these are; empty for all that the server knows.
        given: Parameters that this model's deployments are to have; they keep those that are not named.
        crons: When deployments of this model run, as DEPLOYMENT=CRON; a CRON alone is of weekly-retrain.
        timezone: Time zone of the schedules of this model. Those of other models stay as they are.
        where: On which work pool, and with which job variables. Deployments that the server has stay on theirs.
        models: File with a list of models; then only the deployments that serve all of them are written.

    Returns:
        Lines for people: when each active schedule of ours starts a run next, soonest first, what is paused, and what
        other workers than ours do not do.

    Raises:
        UserError: a wrong schedule; a server that is dead or refuses us; a work pool that is missing, of our name and
            another's type, or without the variables that are given.
    """
    configs, many = read_deployments(), read_deployments(MANY_FILE)
    times = read_times([*configs, *many], crons or [], timezone)
    async with get_client() as client:
        with api_errors(str(client.api_url).rstrip("/")):
            pools = await prepare_pools(client, where)
            known = {deployment.name: deployment for deployment in await _ours(client)}
            parameters = {name: deployment.parameters for name, deployment in known.items()}
            own = {config["name"] for config in configs if "." in config["name"]}
            configs = [] if models else compose(configs, parameters, name, given or {})
            configs += [] if name else compose_many(many, parameters, models)
            for config in configs:
                _check_size(config)
                _choose_pool(config, where, known, pools)
            await _name_schedules(client)
            for config in configs:
                changes = times if _find_model(config["name"]) == name else {}
                schedules = choose_schedules(config, changes, known.get(config["name"]), config["name"] in own)
                await _register(config, schedules)
            await _remove_schedules(client, configs)
            await _register_automations(client)
            used = [pools[pool] for pool in sorted({config["work_pool"]["name"] for config in configs})]
            return await _describe_schedules(client, used) + describe_differences(used)


async def undeploy(name: str, models: bool = False) -> list[str]:
    """Delete the deployments of a model, or those of a list of models, with their schedules. Returns their names."""
    async with get_client() as client:
        with api_errors(str(client.api_url).rstrip("/")):
            ours = {deployment.name: deployment for deployment in await _ours(client)}
            many = {config["name"] for config in read_deployments(MANY_FILE)}
            found = sorted(many & set(ours) if models else (it for it in ours if _find_model(it) == name))
            if not found:
                others = sorted({_find_model(deployment) for deployment in ours} - {""})
                what = "a list of models" if models else name
                raise UserError(f"{what} has no deployments; the models that have some: {', '.join(others) or 'none'}.")
            for deployment in found:
                await client.delete_resource_owned_automations(f"prefect.deployment.{ours[deployment].id}")
                await client.delete_deployment(ours[deployment].id)
            return found


def read_deployments(file: Path = PREFECT_FILE) -> list[Config]:
    """Read the deployments of prefect.yaml, fill in their settings, and check every schedule.

    Parameters are taken as they are: braces in a query or in a column's name are no template.

    Raises:
        UserError: a cron line or a time zone that does not exist.
    """
    # Prefect leaves an unset variable in the text, so the default is set before anything reads the file.
    os.environ.setdefault("LINEAR_NEURON_TIMEZONE", "UTC")
    deployments: list[Config] = []
    for config in yaml.safe_load(file.read_text())["deployments"]:
        parameters = {"parameters": config.pop("parameters")} if "parameters" in config else {}
        filled: Any = apply_values(config, dict(os.environ), remove_notset=False)
        deployments.append(filled | parameters)
    for deployment in deployments:
        for schedule in deployment.get("schedules") or []:
            check_schedule(
                f"{file.name}, schedule {schedule['slug']} of {deployment['name']}: ",
                schedule["cron"],
                schedule.get("timezone"),
                "The time zone comes from LINEAR_NEURON_TIMEZONE, such as Europe/Berlin.",
            )
    return deployments


def compose(configs: list[Config], known: dict[str, Config], name: str, given: Parameters) -> list[Config]:
    """List the deployments that a server is to have.

    Args:
        configs: Those of prefect.yaml. A deployment with a full name there, such as `sales.weekly-retrain`, is
            taken as it is.
        known: The parameters of those that the server has, by name. A model with a name keeps them.
        name: The model to deploy; empty for all, which are that without a name and those that file and server know.
        given: Parameters for this model.
    """
    ours = [config for config in configs if "." not in config["name"]]
    names = [name] if name else _find_names({*known, *(config["name"] for config in configs)}, ours)
    wanted = {} if name else {config["name"]: config for config in ours}
    for model in names:
        wanted |= {config["name"]: config for config in _name_all(ours, model, known, given)}
    return list((wanted | {config["name"]: config for config in configs if config["name"] in wanted}).values())


def compose_many(configs: list[Config], known: dict[str, Config], file: str = "") -> list[Config]:
    """List the deployments that serve a list of models; without a file those that the server has, which keep theirs."""
    wanted = []
    for config in configs:
        before = known.get(config["name"], {})
        models = before.get("models", {}) | ({"file": file} if file else {})
        if file or config["name"] in known:
            wanted.append(config | {"parameters": before | {"models": models}})
    return wanted


def _find_model(deployment: str) -> str:
    """Find whose deployment it is: sales for `sales.weekly-retrain`, and empty for the model without a name."""
    return deployment.partition(".")[0] if "." in deployment else ""


def _find_names(deployments: set[str], ours: list[Config]) -> list[str]:
    """Find the models that have deployments of ours."""
    split = [deployment.partition(".") for deployment in deployments]
    endings = {config["name"] for config in ours}
    return sorted({name for name, _, ending in split if ending in endings and PATTERN.fullmatch(name)})


def _name_all(ours: list[Config], name: str, known: dict[str, Config], given: Parameters) -> list[Config]:
    """Make the deployments of a model with a name: those of the file, with its name, folders and parameters."""
    named = []
    for config in deepcopy(ours):
        config["name"] = f"{name}.{config['name']}"
        config["tags"] = [*config.get("tags", []), name]
        config["description"] = f"**Model {name}**, in a store of its own.\n\n{config['description']}"
        for trigger in config.get("triggers", []):
            trigger["name"] = f"{name}.{trigger['name']}"
            trigger["match"] = {"prefect.resource.id": name_champion(name)}
        groups = _load_flow(config["entrypoint"]).parameters.properties
        folders = {"batch": "inbox", "actuals": "actuals"}
        first = {group: {"inputs": [name_folder(own, name)]} for group, own in folders.items() if group in groups}
        before = first | known.get(config["name"], {})
        changes = {group: before.get(group, {}) | fields for group, fields in given.items() if group in groups}
        config["parameters"] = before | changes
        named.append(config)
    return named


def _choose_pool(
    config: Config, where: Infrastructure, known: Mapping[str, DeploymentResponse], pools: Mapping[str, WorkPool]
) -> None:
    """Set the work pool of a deployment and its job variables: as this call has them, or as the server has them.

    The first deployment of a model goes where those of the model without a name are.
    """
    deployment = known.get(config["name"])
    unnamed = known.get(config["name"].rpartition(".")[2])
    names = [where.pool, deployment and deployment.work_pool_name, unnamed and unnamed.work_pool_name]
    pool = next((name for name in names if name and name in pools), config["work_pool"]["name"])
    before = deployment.job_variables or {} if deployment and deployment.work_pool_name == pool else {}
    config["work_pool"] = {"name": pool}
    config["job_variables"] = choose_variables(pools[pool], _find_model(config["name"]), where, before)


def _load_flow(entrypoint: str) -> Flow[..., Any]:
    """Load a flow; ours come from the installed package, whatever lies in the current folder."""
    module, _, name = entrypoint.rpartition(".")
    flow: Flow[..., Any] = (
        getattr(import_module(module), name)
        if module.startswith("linear_neuron.flows.")
        else load_flow_from_entrypoint(entrypoint)
    )
    return flow


def _check_size(config: Config) -> None:
    size = len(json.dumps(config.get("parameters", {}), separators=(",", ":")))
    if size > PARAMETER_BYTES:
        raise UserError(
            f"The parameters of {config['name']} take {size:,} bytes, and a Prefect server takes {PARAMETER_BYTES:,}: "
            "name a folder or a pattern instead of many files, and put a long query into a file, as sql:FILE.sql."
        )


async def _register(config: Config, schedules: list[Config]) -> None:
    """Create or update a deployment, as `prefect deploy` does, but take its parameters for what they are.

    `prefect deploy` fills in templates everywhere: a query with `{{ $VAR }}` would get a secret of the environment.

    Raises:
        UserError: the server refuses the deployment.
    """
    name, parameters = config["name"], config.get("parameters", {})
    limit = config.get("concurrency_limit") or {}
    options = {field: value for field, value in limit.items() if field != "limit"}
    flow = _load_flow(config["entrypoint"])
    deployment = RunnerDeployment(
        name=name,
        flow_name=flow.name,
        entrypoint=config["entrypoint"],
        work_pool_name=config["work_pool"]["name"],
        parameters=parameters,
        description=config.get("description") or flow.description,
        version=config.get("version"),
        tags=config.get("tags", []),
        concurrency_limit=limit.get("limit"),
        concurrency_options=ConcurrencyOptions(**options) if options else None,
        triggers=[TRIGGER.validate_python(trigger) for trigger in config.get("triggers", [])],
        job_variables=config["job_variables"],
    )
    deployment._set_defaults_from_flow(flow)
    try:
        await deployment.aapply(schedules or None)
    except DeploymentApplyError as error:
        reason = hide_signatures(" ".join(str(error).split()))
        raise UserError(f"The server refuses the deployment {name}: {reason[:600]}") from error


async def _ours(client: PrefectClient) -> list[DeploymentResponse]:
    """Read the deployments that have our tag, and what else is on our pool; the server answers with pages of them."""
    filters: list[dict[str, Any]] = [
        {"deployment_filter": DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))},
        {"work_pool_filter": WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL]))},
    ]
    found: dict[UUID, DeploymentResponse] = {}
    for chosen in filters:
        offset = 0
        while page := await client.read_deployments(**chosen, sort=DeploymentSort.NAME_ASC, offset=offset):
            found |= {deployment.id: deployment for deployment in page}
            offset += len(page)
    return list(found.values())


async def _name_schedules(client: PrefectClient) -> None:
    """Give schedules made in the UI a slug: because of one without, Prefect's deploy replaces them all."""
    for deployment in await _ours(client):
        for schedule in deployment.schedules:
            if not schedule.slug:
                await client.update_deployment_schedule(deployment.id, schedule.id, slug=f"{BY_HAND}{schedule.id}")


async def _remove_schedules(client: PrefectClient, configs: list[Config]) -> None:
    """Remove schedules that left the file, which Prefect's deploy leaves behind."""
    kept = {config["name"]: {schedule["slug"] for schedule in config.get("schedules") or []} for config in configs}
    for deployment in await _ours(client):
        for schedule in deployment.schedules if deployment.name in kept else []:
            if schedule.slug and not schedule.slug.startswith(BY_HAND) and schedule.slug not in kept[deployment.name]:
                await client.delete_deployment_schedule(deployment.id, schedule.id)


async def _describe_schedules(client: PrefectClient, pools: list[WorkPool]) -> list[str]:
    runs: list[tuple[datetime, str]] = []
    paused = [f"Paused: the work pool {pool.name}, so no run of it starts." for pool in pools if pool.is_paused]
    for deployment in await _ours(client):
        for schedule in deployment.schedules:
            if schedule.active and not deployment.paused:
                # The client's schedules hold no clock; the server's, of the same fields, do.
                dated = DATED_SCHEDULE.validate_python(schedule.schedule.model_dump())
                runs += [(date, deployment.name) for date in await dated.get_dates(1)]
            else:
                paused.append(f"Paused: the schedule {schedule.slug} of {deployment.name}.")
    lines = [f"Next run of {name}: {date:%a %Y-%m-%d %H:%M %Z}" for date, name in sorted(runs)]
    return lines + [f"{line} Resume it in the UI." for line in paused]


async def _register_automations(client: PrefectClient) -> None:
    """Create or update automations by name, and remove those of ours that left the file."""
    wanted = _read_automations(await _alert_block(client))
    for known in await client.read_automations():
        if automation := wanted.pop(known.name, None):
            # Writing it again would make the server forget which runs it is waiting for.
            if AutomationCore.model_validate(known.model_dump()) != automation:
                await client.update_automation(known.id, automation)
        elif known.name.startswith(f"{POOL} "):
            await client.delete_automation(known.id)
    for automation in wanted.values():
        await client.create_automation(automation)


def _read_automations(alert_block: str | None) -> dict[str, AutomationCore]:
    """Read automations.yaml by name; without a block to send alerts with, those that alert are left out."""
    found = {}
    for config in yaml.safe_load(AUTOMATIONS_FILE.read_text())["automations"]:
        for action in config["actions"]:
            if action["type"] == "send-notification":
                action["block_document_id"] = alert_block
        if alert_block or "alert" not in config["name"]:
            found[config["name"]] = AutomationCore.model_validate(config)
    return found


async def _alert_block(client: PrefectClient) -> str | None:
    """Return the id of the block for alerts: made from LINEAR_NEURON_ALERT_WEBHOOK, or by hand in the UI."""
    if url := os.environ.get("LINEAR_NEURON_ALERT_WEBHOOK"):
        block = CustomWebhookNotificationBlock(
            name=POOL,
            url="{{webhook}}",  # The address has the chat's key, and the API and the UI show all but secrets.
            secrets=SecretDict({"webhook": url}),
            json_data={"text": "{{subject}}\n{{body}}"},
        )
        await block.save(ALERT_BLOCK, overwrite=True, client=client)
    for document in await client.read_block_documents():
        if document.name == ALERT_BLOCK:
            return str(document.id)
    return None
