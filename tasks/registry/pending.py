"""Decisions that are owed to a version: made before it was published, and not yet carried out and logged.

A run may be killed, or find the disk full, between the two. The next run finds the decision here.
"""

from pydantic import BaseModel, ValidationError
from upath import UPath

from tasks.parameters import Promotion
from tasks.registry.champion import PromotionDecision, read_champion, read_log
from tasks.registry.versions import list_versions
from tasks.storage.files import user_errors
from tasks.storage.store import Store, to_json

PENDING = "pending"


class PendingDecision(BaseModel):
    """A decision, and the rules by which to decide again if another champion comes in between."""

    decision: PromotionDecision | None
    promotion: Promotion


def _file(store: Store, version: str) -> UPath:
    return store.root / PENDING / f"{version}.json"


def keep_pending(store: Store, version: str, decision: PromotionDecision, promotion: Promotion) -> None:
    """Keep a decision until it is carried out."""
    pending = PendingDecision(decision=decision, promotion=promotion)
    store.write(_file(store, version), to_json(pending.model_dump()))


def forget_pending(store: Store, version: str) -> None:
    """Forget a decision that is carried out and logged."""
    path = _file(store, version)
    with user_errors(path):
        path.unlink(missing_ok=True)


def find_pending(store: Store, promotion: Promotion) -> dict[str, PendingDecision]:
    """Find the complete versions that are owed a decision, oldest first.

    Before decisions were kept here, a killed run left a version that the log does not know. Where there is no champion,
    such a version is owed a decision too.

    Args:
        store: where the versions are.
        promotion: the rules for a version of which nothing was decided; in the mode `try` nothing is decided of it.
    """
    kept = {name.removesuffix(".json") for name in store.names(PENDING)}
    lost: set[str] = set()
    if promotion.mode != "try" and not read_champion(store):
        lost = set(list_versions(store)) - {entry["version"] for entry in read_log(store)}
    complete = list_versions(store) if kept | lost else []
    new = PendingDecision(decision=None, promotion=promotion)
    return {version: _read(store, version) or new for version in complete if version in kept | lost}


def _read(store: Store, version: str) -> PendingDecision | None:
    try:
        return PendingDecision.model_validate_json(store.read(_file(store, version)) or b"")
    except ValidationError:
        return None
