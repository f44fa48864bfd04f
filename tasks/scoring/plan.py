"""What is left to do of a batch, and how it is dealt out to steps."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

from tasks.errors import UserError
from tasks.scoring.manifest import BatchRun, Chunk, FileResult, InputFile, Plan
from tasks.steps import get_logger, task
from tasks.storage.store import locate
from tasks.tables.csv import cut_blocks, open_input, read_header
from tasks.tables.parquet import count_rows, open_parquet

RANGE_BYTES = 32 << 20  # of a large file, on a cluster
RANGE_ROWS = 2_000_000  # the same of Parquet
GROUP_BYTES, GROUP_FILES = 32 << 20, 100  # small files share a step, which costs more than scoring them

LOOKING = 8  # inputs that are looked at at a time, since a bucket answers slowly


def split_source(source: InputFile) -> list[Chunk]:
    """Ranges of a large file that can be scored apart, cut between records; any other file is one part.

    A compressed file can only be read from its start, and of remote Parquet each range would have to copy all of it.
    """
    plain = source.path.lower().endswith(".csv")
    if source.size <= 2 * RANGE_BYTES or not (plain or (source.kind == "parquet" and "://" not in source.path)):
        return [whole_source(source)]
    with open_input(source.path) as (stream, hashing):
        if plain:
            raw, _ = read_header(stream)
            ranges = [(0, 2, hashlib.sha256(raw))]  # first byte, first line, digest
            end = len(raw)
            for block in cut_blocks(stream, 2):
                if end - ranges[-1][0] >= RANGE_BYTES:
                    ranges.append((end, block.line, hashlib.sha256()))
                ranges[-1][2].update(block.data)
                end += len(block.data)
            cuts = [(start, line, sha256.hexdigest()) for start, line, sha256 in ranges]
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


def whole_source(source: InputFile) -> Chunk:
    """All of a file as one part."""
    return Chunk(source=source, size=source.size)


def digest_source(source: InputFile) -> str:
    """The sha256 of an input as it is now."""
    with open_input(source.path) as (_, hashing):
        return hashing.finish()


def plan_parts(sources: list[InputFile], earlier: list[FileResult], job: BatchRun) -> Plan:
    """What is left to score: not what an earlier run of the batch did and what has not changed since."""
    location = locate(job.location)
    done = {(result.source.path, result.start, result.stop): result for result in earlier if not result.error}

    def stands(part: Chunk) -> FileResult | None:
        result = done.get((part.source.path, part.start, part.stop))
        if result is None or result.source.size != part.source.size:
            return None
        if result.sha256 != (part.file_sha256 or digest_source(part.source)):
            return None
        return result if all((location / name).exists() for name in result.outputs) else None

    def look(source: InputFile) -> tuple[list[Chunk], list[FileResult]]:
        if source.error:
            return [], [FileResult(source=source, error=source.error)]
        try:
            if result := stands(whole_source(source)):
                return [], [result]
            parts = split_source(source) if job.batch.runner == "dask" else [whole_source(source)]
        except (UserError, OSError):
            return [whole_source(source)], []  # Scoring it will tell what is wrong.
        kept = [result for part in parts if part.stop is not None and (result := stands(part))]
        starts = {result.start for result in kept}
        return [part for part in parts if part.start not in starts], kept

    with ThreadPoolExecutor(LOOKING) as pool:
        looked = list(pool.map(look, sources))
    here = {source.path for source in sources}
    gone = [result for result in done.values() if result.source.path not in here and result.stop is None]
    groups = group_parts([part for parts, _ in looked for part in parts])
    return Plan(groups=groups, kept=[result for _, kept in looked for result in kept] + gone)


def group_parts(parts: list[Chunk]) -> list[list[Chunk]]:
    """Parts in groups of a size that is worth a step."""
    groups: list[list[Chunk]] = []
    room, size = 0, 0
    for part in parts:
        if not room or size + part.size > GROUP_BYTES:
            groups.append([])
            room, size = GROUP_FILES, 0
        groups[-1].append(part)
        room, size = room - 1, size + part.size
    return groups


@task("Plan the batch")
def plan_batch(sources: list[InputFile], earlier: list[FileResult], job: BatchRun) -> Plan:
    """Deals the files out to steps, and leaves out what is done already."""
    plan = plan_parts(sources, earlier, job)
    done, left = sum(not result.error for result in plan.kept), sum(map(len, plan.groups))
    get_logger().info("%d files were predicted before, %d parts are left, in %d groups", done, left, len(plan.groups))
    return plan
