"""A version of the model: begun as a folder, described in `model.json`, completed by its manifest."""

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from upath import UPath

from tasks.errors import UserError
from tasks.model import ModelVersion
from tasks.name import command
from tasks.parameters import Dataset, ExampleInputs, Training
from tasks.registry.fingerprint import fingerprint
from tasks.registry.summaries import Row, Summary, read_rows, write_rows
from tasks.steps import get_logger, task
from tasks.storage.files import describe_file, make_temporary, tag_file, user_errors
from tasks.storage.store import MANIFEST, Store, digest, to_json


@dataclass(frozen=True)
class NewVersion:
    """A version that is being made."""

    version: str
    location: str  # the folder or URL of the version
    folder: Path  # the local folder that it is built in
    fingerprint: str  # digest of all that decides the outcome


@dataclass(frozen=True)
class UnchangedVersion:
    """A complete version that training would only make again."""

    version: str
    location: str  # the folder or URL of the version


def version_folder(store: Store, version: str) -> UPath:
    """Locate the folder of a version."""
    return store.root.joinpath("models", version)


def start_version(store: Store) -> tuple[str, Path]:
    """Name a new version (its UTC start time and six hex digits) and the local folder to build it in.

    On a disk that is the version's own folder: until its manifest stands, readers ignore it. Training makes it when
    there is something to put into it, so that one that is stopped leaves none.
    """
    version = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    if not store.local:
        return version, make_temporary(f"{version}-")
    return version, Path(version_folder(store, version).path)


def publish_version(store: Store, version: str, folder: Path) -> UPath:
    """Complete a version built in `folder`: every file durable first, then the manifest. Returns its location."""
    location = version_folder(store, version)
    files: dict[str, dict[str, Any]] = {}
    with user_errors(location):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            files[name] = describe_file(path)
            if store.local:
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            else:
                store.write(location / name, path.read_bytes())
    store.write(location / MANIFEST, to_json({"version": version, "files": files}))
    if not store.local:
        shutil.rmtree(folder)
    return location


def list_versions(store: Store) -> list[str]:
    """List every complete version, oldest first."""
    return list(find_versions(store))


def find_versions(store: Store) -> dict[str, str]:
    """Find every complete version, oldest first: its name, and a tag that lasts as long as its manifest and model.

    The tag is empty where that can't be told.
    """
    if store.local:
        with user_errors(store.root):
            tags = dict(_tag_files(store))
    else:  # One listing, in pages, instead of a request for every version.
        tags = {path: found.tag for path, found in store.find("models").items()}
    names = sorted(path.partition("/")[0] for path in tags if path.count("/") == 1 and path.endswith(f"/{MANIFEST}"))
    pairs = {name: (tags[f"{name}/{MANIFEST}"], tags.get(f"{name}/model.json", "")) for name in names}
    return {name: " ".join(pair) if all(pair) else "" for name, pair in pairs.items()}


def _tag_files(store: Store) -> Iterator[tuple[str, str]]:
    for path in (f"{name}/{file}" for name in store.names("models") for file in (MANIFEST, "model.json")):
        with suppress(FileNotFoundError, NotADirectoryError):
            yield path, tag_file(f"{store.root.path}/models/{path}")


def read_manifest(store: Store, version: str) -> dict[str, Any]:
    """Read the manifest of a complete version: its `files`, each with `sha256` and `bytes`.

    Raises:
        UserError: there is no such version, it is not complete, or its manifest is damaged.
    """
    path = version_folder(store, version) / MANIFEST
    data = store.read(path) if version else None
    if data is None:
        known = ", ".join(list_versions(store)[-5:]) or f"none yet; make one by: {command()} retrain"
        raise UserError(f"{store.root} has no complete version {version!r}; the newest are: {known}.")
    try:
        manifest = json.loads(data)
        return {"version": manifest["version"], "files": dict(manifest["files"])}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged, so version {version} can't be trusted; restore that file from a copy, or remove "
            f"the version's folder, and promote another version first if this one is the champion."
        ) from error


def read_version(store: Store, version: str) -> ModelVersion:
    """Read the model of a complete version as plain numbers; its bytes are those of the manifest.

    Raises:
        UserError: there is no such version, it is not complete, or it is damaged.
    """
    return read_files(store, version)[0]


def read_files(store: Store, version: str) -> tuple[ModelVersion, dict[str, Any]]:
    """Read the model of a complete version, and what its manifest says of the files."""
    files = read_manifest(store, version)["files"]
    path = version_folder(store, version) / "model.json"
    data = store.read(path)
    if data is None or digest(data) != files.get("model.json", {}).get("sha256"):
        raise UserError(f"{path} is not what its manifest says; see: {command()} verify.")
    try:
        return ModelVersion.model_validate_json(data), files
    except ValidationError as error:
        raise UserError(f"{path} can't be read by this release; see: {command()} verify.") from error


@cache
def _warn(message: str) -> None:
    """Say once in a run which version is damaged."""
    get_logger().warning(message)


def read_versions(store: Store, versions: Sequence[str]) -> Iterator[ModelVersion | None]:
    """Read many versions, in order; a damaged one is named in the log and is None."""
    return store.each(lambda name: found[0] if (found := _read(store, name)) else None, versions)


def _read(store: Store, version: str) -> tuple[ModelVersion, dict[str, Any]] | None:
    try:
        return read_files(store, version)
    except UserError as error:
        _warn(str(error))
        return None


def summarize(store: Store, version: str) -> Summary | None:
    """Read what is asked of many versions at once; a damaged version is named in the log and is None."""
    if (found := _read(store, version)) is None:
        return None
    model, files = found
    return Summary(
        fingerprint=model.fingerprint,
        dataset=model.dataset.get("sha256", ""),
        created_at=model.created_at,
        target=model.target,
        features=model.features,
        training=model.training,
        test=model.metrics.get("test", {}),
        bytes=sum(file.get("bytes", 0) for file in files.values()),
    )


def read_summaries(store: Store, complete: dict[str, str]) -> Iterator[Summary | None]:
    """Summarize the versions that were found, in order; a damaged one is None.

    Those that have not changed since are taken from the file of all, which then gets the rows that it lacked.
    """
    before = read_rows(store)
    rows = {version: row for version, row in before.items() if row.tag and row.tag == complete.get(version)}
    lacking = [version for version in complete if version not in rows]
    found = dict(zip(lacking, store.each(lambda version: summarize(store, version), lacking), strict=True))
    rows |= {
        name: Row(tag=complete[name], summary=summary) for name, summary in found.items() if summary and complete[name]
    }
    if rows != before:
        write_rows(store, rows)
    return (rows[version].summary if version in rows else found[version] for version in complete)


def find_version(store: Store, wanted: str) -> str | None:
    """Find the newest complete version with this fingerprint."""
    complete = find_versions(store)
    summaries = dict(zip(complete, read_summaries(store, complete), strict=True))
    return next((name for name, it in reversed(summaries.items()) if it and it.fingerprint == wanted), None)


def will_be_unchanged(store: Store, dataset: Dataset, training: Training, table: ExampleInputs) -> bool:
    """Whether a retrain will find that nothing has changed, where that is known before the rows are read."""
    from tasks.dataset.sources import know_digest  # Its HTTP client takes a while to import, and `models` needs none.

    if (sha256 := know_digest(dataset)) is None:
        return False
    wanted = fingerprint(sha256, dataset, training.resolve(dataset.is_own), table)
    if not store.local:  # The flow looks again, and listing a bucket twice takes seconds.
        return any(row.summary.fingerprint == wanted for row in read_rows(store).values())
    return find_version(store, wanted) is not None


@task("Begin a version")
def begin(
    sha256: str, dataset: Dataset, training: Training, table: ExampleInputs, force: bool
) -> NewVersion | UnchangedVersion:
    """Name a new version and make the folder that it is built in, unless an existing one would come out again.

    Args:
        sha256: digest of the data.
        force: make a new one in any case.

    Raises:
        UserError: the store can't be written.
    """
    store = Store()
    wanted = fingerprint(sha256, dataset, training, table)
    known = None if force else find_version(store, wanted)
    if known:
        return UnchangedVersion(known, str(version_folder(store, known)))
    store.check_writable()
    version, folder = start_version(store)
    return NewVersion(version, str(version_folder(store, version)), folder, wanted)


@task("Publish the version", retries=2, retry_delay_seconds=5, timeout_seconds=600)
def publish(version: str, folder: Path) -> None:
    """Complete the version built in the folder with its manifest."""
    get_logger().info("Published %s", publish_version(Store(), version, folder))
