"""The logs, oldest first: a line of JSON for every promotion, refusal and rollback; in the other for every alarm."""

import json
import secrets
from datetime import UTC, datetime
from typing import Any

from tasks.errors import UserError
from tasks.registry.actor import get_actor
from tasks.storage.store import Store, to_json

LOG = "promotions.jsonl"
ALARMS = "alarms.jsonl"


def read_lines(store: Store, name: str = LOG) -> list[dict[str, Any]]:
    """Read a log as it stands in its file; a line that the pointer still owes is not among them.

    Raises:
        UserError: a line is damaged.
    """
    entries = []
    for number, line in enumerate((store.read(store.root / name) or b"").splitlines(), start=1):
        try:
            entry = json.loads(line)
            datetime.fromisoformat(entry["at"])
            entries.append({**entry, "version": str(entry["version"]), "action": str(entry["action"])})
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{store.root / name}, line {number}, is damaged: {line[:80]!r}. "
                "Restore the file from a copy, or delete that line."
            ) from error
    return entries


def make_entry(key: str, action: str, version: str, reason: str, **more: Any) -> dict[str, Any]:
    """Make a line of the log. Of two with the same key only one is written."""
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
