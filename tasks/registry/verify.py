"""Whether what is in the store is whole."""

import json
from typing import Any

from upath import UPath

from tasks.errors import UserError
from tasks.registry.champion import POINTER, read_champion, read_log
from tasks.registry.versions import list_versions
from tasks.storage.files import digest_file, user_errors
from tasks.storage.store import MANIFEST, Store


def verify(store: Store) -> list[str]:
    """Check every digest, the pointer and the log; a sentence for each thing that is wrong."""
    versions, found = list_versions(store), []
    for room in ("models", "predictions"):
        for name in store.names(room):
            found += verify_folder(store.root / room / name)
    for name in store.names("datasets"):
        path = store.root / "datasets" / name
        if not name.startswith(".") and digest_file(path) != name.partition(".")[0]:
            found.append(f"{path} has other bytes than its name says.")
    try:
        champion = read_champion(store)
        if champion and champion.version not in versions:
            found.append(f"{store.root / POINTER} points to {champion.version}, which is not a complete version.")
        read_log(store)
    except UserError as error:
        found.append(str(error))
    return found


def verify_folder(folder: UPath) -> list[str]:
    """Check the files of a version or a batch against its manifest; an unfinished one has nothing to check."""
    found = []
    with user_errors(folder):
        try:
            files = list_files(json.loads((folder / MANIFEST).read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (ValueError, KeyError, TypeError, AttributeError):
            return [f"{folder / MANIFEST} is damaged; restore it from a copy, or remove {folder}."]
        for name, sha256 in files.items():
            try:
                if digest_file(folder / name) != sha256:
                    found.append(f"{folder / name} has other bytes than its manifest says.")
            except FileNotFoundError:
                found.append(f"{folder / name} is missing.")
    return found


def list_files(manifest: dict[str, Any]) -> dict[str, str]:
    """List names and sha256s: a version has them in `files`, and a batch among the outputs of its inputs."""
    groups = [manifest.get("files", {}), *(result["outputs"] for result in manifest.get("inputs", ()))]
    return {name: facts["sha256"] for group in groups for name, facts in group.items()}
