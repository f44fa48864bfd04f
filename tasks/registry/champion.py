"""The champion: which version serves, since when, and the way back."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.errors import UserError
from tasks.registry.versions import list_versions, read_version
from tasks.storage.store import Store, to_json


@dataclass(frozen=True)
class PromotionDecision:
    """Whether a challenger should serve, and why."""

    promote: bool
    reason: str
    figures: dict[str, float | None]
    champion: str | None  # whom it was compared with


POINTER, LOG = "champion.json", "promotions.jsonl"


class Champion(BaseModel):
    """The content of `champion.json`."""

    model_config = ConfigDict(frozen=True)

    version: str
    since: datetime
    previous: str | None  # the champion before; none at first, and after a rollback
    reason: str


def read_champion(store: Store) -> Champion | None:
    """Which version serves, if any.

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
        served = [entry["version"] for entry in read_log(store) if entry["action"] != "refused"]
        good = served[-1] if served else (list_versions(store) or ["VERSION"])[-1]
        raise UserError(
            f"{store.root / POINTER} is damaged; the last known champion is {good}. "
            f"Restore it by: linear-neuron promote {good}."
        ) from error


def read_log(store: Store) -> list[dict[str, Any]]:
    """Every promotion, refusal and rollback, oldest first: `at`, `action`, `version`, `reason`, `figures`."""
    return [json.loads(line) for line in (store.read(store.root / LOG) or b"").splitlines()]


def promote(store: Store, version: str, reason: str, decision: PromotionDecision | None = None) -> Champion:
    """Makes a version the champion, and notes it.

    Args:
        verdict: what the promotion rests on; if the champion is no longer the one that was compared with, it is off.

    Raises:
        UserError: the version is not complete, or the comparison is out of date.
    """
    read_version(store, version)

    def change(present: Champion | None) -> Champion:
        now = present.version if present else None
        if decision and decision.champion != now:
            raise UserError(
                f"{version} was compared with {decision.champion}, but {now} is champion by now; compare again."
            )
        if present and now == version:
            return present.model_copy(update={"reason": reason})
        return Champion(version=version, since=datetime.now(UTC), previous=now, reason=reason)

    return _replace(store, change, "promoted", decision.figures if decision else {})


def roll_back(store: Store, reason: str) -> Champion:
    """Makes the champion before the champion again, and notes it.

    Raises:
        UserError: there is none before, or it is no longer complete.
    """

    def change(present: Champion | None) -> Champion:
        if present is None or present.previous is None:
            raise UserError(
                "There is no champion before to go back to; name a version instead: linear-neuron promote VERSION."
            )
        read_version(store, present.previous)
        return Champion(version=present.previous, since=datetime.now(UTC), previous=None, reason=reason)

    return _replace(store, change, "rolled back", {})


def _replace(
    store: Store, change: Callable[[Champion | None], Champion], action: str, figures: dict[str, float | None]
) -> Champion:
    """Replaces the pointer, then notes it: the pointer is the truth, and the log explains it."""
    done: list[Champion] = []

    def swap(data: bytes | None) -> bytes:
        try:
            present = _parse(store, data)
        except UserError:
            if action != "promoted":
                raise
            present = None  # A promotion is how a damaged pointer is restored.
        done.append(change(present))
        return to_json(done[-1].model_dump(mode="json"))

    with store.exclusive():
        store.update(store.root / POINTER, swap)
        champion = done[-1]
        log_decision(store, action, champion.version, champion.reason, previous=champion.previous, figures=figures)
    return champion


def log_decision(store: Store, action: str, version: str, reason: str, **more: Any) -> None:
    """Adds a line to the log."""
    entry = {"at": datetime.now(UTC).isoformat(), "action": action, "version": version, "reason": reason, **more}
    line = json.dumps(json.loads(to_json(entry))) + "\n"
    store.update(store.root / LOG, lambda data: (data or b"") + line.encode())


def describe_standing(store: Store, version: str) -> str:
    """In words: whether a version serves, or what was last said of it."""
    champion = read_champion(store)
    last = next((entry for entry in reversed(read_log(store)) if entry["version"] == version), None)
    if champion and champion.version == version:
        return f"champion: {champion.reason}"
    return f"{last['action']}: {last['reason']}" if last else "never promoted"
