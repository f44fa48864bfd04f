"""Decisions that are owed to a version: made before it was published, and not yet carried out and logged.

A run may be killed, or find the disk full, between the two. The next run finds the decision here.
"""

from dataclasses import asdict

from pydantic import TypeAdapter, ValidationError
from upath import UPath

from tasks.registry.champion import PromotionDecision, read_champion, read_log
from tasks.registry.versions import list_versions
from tasks.storage.store import Store, to_json, user_errors

PENDING = "pending"
_DECISION = TypeAdapter(PromotionDecision)


def _file(store: Store, version: str) -> UPath:
    return store.root / PENDING / f"{version}.json"


def keep_pending(store: Store, version: str, decision: PromotionDecision) -> None:
    """Keep a decision until it is carried out."""
    store.write(_file(store, version), to_json(asdict(decision)))


def forget_pending(store: Store, version: str) -> None:
    """Forget a decision that is carried out and logged."""
    path = _file(store, version)
    with user_errors(path):
        path.unlink(missing_ok=True)


def find_pending(store: Store) -> dict[str, PromotionDecision | None]:
    """Find the complete versions that are owed a decision, oldest first, with the decision where it is known.

    Before decisions were kept here, a killed run left a version that the log does not know; such a one is owed a
    decision where it could be the reason that there is no champion.
    """
    complete = list_versions(store)
    kept = {name.removesuffix(".json") for name in store.names(PENDING)}
    logged = {entry["version"] for entry in read_log(store)} if complete else set()
    lost = set() if read_champion(store) else set(complete) - logged
    return {version: _read(store, version) for version in complete if version in kept | lost}


def _read(store: Store, version: str) -> PromotionDecision | None:
    try:
        return _DECISION.validate_json(store.read(_file(store, version)) or b"")
    except ValidationError:
        return None
