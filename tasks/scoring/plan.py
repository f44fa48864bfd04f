"""Find the inputs of a batch, what of them is left to score, and how that is grouped into steps."""

import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

from upath import UPath

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.scoring.done import check_done
from linear_neuron.tasks.scoring.manifest import BatchRun, Chunk, FileResult, leads_out
from linear_neuron.tasks.steps import get_logger, is_deployed, task
from linear_neuron.tasks.storage.files import digest_file
from linear_neuron.tasks.storage.store import QUERIES, Store, digest, is_local, locate
from linear_neuron.tasks.tables.columns import check_texts, name_kind
from linear_neuron.tasks.tables.csv import cut_blocks, read_header
from linear_neuron.tasks.tables.inputs import KNOWN, InputFile, leave_out_missing, list_files
from linear_neuron.tasks.tables.sql import PREFIX, SQL_FILE, find_address, read_query, read_text
from linear_neuron.tasks.tables.stream import open_input
from linear_neuron.tasks.text import plural

RANGE_BYTES = 32 << 20  # of a large file, on a cluster
RANGE_ROWS = 2_000_000  # the same of Parquet
GROUP_BYTES, GROUP_FILES = 32 << 20, 100  # small files share a step, which costs more than scoring them
LOOKING = 8  # inputs that are examined at the same time, since a bucket answers slowly
LONGEST = 200  # bytes of a file's name; the endings of its outputs, and of what becomes one, take the rest of 255


class Inputs(NamedTuple):
    """What a run is asked to predict."""

    root: str  # the folder that all files share, and the queries
    files: list[InputFile]
    scratch: tuple[
        str, ...
    ] = ()  # folders of the store with the saved rows of queries, which are removed after the run


@task("Find the inputs", retries=2, timeout_seconds=3600)
def find_inputs(batch: Batch) -> Inputs:
    """Find the files to predict, and save the rows of the queries as files in the store.

    Raises:
        UserError: there are none; a deployment's inbox may be empty.
    """
    if batch.into:
        find_address(batch.connection)  # Whether there is one is better known before than after all is predicted.
    texts = [text for text in batch.inputs if text.startswith(PREFIX)]
    names = leave_out_missing([text for text in batch.inputs if not text.startswith(PREFIX)])
    root, files = find_sources(names) if names else ("", [])
    queries = [name_query(text, batch.connection) for text in texts]
    taken = [file.name for file in files] + [query.name for query in queries]
    if twice := [query.name for query in queries if taken.count(query.name) > 1]:
        raise UserError(f"Two of the queries are called {twice[0]}; rename the file of one, or the input of that name.")
    if not files and not texts and not is_deployed():
        raise UserError(f"There is no file to predict in {', '.join(batch.inputs)}; put CSV or Parquet files there.")
    if batch.done:
        check_done(batch.done, files)
    scratch = str(Store().root / QUERIES / secrets.token_hex(4))
    try:
        saved = [save_query(query, text, batch.connection, scratch) for query, text in zip(queries, texts, strict=True)]
    except BaseException:
        Store().remove(locate(scratch))
        raise
    files += saved
    get_logger().info("Found %s, %.1f MB", plural(len(files), "file"), sum(source.size for source in files) / 1e6)
    return Inputs(
        "\n".join(filter(None, [root, *(query.origin for query in queries)])), files, (scratch,) if saved else ()
    )


def name_query(source: str, connection: str) -> InputFile:
    """Name a query by its file if it has one, and by its connection and its text from run to run."""
    text, name = read_text(source), source.removeprefix(PREFIX).strip()
    mark = digest(text.encode())[:8]
    stem = PurePosixPath(name).stem if SQL_FILE.fullmatch(name) else f"query-{mark}"
    origin = f"{PREFIX}{connection}/{stem}" if stem.endswith(mark) else f"{PREFIX}{connection}/{stem}-{mark}"
    return InputFile(path="", name=stem, origin=origin)


def save_query(query: InputFile, source: str, connection: str, folder: str) -> InputFile:
    """Run a query and save its rows as a CSV file, which is then predicted like any other.

    Raises:
        UserError: the query fails, or has no rows.
    """
    store, rows, types = Store(), 0, dict[str, set[str]]()
    path = locate(folder) / f"{query.name}.csv"
    with store.writing(path) as scratch, scratch.open("wb") as file:
        for number, table in enumerate(read_query(read_text(source), connection)):
            try:
                check_texts(table.schema, table.columns)
            except UserError as error:
                raise UserError(f"The query on {connection}: {error}; leave it out, or cast it to text.") from None
            file.write(table.write_csv(include_header=number == 0).encode())  # Polars would hide that the disk is full.
            rows += table.height
            for name, dtype in table.schema.items():
                types.setdefault(name, set()).add(name_kind(dtype))
        if not rows:
            raise UserError(f"The query on {connection} returns no rows; there is nothing to predict.")
    get_logger().info("The query on %s returned %s", connection, plural(rows, "row"))
    kinds = {name: (found - {""}).pop() for name, found in types.items() if len(found - {""}) == 1}
    numbers = {name: kind for name, kind in kinds.items() if kind in ("integer", "decimal", "float")}
    return query.model_copy(update={"path": str(path), "size": path.stat().st_size, "types": numbers})


def find_sources(inputs: list[str]) -> tuple[str, list[InputFile]]:
    """Find the folder that all inputs share, and the files in order, each named by its path in it without the suffix.

    Raises:
        UserError: there is nothing at an input.
    """
    listed = [list_files(text) for text in inputs]
    levels = zip(*(location.split("/") for location, _ in listed), strict=False)
    root = "/".join(level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels))
    sources: dict[str, InputFile] = {}
    names: dict[str, str] = {}
    for source in sorted((source for _, files in listed for source in files), key=lambda source: source.path):
        name = _shorten(KNOWN.sub("", source.path.removeprefix(f"{root}/").replace("://", "/")))
        error = source.error
        if names.setdefault(name, source.path) != source.path:
            error = f"its predictions would take the place of those of {names[name]}; rename one of them"
            name = PurePosixPath(source.path).name
        if leads_out(name):
            error = f"its predictions can't be called {name}; rename it or its folder"
            name = f"input-{digest(source.path.encode())[:8]}"
        sources.setdefault(source.path, source.model_copy(update={"name": name, "error": error}))
    return root, list(sources.values())


def _shorten(name: str) -> str:
    """Cut the last part of a name to what leaves room for the endings of its outputs, and mark it by its digest."""
    folder, slash, last = name.rpartition("/")
    if len(last.encode()) <= LONGEST:
        return name
    return f"{folder}{slash}{last.encode()[: LONGEST - 9].decode(errors='ignore')}-{digest(last.encode())[:8]}"


@task("Plan the batch")
def plan_batch(files: list[InputFile], batch_run: BatchRun) -> tuple[list[list[Chunk]], list[FileResult]]:
    """Group what is left to score into steps. Also returns the results of earlier runs that are kept.

    A result is kept too where its input is gone by now.
    """
    with ThreadPoolExecutor(LOOKING) as pool:
        plans = list(pool.map(lambda file: plan_file(file, batch_run), files))
    groups = group_chunks([chunk for chunks, _ in plans for chunk in chunks])
    kept = [result for _, results in plans for result in results]
    here = {file.identity for file in files}
    written = {chunk.source.name for group in groups for chunk in group}  # a.csv writes where a.csv.gz did
    gone = [
        result
        for (name, _, stop), result in batch_run.done.items()
        if name not in here and stop is None and result.source.name not in written
    ]
    kept += [result for result in gone if not result.error and _is_kept(result, batch_run)]
    done, left = sum(result.source.identity in here for result in kept), sum(map(len, groups))
    get_logger().info("%s done before, %s left to score", plural(done, "file"), plural(left, "chunk"))
    return groups, kept


def _is_kept(result: FileResult, batch_run: BatchRun) -> bool:
    """Whether the predictions of an input that is gone are those of its result.

    One without a digest was to be predicted again by a killed run of an older version, which may have written outputs.
    """
    return bool(result.sha256) or _has_outputs(result, locate(batch_run.location), deep=True)


def plan_file(source: InputFile, batch_run: BatchRun) -> tuple[list[Chunk], list[FileResult]]:
    """Return the chunks of a file that are left to score, and the results that are kept."""
    if source.error:
        return [], [FileResult(source=source, error=source.error, lasting=True, reported=False)]
    whole = Chunk(source=source, size=source.size)
    try:
        if result := find_done(whole, batch_run):
            return [], [result]
        chunks = split_file(source) if batch_run.batch.runner == "dask" else [whole]
    except (UserError, OSError):
        return [whole], []  # Scoring the file will say what is wrong with it.
    if chunks == [whole]:
        return chunks, []
    kept = {chunk.start: result for chunk in chunks if (result := find_done(chunk, batch_run))}
    return [chunk for chunk in chunks if chunk.start not in kept], list(kept.values())


def find_done(chunk: Chunk, batch_run: BatchRun) -> FileResult | None:
    """Find the earlier result of a chunk, if the input has not changed since and every output is still there."""
    result = batch_run.done.get((chunk.source.identity, chunk.start, chunk.stop))
    if result is None or result.source.size != chunk.source.size:
        return None
    known = bool(chunk.source.tag) and chunk.source.tag == result.source.tag
    if not known and result.sha256 != (chunk.file_sha256 or digest_input(chunk.source)):
        return None
    # Names come from the plan and never from a record; with the file's tag of today the next run need not read it.
    result = result.model_copy(update={"source": chunk.source})
    if result.error and result.rows and not result.find_excess(batch_run.batch.max_rejects):
        return None  # More rejects are allowed than in the run before.
    # The outputs of a range may not have been synced, or be of another state of the file than its result.
    home = locate(batch_run.location)
    return result if _has_outputs(result, home, deep=result.stop is not None and is_local(home)) else None


def _has_outputs(result: FileResult, home: UPath, deep: bool) -> bool:
    """Whether all outputs are there and have their sizes, or, if `deep`, their digests."""
    outputs = ((home / name, facts) for name, facts in result.outputs.items())
    try:
        if deep:
            return all(digest_file(path) == facts.get("sha256") for path, facts in outputs)
        return all(path.stat().st_size == facts.get("bytes") for path, facts in outputs)
    except FileNotFoundError:
        return False


def digest_input(source: InputFile) -> str:
    """Compute the sha256 of an input as it is now."""
    with open_input(source.path) as (_, hashing):
        return hashing.finish()


def split_file(source: InputFile) -> list[Chunk]:
    """Cut a large file between records into ranges that can be scored apart; any other file is one chunk.

    A compressed file can only be read from its start, and each range of a remote Parquet file would copy all of it.
    """
    plain = source.path.lower().endswith((".csv", ".tsv"))
    if source.size <= 2 * RANGE_BYTES or not (plain or (source.kind == "parquet" and "://" not in source.path)):
        return [Chunk(source=source, size=source.size)]
    with open_input(source.path) as (stream, hashing):
        if plain:
            cuts, end = _cut_csv(stream, source.separators)
        else:
            from linear_neuron.tasks.tables.parquet import count_rows

            end = count_rows(source.path)
            cuts = [(start, 0, "") for start in range(0, end, RANGE_ROWS)]
        digest = hashing.finish()
    stops = [start for start, *_ in cuts[1:]] + [end]
    size = source.size // len(cuts)
    return [
        Chunk(source=source, start=start, stop=stop, line=line, size=size, sha256=sha256, file_sha256=digest)
        for (start, line, sha256), stop in zip(cuts, stops, strict=True)
    ]


def _cut_csv(stream: BinaryIO, separators: str) -> tuple[list[tuple[int, int, str]], int]:
    """Find the first byte and line of each range, the sha256 of it and the header, and where the last one ends."""
    header = read_header(stream, separators)
    ranges, end = [(0, 2, hashlib.sha256(header.raw))], len(header.raw)
    for block in cut_blocks(stream, 2, header.separator):
        if end - ranges[-1][0] >= RANGE_BYTES:
            ranges.append((end, block.line, hashlib.sha256(header.raw)))
        ranges[-1][2].update(block.data)
        end += len(block.data)
    return [(start, line, sha256.hexdigest()) for start, line, sha256 in ranges], end


def group_chunks(chunks: list[Chunk]) -> list[list[Chunk]]:
    """Group chunks to a size that is worth a step."""
    groups: list[list[Chunk]] = []
    room, size = 0, 0
    for chunk in chunks:
        if not room or size + chunk.size > GROUP_BYTES:
            groups.append([])
            room, size = GROUP_FILES, 0
        groups[-1].append(chunk)
        room, size = room - 1, size + chunk.size
    return groups
