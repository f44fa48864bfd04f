"""A version of the model: begun as a folder, described in `model.json`, completed by its manifest."""

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
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
from tasks.steps import get_logger, task
from tasks.storage.files import describe_file, make_temporary, user_errors
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
    if not store.local:  # One listing, in pages, instead of a request for every version.
        paths = [path.split("/") for path in store.find("models")]
        return sorted(name for name, *rest in paths if rest == [MANIFEST])
    with user_errors(store.root):
        return [name for name in store.names("models") if (version_folder(store, name) / MANIFEST).exists()]


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

    def read(version: str) -> ModelVersion | None:
        try:
            return read_version(store, version)
        except UserError as error:
            _warn(str(error))
            return None

    return store.each(read, versions)


def find_version(store: Store, wanted: str) -> str | None:
    """Find the newest complete version with this fingerprint."""
    versions = list_versions(store)[::-1]
    pairs = zip(versions, read_versions(store, versions), strict=True)
    return next((version for version, model in pairs if model and model.fingerprint == wanted), None)


def will_be_unchanged(store: Store, dataset: Dataset, training: Training, table: ExampleInputs) -> bool:
    """Whether a retrain will find that nothing has changed, where that is known before the rows are read."""
    from tasks.dataset.sources import know_digest  # Its HTTP client takes a while to import, and `models` needs none.

    sha256 = know_digest(dataset)
    training = training.resolve(dataset.is_own)
    return sha256 is not None and find_version(store, fingerprint(sha256, dataset, training, table)) is not None


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
