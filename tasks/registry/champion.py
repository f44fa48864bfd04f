"""The champion: which version serves, since when, and the way back.

The pointer is the truth and the log explains it. The pointer carries its own line of the log, so that the two are one
write in effect: whoever comes after a run that was killed between them reads the line there, or writes it.
"""

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.errors import UserError
from tasks.registry.versions import list_versions, read_version
from tasks.storage.store import TRIES, Store, Tagged, make_conflict, to_json

POINTER, LOG = "champion.json", "promotions.jsonl"


@dataclass(frozen=True)
class PromotionDecision:
    """Whether a challenger should serve, and why."""

    promote: bool
    reason: str
    figures: dict[str, float | None]
    champion: str | None  # whom it was compared with


class Champion(BaseModel):
    """The content of `champion.json`."""

    model_config = ConfigDict(frozen=True)

    version: str
    since: datetime
    previous: str | None  # the champion before; none at first, and after a rollback
    reason: str
    entry: dict[str, Any] = {}  # the line of the log about this change; older pointers have none


def read_champion(store: Store) -> Champion | None:
    """Read which version serves, if any.

    Raises:
        UserError: the pointer is damaged; says what is known good and how to restore it.
    """
    return _parse(store, store.read(store.root / POINTER))


def _parse(store: Store, data: bytes | None) -> Champion | None:
    if data is None:
        return None
    try:
        return Champion.model_validate_json(data)
    except ValidationError as error:
        served = [entry["version"] for entry in _read_lines(store) if entry["action"] != "refused"]
        good = served[-1] if served else (list_versions(store) or ["VERSION"])[-1]
        raise UserError(
            f"{store.root / POINTER} is damaged; the last known champion is {good}. "
            f"Restore it by: linear-neuron promote {good}."
        ) from error


def read_log(store: Store) -> list[dict[str, Any]]:
    """Read every promotion, refusal and rollback, oldest first: `at`, `action`, `version`, `reason`, `figures`.

    Raises:
        UserError: a line is damaged.
    """
    owed = _owed_entry(store.read(store.root / POINTER))  # read first, so that no other line can be missing below
    entries = _read_lines(store)
    return entries if not owed or owed["id"] in {entry.get("id") for entry in entries} else [*entries, owed]


def _peek(pointer: bytes | None) -> Champion | None:
    """Read a pointer that may be damaged, and then is none."""
    try:
        return Champion.model_validate_json(pointer or b"")
    except ValidationError:
        return None


def _owed_entry(pointer: bytes | None) -> dict[str, Any]:
    """Find the line that a pointer carries; it is empty where there is none."""
    champion = _peek(pointer)
    return champion.entry if champion else {}


def _read_lines(store: Store) -> list[dict[str, Any]]:
    entries = []
    for number, line in enumerate((store.read(store.root / LOG) or b"").splitlines(), start=1):
        try:
            entry = json.loads(line)
            datetime.fromisoformat(entry["at"])
            entries.append({**entry, "version": str(entry["version"]), "action": str(entry["action"])})
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{store.root / LOG}, line {number}, is damaged: {line[:80]!r}. "
                "Restore the file from a copy, or delete that line."
            ) from error
    return entries


def promote(store: Store, version: str, reason: str, decision: PromotionDecision | None = None) -> Champion:
    """Make a version the champion, and log it.

    Args:
        store: where the version is.
        version: its name.
        reason: why, for those who read the log.
        decision: what the promotion rests on; if the champion is no longer the one that was compared with, it is off.

    Raises:
        UserError: the version is not complete, or the comparison is out of date.
    """
    key = version if decision else secrets.token_hex(8)
    with store.exclusive():
        for _ in range(TRIES):
            tagged = store.load(store.root / POINTER)
            present = _peek(tagged.data)  # A damaged pointer counts for none: a promotion is how it is restored.
            if present and _is_logged(store, present, key):
                return present
            read_version(store, version)
            champion = _succeed(present, version, reason, decision)
            figures = decision.figures if decision else {}
            if swap(store, tagged, champion, _entry(key, "promoted", version, reason, figures=figures)):
                return champion
    raise make_conflict(store.root / POINTER)


def _succeed(present: Champion | None, version: str, reason: str, decision: PromotionDecision | None) -> Champion:
    """Make the pointer that follows the present one."""
    now = present.version if present else None
    if decision and decision.champion != now:
        raise UserError(
            f"{version} was compared with {decision.champion}, but {now} is champion by now; compare again."
        )
    if present and now == version:
        return present.model_copy(update={"reason": reason})
    return Champion(version=version, since=datetime.now(UTC), previous=now, reason=reason)


def roll_back(store: Store, reason: str) -> Champion:
    """Make the champion before the champion again, and log it.

    Raises:
        UserError: there is none before, or it is no longer complete.
    """
    key = secrets.token_hex(8)
    with store.exclusive():
        for _ in range(TRIES):
            tagged = store.load(store.root / POINTER)
            present = _parse(store, tagged.data)
            if present and _is_logged(store, present, key):
                return present
            if present is None or present.previous is None:
                raise UserError(
                    "There is no champion before to go back to; name a version instead: linear-neuron promote VERSION."
                )
            version = read_version(store, present.previous).version
            champion = Champion(version=version, since=datetime.now(UTC), previous=None, reason=reason)
            if swap(store, tagged, champion, _entry(key, "rolled back", version, reason, figures={})):
                return champion
    raise make_conflict(store.root / POINTER)


def swap(store: Store, expected: Tagged, champion: Champion, entry: dict[str, Any]) -> bool:
    """Replace the pointer and log the change, unless the pointer is no longer the expected one.

    The line that the expected pointer owes to the log is written first, since the pointer is about to forget it.
    """
    _append(store, _owed_entry(expected.data))
    entry = {**entry, "previous": champion.previous}
    data = to_json({**champion.model_dump(mode="json"), "entry": entry})
    if not store.swap(store.root / POINTER, expected, data):
        return False
    _append(store, entry)
    return True


def log_decision(store: Store, action: str, version: str, reason: str, **more: Any) -> None:
    """Add a line to the log."""
    _append(store, _entry(more.pop("key", secrets.token_hex(8)), action, version, reason, **more))


def _entry(key: str, action: str, version: str, reason: str, **more: Any) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat()
    return {"at": at, "action": action, "version": version, "reason": reason, **more, "id": key}


def _append(store: Store, entry: dict[str, Any]) -> None:
    """Add an entry to the log unless it is there already."""
    if not entry:
        return
    line = (json.dumps(json.loads(to_json(entry))) + "\n").encode()

    def add(data: bytes | None) -> bytes:
        if data and _holds(data, entry["id"]):
            return data
        return (data or b"") + (b"" if (data or b"\n").endswith(b"\n") else b"\n") + line

    store.update(store.root / LOG, add)


def _holds(log: bytes, key: str) -> bool:
    return b'"id": ' + json.dumps(key).encode() in log


def _is_logged(store: Store, present: Champion, key: str) -> bool:
    return present.entry.get("id") == key or _holds(store.read(store.root / LOG) or b"", key)


def find_standings(store: Store) -> dict[str, tuple[str, str]]:
    """Find what each version is (champion, previous, or what was last done with it), and why."""
    standings = {entry["version"]: (entry["action"], entry["reason"]) for entry in read_log(store)}
    if champion := read_champion(store):
        if champion.previous:
            standings[champion.previous] = "previous", standings.get(champion.previous, ("", ""))[1]
        standings[champion.version] = "champion", champion.reason
    return standings


def describe_standing(store: Store, version: str) -> str:
    """Say whether a version serves, or what was last done with it."""
    return ": ".join(find_standings(store).get(version, ("never promoted",)))
