"""Whether what is in the store is whole."""

import json

from tasks.errors import UserError
from tasks.registry.champion import POINTER, read_champion
from tasks.storage.files import digest_file
from tasks.storage.store import MANIFEST, Store, digest


def find_differences(store: Store) -> list[str]:
    """Checks every manifest's digests, and the pointer; a sentence for each thing that is not as it should be."""
    found = []
    for version in store.versions():
        try:
            files = store.manifest(version)["files"]
        except UserError as error:
            found.append(str(error))
            continue
        for name, facts in files.items():
            data = store.read(store.model(version) / name)
            if data is None:
                found.append(f"{store.model(version) / name} is missing.")
            elif digest(data) != facts["sha256"]:
                found.append(f"{store.model(version) / name} has other bytes than its manifest says.")
    found += find_batch_differences(store)
    for name in store.names("datasets"):
        if digest(store.read(store.root / "datasets" / name) or b"") != name.partition(".")[0]:
            found.append(f"{store.root / 'datasets' / name} has other bytes than its name says.")
    try:
        champion = read_champion(store)
        if champion and champion.version not in store.versions():
            found.append(f"{store.root / POINTER} points to {champion.version}, which is not a complete version.")
    except UserError as error:
        found.append(str(error))
    return found


def find_batch_differences(store: Store) -> list[str]:
    """The same for the batches in the store, whose files may be too large to hold in memory."""
    found = []
    for batch in store.names("predictions"):
        place = store.root / "predictions" / batch
        manifest = store.read(place / MANIFEST)
        for name, facts in json.loads(manifest)["files"].items() if manifest else ():
            if not (place / name).exists():
                found.append(f"{place / name} is missing.")
                continue
            if digest_file(place / name) != facts["sha256"]:
                found.append(f"{place / name} has other bytes than its manifest says.")
    return found
