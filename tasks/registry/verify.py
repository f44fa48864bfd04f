"""Check that every file in the store is as its manifest, or its name, says."""

import json
from collections.abc import Iterable
from typing import Any

from upath import UPath

from tasks.errors import UserError
from tasks.registry.champion import POINTER, read_champion, read_log
from tasks.registry.versions import list_versions
from tasks.storage.files import digest_file, user_errors
from tasks.storage.store import MANIFEST, Store

INDEX = "index.json"  # what `actuals/` has in the place of a manifest, since its files come and go


def verify(store: Store, outputs: Iterable[str] = (), *, deep: bool = True) -> list[str]:
    """Check every file, the pointer and the log; a sentence for each thing that is wrong.

    Args:
        store: What is checked.
        outputs: More folders with batches: each what `predict --output` was given, or a batch's own.
        deep: Whether digests are checked, which reads everything, or only that all is there and has its size.

    Raises:
        UserError: there is no batch in one of the outputs.
    """
    versions, found = list_versions(store), []
    folders = [
        store.root / room / name for room in ("models", "predictions", "backtests") for name in store.names(room)
    ]
    for folder in [*folders, *(batch for output in outputs for batch in list_batches(output))]:
        found += verify_folder(folder, deep)
    found += verify_folder(store.root / "actuals", deep, INDEX)
    for name in store.names("datasets") if deep else ():
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


def list_batches(output: str) -> list[UPath]:
    """List the folders of the batches in what `predict --output` was given; a batch's own folder is one.

    Raises:
        UserError: there is none.
    """
    home = Store(output)
    folders = [home.root, *(home.root / name for name in home.names())]
    if not (batches := [folder for folder in folders if home.read(folder / MANIFEST) is not None]):
        raise UserError(f"There is no batch of predictions in {output}; name what `predict --output` was given.")
    return batches


def verify_folder(folder: UPath, deep: bool, listing: str = MANIFEST) -> list[str]:
    """Check the files of a version or a batch against its manifest; an unfinished one has nothing to check."""
    with user_errors(folder):
        try:
            files = list_files(json.loads((folder / listing).read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (ValueError, KeyError, TypeError, AttributeError):
            return [f"{folder / listing} is damaged; restore it from a copy, or remove {folder}."]
        faults = ((folder / name, _find_fault(folder / name, facts, deep)) for name, facts in files.items())
        return [f"{path} {fault}." for path, fault in faults if fault]


def _find_fault(path: UPath, facts: dict[str, Any], deep: bool) -> str:
    """Say what is wrong with a file; empty where nothing is. The size is looked at first, since that reads nothing."""
    try:
        size = path.stat().st_size
        expected = facts.get("bytes", size)
        if expected and not size:
            return f"was emptied; its manifest says {expected} bytes"
        if size != expected or (deep and digest_file(path) != facts["sha256"]):
            return "has other bytes than its manifest says"
    except FileNotFoundError:
        return "is missing"
    return ""


def list_files(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """List names, each with its sha256 and bytes: a version has them in `files`, a batch among its inputs' outputs.

    The index of the actuals has them in its entries.
    """
    groups = [manifest.get("files", {}), *(result["outputs"] for result in manifest.get("inputs", ()))]
    groups += [entry["files"] for entry in manifest.get("entries", ())]
    return {name: {"sha256": facts["sha256"], **facts} for group in groups for name, facts in group.items()}
