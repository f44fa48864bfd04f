"""The audit log and the log of alarms: one line of JSON for each promotion, refusal, rollback or alarm."""

import getpass
import json
import os
import secrets
from datetime import UTC, datetime
from typing import Any

from linear_neuron.tasks.errors import DamagedError, UserError
from linear_neuron.tasks.steps import is_recorded
from linear_neuron.tasks.storage.store import Store, parse_json, to_json
from linear_neuron.tasks.text import one_line

LOG = "promotions.jsonl"
ALARMS = "alarms.jsonl"


def get_actor(name: str = "") -> str:
    """Name who acts: the user of this process, and the flow run where it is recorded.

    For a run of a deployment: the deployment, and what started it (its schedule, an automation or a person).

    Args:
        name: what a person typed as theirs, which comes first; nobody checks it.
    """
    return f"{one_line(name)}, {_find_actor()}" if one_line(name) else _find_actor()


def _find_actor() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # A container's user may have no name.
        user = f"user {os.getuid()}"
    if not is_recorded():
        return user
    from prefect.runtime import deployment, flow_run

    if deployment.id is None:
        return f"{user}, run {flow_run.name}"
    return f"{deployment.name} {_find_cause()}, run {flow_run.name}"


def _find_cause() -> str:
    """Find what started this run of a deployment."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run and run.parent_task_run_id:
        return "for its list of models"
    if run is None or run.created_by is None:
        return "by hand"
    names = {"SCHEDULE": "by its schedule", "AUTOMATION": f"by the automation {run.created_by.display_value}"}
    return names.get(run.created_by.type or "", "by hand")


def read_lines(store: Store, name: str = LOG) -> list[dict[str, Any]]:
    """Read the lines of a log's file, without the line that the pointer may still owe to it.

    Raises:
        UserError: a line is damaged.
    """
    entries = []
    for number, line in enumerate((store.read(store.root / name) or b"").splitlines(), start=1):
        try:
            entry = {"reason": "", **parse_json(line, store.root / name)}
            if datetime.fromisoformat(entry["at"]).tzinfo is None:
                raise ValueError("a time without a zone")
            entries.append(entry | {key: str(entry[key]) for key in ("version", "action", "reason")})
        except (DamagedError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{store.root / name}, line {number}, is damaged: {line[:80]!r}. "
                "Restore the file from a copy, or delete that line."
            ) from error
    return entries


def make_entry(key: str, action: str, version: str, reason: str, **more: Any) -> dict[str, Any]:
    """Make a line of the log; of two lines with the same key only one is written."""
    at = datetime.now(UTC).isoformat()
    return {"at": at, "action": action, "version": version, "by": get_actor(), "reason": reason, **more, "id": key}


def log_decision(store: Store, action: str, version: str, reason: str, key: str = "", **more: Any) -> None:
    """Add a line to the log about what was decided."""
    append(store, make_entry(key or secrets.token_hex(8), action, version, reason, **more))


def append(store: Store, entry: dict[str, Any], name: str = LOG) -> None:
    """Add a line to a log unless it is empty or there already."""
    if not entry:
        return
    line = (json.dumps(json.loads(to_json(entry))) + "\n").encode()

    def add(data: bytes | None) -> bytes:
        log = data or b""
        if _holds(log, entry["id"]):
            return log
        return log + (b"" if log.endswith(b"\n") or not log else b"\n") + line

    store.update(store.root / name, add)


def is_logged(store: Store, key: str, name: str = LOG) -> bool:
    """Whether a log has a line with this key."""
    return _holds(store.read(store.root / name) or b"", key)


def _holds(log: bytes, key: str) -> bool:
    return b'"id": ' + json.dumps(key).encode() in log
