"""What is left to do of a batch, and how it is dealt out to steps."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

from prefect import get_run_logger

from tasks.errors import UserError
from tasks.scoring.manifest import Job, Part, Plan, Receipt, Source
from tasks.steps import step
from tasks.storage.store import locate
from tasks.tables.csv import cut_blocks, open_input, read_header
from tasks.tables.parquet import count_rows, open_parquet

RANGE_BYTES = 32 << 20  # of a large file, on a cluster
RANGE_ROWS = 2_000_000  # the same of Parquet
GROUP_BYTES, GROUP_FILES = 32 << 20, 100  # small files share a step, which costs more than scoring them

LOOKING = 8  # inputs that are looked at at a time, since a bucket answers slowly


def split_source(source: Source) -> list[Part]:
    """Ranges of a large file that can be scored apart, cut between records; any other file is one part.

    A compressed file can only be read from its start, and of remote Parquet each range would have to copy all of it.
    """
    plain = source.path.lower().endswith(".csv")
    if source.size <= 2 * RANGE_BYTES or not (plain or (source.kind == "parquet" and "://" not in source.path)):
        return [whole_source(source)]
    with open_input(source.path) as (stream, meter):
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
        digest = meter.finish()
    stops = [start for start, *_ in cuts[1:]] + [end]
    size = source.size // len(cuts)
    return [
        Part(source=source, start=start, stop=stop, line=line, size=size, sha256=sha256, file_sha256=digest)
        for (start, line, sha256), stop in zip(cuts, stops, strict=True)
    ]


def whole_source(source: Source) -> Part:
    """All of a file as one part."""
    return Part(source=source, size=source.size)


def digest_source(source: Source) -> str:
    """The sha256 of an input as it is now."""
    with open_input(source.path) as (_, meter):
        return meter.finish()


def plan_parts(sources: list[Source], earlier: list[Receipt], job: Job) -> Plan:
    """What is left to score: not what an earlier run of the batch did and what has not changed since."""
    place = locate(job.place)
    done = {(receipt.source.path, receipt.start, receipt.stop): receipt for receipt in earlier if not receipt.error}

    def stands(part: Part) -> Receipt | None:
        receipt = done.get((part.source.path, part.start, part.stop))
        if receipt is None or receipt.source.size != part.source.size:
            return None
        if receipt.sha256 != (part.file_sha256 or digest_source(part.source)):
            return None
        return receipt if all((place / name).exists() for name in receipt.outputs) else None

    def look(source: Source) -> tuple[list[Part], list[Receipt]]:
        if source.error:
            return [], [Receipt(source=source, error=source.error)]
        try:
            if receipt := stands(whole_source(source)):
                return [], [receipt]
            parts = split_source(source) if job.batch.runner == "dask" else [whole_source(source)]
        except (UserError, OSError):
            return [whole_source(source)], []  # Scoring it will tell what is wrong.
        kept = [receipt for part in parts if part.stop is not None and (receipt := stands(part))]
        starts = {receipt.start for receipt in kept}
        return [part for part in parts if part.start not in starts], kept

    with ThreadPoolExecutor(LOOKING) as pool:
        looked = list(pool.map(look, sources))
    here = {source.path for source in sources}
    gone = [receipt for receipt in done.values() if receipt.source.path not in here and receipt.stop is None]
    groups = group_parts([part for parts, _ in looked for part in parts])
    return Plan(groups=groups, kept=[receipt for _, kept in looked for receipt in kept] + gone)


def group_parts(parts: list[Part]) -> list[list[Part]]:
    """Parts in groups of a size that is worth a step."""
    groups: list[list[Part]] = []
    room, size = 0, 0
    for part in parts:
        if not room or size + part.size > GROUP_BYTES:
            groups.append([])
            room, size = GROUP_FILES, 0
        groups[-1].append(part)
        room, size = room - 1, size + part.size
    return groups


@step("Plan the batch")
def plan_batch(sources: list[Source], earlier: list[Receipt], job: Job) -> Plan:
    """Deals the files out to steps, and leaves out what is done already."""
    plan = plan_parts(sources, earlier, job)
    done, left = sum(not receipt.error for receipt in plan.kept), sum(map(len, plan.groups))
    get_run_logger().info(
        "%d files were predicted before, %d parts are left, in %d groups", done, left, len(plan.groups)
    )
    return plan
