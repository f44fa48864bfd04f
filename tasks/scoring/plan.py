"""What is left to do of a batch, and how it is grouped into steps."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from upath import UPath

from tasks.errors import UserError
from tasks.scoring.manifest import BatchRun, Chunk, FileResult
from tasks.steps import get_logger, task
from tasks.storage.files import digest_file
from tasks.storage.store import is_local, locate
from tasks.tables.csv import cut_blocks, read_header
from tasks.tables.inputs import InputFile, plural
from tasks.tables.parquet import count_rows, open_parquet
from tasks.tables.stream import open_input

RANGE_BYTES = 32 << 20  # of a large file, on a cluster
RANGE_ROWS = 2_000_000  # the same of Parquet
GROUP_BYTES, GROUP_FILES = 32 << 20, 100  # small files share a step, which costs more than scoring them
LOOKING = 8  # inputs that are examined at the same time, since a bucket answers slowly


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
            end = count_rows(open_parquet(source.path)[0])
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


def digest_input(source: InputFile) -> str:
    """Compute the sha256 of an input as it is now."""
    with open_input(source.path) as (_, hashing):
        return hashing.finish()


def find_done(chunk: Chunk, batch_run: BatchRun) -> FileResult | None:
    """Find the earlier result of a chunk, if the input has not changed since and every output is still there."""
    result = batch_run.done.get((chunk.source.path, chunk.start, chunk.stop))
    if result is None or result.source.size != chunk.source.size:
        return None
    known = bool(chunk.source.tag) and chunk.source.tag == result.source.tag
    if not known and result.sha256 != (chunk.file_sha256 or digest_input(chunk.source)):
        return None
    if not known and not result.error:  # A failure stays as it is, since it is told as a new one where it changes.
        result = result.model_copy(update={"source": chunk.source})  # The next run need not read the file.
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


def plan_file(source: InputFile, batch_run: BatchRun) -> tuple[list[Chunk], list[FileResult]]:
    """Return the chunks of a file that are left to score, and the results that stand already."""
    if source.error:
        return [], [FileResult(source=source, error=source.error, lasting=True)]
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


def _still_stands(result: FileResult, batch_run: BatchRun) -> bool:
    """Whether the predictions of an input that is gone are those of its result.

    One without a digest was to be made again by a run that was killed, which may have written some of its outputs.
    """
    return bool(result.sha256) or _has_outputs(result, locate(batch_run.location), deep=True)


@task("Plan the batch")
def plan_batch(files: list[InputFile], batch_run: BatchRun) -> tuple[list[list[Chunk]], list[FileResult]]:
    """Group what is left to score into steps. Also returns the results of earlier runs that stand.

    A result stands too where its input is gone by now: its predictions are kept.
    """
    with ThreadPoolExecutor(LOOKING) as pool:
        plans = list(pool.map(lambda file: plan_file(file, batch_run), files))
    groups = group_chunks([chunk for chunks, _ in plans for chunk in chunks])
    kept = [result for _, results in plans for result in results]
    here = {file.path for file in files}
    gone = [result for (path, _, stop), result in batch_run.done.items() if path not in here and stop is None]
    kept += [result for result in gone if not result.error and _still_stands(result, batch_run)]
    done, left = sum(result.source.path in here for result in kept), sum(map(len, groups))
    get_logger().info("%s done before, %s left to score", plural(done, "file"), plural(left, "chunk"))
    return groups, kept
