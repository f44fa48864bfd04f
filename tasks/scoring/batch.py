"""A batch as a whole: where its outputs stand, what its manifest says, and what people are told."""

import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from upath import UPath

from tasks.errors import UserError
from tasks.parameters import Batch
from tasks.registry.champion import read_champion
from tasks.registry.versions import read_version
from tasks.scoring.manifest import WORK, BatchRun, Counts, FileResult, Manifest, Plan
from tasks.steps import get_logger, task
from tasks.storage.files import digest_file, write_file
from tasks.storage.store import MANIFEST, Store, digest, is_local, locate, to_json
from tasks.tables.parquet import join_parquet

CHUNK = 4 << 20  # bytes of a piece that are read at a time
EARLIER = "0.json"  # receipts of earlier runs; by its name they are read before the newer ones


@task("Start the batch")
def start_batch(batch: Batch, root: str) -> tuple[BatchRun, list[FileResult]]:
    """The batch of this model, this folder of inputs and these settings, and what of it is done already.

    Its folder's name starts with the version, so that another champion writes to a place of its own.

    Raises:
        UserError: there is no model, or nothing can be written.
    """
    store = Store()
    champion = read_champion(store)
    if champion is None:
        raise UserError(f"{store.root} has no champion yet; make one by: linear-neuron retrain")
    neuron = read_version(store, champion.version)
    settings = batch.model_dump(include={"format", "columns", "interval"})
    name = f"{neuron.version}-{digest(to_json([root, settings]))[:8]}"
    home = Store(str(locate(batch.output) / name if batch.output else store.root / "predictions" / name))
    home.check_writable()
    job = BatchRun(location=str(home.root), batch=batch, neuron=neuron)
    get_logger().info("Predicting with %s into %s", neuron.version, job.location)
    return job, read_results(home.root)


def read_manifest(location: str) -> Manifest:
    """The manifest of a complete batch."""
    return Manifest.model_validate_json((locate(location) / MANIFEST).read_bytes())


def read_results(location: UPath) -> list[FileResult]:
    """What was done in a batch's folder: by its manifest, and by the steps of runs that did not get so far."""
    results = []
    if (location / MANIFEST).exists():
        results = read_manifest(str(location)).inputs
    if (location / WORK).exists():
        for path in sorted((location / WORK).glob("*.json")):
            results += [FileResult.model_validate(item) for item in json.loads(path.read_bytes())]
    return results


def invalidate_manifest(plan: Plan, earlier: list[FileResult], job: BatchRun) -> None:
    """Takes the manifest away before a file that it names is made again, so that it never says what is not so.

    What it knew stands with the receipts of the steps, for whoever finishes the batch.
    """
    again = {part.source.path for group in plan.groups for part in group}
    if not any(result.outputs and result.stop is None and result.source.path in again for result in earlier):
        return
    home = Store(job.location)
    home.write(home.root / WORK / EARLIER, to_json([result.model_dump() for result in earlier]))
    (home.root / MANIFEST).unlink(missing_ok=True)


def join_ranges(parts: list[FileResult], job: BatchRun) -> FileResult:
    """The receipt of a file of which these are all ranges, whose outputs are put together."""
    parts = sorted(parts, key=lambda part: part.start)
    errors = [part.error for part in parts if part.error]
    joined = FileResult(source=parts[0].source, sha256=parts[0].sha256, error=errors[0] if errors else "")
    for part in parts:
        joined.add(part)
    try:
        joined.check(job.batch.max_rejects)
    except UserError as error:
        joined.error = joined.error or str(error)
    if joined.error:
        return FileResult(source=joined.source, error=joined.error)
    home = Store(job.location)
    for kind in (".predictions.csv", ".predictions.parquet", ".rejects.csv"):
        if pieces := [name for part in parts for name in part.outputs if name.endswith(kind)]:
            name = joined.source.name + kind
            with home.writing(home.root / name) as scratch, tempfile.TemporaryDirectory() as folder:
                if kind.endswith("parquet"):
                    local = [_local(home.root / piece, Path(folder) / str(i)) for i, piece in enumerate(pieces)]
                    join_parquet(scratch, local)
                    sha256 = digest_file(scratch)
                else:
                    joint = _read_pieces([home.root / piece for piece in pieces], one_header=kind == ".rejects.csv")
                    sha256 = write_file(scratch, joint)
                joined.outputs[name] = {"sha256": sha256, "bytes": scratch.stat().st_size}
    return joined


def _local(path: UPath, copy: Path) -> Path:
    if is_local(path):
        return Path(path.path)
    path.fs.get_file(path.path, str(copy))
    return copy


def _read_pieces(pieces: list[UPath], *, one_header: bool) -> Iterator[bytes]:
    for location, piece in enumerate(pieces):
        with piece.open("rb") as source:
            if one_header and location:
                source.readline()
            while chunk := source.read(CHUNK):
                yield chunk


@task("Publish the batch")
def publish_batch(job: BatchRun, results: list[FileResult], earlier: list[FileResult]) -> Manifest:
    """Puts ranges together, writes the manifest, and only then removes what it makes superfluous."""
    ranges: dict[str, list[FileResult]] = {}
    for result in results:
        ranges.setdefault(result.source.path, []).append(result)
    files = [parts[0] if parts[0].stop is None else join_ranges(parts, job) for _, parts in sorted(ranges.items())]
    total = Counts()
    for result in files:
        total.add(result)
    home = Store(job.location)
    manifest = Manifest(
        batch=home.root.name,
        version=job.neuron.version,
        created_at=datetime.now(UTC),
        settings=job.batch,
        total=total,
        inputs=files,
        files={name: facts for result in files for name, facts in result.outputs.items()},
    )
    home.write(home.root / MANIFEST, to_json(manifest.model_dump(mode="json")))
    before = {name for result in earlier if result.stop is None for name in result.outputs}
    for name in before - manifest.files.keys():
        (home.root / name).unlink(missing_ok=True)
    if (home.root / WORK).exists():
        (home.root / WORK).fs.rm((home.root / WORK).path, recursive=True)
    return manifest


@task("Check for failed files")
def check_failures(manifest: Manifest, job: BatchRun) -> None:
    """Ends the run as Failed when a file failed; the others are predicted all the same.

    Raises:
        UserError: names the first files that failed, and why.
    """
    if failed := manifest.failed:
        message = "; ".join(f"{result.source.path}: {result.error}" for result in failed[:5])
        more = f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
        raise UserError(
            f"{len(failed)} of {len(manifest.inputs)} files can't be predicted: {message}{more}. See {job.location}."
        )
