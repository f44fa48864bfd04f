"""The steps of the actuals flow: which files are new, what they say, what was predicted, and the record of it."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import polars as pl

from tasks.actuals.match import Matches, find_predictions, match_predictions
from tasks.actuals.performance import FOLDER, Entry, Index, load_index, swap_index
from tasks.actuals.record import (
    combine_rows,
    get_settings,
    leave_out,
    make_entry,
    merge_truths,
    start_performance,
)
from tasks.actuals.truths import Truths, read_truths
from tasks.dataset.cleaning import KEY
from tasks.errors import ChangedError, StoreError, UnavailableError, UserError, WorkError
from tasks.parameters import Actuals
from tasks.registry.catalogue import find_champion
from tasks.registry.versions import read_version
from tasks.scoring.plan import digest_input
from tasks.steps import get_logger, is_deployed, task
from tasks.storage.store import Store, Tagged, make_conflict
from tasks.tables.inputs import InputFile, list_files, plural
from tasks.tables.sql import PREFIX


class NewActuals(NamedTuple):
    """What is to be recorded: each file or query, with what it is now."""

    actuals: Actuals  # with key and target
    inputs: dict[str, str]  # path, URL or query -> the file's digest; empty for a query, which is always read
    known: int  # files that are recorded as they are

    @property
    def location(self) -> str:
        """The folder or URL of all actuals in the store."""
        return str(Store().root / FOLDER)


class LookedUp(NamedTuple):
    """What was predicted for the truths, and the index that it is to be added to."""

    table: pl.DataFrame  # the truths of all files
    matches: Matches | None  # None where there are none
    recorded: Index
    tagged: Tagged


@task("Find the actuals", retries=2, timeout_seconds=3600)
def find_actuals(actuals: Actuals) -> NewActuals:
    """Find the files that are not recorded yet, or have changed since.

    Raises:
        UserError: nothing is there, though a deployment's folder may be empty; or no key is known.
    """
    files = [file for text in actuals.inputs if not text.startswith(PREFIX) for file in list_files(text)[1]]
    queries = [text for text in actuals.inputs if text.startswith(PREFIX)]
    if not files and not queries:
        if is_deployed():
            return NewActuals(actuals, {}, 0)
        raise UserError(f"There are no actuals in {', '.join(actuals.inputs)}; put CSV or Parquet files there.")
    store = Store()
    actuals = _resolve(store, actuals)
    settings = get_settings(actuals)
    recorded = {entry.source: entry.input for entry in load_index(store)[0].entries if entry.settings == settings}
    inputs = {file.path: _digest(file) for file in sorted(files, key=lambda file: file.path)}
    new = {path: sha256 for path, sha256 in inputs.items() if recorded.get(path) != sha256 or not sha256}
    get_logger().info("Found %s of actuals, %d of them new", plural(len(inputs) + len(queries), "file"), len(new))
    return NewActuals(actuals, new | dict.fromkeys(queries, ""), len(inputs) - len(new))


def _resolve(store: Store, actuals: Actuals) -> Actuals:
    """Fill in the key and the target from the champion."""
    if actuals.key and actuals.target:
        return actuals
    model = read_version(store, find_champion(store))
    if not (key := actuals.key or str(model.dataset.get("key", ""))):
        raise UserError("Which column names a row is not known; give it, such as --key id.")
    return actuals.model_copy(update={"key": key, "target": actuals.target or model.target})


def _digest(file: InputFile) -> str:
    """Digest a file; reading it later says what is wrong with it."""
    try:
        return "" if file.error else digest_input(file)
    except (UserError, OSError):
        return ""


@task("Read the actuals")
def read_actuals(new: NewActuals) -> tuple[list[Truths], dict[str, UserError]]:
    """Read the new files; also return the errors of those of which nothing can be used."""
    truths, errors = [], {}
    for source in new.inputs:
        try:
            truths.append(read_truths(source, new.actuals))
        except UserError as error:
            errors[source] = error
    return truths, errors


@task("Look up the predictions")
def look_up(new: NewActuals, truths: list[Truths]) -> LookedUp:
    """Find each key's last prediction before its truth was known."""
    store = Store()
    index, tagged = load_index(store)
    if not truths:
        return LookedUp(pl.DataFrame(), None, index, tagged)
    table = merge_truths(store, truths, index, get_settings(new.actuals))
    matches = match_predictions(table, find_predictions(store, new.actuals.predictions), new.actuals.key)
    if not matches.found.any():
        example = f", where keys are such as {matches.example!r}" if matches.example else ""
        get_logger().warning(
            "None of %s, such as %r, was found in a finished batch%s", plural(len(table), "key"), table[KEY][0], example
        )
    if matches.doubled:
        get_logger().warning(
            "%s predicted more than once in one batch; the first row counts", plural(matches.doubled, "key")
        )
    return LookedUp(table, matches, index, tagged)


@task("Record the actuals")
def record(new: NewActuals, truths: list[Truths], errors: dict[str, UserError], found: LookedUp) -> list[Entry]:
    """Keep what the files say and how good the predictions were, in the place of what they said before.

    Raises:
        UserError: another run has recorded actuals meanwhile.
    """
    store, now = Store(), datetime.now(UTC)
    entries = [_start(source, new, now, error=str(error)) for source, error in errors.items() if _is_lasting(error)]
    entries += _record_rows(store, new, truths, now, found)
    after = Index(entries=[*_keep_others(store, found, entries, get_settings(new.actuals)), *entries])
    if entries and not swap_index(store, found.tagged, after):
        raise make_conflict(store.root / FOLDER)
    for name in found.recorded.names() - after.names():
        store.remove(store.root / FOLDER / name)
    return entries


def _record_rows(store: Store, new: NewActuals, truths: list[Truths], now: datetime, found: LookedUp) -> list[Entry]:
    """Write what the files say and what was predicted, each file for itself."""
    if found.matches is None:
        return []
    rows = combine_rows(found.table, found.matches)
    known = {source.name: start_performance(store, source, new.actuals.target) for source in found.matches.batches}
    parts = [rows.filter(pl.col("file") == number) for number in range(len(truths))]
    return [
        make_entry(store, file, own, known, _start(file.source, new, now))
        for file, own in zip(truths, parts, strict=True)
    ]


def _keep_others(store: Store, found: LookedUp, entries: list[Entry], settings: dict[str, Any]) -> list[Entry]:
    """Return what stands of the entries so far: other files, without the keys that are said anew."""
    again = {entry.identity for entry in entries}
    others = [entry for entry in found.recorded.entries if entry.identity not in again]
    if not found.matches:
        return others
    return [leave_out(store, entry, found.table) if entry.settings == settings else entry for entry in others]


def _start(source: str, new: NewActuals, now: datetime, **facts: object) -> Entry:
    known = {"source": source, "input": new.inputs[source], "settings": get_settings(new.actuals), "recorded_at": now}
    return Entry.model_validate({**known, **facts})


def _is_lasting(error: UserError) -> bool:
    """Whether an error is the file's own, so that trying again is of no use before it changes."""
    return not isinstance(error, StoreError | ChangedError | UnavailableError)


@task("Check for failed files")
def check_failures(new: NewActuals, errors: dict[str, UserError]) -> None:
    """End the run as Failed when a file could not be used; the others are recorded all the same.

    Raises:
        WorkError: names the files, and why.
    """
    if errors:
        listed = "; ".join(map(str, list(errors.values())[:5]))
        more = f"; and {len(errors) - 5} more" if len(errors) > 5 else ""
        raise WorkError(f"{len(errors)} of {plural(len(new.inputs), 'file')} of actuals can't be used: {listed}{more}")
