"""Retention: which versions, datasets, batches and leftovers the store does not keep, and their removal."""

import json
import os
import re
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from upath import UPath

from tasks.parameters import Retention
from tasks.registry.champion import POINTER, Champion, peek, read_champion, read_log, withdraw
from tasks.registry.pending import PENDING
from tasks.registry.verify import INDEX, list_files
from tasks.registry.versions import find_versions, read_summaries, version_folder
from tasks.steps import get_logger, task
from tasks.storage.files import TEMPORARY, user_errors
from tasks.storage.store import MANIFEST, SCRATCH, TRIES, Store, make_conflict

BATCH = re.compile(r".+-[0-9a-f]{8}")  # what the folder of a batch is called, after the version


def find_expired(store: Store, retention: Retention, now: datetime) -> dict[str, UPath]:
    """Find what retention would remove: what it is, and where.

    Kept are the champion, the one before, the newest, those promoted of late, those that an unfinished batch uses, and
    the datasets of all these; of what is unfinished, that which may still be being made.
    """
    complete, champion, log = find_versions(store), read_champion(store), read_log(store)
    dead = now - timedelta(hours=retention.leftover_hours)
    batches = _expired_batches(store, champion, now - timedelta(days=retention.batch_days))
    kept = (
        _serving(champion)
        | _newest([*complete], log, retention.newest)
        | _promoted_since(log, now - timedelta(days=retention.days))
        | _used_by_batches(store, complete, batches)
    )
    expired = {name for name in complete if name not in kept}
    if not store.local:  # What another run has begun to remove must go; without a pointer nothing can be withdrawn.
        expired = expired | set(champion.removing) & complete.keys() if champion else set()
    leftovers = [name for name in store.names("models") if name not in complete and _started(name) < dead]
    unused = _unused_datasets(store, complete, expired)
    return {
        **{f"model {name}": version_folder(store, name) for name in sorted(expired)},
        **{f"unfinished model {name}": version_folder(store, name) for name in leftovers},
        **_unfinished_backtests(store, dead),
        **{f"dataset {name}": store.root / "datasets" / name for name in unused},
        **{f"batch {name}": store.root / "predictions" / name for name in batches},
        **_unused_actuals(store, dead),
        **_litter(store, dead, {*leftovers, *expired}),
    }


def _serving(champion: Champion | None) -> set[str]:
    return {champion.version, champion.previous or ""} if champion else set()


def _newest(complete: list[str], log: list[dict[str, Any]], count: int) -> set[str]:
    """Find the newest by their names, which begin with the time, and by the order of the log, since clocks may err."""
    decided = list(dict.fromkeys(entry["version"] for entry in reversed(log)))
    return {*complete[-count:], *decided[:count]}


def _promoted_since(log: list[dict[str, Any]], since: datetime) -> set[str]:
    return {
        entry["version"]
        for entry in log
        if entry["action"] != "refused" and datetime.fromisoformat(entry["at"]) >= since
    }


def _expired_batches(store: Store, champion: Champion | None, before: datetime) -> list[str]:
    """Find the batches in which nothing has changed since; the champion's newest is left out."""
    changed: dict[str, datetime] = {}
    for name, found in store.find("predictions").items():
        batch = name.partition("/")[0]
        if BATCH.fullmatch(batch):
            changed[batch] = max(found.at, changed.get(batch, found.at))
    served = [batch for batch in changed if champion and batch.startswith(f"{champion.version}-")]
    newest = max(served, key=changed.__getitem__, default="")
    return [batch for batch, at in changed.items() if at < before and batch != newest]


def _used_by_batches(store: Store, versions: Iterable[str], expired: list[str]) -> set[str]:
    with user_errors(store.root):
        batches = [
            name
            for name in store.names("predictions")
            if name not in expired and not (store.root / "predictions" / name / MANIFEST).exists()
        ]
    return {version for version in versions if any(batch.startswith(f"{version}-") for batch in batches)}


def _unused_datasets(store: Store, complete: dict[str, str], expired: set[str]) -> list[str]:
    """Find the datasets that no kept version was made from; none where that can't be known of every one of them."""
    summaries = zip(complete, read_summaries(store, complete), strict=True)
    kept = [summary for version, summary in summaries if version not in expired]
    used = {summary.dataset for summary in kept if summary}
    names = [name for name in store.names("datasets") if not name.startswith(".")]
    return [name for name in names if name.partition(".")[0] not in used] if used and None not in kept else []


def _unfinished_backtests(store: Store, before: datetime) -> dict[str, UPath]:
    folders = {name: store.root / "backtests" / name for name in store.names("backtests") if _started(name) < before}
    return {f"unfinished backtest {name}": path for name, path in folders.items() if not (path / MANIFEST).exists()}


def _unused_actuals(store: Store, before: datetime) -> dict[str, UPath]:
    """Find the files of actuals that a killed run left, so that the index does not know them."""
    folder = store.root / "actuals"
    try:
        known = {INDEX, *list_files(json.loads(store.read(folder / INDEX) or b"{}"))}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # The index is damaged, which `verify` tells; nobody knows what is unused.
    names = [name for name, (at, _) in store.find("actuals", deep=False).items() if at < before and name not in known]
    return {f"leftover {folder / name}": folder / name for name in names}


def _litter(store: Store, before: datetime, going: set[str]) -> dict[str, UPath]:
    """Find what killed runs left: scratch files in the store, folders beside it, and decisions on what is no more.

    The versions in `going` are about to be removed, so they count as gone.
    """
    models = set(store.names("models")) - going
    found = {}
    for folder in ("", "datasets", PENDING, "predictions", "backtests"):
        for name, (at, _) in store.find(folder, deep=folder != "").items():
            path = store.root / folder / name
            orphan = folder == PENDING and path.stem not in models
            if at < before and (orphan or SCRATCH.fullmatch(path.name)):
                found[f"leftover {path}"] = path
    for local in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*"):
        with suppress(FileNotFoundError):  # A run that has just ended removes its own.
            facts = local.stat()
            if facts.st_uid == os.getuid() and datetime.fromtimestamp(facts.st_mtime, UTC) < before:
                found[f"leftover {local}"] = UPath(local)
    return found


def _started(version: str) -> datetime:
    """Read from its name when a version was begun; a folder with another name is not ours, and never counts as old."""
    try:
        return datetime.strptime(version.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)


def clean_store(store: Store, retention: Retention, dry_run: bool = False) -> list[str]:
    """Remove what retention does not keep, or only say what that is. Returns the names.

    No version may be promoted between the look and its removal. On a disk a lock sees to that.
    """
    with store.exclusive():
        for _ in range(TRIES):
            pointer = store.load(store.root / POINTER)
            found = find_expired(store, retention, datetime.now(UTC))
            versions = {path.name for name, path in found.items() if name.startswith("model ")}
            if dry_run:
                return list(found)
            if store.local or withdraw(store, pointer, versions):
                break
        else:
            raise make_conflict(store.root / POINTER)
        for path in found.values():
            store.remove(path)
        if versions and not store.local:
            pointer = store.load(store.root / POINTER)
            champion = peek(pointer.data)
            withdraw(store, pointer, set(champion.removing) - versions if champion else set())
    return list(found)


@task("Clean the store")
def clean(retention: Retention) -> None:
    """Remove what retention does not keep."""
    for name in clean_store(Store(), retention):
        get_logger().info("Removed %s", name)
