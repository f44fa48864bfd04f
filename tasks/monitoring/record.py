"""Record actuals: match each value with its prediction, and replace the index that says which files count."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import polars as pl

from linear_neuron.tasks.errors import ChangedError, DamagedError, StoreError, UnavailableError, UserError, WorkError
from linear_neuron.tasks.monitoring.actual_values import ACTUAL, ActualValues, read_actual_values
from linear_neuron.tasks.monitoring.match import NUMBERS, Matches, Source, find_predictions, match_predictions
from linear_neuron.tasks.monitoring.performance import (
    BATCH,
    LABELS,
    Entry,
    Index,
    Performance,
    load_index,
    measure,
    read_field,
    start_performance,
    swap_index,
)
from linear_neuron.tasks.monitoring.recorded_rows import EMPTY, try_rows, write_file, write_rows
from linear_neuron.tasks.parameters import Actuals
from linear_neuron.tasks.registry.actuals_index import FOLDER, begin_index
from linear_neuron.tasks.registry.catalogue import find_champion
from linear_neuron.tasks.registry.versions import read_version
from linear_neuron.tasks.scoring.plan import digest_input
from linear_neuron.tasks.steps import get_logger, is_deployed, task
from linear_neuron.tasks.storage.store import TRIES, Store, Tagged, digest, make_conflict
from linear_neuron.tasks.tables.inputs import InputFile, leave_out_missing, list_files
from linear_neuron.tasks.tables.spec import KEY, KNOWN
from linear_neuron.tasks.tables.sql import PREFIX
from linear_neuron.tasks.text import list_first, plural

LOOKUP_DAYS = 366  # unmatched keys are looked up again for this long after they were recorded
LOOKUP_ROWS = 1_000_000  # unmatched keys that a run looks up again at most, those that have waited longest first
FILE = "file"  # index of a row's file among the new ones; -1 - i is the recorded entry i


class NewActuals(NamedTuple):
    """The files and queries to record."""

    actuals: Actuals  # with key and target
    inputs: dict[str, str]  # path, URL or query -> the file's digest; empty for a query, which is always read
    known: int  # files that are recorded and have not changed
    lookup: bool = False  # whether recorded keys without a prediction are to be looked up again

    @property
    def location(self) -> str:
        """The folder or URL of all actuals in the store."""
        return str(Store().root / FOLDER)


class LookedUp(NamedTuple):
    """The predictions of new values, and of recorded ones that had none, with the index as it was."""

    rows: pl.DataFrame  # KEY, ACTUAL, KNOWN, FILE, BATCH, NUMBERS, early
    batches: list[Source]  # that hold some of the keys
    recorded: Index
    tagged: Tagged
    searched: str  # digest of the list of all prediction files
    at: datetime  # when they were listed


@task("Find the actuals", retries=2, timeout_seconds=3600)
def find_actuals(actuals: Actuals) -> NewActuals:
    """Find the files that are not recorded yet, have changed since, or whose record is damaged.

    Raises:
        UserError: nothing is there, though a deployment's folder may be empty; or no key is known.
    """
    inputs = leave_out_missing(actuals.inputs)
    files = [file for text in inputs if not text.startswith(PREFIX) for file in list_files(text)[1]]
    queries = [text for text in inputs if text.startswith(PREFIX)]
    store = Store()
    index = load_index(store)[0]
    lookup = bool(_list_unmatched(index)) and bool(
        _list_unmatched(index, _name_sources(find_predictions(store, actuals.predictions)))
    )
    if not files and not queries:
        if is_deployed():
            return NewActuals(actuals, {}, 0, lookup)
        raise UserError(f"There are no actuals in {', '.join(actuals.inputs)}; put CSV or Parquet files there.")
    actuals = _resolve(store, actuals)
    settings = get_settings(actuals)
    recorded = {entry.source: entry for entry in index.entries if entry.settings == settings}
    digests = {file.path: _digest(file) for file in sorted(files, key=lambda file: file.path)}
    new = {path: sha256 for path, sha256 in digests.items() if _is_new(store, sha256, recorded.get(path), actuals.by)}
    get_logger().info("Found %s of actuals, %d of them new", plural(len(digests) + len(queries), "file"), len(new))
    return NewActuals(actuals, new | dict.fromkeys(queries, ""), len(digests) - len(new), lookup)


@task("Read the actuals")
def read_actuals(new: NewActuals) -> tuple[list[ActualValues], dict[str, UserError]]:
    """Read the new files; also return the errors of those that can't be used."""
    values, errors = [], {}
    for source in new.inputs:
        try:
            values.append(read_actual_values(source, new.actuals))
        except UserError as error:
            errors[source] = error
    return values, errors


@task("Record the actuals")
def record(
    new: NewActuals, values: list[ActualValues], errors: dict[str, UserError]
) -> tuple[list[Entry], dict[str, UserError]]:
    """Look up what was predicted for each value, and keep both with the realized performance.

    A file that was recorded before is replaced, but never by one that can't be used. Where another run records actuals
    meanwhile, all is looked up again.

    Returns:
        The entries of the new files, and the errors with those of files that must not replace an entry.

    Raises:
        UserError: other runs recorded actuals again and again.
    """
    store, now, written = Store(), datetime.now(UTC), set[str]()
    if values:
        begin_index(store)
    for _ in range(TRIES):
        found = look_up(store, new, values)
        accepted, refused = _refuse_replacements(new, values, found)
        entries = [_make_entry(store, new, now, file, rows, found) for file, rows in accepted]
        entries += _list_failed(new, now, errors, found.recorded)
        after = Index(entries=[*_update_others(store, new, entries, accepted, found), *entries])
        written |= found.recorded.names() | after.names()
        if after == found.recorded:
            break
        if swap_index(store, found.tagged, after):
            for name in written - after.names():
                store.remove(store.root / FOLDER / name)
            break
    else:
        raise make_conflict(store.root / FOLDER)
    return entries, errors | refused


@task("Check for failed files")
def check_failures(new: NewActuals, errors: dict[str, UserError]) -> None:
    """End the run as Failed when a file could not be used; the others are recorded all the same.

    Raises:
        WorkError: names the files, and why.
    """
    if errors:
        listed = list_first(list(errors.values()), 5, "; ")
        raise WorkError(f"{len(errors)} of {plural(len(new.inputs), 'file')} of actuals can't be used: {listed}")


def get_settings(actuals: Actuals) -> dict[str, Any]:
    """Return the parameters that decide how a file of actuals is read."""
    newer = actuals.model_dump(include={"decimal"}, exclude_defaults=True)
    return actuals.model_dump(include={"key", "target", "known_at"}) | newer


def look_up(store: Store, new: NewActuals, values: list[ActualValues]) -> LookedUp:
    """Find the last prediction of each key before its value was known.

    Recorded keys without a prediction are looked up too if the prediction files are others than the last time.
    """
    index, tagged = load_index(store)
    now = datetime.now(UTC)  # Before the predictions are listed: a batch that is found was predicted by then.
    sources = _name_labels(store, find_predictions(store, new.actuals.predictions, now), new.actuals.by)
    searched, tables = _name_sources(sources), dict[str, list[pl.DataFrame]]()
    if values:
        tables[new.actuals.key] = [_merge_values(store, values, index, get_settings(new.actuals), now)]
    for position in _list_unmatched(index, searched):
        entry = index.entries[position]
        if (rows := try_rows(store, entry)) is not None:
            rows = rows.filter(pl.col(BATCH).is_null()).select(KEY, ACTUAL, KNOWN, pl.lit(-1 - position).alias(FILE))
            tables.setdefault(entry.settings.get("key", ""), []).append(rows)
    parts, batches = [], dict[str, Source]()
    for key, found in tables.items():
        matches = match_predictions(table := pl.concat(found), sources, key)
        parts.append(_combine_rows(table, matches))
        batches |= {source.name: source for source in matches.batches}
        _warn_of_matches(parts[-1].filter(pl.col(FILE) >= 0), matches)
    return LookedUp(
        pl.concat(parts) if parts else EMPTY.with_columns(pl.lit(0).alias(FILE)),
        list(batches.values()),
        index,
        tagged,
        searched,
        now,
    )


def _name_labels(store: Store, sources: list[Source], by: list[str]) -> list[Source]:
    """Name in each source the columns by which its rows are cut: the categories of its version, and further ones."""
    names = {version: read_field(store, version, "kinds") or {} for version in {it.version for it in sources}}
    return [
        source._replace(labels=(*(name for name, kind in names[source.version].items() if kind == "category"), *by))
        for source in sources
    ]


def _resolve(store: Store, actuals: Actuals) -> Actuals:
    """Fill in the key and the target from the champion."""
    if actuals.key and actuals.target:
        return actuals
    model = read_version(store, find_champion(store))
    if not (key := actuals.key or str(model.dataset.get("key", ""))):
        raise UserError("Which column names a row is not known; give it, such as --key id.")
    return actuals.model_copy(update={"key": key, "target": actuals.target or model.target})


def _digest(file: InputFile) -> str:
    """Digest a file; empty where it can't be read, which reading it later reports."""
    try:
        return "" if file.error else digest_input(file)
    except (UserError, OSError):
        return ""


def _is_new(store: Store, sha256: str, recorded: Entry | None, by: list[str]) -> bool:
    """Whether a file is to be read: it was not recorded, has changed, lacks a column, or its record is damaged."""
    if not sha256 or recorded is None or recorded.input != sha256 or not set(by) <= set(recorded.by):
        return True
    return try_rows(store, recorded) is None


def _name_sources(sources: list[Source]) -> str:
    """Digest the list of all prediction files, to know whether a lookup can find more than the last one."""
    return digest("\n".join(sorted(f"{source.path} {source.rows}" for source in sources)).encode())[:16]


def _list_unmatched(index: Index, searched: str | None = None) -> list[int]:
    """List the positions of entries that have keys to look up again, within the bounds; always one if there are some.

    With `searched`, those that were looked up among the same prediction files are left out.
    """
    since, rows, positions = datetime.now(UTC) - timedelta(days=LOOKUP_DAYS), 0, list[int]()
    waiting = [
        (entry.searched_at or entry.recorded_at, position)
        for position, entry in enumerate(index.entries)
        if entry.unmatched and entry.recorded_at > since and entry.searched != searched
    ]
    for _, position in sorted(waiting):
        rows += index.entries[position].unmatched
        if positions and rows > LOOKUP_ROWS:
            break
        positions.append(position)
    return positions


def _merge_values(
    store: Store, values: list[ActualValues], index: Index, settings: dict[str, Any], now: datetime
) -> pl.DataFrame:
    """Put the rows of all files in one table; of a key in several, the last file's row counts.

    A value counts as known since the first file that has its key; a later prediction of it predicts nothing.
    """
    parts = [file.table.with_columns(pl.lit(position).alias(FILE)) for position, file in enumerate(values)]
    table = pl.concat(parts).unique(KEY, keep="last", maintain_order=True)
    table = table.with_columns(pl.col(KNOWN).fill_null(_to_microseconds(now)))
    for entry in index.entries:
        if entry.settings == settings and not entry.error:
            if (rows := try_rows(store, entry)) is None:
                same = [position for position, file in enumerate(values) if file.source == entry.source]
                recorded = pl.lit(_to_microseconds(entry.recorded_at))
                earlier = pl.when(pl.col(FILE).is_in(same)).then(pl.min_horizontal(KNOWN, recorded))
                table = table.with_columns(earlier.otherwise(KNOWN).alias(KNOWN))
                continue
            table = table.join(rows.select(KEY, pl.col(KNOWN).alias("before")), KEY, "left", maintain_order="left")
            table = table.with_columns(pl.min_horizontal(KNOWN, "before").alias(KNOWN)).drop("before")
    return table


def _to_microseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000)


def _combine_rows(actual_values: pl.DataFrame, matches: Matches) -> pl.DataFrame:
    """Put actual values and predictions side by side."""
    names = [*(source.name for source in matches.batches), None]  # -1 is the last one.
    numbers = pl.DataFrame(matches.numbers, schema=list(NUMBERS)).fill_nan(None)
    batch = pl.Series(BATCH, [names[index] for index in matches.batch.tolist()], pl.String)
    texts = pl.DataFrame([pl.Series(name, found.tolist(), pl.String) for name, found in matches.labels.items()])
    labels = pl.Series(LABELS, [None] * len(actual_values), pl.String)
    if texts.width:
        labels = texts.select(pl.struct(pl.all()).struct.json_encode().alias(LABELS)).to_series()
    return actual_values.with_columns(batch, *numbers.get_columns(), labels, pl.Series("early", matches.early))


def _warn_of_matches(rows: pl.DataFrame, matches: Matches) -> None:
    """Warn where no key of the new files was predicted, or one more than once in a batch."""
    if len(rows) and rows[BATCH].null_count() == len(rows):
        example = f", where keys are such as {matches.example!r}" if matches.example else ""
        get_logger().warning(
            "None of %s, such as %r, was found in a finished batch%s", plural(len(rows), "key"), rows[KEY][0], example
        )
    if matches.doubled:
        get_logger().warning(
            "%s predicted more than once in one batch; the first row counts", plural(matches.doubled, "key")
        )


def _refuse_replacements(
    new: NewActuals, values: list[ActualValues], found: LookedUp
) -> tuple[list[tuple[ActualValues, pl.DataFrame]], dict[str, UserError]]:
    """Pair each file with its rows; refuse one that matches nothing where another key matched before."""
    recorded = {entry.identity: entry for entry in found.recorded.entries}
    accepted, refused = [], {}
    for position, file in enumerate(values):
        rows = found.rows.filter(pl.col(FILE) == position)
        before = recorded.get((file.source, new.actuals.target))
        if before and before.matched and before.settings != get_settings(new.actuals) and not _count_matched(rows):
            refused[file.source] = UserError(
                f"{file.source}: no key in column {new.actuals.key} was predicted, but {before.matched:,} of its rows "
                f"are recorded by {before.settings.get('key')}; they are kept. Give the column of the key by --key."
            )
        else:
            accepted.append((file, rows))
    return accepted, refused


def _count_matched(rows: pl.DataFrame) -> int:
    return len(rows) - rows[BATCH].null_count()


def _make_entry(
    store: Store, new: NewActuals, now: datetime, file: ActualValues, rows: pl.DataFrame, found: LookedUp
) -> Entry:
    """Write the rows of a file and its rejects into the store, and describe them for the index."""
    files = write_rows(store, rows.drop(FILE, "early"))
    if file.rejects:
        files |= write_file(store, file.rejects, ".rejects.csv")
    return _start(file.source, new, now).model_copy(
        update={
            "rows": file.rows,
            "rejected": file.rejected,
            "replaced": len(file.table) - len(rows),
            "unmatched": rows[BATCH].null_count(),
            "early": _count_early(rows),
            "searched": found.searched,
            "files": files,
            "results": measure(store, rows, _find_expected(store, found.batches, new.actuals.target)),
        }
    )


def _count_early(rows: pl.DataFrame) -> int:
    return int((rows[BATCH].is_null() & rows["early"]).sum())


def _find_expected(store: Store, batches: Iterable[Source], target: str) -> dict[str, Performance]:
    return {source.name: start_performance(store, source, target) for source in batches}


def _list_failed(new: NewActuals, now: datetime, errors: dict[str, UserError], index: Index) -> list[Entry]:
    """Make entries for files that can't be used, so that they are read again only once they have changed.

    A file that was recorded before keeps its entry, and where the error may pass none is needed.
    """
    recorded = {entry.identity for entry in index.entries if not entry.error}
    failed = [_start(source, new, now, error=str(error)) for source, error in errors.items() if _is_lasting(error)]
    return [entry for entry in failed if entry.identity not in recorded]


def _start(source: str, new: NewActuals, now: datetime, **facts: object) -> Entry:
    known = {"source": source, "input": new.inputs[source], "settings": get_settings(new.actuals), "recorded_at": now}
    known["by"] = new.actuals.by
    return Entry.model_validate({**known, **facts})


def _is_lasting(error: UserError) -> bool:
    """Whether an error is the file's own, so that trying again is of no use before it changes."""
    return not isinstance(error, StoreError | ChangedError | UnavailableError | DamagedError)


def _update_others(
    store: Store,
    new: NewActuals,
    entries: list[Entry],
    accepted: list[tuple[ActualValues, pl.DataFrame]],
    found: LookedUp,
) -> list[Entry]:
    """Return the entries of other files: without the keys that the new ones replace, with predictions found since."""
    replaced, settings = {entry.identity for entry in entries}, get_settings(new.actuals)
    later = pl.concat([rows.select(KEY) for _, rows in accepted]) if accepted else EMPTY.select(KEY)
    updated = []
    for position, entry in enumerate(found.recorded.entries):
        if entry.identity in replaced:
            continue
        again = found.rows.filter(pl.col(FILE) == -1 - position)
        gone = later if entry.settings == settings else later.clear()
        updated.append(_update_entry(store, entry, gone, again, found))
    return updated


def _update_entry(store: Store, entry: Entry, gone: pl.DataFrame, again: pl.DataFrame, found: LookedUp) -> Entry:
    """Take keys out of an entry, and add the predictions that were found for the others."""
    if entry.error or (gone.is_empty() and again.is_empty()) or (rows := try_rows(store, entry)) is None:
        return entry
    left = rows.join(gone, on=KEY, how="anti", maintain_order="left")
    changes: dict[str, Any] = {"early": entry.early}
    if len(again):
        again = again.join(left, on=KEY, how="semi", maintain_order="left")
        left = left.update(again.drop(ACTUAL, KNOWN, FILE, "early"), on=KEY)
        changes = {"searched": found.searched, "searched_at": found.at, "early": _count_early(again)}
        if matched := _count_matched(again):
            get_logger().info("%s of %s recorded before now matched", plural(matched, "key"), entry.source)
    unmatched = left[BATCH].null_count()
    changes |= {"unmatched": unmatched, "early": min(changes["early"], unmatched)}
    if not left.equals(rows):
        files = {name: facts for name, facts in entry.files.items() if not name.endswith(".parquet")}
        known = {result.batch: result for result in entry.results}
        known |= _find_expected(
            store, [source for source in found.batches if source.name not in known], entry.settings.get("target", "")
        )
        changes |= {
            "replaced": entry.replaced + len(rows) - len(left),
            "files": files | write_rows(store, left),
            "results": measure(store, left, known),
        }
    return entry.model_copy(update=changes)
