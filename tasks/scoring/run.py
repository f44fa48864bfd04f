"""Score files of any size as streams; the outputs of a file, or of a range of one, are written whole or not at all."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tasks.errors import ChangedError, StoreError, UnavailableError, UserError
from tasks.progress import progress
from tasks.scoring.columns import describe_model, find_inputs, list_added
from tasks.scoring.manifest import WORK, BatchRun, Chunk, FileResult
from tasks.scoring.plan import digest_input
from tasks.scoring.score import Scored, Scorer
from tasks.steps import get_logger, task
from tasks.storage.files import describe_file, keep_freed_memory, map_in_order, write_file
from tasks.storage.store import Store, digest, is_local, locate, to_json
from tasks.tables.contract import TEXT, check_names, check_texts, check_types
from tasks.tables.csv import LONGEST_LINE, cut_blocks, extend_header, read_header, write_line
from tasks.tables.parquet import PolarsPanic, count_rows, open_parquet_input, read_rows, write_parquet
from tasks.tables.stream import OnRead, open_input

REJECTS_HEADER = b"line,column,value,reason,raw\n"
THREADS = 2  # blocks that are scored at a time; Polars spreads each over the cores, but not every step of it
MEMORY = 14 << 20  # bytes of CSV that are scored at a time, unless it is one block alone
Group = list[Chunk]


class Reading(NamedTuple):
    """A chunk, while it is read and scored."""

    scored: Iterator[Scored]
    header: bytes  # of the prediction file, where it is CSV
    schema: dict[str, Any]  # of it, where it is Parquet
    finish: Callable[[], str]  # reads what is left, and returns the sha256 of the file


@contextmanager
def read_csv(chunk: Chunk, batch_run: BatchRun, on_read: OnRead) -> Iterator[Reading]:
    """Read a chunk of CSV.

    Its predictions have the file's own line ends, LF or CRLF, its separator and its byte order mark.
    """
    with open_input(chunk.source.path, chunk.start, chunk.stop, on_read) as (stream, hashing):
        first = io.BytesIO(hashing.read_first_line(LONGEST_LINE)) if chunk.start else stream
        raw, columns, separator = read_header(first, chunk.source.separators)
        line_end = "\r\n" if raw.endswith(b"\r\n") else "\n"
        names, added = find_inputs(columns, batch_run), list_added(batch_run)
        if not chunk.to_csv(batch_run.batch):
            check_names(columns)
        scorer = Scorer(batch_run, columns, *names, chunk.to_csv(batch_run.batch), line_end, separator)
        header = extend_header(raw, list(added), separator) + line_end.encode()
        blocks = cut_blocks(stream, chunk.line, separator)
        scored = map_in_order(scorer.score_block, blocks, THREADS, lambda block: len(block.data), MEMORY)
        yield Reading(scored, header, dict.fromkeys(columns, TEXT) | added, hashing.finish)


@contextmanager
def read_parquet(chunk: Chunk, batch_run: BatchRun, on_read: OnRead) -> Iterator[Reading]:
    """Read a chunk of Parquet."""
    with open_parquet_input(chunk.source.path) as (table, schema, hashing):
        names, added = find_inputs(list(schema), batch_run), list_added(batch_run)
        check_names(list(schema))
        check_types(schema, [*names[0], *names[1]])
        check_texts(schema, [batch_run.batch.key] if batch_run.batch.key else [])
        scorer = Scorer(batch_run, list(schema), *names, chunk.to_csv(batch_run.batch))
        row_bytes = chunk.size / max(1, count_rows(table))  # Nobody knows how many bytes a row was; this is the mean.

        def batches() -> Iterator[Any]:
            for rows in read_rows(table, chunk.start, chunk.stop, row_bytes):
                yield rows
                on_read(int(row_bytes * len(rows)))

        scored = map_in_order(scorer.score_batch, batches(), THREADS)
        yield Reading(scored, f"{write_line([*schema, *added])}\n".encode(), schema | added, hashing.finish)


def score_chunk(chunk: Chunk, batch_run: BatchRun, on_read: OnRead = lambda _: None) -> FileResult:
    """Predict a chunk: write its predictions, and its rejects if there are any, whole or not at all.

    Of a file with more rejects than are allowed, only these are written.

    Raises:
        UserError: nothing can be predicted.
    """
    keep_freed_memory()
    store, result = Store(batch_run.location), chunk.new_result()
    to_csv = chunk.to_csv(batch_run.batch)
    names = chunk.output_names(batch_run.batch)
    stays = not chunk.is_joined(batch_run.batch)  # What is joined is synced only then.
    read = read_parquet if chunk.source.kind == "parquet" else read_csv
    with (
        read(chunk, batch_run, on_read) as reading,
        store.writing(store.root / names[0], durable=stays) as good_path,
        store.writing(store.root / names[1], durable=stays) as bad_path,
    ):
        good = _split_off_bad(reading.scored, result, bad_path)
        if to_csv:
            lines = chain([reading.header] if stays or not chunk.start else [], chain.from_iterable(good))
            result.outputs[names[0]] = write_file(good_path, lines, durable=stays)
        else:
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
        result.predicted_at = None if result.error else datetime.now(UTC)
    return result


def _split_off_bad(scored: Iterator[Scored], result: FileResult, bad_path: Path) -> Iterator[Any]:
    """Count rows, write the rejects, and hand on the predictions."""
    for rows in scored:
        result.add(rows.counts)
        if rows.bad:
            with bad_path.open("ab") as file:
                file.write(rows.bad if file.tell() else REJECTS_HEADER + rows.bad)
        yield rows.good


def _explain(error: BaseException, chunk: Chunk, started: datetime) -> FileResult:
    """Make the result of a chunk that failed.

    The error lasts if it is the file's own and not the machine's, and the file has not changed since it was `started`.
    """
    result = chunk.new_result(" ".join(str(error).split()) or type(error).__name__)
    if not isinstance(error, UserError):
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
    """Score some chunks, one after the other; an error in one stands in its result and stops no other.

    The results are kept beside the outputs until the batch has its manifest, so that a killed batch can go on.
    """
    results = []
    more = f" and {len(group) - 1} more" if len(group) > 1 else ""
    with progress(f"Scoring {group[0].source.name}{more}", sum(chunk.size for chunk in group)) as advance:
        for chunk in group:
            started = datetime.now(UTC)
            try:
                results.append(score_chunk(chunk, batch_run, advance))
            except (Exception, PolarsPanic) as error:  # noqa: BLE001, what is wrong with a file must not stop the others
                results.append(_explain(error, chunk, started))
    store = Store(batch_run.location)
    name = digest("\n".join(chunk.output_names(batch_run.batch)[0] for chunk in group).encode())[:16]
    store.write(store.root / WORK / f"{name}.json", to_json([result.model_dump(mode="json") for result in results]))
    return results
