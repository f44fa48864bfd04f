"""Files scored as streams, whatever their size, each one or a range of it whole or not at all."""

import csv
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple, cast

from prefect import unmapped
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tasks.errors import UserError
from tasks.parameters import Batch
from tasks.progress import progress
from tasks.scoring.manifest import WORK, BatchRun, Chunk, FileResult
from tasks.scoring.score import Scored, Scorer
from tasks.steps import get_logger, task
from tasks.storage.files import digest_file, map_in_order, write_file
from tasks.storage.store import Store, digest, is_local, locate, to_json
from tasks.tables.contract import ADDED, TEXT, check_types, find_columns
from tasks.tables.csv import cut_blocks, open_input, read_header
from tasks.tables.parquet import count_rows, open_parquet, read_rows, write_parquet

REJECTS_HEADER = b"line,column,value,reason,raw\n"
THREADS = 3  # blocks that are scored at a time; Polars spreads each over the cores, but not every step of it
OnRead = Callable[[int], None]  # is called with the number of bytes of every read
CONNECTING = 10  # seconds that a cluster has to answer


class Reading(NamedTuple):
    """A part of a file, while it is read and scored."""

    scored: Iterator[Scored]
    header: bytes  # of the prediction file, where it is CSV
    schema: dict[str, Any]  # of it, where it is Parquet
    finish: Callable[[], str]  # reads what is left, and returns the sha256 of the file


@contextmanager
def read_csv(part: Chunk, job: BatchRun, on_read: OnRead) -> Iterator[Reading]:
    """A part of a CSV file. Its predictions have its own line ends, LF or CRLF, and its byte order mark."""
    with open_input(part.source.path) as (stream, _):
        raw, columns = read_header(stream)
    line_end = "\r\n" if raw.endswith(b"\r\n") else "\n"
    scorer = Scorer(
        job, columns, find_columns(columns, job.neuron.features, job.batch.mapping), part.to_csv(job.batch), line_end
    )
    header = b",".join([raw.rstrip(b"\r\n"), *(name.encode() for name in ADDED)]) + line_end.encode()
    with open_input(part.source.path, part.start, part.stop, on_read) as (stream, hashing):
        if not part.start:
            read_header(stream)
        scored = map_in_order(scorer.score_block, cut_blocks(stream, part.line), THREADS)
        yield Reading(scored, header, dict.fromkeys(columns, TEXT) | ADDED, hashing.finish)


@contextmanager
def read_parquet(part: Chunk, job: BatchRun, on_read: OnRead) -> Iterator[Reading]:
    """A part of a Parquet file, which is first copied to the disk where it is behind a URL."""
    with (
        open_input(part.source.path) as (stream, hashing),
        tempfile.NamedTemporaryFile(suffix=".parquet") as copy,
    ):
        path = locate(part.source.path)
        if not is_local(path):
            shutil.copyfileobj(stream, copy)
            copy.flush()
            path = locate(copy.name)
        table, schema = open_parquet(path.path)
        names = find_columns(list(schema), job.neuron.features, job.batch.mapping)
        check_types(schema, names)
        scorer, share = Scorer(job, list(schema), names, part.to_csv(job.batch)), part.size / max(1, count_rows(table))

        def batches() -> Iterator[Any]:
            for rows in read_rows(table, part.start, part.stop):
                yield rows
                on_read(int(share * len(rows)))  # How many bytes they were is anybody's guess.

        scored = map_in_order(scorer.score_batch, batches(), THREADS)
        yield Reading(scored, _csv_line([*schema, *ADDED]), schema | ADDED, hashing.finish)


def score_part(part: Chunk, job: BatchRun, on_read: OnRead = lambda _: None) -> FileResult:
    """Predicts a part of a file: writes its predictions, and its rejects if there are any, whole or not at all.

    Raises:
        UserError: nothing can be predicted, or too much was rejected.
    """
    store, result = Store(job.location), start_result(part)
    to_csv = part.to_csv(job.batch)
    names = f"{part.name}.predictions.{'csv' if to_csv else 'parquet'}", f"{part.name}.rejects.csv"
    read = read_parquet if part.source.kind == "parquet" else read_csv
    with (
        read(part, job, on_read) as reading,
        store.writing(store.root / names[0]) as good_path,
        store.writing(store.root / names[1]) as bad_path,
    ):

        def good() -> Iterator[Any]:
            for scored in reading.scored:
                result.add(scored.counts)
                if scored.bad:
                    with bad_path.open("ab") as file:
                        file.write(scored.bad if file.tell() else REJECTS_HEADER + scored.bad)
                yield scored.good

        if to_csv:
            sha256 = write_file(good_path, chain([] if part.start else [reading.header], chain.from_iterable(good())))
        else:
            write_parquet(good_path, reading.schema, good())
            sha256 = digest_file(good_path)
        if part.stop is None:
            result.sha256 = reading.finish()
            result.check(job.batch.max_rejects)
        elif part.sha256 not in ("", reading.finish()):
            raise UserError("it changed while it was being read; run the batch again")
        result.outputs[names[0]] = {"sha256": sha256, "bytes": good_path.stat().st_size}
        if bad_path.exists():
            result.outputs[names[1]] = {"sha256": digest_file(bad_path), "bytes": bad_path.stat().st_size}
    return result


def start_result(part: Chunk, error: str = "") -> FileResult:
    """A receipt with nothing counted yet."""
    return FileResult(source=part.source, start=part.start, stop=part.stop, sha256=part.file_sha256, error=error)


def _csv_line(names: list[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(names)
    return buffer.getvalue().encode()


@task("Score files")
def score_group(parts: list[Chunk], job: BatchRun) -> list[FileResult]:
    """Scores some parts, one after the other; what goes wrong with one is told in its receipt and stops no other.

    The receipts are kept beside the outputs until the batch has its manifest, so that a killed batch can go on.
    """
    results = []
    more = f" and {len(parts) - 1} more" if len(parts) > 1 else ""
    with progress(f"Scoring {parts[0].source.name}{more}", sum(part.size for part in parts)) as advance:
        for part in parts:
            try:
                results.append(score_part(part, job, advance))
            except Exception as error:  # noqa: BLE001, whatever a file has in store must not stop the others
                if not isinstance(error, UserError):
                    get_logger().exception("%s can't be predicted", part.source.path)
                message = " ".join(str(error).split()) or type(error).__name__
                results.append(start_result(part, message))
    store = Store(job.location)
    name = digest("\n".join(part.name for part in parts).encode())[:16]
    store.write(store.root / WORK / f"{name}.json", to_json([result.model_dump() for result in results]))
    return results


def choose_runner(batch: Batch) -> TaskRunner[Any]:
    """Where the groups are scored. In this process one at a time, since each one uses all cores."""
    if batch.runner == "local":
        return ThreadPoolTaskRunner(max_workers=1)
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError:
        raise UserError("--runner dask needs more packages: pip install 'linear-neuron[dask]'.") from None
    return DaskTaskRunner(address=batch.dask_address or None, client_kwargs={"timeout": CONNECTING})


def score_groups(groups: list[list[Chunk]], job: BatchRun) -> list[FileResult]:
    """Scores the groups where the batch says, and returns the receipts of all their parts, in order.

    Raises:
        UserError: there is no cluster.
    """
    results: list[FileResult] = []
    if not groups:
        return results
    with choose_runner(job.batch) as runner:
        try:
            futures = runner.map(cast(Any, score_group.recorded), {"parts": groups, "job": unmapped(job)})
        except OSError as error:
            message = f"There is no Dask scheduler at {job.batch.dask_address}: {error}"
            raise UserError(f"{message}. Start one, or predict with --runner local.") from error
        for parts, future in zip(groups, futures, strict=True):
            result: Any = future.result(raise_on_failure=False)
            if isinstance(result, BaseException):
                lost = f"the step that scored it was lost ({result})"
                results += [start_result(part, lost) for part in parts]
            else:
                results += result
    return results
