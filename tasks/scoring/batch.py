"""A batch as a whole: where its outputs stand, and what its manifest says."""

import json
from datetime import UTC, datetime
from typing import Any

from upath import UPath

from tasks.errors import WorkError
from tasks.parameters import Batch
from tasks.scoring.manifest import WORK, BatchRun, Chunk, FileResult, Manifest, add_up
from tasks.scoring.models import find_models
from tasks.steps import get_logger, is_deployed, task
from tasks.storage.store import MANIFEST, Store, digest, locate, to_json
from tasks.tables.inputs import InputFile, plural

EARLIER = "0.json"  # results of earlier runs; by its name they are read before the newer ones


@task("Start the batch", retries=2, timeout_seconds=600)
def start_batch(batch: Batch, root: str) -> BatchRun:
    """Name the batch of this model, this folder of inputs and these settings, and read what of it is done already.

    The folder's name starts with the version, so that another champion writes to a folder of its own.

    Raises:
        UserError: there is no such model, or nothing can be written.
    """
    store = Store()
    model, shadow = find_models(store, batch)
    name = f"{model.version}-{digest(to_json([root, _list_settings(batch)]))[:8]}"
    home = Store(str(locate(batch.output) / name if batch.output else store.root / "predictions" / name))
    home.check_writable()
    get_logger().info("Predicting with %s into %s", model.version, home.root)
    return BatchRun(location=str(home.root), batch=batch, model=model, shadow=shadow, earlier=read_results(home.root))


def _list_settings(batch: Batch) -> dict[str, Any]:
    """List what decides the outcome; newer options only where they are used, so that older batches keep their names."""
    newer = batch.model_dump(include={"key", "add", "explain", "shadow", "parts"}, exclude_defaults=True)
    return batch.model_dump(include={"format", "columns", "interval"}) | newer


def read_manifest(location: str) -> Manifest:
    """Read the manifest of a complete batch."""
    return Manifest.model_validate_json((locate(location) / MANIFEST).read_bytes())


def read_results(location: UPath) -> list[FileResult]:
    """Read what was done in a batch's folder: from its manifest, and from the steps of runs that did not get so far.

    The files that a damaged one lists are predicted again.
    """
    results: list[FileResult] = []
    for path in [location / MANIFEST, *sorted((location / WORK).glob("*.json"))]:
        try:
            content = json.loads(path.read_bytes())
            items = content["inputs"] if path.name == MANIFEST else content
            results += [FileResult.model_validate(item) for item in items]
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError) as error:
            get_logger().warning(
                "%s is damaged, so the files that it lists are predicted again: %s", path, str(error).splitlines()[0]
            )
    return results


@task("Invalidate the manifest")
def invalidate_manifest(groups: list[list[Chunk]], batch_run: BatchRun) -> None:
    """Delete the manifest before rewriting a file it lists.

    What the manifest said is kept beside the results of the steps, for the run that finishes the batch. The digests
    of what is made again are not, so that it does not stand if this run is killed and the input is as it was before.
    """
    again = {chunk.source.path for group in groups for chunk in group}
    listed = [result for result in batch_run.earlier if result.outputs and result.stop is None]
    if any(result.source.path in again for result in listed):
        home = Store(batch_run.location)
        kept = [_forget(result) if result.source.path in again else result for result in batch_run.earlier]
        home.write(home.root / WORK / EARLIER, to_json([result.model_dump(mode="json") for result in kept]))
        (home.root / MANIFEST).unlink(missing_ok=True)


def _forget(result: FileResult) -> FileResult:
    return result.model_copy(update={"sha256": "", "source": result.source.model_copy(update={"tag": ""})})


@task("Publish the batch")
def publish_batch(results: list[FileResult], files: list[InputFile], batch_run: BatchRun) -> Manifest:
    """Write the manifest of the files' results, and only then remove what is no longer needed."""
    home = Store(batch_run.location)
    manifest = Manifest(
        batch=home.root.name,
        version=batch_run.model.version,
        created_at=datetime.now(UTC),
        settings=batch_run.batch,
        total=add_up(results),
        inputs=results,
        asked=sorted(file.path for file in files),
    )
    home.write(home.root / MANIFEST, to_json(manifest.model_dump(mode="json")))
    before = {name for result in batch_run.earlier for name in result.outputs if not name.startswith(f"{WORK}/")}
    for name in before - manifest.files.keys():
        (home.root / name).unlink(missing_ok=True)
    if (home.root / WORK).exists():
        (home.root / WORK).fs.rm((home.root / WORK).path, recursive=True)
    return manifest


@task("Check for failed files")
def check_failures(manifest: Manifest, batch_run: BatchRun) -> None:
    """End the run as Failed when a file failed; the others are predicted all the same.

    A run of a deployment fails only for a file that is bad for the first time, so that an alert comes once.

    Raises:
        WorkError: names the first files that failed, and why.
    """
    asked = manifest.of_last_run()
    if not (failed := asked.failed):
        return
    listed = "; ".join(f"{result.source.path}: {result.error}" for result in failed[:5])
    more = f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
    counted = f"{len(failed)} of {plural(len(asked.inputs), 'file')} can't be predicted"
    message = f"{counted}: {listed}{more}. See {batch_run.location}."
    known = batch_run.done if is_deployed() else {}
    if any(known.get((result.source.path, result.start, result.stop)) != result for result in failed):
        raise WorkError(message)
    get_logger().warning("As before, %s", message)
