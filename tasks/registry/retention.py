"""What the store need not keep."""

from datetime import UTC, datetime, timedelta

from upath import UPath

from tasks.parameters import Retention
from tasks.registry.champion import read_champion, read_log
from tasks.registry.versions import list_versions, read_version, version_folder
from tasks.steps import get_logger, task
from tasks.storage.store import MANIFEST, Store


def find_expired(store: Store, retention: Retention, now: datetime) -> dict[str, UPath]:
    """Find what retention would remove: what it is, and where.

    Kept are the champion, the one before, the newest, those promoted of late, those that an unfinished batch uses, and
    the datasets of all these; of unfinished versions, those that may still be being made.
    """
    complete = list_versions(store)
    kept = (
        _serving(store)
        | set(complete[-retention.newest :])
        | _promoted_since(store, now - timedelta(days=retention.days))
        | _used_by_batches(store, complete)
    )
    dead = now - timedelta(hours=retention.leftover_hours)
    leftovers = [name for name in store.names("models") if name not in complete and _started(name) < dead]
    found = {f"model {name}": version_folder(store, name) for name in complete if name not in kept}
    found |= {f"unfinished model {name}": version_folder(store, name) for name in leftovers}
    unused = _unused_datasets(store, [name for name in complete if name in kept])
    return found | {f"dataset {name}": store.root / "datasets" / name for name in unused}


def _serving(store: Store) -> set[str]:
    champion = read_champion(store)
    return {champion.version, champion.previous or ""} if champion else set()


def _promoted_since(store: Store, since: datetime) -> set[str]:
    return {
        entry["version"]
        for entry in read_log(store)
        if entry["action"] != "refused" and datetime.fromisoformat(entry["at"]) >= since
    }


def _used_by_batches(store: Store, versions: list[str]) -> set[str]:
    batches = [
        name for name in store.names("predictions") if not (store.root / "predictions" / name / MANIFEST).exists()
    ]
    return {version for version in versions if any(batch.startswith(f"{version}-") for batch in batches)}


def _unused_datasets(store: Store, kept: list[str]) -> list[str]:
    """Find the datasets that no kept version was made from; none where no version is kept, since nothing is known."""
    used = {read_version(store, name).dataset["sha256"] for name in kept}
    return [name for name in store.names("datasets") if name.partition(".")[0] not in used] if used else []


def _started(version: str) -> datetime:
    """Tell by its name when a version was begun; what has another name is none of ours, and so is never old."""
    try:
        return datetime.strptime(version.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)


def clean_store(store: Store, retention: Retention, dry_run: bool = False) -> list[str]:
    """Remove what retention does not keep, or only say what that is. Returns the names."""
    with store.exclusive():  # No promotion may come between the look and the removal.
        found = find_expired(store, retention, datetime.now(UTC))
        if not dry_run:
            for path in found.values():
                store.remove(path)
    return list(found)


@task("Clean the store")
def clean(retention: Retention) -> None:
    """Remove what retention does not keep."""
    for name in clean_store(Store(), retention):
        get_logger().info("Removed %s", name)
