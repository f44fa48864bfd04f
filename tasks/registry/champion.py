"""The champion: which version serves, since when, and the way back.

The pointer decides and the log explains. The pointer carries its own line of the log, so both are one write: if a run
is killed between the two, the next one finds the line in the pointer and adds it to the log.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from linear_neuron.tasks.errors import DamagedError, UserError
from linear_neuron.tasks.name import command
from linear_neuron.tasks.registry.audit_log import append, get_actor, is_logged, make_entry, read_lines
from linear_neuron.tasks.registry.versions import list_versions, read_version
from linear_neuron.tasks.steps import get_logger
from linear_neuron.tasks.storage.store import TRIES, Store, Tagged, make_conflict, to_json

POINTER = "champion.json"


@dataclass(frozen=True)
class PromotionDecision:
    """Whether a challenger should serve, and why."""

    promote: bool
    reason: str
    figures: dict[str, float | None]
    champion: str | None  # the version that it was compared with
    anchor: str | None = None  # the best version that served before, if the challenger is not proven to be better


class Champion(BaseModel):
    """The content of `champion.json`."""

    model_config = ConfigDict(frozen=True)

    version: str
    since: datetime
    previous: str | None  # where a rollback goes; none where nothing served before
    reason: str
    anchor: str | None = None  # the best version that served before, with which challengers are compared too
    entry: dict[str, Any] = {}  # the line of the log about this change; older pointers have none
    removing: list[str] = []  # versions in an object store that are being removed, and so can't be promoted


def read_champion(store: Store) -> Champion | None:
    """Read which version serves, if any.

    Raises:
        DamagedError: the pointer is damaged, or missing although the log names a champion; says how to restore it.
    """
    return _parse(store, store.read(store.root / POINTER))


def _parse(store: Store, data: bytes | None) -> Champion | None:
    champion = peek(data)
    if champion:
        return champion
    served = [entry["version"] for entry in read_lines(store) if entry["action"] != "refused"]
    if data is None and not served:
        return None
    good = served[-1] if served else (list_versions(store) or ["VERSION"])[-1]
    raise DamagedError(
        f"{store.root / POINTER} is {'missing' if data is None else 'damaged'}; the last known champion is {good}. "
        f"Restore it with `{command()} promote {good}`."
    )


def read_log(store: Store) -> list[dict[str, Any]]:
    """Read every promotion, refusal and rollback, oldest first: `at`, `action`, `version`, `reason`, `figures`.

    Raises:
        UserError: a line is damaged.
    """
    owed = _owed_entry(store.read(store.root / POINTER))  # read first, so that no other line can be missing below
    entries = read_lines(store)
    return entries if not owed or owed["id"] in {entry.get("id") for entry in entries} else [*entries, owed]


def lacks_entries(champion: Champion | None, log: list[dict[str, Any]]) -> bool:
    """Whether promotions are known that the log does not have."""
    return champion is not None and champion.previous is not None and len(log) < 2


def peek(pointer: bytes | None) -> Champion | None:
    """Read a pointer; None where it is damaged or there is none."""
    try:
        return Champion.model_validate_json(pointer or b"")
    except ValidationError:
        return None


def _owed_entry(pointer: bytes | None) -> dict[str, Any]:
    """Find the line that a pointer carries; it is empty where there is none."""
    champion = peek(pointer)
    return champion.entry if champion else {}


def promote(
    store: Store, version: str, reason: str, decision: PromotionDecision | None = None, by: str = ""
) -> Champion:
    """Make a version the champion, and log it.

    Args:
        store: where the version is.
        version: its name.
        reason: why, for those who read the log.
        decision: the comparison that the promotion rests on; it counts only while that champion still serves.
        by: who decides, as they typed it.

    Raises:
        UserError: the version is not complete, or the comparison is out of date.
    """
    key = version if decision else secrets.token_hex(8)
    with store.exclusive():
        for _ in range(TRIES):
            tagged = load_pointer(store)
            present = peek(tagged.data)  # A damaged pointer counts for none: a promotion is how it is restored.
            if present and is_logged(store, key):
                return present
            read_version(store, version)
            champion = _succeed(present, version, reason, decision)
            figures = decision.figures if decision else {}
            entry = make_entry(key, "promoted", version, reason, figures=figures, by=get_actor(by))
            if swap(store, tagged, champion, entry):
                return champion
    raise make_conflict(store.root / POINTER)


def _succeed(present: Champion | None, version: str, reason: str, decision: PromotionDecision | None) -> Champion:
    """Make the pointer that follows the present one."""
    now = present.version if present else None
    if present and version in present.removing:
        raise UserError(f"{version} is being removed, since retention does not keep it; promote another version.")
    if decision and decision.champion != now:
        raise UserError(
            f"{version} was compared with {decision.champion}, but {now} has become champion since; compare again."
        )
    if present and now == version:
        return present.model_copy(update={"reason": reason})
    removing, anchor = present.removing if present else [], decision.anchor if decision else None
    since = datetime.now(UTC)
    return Champion(version=version, since=since, previous=now, reason=reason, removing=removing, anchor=anchor)


def roll_back(store: Store, reason: str, by: str = "") -> Champion:
    """Restore the previous champion, and log it; called again, go one more step back.

    Versions that are gone are skipped, and so are those that a rollback left and nobody promoted since.

    Raises:
        UserError: nothing is left to go back to, or the version is damaged.
    """
    key = secrets.token_hex(8)
    with store.exclusive():
        for _ in range(TRIES):
            tagged = load_pointer(store)
            present = _parse(store, tagged.data)
            if present and is_logged(store, key):
                return present
            if present is None:
                raise UserError(f"There is no champion yet. Promote a version with `{command()} promote VERSION`.")
            version, previous = _find_way_back(store, present)
            read_version(store, version)
            change = {"version": version, "since": datetime.now(UTC), "previous": previous, "reason": reason}
            change |= {"anchor": None}  # People decided, so challengers are compared with their choice alone.
            entry = make_entry(key, "rolled back", version, reason, figures={}, left=present.version, by=get_actor(by))
            champion = present.model_copy(update=change)
            if swap(store, tagged, champion, entry):
                return champion
    raise make_conflict(store.root / POINTER)


def _find_way_back(store: Store, present: Champion) -> tuple[str, str | None]:
    """Find the version that a rollback goes to, and the one that the next rollback would go to, if any."""
    before = dict.fromkeys([present.previous, *_list_served(store)])
    complete = set(list_versions(store)) - set(present.removing)
    names = [version for version in before if version and version != present.version]
    here = [version for version in names if version in complete]
    gone = names[: names.index(here[0])] if here else names
    lost = f"No longer in the store: {', '.join(gone)}. " if gone else ""
    if not here:
        raise UserError(
            f"No previous champion to roll back to. {lost}Promote a version with `{command()} promote VERSION`."
        )
    if lost:
        get_logger().warning("%sRestoring the previous champion that is still there.", lost)
    return here[0], here[1] if len(here) > 1 else None


def _list_served(store: Store) -> list[str]:
    """List by the log which versions have served, the latest first; a rollback takes away those that it left."""
    served: dict[str, None] = {}
    for entry in read_lines(store):
        version, action = entry["version"], entry["action"]
        while action == "rolled back" and served and next(reversed(served)) != version:
            served.popitem()
        if action != "refused":
            served.pop(version, None)
            served[version] = None
    return list(reversed(served))


def load_pointer(store: Store) -> Tagged:
    """Read the pointer in order to change it, and first write the line that it owes to the log.

    A run that was killed between the two owes that line, and the next pointer forgets it.
    """
    tagged = store.load(store.root / POINTER)
    append(store, _owed_entry(tagged.data))
    return tagged


def swap(store: Store, expected: Tagged, champion: Champion, entry: dict[str, Any]) -> bool:
    """Replace the pointer and log the change, unless the pointer is no longer the expected one."""
    entry = {**entry, "previous": champion.previous}
    if not store.swap(store.root / POINTER, expected, _dump(champion.model_copy(update={"entry": entry}))):
        return False
    append(store, entry)
    return True


def _dump(champion: Champion) -> bytes:
    return to_json(champion.model_dump(mode="json", exclude_defaults=True))


def withdraw(store: Store, expected: Tagged, versions: set[str]) -> bool:
    """Note in the pointer which versions are being removed, so that none of them is promoted from now on.

    An object store has no lock that promotions and removals could share. But both replace the pointer, so one of two
    at the same time fails and looks again. Without a champion there is nothing to note it in, and so no permission.

    Returns:
        Whether they may be removed; if not, the pointer has changed or is not there.
    """
    present = peek(expected.data)
    if present is None:
        return not versions
    removing = present.model_copy(update={"removing": sorted(versions)})
    return removing == present or store.swap(store.root / POINTER, expected, _dump(removing))


def find_statuses(store: Store) -> dict[str, tuple[str, str]]:
    """Find each version's status (champion, previous, left by a rollback, or the last decision) and its reason."""
    statuses = {}
    for entry in read_log(store):
        if left := entry.get("left"):
            statuses[left] = "left", entry["reason"]
        statuses[entry["version"]] = entry["action"], entry["reason"]
    if champion := read_champion(store):
        if champion.previous:
            statuses[champion.previous] = "previous", statuses.get(champion.previous, ("", ""))[1]
        statuses[champion.version] = "champion", champion.reason
    return statuses


def describe_status(store: Store, version: str) -> str:
    """Describe whether a version serves, or what was last decided about it, and why."""
    return ": ".join(find_statuses(store).get(version, ("never promoted",)))
