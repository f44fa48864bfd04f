"""Join the outputs of a file's ranges as they come, so that little is left to do once the last range is scored."""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from upath import UPath

from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.scoring.manifest import BatchRun, Chunk, FileResult, describe_model, is_predictions
from linear_neuron.tasks.storage.files import TEMPORARY, describe_file, user_errors
from linear_neuron.tasks.storage.store import Store, is_local
from linear_neuron.tasks.tables.decimals import find_clash

READ_BYTES = 4 << 20  # how much of a range's output is copied at a time
REJECTS = ".rejects.csv"
OUTPUTS = ".predictions.csv", ".predictions.tsv", ".predictions.parquet", REJECTS


def join_results(results: Iterable[FileResult], batch_run: BatchRun) -> Iterator[FileResult]:
    """Yield the result of each file; those of the ranges of one come in order, and no other between them."""
    for _, ranges in groupby(results, key=lambda result: result.source.identity):
        yield join_ranges(ranges, batch_run)


def join_ranges(ranges: Iterable[FileResult], batch_run: BatchRun) -> FileResult:
    """Join the outputs of all ranges of a file, in order, and return its result: the one there is of a whole file.

    Parts stay as they are, but for those of a file that fails.
    """
    others = iter(ranges)
    first = next(others)
    if first.stop is None:
        return first
    joined = FileResult(source=first.source, sha256=first.sha256, interval_factor=first.interval_factor)
    home, batch, names = batch_run.home, batch_run.batch, list[str]()
    with ExitStack() as stack:
        outputs: dict[str, Output] = {}
        for result in chain([first], others):
            joined.add(result)
            joined.error = joined.error or result.error or find_clash(joined.decimals, result.decimals)
            joined.decimals |= result.decimals
            joined.predicted_at = max(filter(None, (joined.predicted_at, result.predicted_at)), default=None)
            if batch.parts:
                joined.outputs |= result.outputs
                names += Chunk(source=result.source, start=result.start, stop=result.stop).output_names(batch)
            elif not joined.error:
                _append(result, outputs, home, stack)
        return _keep_parts(joined, names, home, batch) if batch.parts else _finish(joined, outputs, batch_run)


def _append(result: FileResult, outputs: dict[str, "Output"], home: Store, stack: ExitStack) -> None:
    for name in result.outputs:
        kind = next(kind for kind in OUTPUTS if name.endswith(kind))
        if kind not in outputs:
            outputs[kind] = Output(home, result.source.name + kind, stack)
        outputs[kind].append(name)


def _finish(joined: FileResult, outputs: dict[str, "Output"], batch_run: BatchRun) -> FileResult:
    """Complete the outputs that count: none of a file that failed, and of one with too many rejects only these."""
    kinds = set(outputs)
    if joined.error:
        joined, kinds = FileResult(source=joined.source, error=joined.error), set()
    elif joined.fail_for_excess(batch_run.batch.max_rejects):
        joined.predicted_at, kinds = None, {REJECTS}
    for kind, output in outputs.items():
        if kind in kinds:
            joined.outputs[output.name] = output.finish(batch_run)
        else:
            output.scratch.unlink(missing_ok=True)
    return joined


def _keep_parts(joined: FileResult, names: list[str], home: Store, batch: Batch) -> FileResult:
    """Remove the parts that do not count, by the same rule; all others have to be there.

    A step that was lost may have written some of `names` that no result lists.
    """
    parts, gone = joined.outputs, set[str]()
    if joined.error:
        joined, gone = FileResult(source=joined.source, error=joined.error), set(names)
    elif joined.fail_for_excess(batch.max_rejects):
        gone = set(filter(is_predictions, parts))
        joined.predicted_at, joined.outputs = None, {name: parts[name] for name in parts if name not in gone}
    for name in gone:
        with user_errors(path := home.root / name):
            path.unlink(missing_ok=True)
    for name in joined.outputs if home.local else ():  # A worker may see another folder, but no other bucket.
        with user_errors(path := home.root / name):
            path.stat()
    return joined


class Output:
    """A file of predictions or rejects, while it is put together."""

    def __init__(self, home: Store, name: str, stack: ExitStack) -> None:
        self.home, self.name, self.path = home, name, home.root / name
        self.parts, self.sha256 = list[UPath](), hashlib.sha256()
        self.scratch = stack.enter_context(home.writing(self.path))

    def append(self, name: str) -> None:
        """Copy a part; of rejects only the first one's header. Parquet waits until all parts are there."""
        self.parts.append(part := self.home.root / name)
        if self.name.endswith("parquet"):
            return
        with user_errors(self.path), part.open("rb") as source, self.scratch.open("ab") as target:
            if self.name.endswith(REJECTS) and len(self.parts) > 1:
                source.readline()
            while data := source.read(READ_BYTES):
                self.sha256.update(data)
                target.write(data)
            target.flush()
            os.fsync(target.fileno())  # Now, while others are scored, and not all at the end.

    def finish(self, batch_run: BatchRun) -> dict[str, Any]:
        """Say of the whole file what manifests keep."""
        if not self.name.endswith("parquet"):
            return {"sha256": self.sha256.hexdigest(), "bytes": self.scratch.stat().st_size}
        from linear_neuron.tasks.tables.parquet import join_parquet

        with user_errors(self.path), tempfile.TemporaryDirectory(prefix=TEMPORARY) as folder:
            local = [_local(part, Path(folder) / str(index)) for index, part in enumerate(self.parts)]
            join_parquet(self.scratch, local, describe_model(batch_run.model))
            return describe_file(self.scratch)


def _local(path: UPath, copy: Path) -> Path:
    if is_local(path):
        return Path(path.path)
    path.fs.get_file(path.path, str(copy))
    return copy
