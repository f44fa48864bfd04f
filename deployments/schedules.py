"""Schedules: when deployments run, as the file, the command line or the user in the UI has it."""

from collections.abc import Mapping
from typing import Any

from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from pydantic import ValidationError

from linear_neuron.tasks.errors import UserError

Config = dict[str, Any]  # a deployment, as prefect.yaml has it


def read_times(configs: list[Config], crons: list[str], timezone: str) -> dict[str, dict[str, str]]:
    """Read what --cron and --timezone change.

    Returns:
        For the deployments that have a schedule, by their names without that of a model: what is new of `cron` and
        `timezone`.

    Raises:
        UserError: a deployment without a schedule, or what is no schedule.
    """
    scheduled = [config["name"] for config in configs if config.get("schedules") and "." not in config["name"]]
    times: dict[str, dict[str, str]] = {name: {"timezone": timezone} if timezone else {} for name in scheduled}
    for text in crons:
        name, cron = text.split("=", 1) if "=" in text else (scheduled[0], text)
        if name not in scheduled:
            raise UserError(f"--cron: no deployment {name!r} has a schedule; choose from {', '.join(scheduled)}.")
        times[name]["cron"] = cron
    for change in filter(None, times.values()):
        where = " ".join(f"--{flag} {value!r}" for flag, value in sorted(change.items()))
        advice = "Write them such as '0 6 * * MON' and Europe/Berlin."
        check_schedule(f"{where}: ", change.get("cron", "0 6 * * MON"), change.get("timezone", "UTC"), advice)
    return times


def check_schedule(where: str, cron: str, timezone: str | None, advice: str) -> None:
    """Check a cron line and its time zone.

    Raises:
        UserError: names both and the reason, between where they are and what to do.
    """
    try:
        CronSchedule(cron=cron, timezone=timezone)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UserError(
            f"{where}cron {cron!r} in time zone {timezone!r} is not a schedule ({reason}). {advice}"
        ) from None


def choose_schedules(
    config: Config, times: Mapping[str, dict[str, str]], known: DeploymentResponse | None, fixed: bool
) -> list[Config]:
    """Choose the schedules that are written: new ones and those that are changed. All others stay as they are.

    Args:
        config: The deployment as the file has it.
        times: What --cron and --timezone change, by the deployment's name without that of the model.
        known: The deployment as the server has it, where somebody may have edited a schedule.
        fixed: Whether the file names this very deployment, so that its schedules are as the file says.
    """
    before = {schedule.slug: schedule.schedule for schedule in known.schedules} if known else {}
    change = times.get(config["name"].rpartition(".")[2], {})
    chosen = []
    for schedule in config.get("schedules") or []:
        old = before.get(schedule["slug"])
        edited = old is not None and not isinstance(old, CronSchedule)  # A time zone alone does not make it a cron.
        if old is None or fixed or (change and not (edited and "cron" not in change)):
            kept = {"cron": old.cron, "timezone": old.timezone} if isinstance(old, CronSchedule) and not fixed else {}
            values = {"cron": schedule["cron"], "timezone": schedule.get("timezone")} | kept | change
            chosen.append({"slug": schedule["slug"], "schedule": CronSchedule(**values)})
    return chosen
