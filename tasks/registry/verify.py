"""Check that every file of the store is as its manifest, or its name, says."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from upath import UPath

from linear_neuron.tasks.errors import DamagedError, UserError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Retention
from linear_neuron.tasks.registry.actuals_index import FOLDER, list_recorded, load_entries
from linear_neuron.tasks.registry.audit_log import ALARMS, LOG, read_lines
from linear_neuron.tasks.registry.champion import POINTER, lacks_entries, read_champion, read_log
from linear_neuron.tasks.registry.forgotten import Replaced, find_last, read_replaced
from linear_neuron.tasks.registry.versions import list_versions, read_versions
from linear_neuron.tasks.storage.files import digest_file, user_errors
from linear_neuron.tasks.storage.store import MANIFEST, QUERIES, Store, parse_json


def verify(store: Store, outputs: Iterable[str] = (), *, deep: bool = True) -> list[str]:
    """Check every file, the pointer and the logs; return a sentence for each fault.

    Args:
        store: What is checked.
        outputs: More folders with batches: each what `predict --output` was given, or a batch's own.
        deep: Whether digests are checked, which reads everything, or only that all is there and has its size.

    Raises:
        UserError: there is no batch in one of the outputs.
    """
    versions = list_versions(store)
    folders = [
        store.root / part / name for part in ("models", "predictions", "backtests") for name in store.names(part)
    ]
    found = [fault for folder in folders for fault in verify_folder(store, folder, deep)]
    if not folders and not store.names("datasets"):
        found.append(f"{store.root} is empty or does not exist, so nothing was checked; check the store's address.")
    for output in outputs:
        for folder in list_batches(output):
            found += verify_folder(Store(output), folder, deep)
    found += _verify_actuals(store, deep)
    found += _verify_datasets(store, versions, deep)
    for name in find_saved_queries(store, datetime.now(UTC) - timedelta(hours=Retention().leftover_hours)):
        found.append(f"{store.root / QUERIES / name} has rows of a query whose run was killed; `clean` removes them.")
    return found + list(_verify_records(store, versions))


def _verify_records(store: Store, versions: list[str]) -> Iterator[str]:
    """Check the pointer and the logs, and that they agree."""
    try:
        champion, log = read_champion(store), read_log(store)
        if champion and champion.version not in versions:
            yield f"{store.root / POINTER} points to {champion.version}, which is not a complete version."
        if champion and lacks_entries(champion, log):
            yield f"{store.root / LOG} lacks the promotions before {champion.version}; restore it from a copy."
    except UserError as error:
        yield str(error)
    try:
        read_lines(store, ALARMS)
    except UserError as error:
        yield str(error)


def _verify_datasets(store: Store, versions: list[str], deep: bool) -> list[str]:
    """Check the snapshots, and that each version still has the one that it was made from."""
    found, names = [], [name for name in store.names("datasets") if not name.startswith(".")]
    for path in (store.root / "datasets" / name for name in names):
        facts = {"sha256": path.name.partition(".")[0]}
        if deep and (fault := find_fault(path, facts, deep, by="name")):
            found.append(f"{path} {fault}.")
    try:
        replaced = read_replaced(store)
    except UserError as error:
        return [*found, str(error)]
    for version, model in zip(versions, read_versions(store, versions), strict=True):
        if model and (sha256 := find_missing(model, names, replaced)):
            found.append(
                f"The dataset {sha256[:12]} of {version} is missing, so the version can't be reproduced; "
                f"restore {store.root / 'datasets' / sha256}.* from a copy, or remove the version."
            )
    return found


def find_missing(model: ModelVersion, names: Iterable[str], replaced: dict[str, Replaced]) -> str:
    """Return the digest of a version's dataset if none of some files has what is left of it; empty if one has."""
    from linear_neuron.tasks.dataset.boston import FILE  # Its HTTP client takes a while to import.

    sha256 = str(model.dataset.get("sha256", ""))
    known = {name.partition(".")[0] for name in names} | {FILE.sha256, ""}  # The package has the published one.
    return sha256 if {sha256, find_last(replaced, sha256)}.isdisjoint(known) else ""


def find_saved_queries(store: Store, before: datetime) -> list[str]:
    """Find the rows of queries that runs have left since they were killed before they could remove them."""
    changed: dict[str, datetime] = {}
    for name, found in store.find(QUERIES).items():
        folder = name.partition("/")[0]
        changed[folder] = max(found.at, changed.get(folder, found.at))
    return [name for name, at in changed.items() if at < before]


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


def verify_folder(store: Store, folder: UPath, deep: bool) -> list[str]:
    """Check the files of a version or a batch against its manifest; an unfinished one has nothing to check."""
    try:
        files = read_listed(store, folder)
    except DamagedError as error:
        return [str(error)]
    return _check_files(folder, files, deep)


def _verify_actuals(store: Store, deep: bool) -> list[str]:
    """Check the index of actual values, and the files that it lists."""
    try:
        entries, _ = load_entries(store)
    except DamagedError as error:
        return [str(error)]
    return _check_files(store.root / FOLDER, list_recorded(entries), deep)


def _check_files(folder: UPath, files: dict[str, dict[str, Any]], deep: bool) -> list[str]:
    with user_errors(folder):
        faults = {folder / name: find_fault(folder / name, facts, deep) for name, facts in files.items()}
    return [f"{path} {fault}." for path, fault in faults.items() if fault]


def find_fault(path: UPath, facts: dict[str, Any], deep: bool = True, by: str = "manifest") -> str:
    """Name what is wrong with a file; empty if nothing is. The size comes first, since it needs no reading."""
    try:
        size = path.stat().st_size
        expected = facts.get("bytes", size)
        if expected and not size:
            return f"was emptied; its {by} says {expected} bytes"
        if size != expected or (deep and digest_file(path) != facts["sha256"]):
            return "is a folder, but must be a file" if path.is_dir() else f"has other bytes than its {by} says"
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except IsADirectoryError:
        return "is a folder, but must be a file"
    return ""


def read_listed(store: Store, folder: UPath) -> dict[str, dict[str, Any]]:
    """Read the files of a folder from its manifest, as `list_files` lists them; none where it has no manifest.

    Raises:
        DamagedError: the manifest cannot be read.
    """
    try:
        data = store.read(folder / MANIFEST)
        return {} if data is None else list_files(parse_json(data, folder / MANIFEST))
    except (DamagedError, ValueError, KeyError, TypeError, AttributeError):
        raise DamagedError(f"{folder / MANIFEST} is damaged; restore it from a copy, or remove {folder}.") from None


def list_files(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """List names, each with its sha256 and bytes: a version has them in `files`, a batch among its inputs' outputs."""
    groups = [manifest.get("files", {}), *(result["outputs"] for result in manifest.get("inputs", ()))]
    groups += [result["outputs"] for result in manifest.get("replaced", ())]
    return {name: {"sha256": facts["sha256"], **facts} for group in groups for name, facts in group.items()}
