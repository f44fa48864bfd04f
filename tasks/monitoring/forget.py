"""Forget a key: find its rows in everything that the store keeps, and remove them.

A crash leaves old files or new ones, and the same call again finishes the work.
"""

import shutil
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from upath import UPath

from linear_neuron.tasks.dataset.boston import dataset_file
from linear_neuron.tasks.dataset.rows import HASH, SUFFIX, Hashes, copy_records, hash_keys, load_records
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.monitoring.listed_files import fetch, finish, read_manifest, remove_rows
from linear_neuron.tasks.monitoring.performance import Entry, Index, load_index, measure, swap_index
from linear_neuron.tasks.monitoring.recorded_rows import try_rows, write_file, write_rows
from linear_neuron.tasks.registry.actuals_index import FOLDER
from linear_neuron.tasks.registry.champion import read_champion
from linear_neuron.tasks.registry.forgotten import find_last, log_forgotten, number_before, read_replaced, trace
from linear_neuron.tasks.registry.verify import find_fault, list_batches, read_listed
from linear_neuron.tasks.registry.versions import list_versions, read_versions, version_folder
from linear_neuron.tasks.scoring.manifest import OUTPUT, is_predictions
from linear_neuron.tasks.storage.files import digest_file, make_temporary
from linear_neuron.tasks.storage.store import TRIES, Store, make_conflict
from linear_neuron.tasks.tables.remove_rows import Range, copy_without, find_by_key, find_rejects, find_rows, spell
from linear_neuron.tasks.tables.spec import KEY
from linear_neuron.tasks.text import plural

REJECTS, TEST_ROWS = "rejects.csv", "predictions_test.csv"  # files of a version with rows


class Found(NamedTuple):
    """A file that has rows of the key."""

    kind: str  # snapshot, version, batch or actuals
    path: UPath
    rows: int


class Places(NamedTuple):
    """Where the rows of a key are."""

    files: list[Found]
    versions: list[str]  # whose snapshot has them, oldest first
    champion: str
    unsearched: list[str]  # what cannot be searched, and why
    sources: list[str]  # what was read, and is not ours to change


class Search:
    """The search for a key in a store.

    Args:
        store: The store of one model.
        key: The value of the key.
        column: The key's column. Without it, that of each snapshot, batch and file of actual values.
        outputs: More folders with batches, as `predict --output` had them.
    """

    def __init__(self, store: Store, key: str, column: str, outputs: tuple[str, ...]) -> None:
        self.store, self.column = store, column
        self.keys = set(spell([key]))
        if self.keys == {""}:
            raise UserError("An empty key names no row; give the key's value.")
        self.hashes = hash_keys({key, *self.keys})
        self.files: list[Found] = []
        self.affected: dict[str, list[int]] = {}  # version -> the numbers of its rows that are of the key
        self.unsearched: list[str] = []
        self.sources: dict[str, None] = {}
        self.batches = [store.root / "predictions" / name for name in store.names("predictions")]
        self.batches += [folder for output in outputs for folder in list_batches(output)]
        self.complete = list_versions(store)
        self.models = [model for model in read_versions(store, self.complete) if model]

    def run(self) -> Places:
        """Look everywhere."""
        self.affected = affected = self._search_snapshots()
        for model in self.models:
            self._search_version(version_folder(self.store, model.version), affected.get(model.version, []))
        for folder in self.batches:
            self._search_batch(folder)
        self._search_actuals()
        champion = read_champion(self.store)
        served = champion.version if champion else ""
        return Places(self.files, sorted(affected), served, self.unsearched, list(self.sources))

    def _search_snapshots(self) -> dict[str, list[int]]:
        """Search the snapshots; return the versions that have such rows, with their numbers as the version counts."""
        replaced, affected = read_replaced(self.store), dict[str, list[int]]()
        names = [name for name in self.store.names("datasets") if name.endswith(SUFFIX) and not name.startswith(".")]
        for name in names:
            path, sha256 = self.store.root / "datasets" / name, name.removesuffix(SUFFIX)
            models = [it for it in self.models if sha256 in (own := it.dataset["sha256"], find_last(replaced, own))]
            if not self._can_search(path, models) or not (rows := find_hashes(path, self.hashes)):
                continue
            self.files.append(Found("snapshot", path, len(rows)))
            for model in models:
                own = model.dataset["sha256"]
                affected[model.version] = number_before([] if own == sha256 else trace(replaced, own), rows)
                self.sources[str(model.dataset.get("source"))] = None
        return affected

    def _can_search(self, path: UPath, models: list[ModelVersion]) -> bool:
        """Whether a snapshot is whole and has hashes of the keys asked for, if that is known: a version names it."""
        if self._is_damaged(path, {"sha256": path.stem}, "name"):
            return False
        columns = {str(model.dataset.get("key") or "") for model in models}
        if not models or columns & ({self.column} if self.column else columns - {""}):
            return True
        self.unsearched.append(f"{path} has {f'the key {max(columns)}' if max(columns) else 'no key'}")
        return False

    def _is_damaged(self, path: UPath, facts: dict[str, Any] | None, by: str = "manifest") -> bool:
        """Whether a file is damaged, and so neither searched nor changed: what is written of it would seem whole."""
        fault = find_fault(path, facts, by=by) if facts else ""
        if fault and (reason := f"{path}, which {fault}") not in self.unsearched:
            self.unsearched.append(reason)
        return bool(fault)

    def _search_version(self, folder: UPath, rows: list[int]) -> None:
        listed = read_listed(self.store, folder)
        for name in (REJECTS, TEST_ROWS):
            if self._is_damaged(folder / name, listed.get(name)):
                continue
            if (folder / name).exists() and (found := self.find(folder / name, rows=rows)):
                self.files.append(Found("version", folder / name, len(found)))

    def _search_batch(self, folder: UPath) -> None:
        if not (column := self.get_column(folder)):
            self.unsearched.append(f"{folder} has no key")
        listed = read_listed(self.store, folder)
        for name in self.list_outputs(folder):
            if self._is_damaged(folder / name, listed.get(name)):
                continue
            if found := self.find(folder / name, column):
                self.files.append(Found("batch", folder / name, len(found)))
                inputs = [result["source"] for result in read_manifest(folder).get("inputs", ())]
                stem = OUTPUT.sub("", name)
                self.sources |= dict.fromkeys(source["path"] for source in inputs if source["name"] == stem)

    def get_column(self, folder: UPath) -> str:
        """Name the key's column in a batch; empty where nobody said it."""
        return self.column or str(read_manifest(folder).get("settings", {}).get("key") or "")

    def list_outputs(self, folder: UPath) -> list[str]:
        """List the files of a batch with rows, also those that its manifest does not list."""
        return [name for name in sorted(Store(str(folder)).find()) if OUTPUT.search(name)]

    def _search_actuals(self) -> None:
        for entry in load_index(self.store)[0].entries:
            for name, rows in self.find_actuals(entry).items():
                if rows:
                    self.files.append(Found("actuals", self.store.root / FOLDER / name, rows))
                    self.sources[entry.source] = None
        self.files += self.find_left_actuals()

    def find_left_actuals(self) -> list[Found]:
        """Find the files of actual values that a killed run left, so that the index does not name them."""
        known, found = load_index(self.store)[0].names(), []
        for path in (self.store.root / FOLDER / name for name in self.store.names(FOLDER)):
            if path.suffix in (".parquet", ".csv") and path.name not in known and not path.name.startswith("."):
                column = KEY if path.suffix == ".parquet" else ""
                if rows := self.find(path, column):
                    found.append(Found("actuals", path, len(rows)))
        return found

    def find_actuals(self, entry: Entry) -> dict[str, int]:
        """Count the rows of the key in each file of an entry of actual values."""
        if self.column not in ("", entry.settings.get("key")):
            return {}
        damaged = [self._is_damaged(self.store.root / FOLDER / name, facts) for name, facts in entry.files.items()]
        if any(damaged) or (rows := try_rows(self.store, entry)) is None:
            return {}
        counts = {}
        for name in entry.files:
            path = self.store.root / FOLDER / name
            is_rows = name.endswith(".parquet")
            counts[name] = rows.filter(pl.col(KEY).is_in(self.keys)).height if is_rows else len(self.find(path))
        return counts

    def find(self, path: UPath, column: str = "", rows: list[int] | None = None) -> list[Range]:
        """Find the rows of the key in a file of predictions, of rejects, or of the test rows of a snapshot's rows."""
        with fetch(path) as local:
            if path.name == TEST_ROWS:
                return find_rows(local, ["row"], find_by_key("row", set(map(str, rows or ()))))
            if path.suffix == ".csv" and not is_predictions(path.name):
                return find_rows(local, ["value", "raw"], find_rejects(self.keys))
            return find_rows(local, [column], find_by_key(column, self.keys)) if column else []


def forget(search: Search, reason: str) -> Places:
    """Remove the rows of a key from everything where they are; call it again after a crash.

    The log has its line before anything is removed. Snapshots go last, since they say which test rows are of the key.

    Raises:
        UserError: a run writes to one of the batches, or others change the actual values again and again.
    """
    store = search.store
    for folder in [*search.batches, *(version_folder(store, version) for version in search.complete)]:
        finish(folder)
    places = search.run()
    if not places.files:
        return places
    snapshots = [found.path for found in places.files if found.kind == "snapshot"]
    replaced = {path.name.partition(".")[0]: _write_snapshot(store, path, search.hashes) for path in snapshots}
    log_forgotten(store, reason, sum(found.rows for found in places.files), len(places.files), replaced)
    for found in places.files:
        if found.kind == "version":
            version = found.path.parent.name
            find = partial(search.find, rows=search.affected.get(version, []))
            remove_rows(found.path.parent, found.path.name, find)
    for folder in search.batches:
        for name in search.list_outputs(folder):
            remove_rows(folder, name, partial(search.find, column=search.get_column(folder)))
    _forget_actuals(search)
    for path in snapshots:
        store.remove(path)
    return places


def find_hashes(path: UPath, hashes: Hashes) -> list[int]:
    """Find the numbers of a snapshot's rows that have some hashes."""
    with fetch(path) as local:
        records, _ = load_records(local)
        rows: list[int] = np.flatnonzero(np.isin(records[HASH], hashes)).tolist()
        return rows


def _write_snapshot(store: Store, path: UPath, hashes: Hashes) -> dict[str, Any]:
    """Write a snapshot without the rows of some hashes, and describe the change for the log."""
    numbers, scratch = find_hashes(path, hashes), make_temporary("forget-") / path.name
    with fetch(path) as local:
        index = np.setdiff1d(np.arange(len(load_records(local)[0])), numbers)
        if not len(index):
            return {"to": "", "numbers": numbers}
        copy_records(local, scratch, index)
    sha256 = digest_file(scratch)
    with store.writing(dataset_file(store, sha256, SUFFIX)) as file:
        shutil.copyfile(scratch, file)
    scratch.unlink()
    return {"to": sha256, "numbers": numbers}


def _forget_actuals(search: Search) -> None:
    """Replace the index of actual values by one whose files lack the key, then remove the old files.

    Raises:
        UserError: other runs change it again and again.
    """
    store = search.store
    for _ in range(TRIES):
        index, tagged = load_index(store)
        after = Index(entries=[_forget_entry(search, entry) for entry in index.entries])
        if after == index or swap_index(store, tagged, after):
            for left in search.find_left_actuals():
                store.remove(left.path)
            return
    raise make_conflict(store.root / FOLDER)


def _forget_entry(search: Search, entry: Entry) -> Entry:
    """Take the key out of an entry, and measure it again."""
    counts, store = search.find_actuals(entry), search.store
    rows = try_rows(store, entry)
    if rows is None or not any(counts.values()):
        return entry
    left = rows.filter(~pl.col(KEY).is_in(search.keys))
    files = {name: facts for name, facts in entry.files.items() if not counts[name]}
    for name in (name for name, count in counts.items() if count):
        if name.endswith(".parquet"):
            files |= write_rows(store, left)
            continue
        path, target = store.root / FOLDER / name, make_temporary("forget-") / "rejects.csv"
        with fetch(path) as local:
            copy_without(local, target, search.find(path))
        files |= write_file(store, target.read_bytes(), ".rejects.csv")
    known = {result.batch: result for result in entry.results}
    changes = {"files": files, "unmatched": left["batch"].null_count(), "results": measure(store, left, known)}
    return entry.model_copy(update=changes)


def describe(places: Places, removed: bool) -> str:
    """Say in lines where the rows of a key are, or were, and what is left to do."""
    lines = [f"{found.kind:<9} {plural(found.rows, 'row'):>9}  {found.path}" for found in places.files]
    for version in places.versions:
        served = " (champion)" if version == places.champion else ""
        lines.append(f"{version}{served} learned from it or was tested on it, and cannot be reproduced without it.")
    if places.versions:
        lines.append("A retrain makes a version without it, once the source lacks it.")
    lines += [f"Not searched: {reason}." for reason in places.unsearched]
    lines += [f"Not ours to change; a run would read it again: {source}" for source in places.sources]
    if not places.files:
        lines.append("No row of this key was found.")
    elif not removed:
        lines.append("Nothing was removed; to remove these rows, add --yes.")
    else:
        lines.append(f"Removed {plural(sum(found.rows for found in places.files), 'row')}.")
    return "".join(f"{line}\n" for line in lines)
