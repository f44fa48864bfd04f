"""A batch as a whole: begin it, keep its manifest right at every moment, and end it."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from upath import UPath

from linear_neuron.tasks.errors import StoreError, UserError, WorkError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.registry.catalogue import find_champion
from linear_neuron.tasks.registry.interval_factors import read_factor, widen_interval
from linear_neuron.tasks.registry.versions import read_version
from linear_neuron.tasks.scoring.expression import find_means
from linear_neuron.tasks.scoring.manifest import OLDER, WORK, BatchRun, Chunk, Counts, FileResult, Manifest, add_up
from linear_neuron.tasks.scoring.plan import Inputs
from linear_neuron.tasks.steps import get_logger, is_deployed, task
from linear_neuron.tasks.storage.files import digest_file, lock_folder, user_errors
from linear_neuron.tasks.storage.store import MANIFEST, Store, digest, is_local, locate, to_json
from linear_neuron.tasks.tables.inputs import InputFile
from linear_neuron.tasks.text import list_first, plural

WAITING = 600  # seconds that a run waits for another one of the same batch


def find_models(store: Store, batch: Batch) -> tuple[ModelVersion, ModelVersion | None]:
    """Find the version that predicts, and its shadow if there is to be one.

    Raises:
        UserError: there is none, or it can't do what is asked.
    """
    if batch.model and batch.as_of:
        raise UserError("Name a version by --model or a day by --as-of, and not both.")
    model = read_version(store, batch.model or find_champion(store, batch.as_of))
    shadow = _find_shadow(store, batch, model)
    columns = list(dict.fromkeys([*model.kinds, *(shadow.kinds if shadow else [])]))
    if unknown := [name for name in batch.mapping if name not in columns]:
        readers = f"{model.version} does not read; it reads" if not shadow else "neither version reads; they read"
        raise UserError(f"--columns names {', '.join(unknown)}, which {readers} {', '.join(columns)}.")
    if batch.explain != "none":
        find_means(model)
    return model, shadow


def _find_shadow(store: Store, batch: Batch, model: ModelVersion) -> ModelVersion | None:
    if not batch.shadow:
        if "shadow" in batch.add:
            raise UserError("--add shadow needs a version that predicts beside the model; name one by --shadow.")
        return None
    shadow = read_version(store, batch.shadow)
    if shadow.target != model.target:
        raise UserError(
            f"The shadow {shadow.version} predicts {shadow.target} and {model.version} {model.target}, so they can't "
            "be compared; name another by --shadow."
        )
    return shadow


@contextmanager
def open_batch(batch: Batch, inputs: Inputs) -> Iterator[BatchRun]:
    """Begin a run of a batch, while no other run of this machine writes to it; in the end remove the saved queries.

    Raises:
        UserError: there is no such model, or nothing can be written, or another run is going on for too long.
    """
    try:
        batch_run = start_batch(batch, inputs.root)
        with _keep_others_out(batch_run.location):
            with user_errors(batch_run.home.root):
                batch_run = read_earlier(batch_run)
            yield batch_run
    finally:
        for folder in inputs.scratch:
            Store().remove(locate(folder))


@contextmanager
def _keep_others_out(location: str) -> Iterator[None]:
    """Wait until no other run writes to the folder; runs of one bucket merge what they publish instead."""
    if not is_local(locate(location)):
        yield
        return
    with ExitStack() as stack:
        with user_errors(locate(location)):
            try:
                say = partial(
                    get_logger().warning, "Another run writes to %s; this one goes on when it has ended", location
                )
                stack.enter_context(lock_folder(Path(location), WAITING, say))
            except TimeoutError:
                raise UserError(
                    f"Another run has been writing to {location} for {WAITING // 60} minutes; predict again when it "
                    "has ended."
                ) from None
        yield


@task("Start the batch", retries=2, timeout_seconds=600)
def start_batch(batch: Batch, root: str) -> BatchRun:
    """Name the batch of this model, these inputs and these settings, and make sure that its folder can be written to.

    The folder's name starts with the version, so that another champion writes to a folder of its own.

    Raises:
        UserError: there is no such model, or nothing can be written.
    """
    store = Store()
    model, shadow = find_models(store, batch)
    name = f"{model.version}-{digest(to_json([root, _list_settings(batch)]))[:8]}"
    home = Store(str(locate(batch.output) / name if batch.output else store.root / "predictions" / name))
    _check_output(home, batch.output)
    get_logger().info("Predicting with %s into %s", model.version, home.root)
    factor = read_factor(store, model.version, batch.interval) if batch.interval_follow == "actuals" else 1.0
    model = widen_interval(model, factor)
    return BatchRun(location=str(home.root), batch=batch, model=model, shadow=shadow, interval_factor=factor)


def _check_output(home: Store, output: str) -> None:
    try:
        home.check_writable()
    except StoreError as error:
        if not output:
            raise
        reason = getattr(error.__cause__, "strerror", None) or str(error.__cause__)
        raise StoreError(f"The output folder {output} can't be written: {reason}. Name another by --output.") from error


def _list_settings(batch: Batch) -> dict[str, Any]:
    """List what decides the outcome; newer options only where they are used, so that older batches keep their names."""
    newer = batch.model_dump(
        include={"key", "add", "explain", "shadow", "parts", "decimal", "interval_follow"}, exclude_defaults=True
    )
    return batch.model_dump(include={"format", "columns", "interval"}) | newer


def read_manifest(location: str) -> Manifest:
    """Read the manifest of a complete batch."""
    return Manifest.model_validate_json((locate(location) / MANIFEST).read_bytes())


def read_earlier(batch_run: BatchRun) -> BatchRun:
    """Read what was done in the batch's folder: from its manifest, and from the steps of runs that were killed.

    The files that a damaged one lists are predicted again.
    """
    home = batch_run.home.root
    results, replaced = list[FileResult](), list[FileResult]()
    for path in [home / MANIFEST, *sorted((home / WORK).glob("*.json"))]:
        try:
            content = json.loads(path.read_bytes())
            items = content["inputs"] if path.name == MANIFEST else content
            results += [FileResult.model_validate(item) for item in items]
            if path.name == MANIFEST:
                replaced = [FileResult.model_validate(item) for item in content.get("replaced", [])]
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            get_logger().warning(
                "%s is damaged, so the files that it lists are predicted again: %s", path, str(error).splitlines()[0]
            )
    return batch_run.model_copy(update={"earlier": results, "replaced": replaced})


@task("Set older predictions aside")
def set_aside(groups: list[list[Chunk]], kept: list[FileResult], batch_run: BatchRun) -> list[FileResult]:
    """Keep the predictions of inputs that have changed, under other names, and return all results that are so kept.

    So are those of an input that fails now, and those whose names the outputs of another input take.

    The manifest names them there before their files are rewritten, so it is right at every moment, and so is one of
    a run that is killed.
    """
    chunks = [chunk for group in groups for chunk in group]
    again = {chunk.source.identity for chunk in chunks}
    again |= {result.source.identity for result in kept if result.error and not result.outputs}
    names = {chunk.source.name for chunk in chunks}
    done = [
        result
        for (identity, _, stop), result in batch_run.done.items()
        if stop is None and (identity in again or result.source.name in names)
    ]
    moves = [(old, _keep_outputs(old, batch_run.home)) for old in done if old.outputs]
    if moves:
        _change_manifest(batch_run, partial(_move_results, moves=moves))
    return [*batch_run.replaced, *(moved for _, moved in moves if moved)]


def _name_older(result: FileResult) -> str:
    """Name the folder for older outputs by when they were written, and by the input that they are of."""
    at = result.predicted_at.astimezone(UTC) if result.predicted_at else None
    return f"{OLDER}/{at:%Y%m%dT%H%M%S.%fZ}-{result.sha256[:8]}" if at else f"{OLDER}/{result.sha256[:16]}"


def _keep_outputs(old: FileResult, home: Store) -> FileResult | None:
    """Copy the outputs of a result to other names, and return it with these.

    None if there are no predictions, or they are not what the result says, so that there is nothing to keep.
    """
    moved = old.move_to(_name_older(old))
    for name, new in zip(old.outputs, moved.outputs, strict=True):
        if not _has(home.root / new, old.outputs[name]):
            if not old.predictions or not _has(home.root / name, old.outputs[name]):
                return None
            home.copy(home.root / name, home.root / new)
    return moved


def _has(path: UPath, facts: dict[str, Any]) -> bool:
    try:
        return path.stat().st_size == facts.get("bytes") and digest_file(path) == facts.get("sha256")
    except FileNotFoundError:
        return False


def _move_results(manifest: Manifest, moves: list[tuple[FileResult, FileResult | None]]) -> None:
    """Have a manifest name outputs where they were copied to; those that were not, and are rewritten, not at all."""
    listed = {name for result in manifest.replaced for name in result.outputs}
    manifest.replaced += [moved for _, moved in moves if moved and not listed & moved.outputs.keys()]
    old = {result.source.identity: result for result, _ in moves}
    manifest.inputs = [result for result in manifest.inputs if old.get(result.source.identity) != result]
    manifest.total = add_up(manifest.inputs)


def _change_manifest(batch_run: BatchRun, change: Callable[[Manifest], None]) -> None:
    """Change the manifest as it is now, which another run may have changed in a bucket; nothing if there is none."""
    home = batch_run.home

    def rewrite(data: bytes | None) -> bytes:
        manifest = _parse(data) or _begin_manifest(batch_run)
        change(manifest)
        return _write(manifest)

    if home.local:
        home.write(home.root / MANIFEST, rewrite(home.read(home.root / MANIFEST)))
    else:
        home.update(home.root / MANIFEST, rewrite)


def _begin_manifest(batch_run: BatchRun) -> Manifest:
    return Manifest(
        batch=batch_run.home.root.name,
        version=batch_run.model.version,
        created_at=datetime.now(UTC),
        settings=batch_run.batch,
        interval_factor=batch_run.interval_factor,
        total=Counts(),
        inputs=[],
    )


def _parse(data: bytes | None) -> Manifest | None:
    try:
        return Manifest.model_validate_json(data) if data else None
    except ValidationError:
        return None  # It is damaged, which was logged when it was read.


def _write(manifest: Manifest) -> bytes:
    return to_json(manifest.model_dump(mode="json"))


def sum_up(
    results: list[FileResult], replaced: list[FileResult], files: list[InputFile], batch_run: BatchRun
) -> Manifest:
    """Make the manifest of the results of all files, of which the last run was asked for some.

    A query is named in it, and not where its rows are saved while the run lasts.
    """
    results = [result.model_copy(update={"source": result.source.name_origin()}) for result in results]
    asked = sorted(file.identity for file in files)
    known = {"total": add_up(results), "inputs": results, "replaced": replaced, "asked": asked}
    return _begin_manifest(batch_run).model_copy(update=known)


@task("Publish the batch")
def publish_batch(manifest: Manifest, batch_run: BatchRun) -> Manifest:
    """Write the manifest, and only then remove what is no longer needed. Returns it as it is written."""
    home = batch_run.home
    if home.local:  # No other run of this machine writes to the folder.
        home.write(home.root / MANIFEST, _write(manifest))
    else:
        home.update(home.root / MANIFEST, partial(_merge, manifest, batch_run))
    before = {name for result in batch_run.earlier for name in result.outputs if not name.startswith(f"{WORK}/")}
    before |= {name.split("/", 2)[2] for result in batch_run.replaced for name in result.outputs}
    for path in (home.root / name for name in before - manifest.files.keys()):
        if not (home.local and path.is_dir()):  # A folder is not ours; its file's error names it.
            path.unlink(missing_ok=True)
    if (home.root / WORK).exists():
        (home.root / WORK).fs.rm((home.root / WORK).path, recursive=True)
    return manifest


def _merge(manifest: Manifest, batch_run: BatchRun, data: bytes | None) -> bytes:
    """Merge what another run has published meanwhile into a manifest, and write it."""
    if other := _parse(data):
        manifest.merge(other, batch_run.earlier)
    return _write(manifest)


@task("Check for failed files")
def check_files(manifest: Manifest, batch_run: BatchRun) -> None:
    """End the run as Failed when a file failed; the others are predicted all the same.

    A run of a deployment fails only for a file that is bad for the first time, so that an alert comes once.

    Raises:
        WorkError: names the first files that failed, and why.
    """
    asked = manifest.of_last_run()
    if not (failed := asked.failed):
        return
    listed = list_first([f"{result.source.identity}: {result.error}" for result in failed], 5, "; ")
    counted = f"{len(failed)} of {plural(len(asked.inputs), 'file')} can't be predicted"
    message = f"{counted}: {listed.rstrip('.')}. See {batch_run.location}."
    known = {_name_failure(old) for old in batch_run.earlier if old.reported} if is_deployed() else set()
    new = {_name_failure(result) for result in failed} - known
    # A run that was killed before it got here has reported nothing, whatever it has left in the folder.
    _change_manifest(batch_run, partial(_mark_reported, failures={_name_failure(result) for result in failed}))
    if new:
        raise WorkError(message)
    get_logger().warning("As before, %s", message)


def _name_failure(result: FileResult) -> tuple[str, str, str]:
    return result.source.identity, result.sha256, result.error


def _mark_reported(manifest: Manifest, failures: set[tuple[str, str, str]]) -> None:
    for result in manifest.inputs:
        result.reported = result.reported or _name_failure(result) in failures
