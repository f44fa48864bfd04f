"""What the store need not keep."""

from datetime import UTC, datetime, timedelta

from upath import UPath

from tasks.parameters import Retention
from tasks.registry.champion import read_champion, read_log
from tasks.registry.versions import list_versions, read_version, version_folder
from tasks.steps import get_logger, task
from tasks.storage.store import MANIFEST, Store


def find_expired(store: Store, retention: Retention, now: datetime) -> dict[str, UPath]:
    """What retention would remove: what it is, and where.

    Kept are the champion, the one before, the newest, those promoted of late, those that an unfinished batch uses, and
    the datasets of all these; of unfinished versions, those that may still be being made.
    """
    complete, champion = list_versions(store), read_champion(store)
    kept = set(complete[-retention.newest :])
    if champion:
        kept |= {champion.version, champion.previous or ""}
    since = now - timedelta(days=retention.days)
    kept |= {
        entry["version"]
        for entry in read_log(store)
        if entry["action"] != "refused" and datetime.fromisoformat(entry["at"]) >= since
    }
    batches = [
        name for name in store.names("predictions") if not (store.root / "predictions" / name / MANIFEST).exists()
    ]
    kept |= {version for version in complete if any(version in batch for batch in batches)}

    dead = now - timedelta(hours=retention.leftover_hours)
    leftovers = [name for name in store.names("models") if name not in complete and _started(name) < dead]
    found = {f"model {name}": version_folder(store, name) for name in complete if name not in kept}
    found |= {f"unfinished model {name}": version_folder(store, name) for name in leftovers}
    used = {read_version(store, name).dataset["sha256"] for name in complete if name in kept}
    datasets = {name: store.root / "datasets" / name for name in store.names("datasets")} if used else {}
    return found | {f"dataset {name}": path for name, path in datasets.items() if name.partition(".")[0] not in used}


def _started(version: str) -> datetime:
    """When a version was begun, by its name; what has another name is none of ours, and so is never old."""
    try:
        return datetime.strptime(version.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)


def clean_store(store: Store, retention: Retention, dry_run: bool = False) -> list[str]:
    """Removes what retention does not keep, or only says what that is. Returns the names."""
    with store.exclusive():  # No promotion may come between the look and the removal.
        found = find_expired(store, retention, datetime.now(UTC))
        if not dry_run:
            for path in found.values():
                store.remove(path)
    return list(found)


@task("Clean the store")
def clean(retention: Retention) -> None:
    """Removes what retention does not keep."""
    for name in clean_store(Store(), retention):
        get_logger().info("Removed %s", name)
