"""Retention: which versions, datasets, batches and leftovers the store does not keep, and their removal."""

import os
import re
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from upath import UPath

from linear_neuron.tasks.errors import DamagedError, UserError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Retention
from linear_neuron.tasks.registry.actuals_index import FOLDER, INDEX, list_recorded, load_entries
from linear_neuron.tasks.registry.champion import (
    POINTER,
    Champion,
    lacks_entries,
    peek,
    read_champion,
    read_log,
    withdraw,
)
from linear_neuron.tasks.registry.forgotten import Replaced, find_last, read_replaced
from linear_neuron.tasks.registry.promotion import PENDING
from linear_neuron.tasks.registry.verify import find_missing, find_saved_queries
from linear_neuron.tasks.registry.versions import find_versions, read_summaries, read_versions, version_folder
from linear_neuron.tasks.steps import get_logger, task
from linear_neuron.tasks.storage.files import TEMPORARY, user_errors
from linear_neuron.tasks.storage.store import MANIFEST, QUERIES, SCRATCH, TRIES, Store, make_conflict

BATCH = re.compile(r".+-[0-9a-f]{8}")  # what the folder of a batch is called, after the version


def find_expired(store: Store, retention: Retention, now: datetime) -> dict[str, UPath]:
    """Find what retention would remove: what it is, and where.

    It keeps the champion, the previous one, the anchor, the newest, the recently promoted, those that an unfinished
    batch uses, and the datasets of all these; also unfinished work that may still be going on.
    """
    complete, champion, log = find_versions(store), read_champion(store), read_log(store)
    serving, names = _serving(champion), store.names("models")
    dead = now - timedelta(hours=retention.leftover_hours)
    batches = _expired_batches(store, champion, now - timedelta(days=retention.batch_days))
    kept = (
        serving
        | _newest([*complete], log, retention.newest)
        | _promoted_since(log, now - timedelta(days=retention.days))
        | _used_by_batches(store, complete, batches)
    )
    expired = {name for name in complete if name not in kept}
    damaged = _has_damage(champion, set(names), set(complete), log)
    if damaged:
        expired = set()
    if not store.local:  # What another run has begun to remove must go; without a pointer nothing can be withdrawn.
        expired = expired | set(champion.removing) & complete.keys() if champion else set()
    leftovers = [name for name in names if name not in {*complete, *serving} and _started(name) < dead]
    unused = [] if damaged else _try_unused_datasets(store, complete, expired, dead)
    return {
        **{f"model {name}": version_folder(store, name) for name in sorted(expired)},
        **{f"unfinished model {name}": version_folder(store, name) for name in leftovers},
        **_unfinished_backtests(store, dead),
        **{f"dataset {name}": store.root / "datasets" / name for name in unused},
        **{f"batch {name}": store.root / "predictions" / name for name in batches},
        **_unused_actuals(store, dead),
        **{f"saved query {name}": store.root / QUERIES / name for name in find_saved_queries(store, dead)},
        **_litter(store, dead, {*leftovers, *expired}),
    }


def _serving(champion: Champion | None) -> set[str]:
    return {champion.version, champion.previous or "", champion.anchor or ""} if champion else set()


def _has_damage(champion: Champion | None, names: set[str], complete: set[str], log: list[dict[str, Any]]) -> bool:
    """Whether the pointer, the log or a version that serves is damaged, so that what seems unused may be used."""
    gone = champion is not None and champion.version not in complete
    return not log or lacks_entries(champion, log) or gone or bool(_serving(champion) & names - complete)


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


def _try_unused_datasets(store: Store, complete: dict[str, str], expired: set[str], before: datetime) -> list[str]:
    """Find the unused datasets; none where the log of forgotten rows is damaged, which is logged."""
    try:
        replaced = read_replaced(store)
    except UserError as error:
        get_logger().warning("No dataset is removed: %s", error)
        return []
    return _unused_datasets(store, complete, expired, before, replaced)


def _unused_datasets(
    store: Store, complete: dict[str, str], expired: set[str], before: datetime, replaced: dict[str, Replaced]
) -> list[str]:
    """Find the datasets that no kept version was made from, and that no retrain has begun to use since `before`.

    The index only saves work where it names every dataset. What is removed is decided from the `model.json` of each
    kept version, and nothing is where one of them can't be read, or where its dataset is missing: of a store without
    its log of forgotten rows it is not known which dataset has what is left.
    """
    files = {name: found for name, found in sorted(store.find("datasets", deep=False).items()) if name[0] != "."}
    old = {name: name.partition(".")[0] for name, found in files.items() if found.at < before}
    kept = [version for version in complete if version not in expired]
    summaries = dict(zip(complete, read_summaries(store, complete), strict=True))

    def follow(datasets: Iterable[str]) -> set[str]:
        """Add to datasets what is left of those that lost rows."""
        known = set(datasets)
        return known | {find_last(replaced, sha256) for sha256 in known}

    if set(old.values()) <= follow(summary.dataset for version in kept if (summary := summaries[version])):
        return []
    if not (models := _read_whole(store, kept, files, replaced)):
        return []
    used = follow(str(model.dataset.get("sha256")) for model in models)
    return [name for name, sha256 in old.items() if sha256 not in used]


def _read_whole(
    store: Store, versions: list[str], files: Iterable[str], replaced: dict[str, Replaced]
) -> list[ModelVersion]:
    """Read versions; none where one of them can't be read or lacks its dataset."""
    models = [model for model in read_versions(store, versions) if model]
    missing = any(find_missing(model, files, replaced) for model in models)
    return [] if missing or len(models) < len(versions) else models


def _unfinished_backtests(store: Store, before: datetime) -> dict[str, UPath]:
    folders = {name: store.root / "backtests" / name for name in store.names("backtests") if _started(name) < before}
    return {f"unfinished backtest {name}": path for name, path in folders.items() if not (path / MANIFEST).exists()}


def _unused_actuals(store: Store, before: datetime) -> dict[str, UPath]:
    """Find the files of actuals that a killed run left, so that the index does not know them."""
    folder, found = store.root / FOLDER, store.find(FOLDER, deep=False)
    try:
        known = {INDEX, *list_recorded(load_entries(store)[0])}
    except DamagedError:
        return {}  # `verify` reports it; without the index nothing is known to be unused.
    if not known <= found.keys():
        return {}  # A name in the index may be damaged.
    names = [name for name, (at, _) in found.items() if at < before and name not in known]
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
    """Read from its name when a version was begun; a folder with another name is not ours, so it is never old."""
    try:
        return datetime.strptime(version.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)


def clean_store(store: Store, retention: Retention, dry_run: bool = False) -> list[str]:
    """Remove what retention does not keep, or with `dry_run` only find it. Returns the names.

    No version may be promoted between the search and its removal. On a disk a lock ensures that.
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
