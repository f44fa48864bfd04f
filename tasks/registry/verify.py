"""Whether what is in the store is whole."""

import json

from tasks.errors import UserError
from tasks.registry.champion import POINTER, read_champion
from tasks.registry.versions import list_versions, read_manifest, version_folder
from tasks.storage.files import digest_file
from tasks.storage.store import MANIFEST, Store, digest


def verify(store: Store) -> list[str]:
    """Checks every manifest's digests, and the pointer; a sentence for each thing that is not as it should be."""
    found = []
    for version in list_versions(store):
        try:
            files = read_manifest(store, version)["files"]
        except UserError as error:
            found.append(str(error))
            continue
        for name, facts in files.items():
            data = store.read(version_folder(store, version) / name)
            if data is None:
                found.append(f"{version_folder(store, version) / name} is missing.")
            elif digest(data) != facts["sha256"]:
                found.append(f"{version_folder(store, version) / name} has other bytes than its manifest says.")
    found += verify_batches(store)
    for name in store.names("datasets"):
        if digest(store.read(store.root / "datasets" / name) or b"") != name.partition(".")[0]:
            found.append(f"{store.root / 'datasets' / name} has other bytes than its name says.")
    try:
        champion = read_champion(store)
        if champion and champion.version not in list_versions(store):
            found.append(f"{store.root / POINTER} points to {champion.version}, which is not a complete version.")
    except UserError as error:
        found.append(str(error))
    return found


def verify_batches(store: Store) -> list[str]:
    """The same for the batches in the store, whose files may be too large to hold in memory."""
    found = []
    for batch in store.names("predictions"):
        location = store.root / "predictions" / batch
        manifest = store.read(location / MANIFEST)
        for name, facts in json.loads(manifest)["files"].items() if manifest else ():
            if not (location / name).exists():
                found.append(f"{location / name} is missing.")
                continue
            if digest_file(location / name) != facts["sha256"]:
                found.append(f"{location / name} has other bytes than its manifest says.")
    return found
