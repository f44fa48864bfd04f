"""Bring a Prefect server in line with prefect.yaml and automations.yaml, however often it is called."""

import asyncio
import os
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.server.schemas.schedules import SCHEDULE_TYPES
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.templating import apply_values
from pydantic import TypeAdapter, ValidationError

from deployments.named import Config, Parameters, compose
from deployments.runs import api_errors, find_api
from deployments.worker import NeuronWorker
from tasks.errors import UserError
from tasks.storage.files import TEMPORARY

PREFECT_FILE = Path(__file__).with_name("prefect.yaml")
AUTOMATIONS_FILE = Path(__file__).with_name("automations.yaml")
POOL = NeuronWorker.type  # The pool is named as its type is; prefect.yaml names it too, for `prefect deploy`.
ALERT_BLOCK = "linear-neuron-alerts"
BY_HAND = "by-hand-"
DATED_SCHEDULE: TypeAdapter[SCHEDULE_TYPES] = TypeAdapter(SCHEDULE_TYPES)


def read_deployments(file: Path = PREFECT_FILE) -> list[Config]:
    """Read the deployments of prefect.yaml, fill in their settings, and check every schedule.

    Raises:
        UserError: a cron line or a time zone that does not exist.
    """
    # Prefect leaves an unset variable in the text, so the default has to stand before anything reads the file.
    os.environ.setdefault("LINEAR_NEURON_TIMEZONE", "UTC")
    content: Any = apply_values(yaml.safe_load(file.read_text()), dict(os.environ), remove_notset=False)
    deployments: list[Config] = content["deployments"]
    for deployment in deployments:
        for schedule in deployment.get("schedules") or []:
            cron, timezone = schedule["cron"], schedule.get("timezone")
            try:
                CronSchedule(cron=cron, timezone=timezone)
            except ValidationError as error:
                raise UserError(
                    f"{file.name}, schedule {schedule['slug']} of {deployment['name']}: cron {cron!r} in time zone "
                    f"{timezone!r} is not a schedule ({error.errors()[0]['msg']}). "
                    "The time zone comes from LINEAR_NEURON_TIMEZONE, such as Europe/Berlin."
                ) from None
    return deployments


def run(name: str, given: Parameters) -> None:
    """Deploy to the server that is found, and print which deployments run next and when, and what is paused.

    Raises:
        UserError: there is no server; or what `deploy` raises.
    """
    if given and not name:
        raise UserError("Parameters are deployed for a model with a name: add --name, such as --name sales.")
    if not (url := find_api()):
        raise UserError("Deploying needs a server: set PREFECT_API_URL, or start one with `linear-neuron up`.")
    os.environ["PREFECT_API_URL"] = url  # for Prefect's own command
    with temporary_settings({PREFECT_API_URL: url}):
        sys.stdout.write("".join(f"{line}\n" for line in asyncio.run(deploy(name, given))))


async def deploy(name: str = "", given: Parameters | None = None) -> list[str]:
    """Create or update the work pool, the deployments and the automations, and remove what left the files.

    Args:
        name: The model whose deployments these are; empty for all that the server knows.
        given: Parameters that this model's deployments are to have; they keep those that are not named.

    Returns:
        Lines for people: when each active schedule of ours starts a run next, soonest first, and what is paused.

    Raises:
        UserError: a wrong schedule; a server that is dead or refuses us; a work pool of our name and another's type.
    """
    configs = read_deployments()
    async with get_client() as client:
        with api_errors(str(client.api_url).rstrip("/")):
            await _ensure_pool(client)
            known = {deployment.name: deployment.parameters for deployment in await _ours(client)}
            configs = compose(configs, known, name, given or {})
            await _name_schedules(client)
            _prefect_deploy(configs)
            await _remove_schedules(client, configs)
            await _register_automations(client)
            return await _describe_schedules(client)


async def _ensure_pool(client: PrefectClient) -> None:
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


def _prefect_deploy(configs: list[Config]) -> None:
    """Call Prefect's own command, so that the file means the same to both."""
    with tempfile.TemporaryDirectory(prefix=TEMPORARY) as folder:
        file = Path(folder) / PREFECT_FILE.name
        file.write_text(yaml.safe_dump({"pull": [], "deployments": configs}))
        command = [sys.executable, "-P", "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"`prefect deploy` failed: {' '.join((done.stdout + done.stderr).split())[-600:]}")


async def _ours(client: PrefectClient) -> list[DeploymentResponse]:
    return await client.read_deployments(work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])))


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


async def _describe_schedules(client: PrefectClient) -> list[str]:
    runs: list[tuple[datetime, str]] = []
    paused = ["Paused: the work pool, so no run starts."] if (await client.read_work_pool(POOL)).is_paused else []
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
            # Writing it anew would make the server forget which runs it is waiting for.
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
        block = CustomWebhookNotificationBlock(name=POOL, url=url, json_data={"text": "{{subject}}\n{{body}}"})
        await block.save(ALERT_BLOCK, overwrite=True, client=client)
    for document in await client.read_block_documents():
        if document.name == ALERT_BLOCK:
            return str(document.id)
    return None
