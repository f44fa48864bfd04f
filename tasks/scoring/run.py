"""Score files of any size as streams; the outputs of a file, or of a range of one, are written whole or not at all."""

import heapq
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain, repeat
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, cast

from prefect import unmapped
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from linear_neuron.tasks.errors import ChangedError, StoreError, UnavailableError, UserError
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.parameters.base import SIGNED, hide_signatures
from linear_neuron.tasks.process import keep_freed_memory
from linear_neuron.tasks.progress import progress
from linear_neuron.tasks.scoring.join import join_results
from linear_neuron.tasks.scoring.manifest import WORK, BatchRun, Chunk, FileResult, describe_model
from linear_neuron.tasks.scoring.plan import digest_input
from linear_neuron.tasks.scoring.score import Scored, Scorer
from linear_neuron.tasks.steps import get_logger, is_recorded, task, without_tags
from linear_neuron.tasks.storage.files import describe_file, map_in_order, write_file
from linear_neuron.tasks.storage.store import digest, is_local, locate, to_json
from linear_neuron.tasks.tables.columns import check_names, check_texts, check_types
from linear_neuron.tasks.tables.csv import LONGEST_LINE, cut_blocks, extend_header, read_header, write_line
from linear_neuron.tasks.tables.decimals import DecimalMarks
from linear_neuron.tasks.tables.read import find_decimals
from linear_neuron.tasks.tables.rejects import TEXT, PolarsPanic
from linear_neuron.tasks.tables.stream import OnRead, open_input
from linear_neuron.tasks.text import list_first

REJECTS_HEADER = b"line,column,value,reason,raw\n"
THREADS = 2  # blocks that are scored at a time; Polars spreads each over the cores, but not every step of it
MEMORY = 14 << 20  # bytes of CSV that are scored at a time, unless it is one block alone
CONNECTING = 10  # seconds that a cluster has to answer
Group = list[Chunk]


class Reading(NamedTuple):
    """A chunk, while it is read and scored."""

    scored: Iterator[Scored]
    header: bytes  # of the prediction file, where it is CSV
    schema: Any  # of it, where it is Parquet: that of Arrow
    finish: Callable[[], str]  # reads what is left, and returns the sha256 of the file
    decimals: DecimalMarks


@contextmanager
def read_csv(chunk: Chunk, batch_run: BatchRun, on_read: OnRead) -> Iterator[Reading]:
    """Read a chunk of CSV.

    Its predictions have the file's own line ends, LF or CRLF, its separator and its byte order mark.
    """
    with open_input(chunk.source.path, chunk.start, chunk.stop, on_read) as (stream, hashing):
        first = io.BytesIO(hashing.read_first_line(LONGEST_LINE)) if chunk.start else stream
        header = read_header(first, chunk.source.separators)
        raw, columns, separator = header
        line_end = "\r\n" if raw.endswith(b"\r\n") else "\n"
        names, added, schema = batch_run.find_features(columns), batch_run.added, None
        if not chunk.to_csv(batch_run.batch):
            from linear_neuron.tasks.tables.parquet import describe_schema

            check_names(columns)
            schema = describe_schema(dict.fromkeys(columns, TEXT) | added)
        decimals = find_decimals(chunk.source, batch_run.batch.decimal, header, batch_run.list_numbers(*names))
        to_csv, types = chunk.to_csv(batch_run.batch), chunk.source.types
        scorer = Scorer(batch_run, columns, *names, to_csv, line_end, separator, decimals, types)
        line = extend_header(raw, list(added), separator) + line_end.encode()
        blocks = cut_blocks(stream, chunk.line, separator)
        scored = map_in_order(scorer.score_block, blocks, THREADS, lambda block: len(block.data), MEMORY)
        yield Reading(scored, line, schema, hashing.finish, decimals)


@contextmanager
def read_parquet(chunk: Chunk, batch_run: BatchRun, on_read: OnRead) -> Iterator[Reading]:
    """Read a chunk of Parquet. Columns that no version reads pass through, whatever they hold."""
    from linear_neuron.tasks.tables.parquet import extend_schema, open_parquet_input

    batch, to_csv = batch_run.batch, chunk.to_csv(batch_run.batch)
    with open_parquet_input(chunk.source.path) as (table, hashing):
        names, added = batch_run.find_features(table.names), batch_run.added
        types = table.describe_types([*names[0], *names[1], *filter(None, [batch.key])])
        check_types(types, numbers := batch_run.list_numbers(*names))
        check_texts(types, [name for name in types if name not in numbers])
        if to_csv:
            table.check_csv()
        scorer = Scorer(batch_run, table.names, *names, to_csv, decimals=(decimals := DecimalMarks(batch.decimal)))
        row_bytes = chunk.size / max(1, table.rows)  # Nobody knows how many bytes a row was; this is the mean.

        def batches() -> Iterator[Any]:
            for rows in table.read(None, chunk.start, chunk.stop, row_bytes):
                yield rows
                on_read(int(row_bytes * rows.table.num_rows))

        scored = map_in_order(scorer.score_batch, batches(), THREADS)
        header = f"{write_line([*table.names, *added])}\n".encode()
        yield Reading(scored, header, extend_schema(table.schema, added), hashing.finish, decimals)


def score_chunk(chunk: Chunk, batch_run: BatchRun, on_read: OnRead = lambda _: None) -> FileResult:
    """Predict a chunk: write its predictions, and its rejects if there are any, whole or not at all.

    Of a file with more rejects than are allowed, only these are written.

    Raises:
        UserError: nothing can be predicted.
    """
    keep_freed_memory()
    store, result = batch_run.home, chunk.new_result()
    result.interval_factor = batch_run.interval_factor
    to_csv = chunk.to_csv(batch_run.batch)
    names = chunk.output_names(batch_run.batch)
    stays = not chunk.is_joined(batch_run.batch)  # What is joined is synced only then.
    read = read_parquet if chunk.source.kind == "parquet" else read_csv
    with (
        read(chunk, batch_run, on_read) as reading,
        store.writing(store.root / names[0], durable=stays) as good_path,
        store.writing(store.root / names[1], durable=stays) as bad_path,
    ):
        good = _split_off_rejects(reading.scored, result, bad_path)
        if to_csv:
            lines = chain([reading.header] if stays or not chunk.start else [], chain.from_iterable(good))
            result.outputs[names[0]] = write_file(good_path, lines, durable=stays)
        else:
            from linear_neuron.tasks.tables.parquet import write_parquet

            write_parquet(good_path, reading.schema, good, describe_model(batch_run.model))
            result.outputs[names[0]] = describe_file(good_path)
        if chunk.stop is None:
            result.sha256 = reading.finish()
            if result.fail_for_excess(batch_run.batch.max_rejects):
                good_path.unlink()
        elif reading.finish() != (chunk.sha256 or chunk.file_sha256):
            raise ChangedError
        if bad_path.exists():
            result.outputs[names[1]] = describe_file(bad_path)
        result.decimals = reading.decimals.found
        result.predicted_at = None if result.error else datetime.now(UTC)
    return result


def _split_off_rejects(scored: Iterator[Scored], result: FileResult, path: Path) -> Iterator[Any]:
    """Count rows, write the rejects, and hand on the predictions."""
    for rows in scored:
        result.add(rows.counts)
        if rows.rejects:
            with path.open("ab") as file:
                file.write(rows.rejects if file.tell() else REJECTS_HEADER + rows.rejects)
        yield rows.valid


def _explain(error: BaseException, chunk: Chunk, started: datetime) -> FileResult:
    """Make the result of a chunk that failed.

    The error lasts if it is the file's own and not the machine's, and the file has not changed since it was `started`.
    """
    reason = hide_signatures(" ".join(str(error).split())) or type(error).__name__
    result = chunk.new_result(reason)
    if not isinstance(error, UserError):
        if chunk.source.path in SIGNED:  # A traceback may have the signature of its URL.
            get_logger().error("%s can't be predicted: %s", chunk.source.path, reason)
        else:
            get_logger().exception("%s can't be predicted", chunk.source.path)
    elif chunk.stop is None and not isinstance(error, StoreError | ChangedError | UnavailableError):
        with suppress(OSError, UserError, NotImplementedError):  # Behind http nobody knows when a file changed.
            path = locate(chunk.source.path)
            result.sha256 = digest_input(chunk.source)
            # On a disk `created` says when the file last changed or came to its name, whatever its own time stamp is.
            changed = path.fs.created if is_local(path) else path.fs.modified
            result.lasting = changed(path.path) < started
    return result


@task("Score files")
def score_group(group: Group, batch_run: BatchRun) -> list[FileResult]:
    """Score some chunks, one after the other; an error in one is put into its result and stops no other.

    The results are kept beside the outputs until the batch has its manifest, so that a killed batch can go on.
    """
    results = []
    title = f"Scoring {list_first([chunk.source.name for chunk in group], 1)}"
    with progress(title, sum(chunk.size for chunk in group)) as advance:
        for chunk in group:
            started = datetime.now(UTC)
            try:
                results.append(score_chunk(chunk, batch_run, advance))
            except (Exception, PolarsPanic) as error:  # noqa: BLE001, what is wrong with a file must not stop the others
                results.append(_explain(error, chunk, started))
    store = batch_run.home
    name = digest("\n".join(chunk.output_names(batch_run.batch)[0] for chunk in group).encode())[:16]
    store.write(store.root / WORK / f"{name}.json", to_json([result.model_dump(mode="json") for result in results]))
    return results


def score_groups(groups: list[Group], kept: list[FileResult], batch_run: BatchRun) -> list[FileResult]:
    """Score the groups where the batch says, and join the ranges of a file as they come.

    Args:
        groups: what is left to score, in the order of the files' paths.
        kept: results of earlier runs that are kept.
        batch_run: the batch.

    Returns:
        The results of all files, in the order of their paths.

    Raises:
        UserError: there is no cluster, or what it wrote can't be joined.
    """
    # Workers need not know what is done; a copy of `batch_run` would keep what it has cached.
    todo = BatchRun(
        location=batch_run.location,
        batch=batch_run.batch,
        model=batch_run.model,
        shadow=batch_run.shadow,
        interval_factor=batch_run.interval_factor,
    )
    by_position = attrgetter("position")
    scored = chain.from_iterable(map(_take_outcome, groups, _run_groups(groups, todo)))
    return list(join_results(heapq.merge(sorted(kept, key=by_position), scored, key=by_position), batch_run))


def _take_outcome(group: Group, outcome: list[FileResult] | BaseException) -> list[FileResult]:
    """Return the results of a group, or that the step was lost."""
    if not isinstance(outcome, BaseException):
        return outcome
    return [chunk.new_result(f"the step that scored it was lost ({outcome})") for chunk in group]


@contextmanager
def _cluster_errors(batch: Batch) -> Iterator[None]:
    """Turn what a cluster may refuse into one sentence."""
    try:
        yield
    except (ImportError, OSError, ValueError, OverflowError) as error:
        if batch.runner == "local":
            raise
        if isinstance(error, ImportError):
            raise UserError("--runner dask needs more packages: pip install 'linear-neuron[dask]'.") from None
        message = f"There is no Dask scheduler at {batch.dask_address}: {error}"
        raise UserError(f"{message}. Start one, or predict with --runner local.") from error


def _disable_profiles() -> None:
    """Disable the profiles of workers in a cluster that is started here.

    For a profile Dask looks at the frames of other threads, which may lock up Python 3.11 before 3.11.9 for ever
    (CPython issue 106883). Workers that are started elsewhere have settings of their own.
    """
    import dask

    dask.config.set({"distributed.worker.profile.enabled": False})


def _run_groups(groups: list[Group], batch_run: BatchRun) -> Iterator[list[FileResult] | BaseException]:
    """Run a step a group, and yield its results or the error that it was lost by, in order and as soon as may be.

    In this process one at a time, since each one uses all cores.
    """
    address = batch_run.batch.dask_address or None
    if not groups:
        return
    if batch_run.batch.runner == "local" and not is_recorded():
        yield from map(score_group, groups, repeat(batch_run))
        return
    with _cluster_errors(batch_run.batch):
        if batch_run.batch.runner == "dask":
            _disable_profiles()
        if not is_recorded():
            from distributed import Client

            # As the default, a client that found no scheduler would be taken for that of the next run.
            with Client(address, timeout=CONNECTING, set_as_default=False) as client:  # type: ignore[no-untyped-call]
                futures = client.map(score_group.fn, groups, batch_run=batch_run, pure=False)
                yield from (future.exception() or future.result() for future in futures)
            return
        runner: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=1)
        if batch_run.batch.runner == "dask":
            from prefect_dask.task_runners import DaskTaskRunner

            runner = DaskTaskRunner(address=address, client_kwargs={"timeout": CONNECTING, "set_as_default": False})
        with runner, without_tags():
            runs = runner.map(cast(Any, score_group.recorded), {"group": groups, "batch_run": unmapped(batch_run)})
            yield from (cast(Any, run.result(raise_on_failure=False)) for run in runs)
