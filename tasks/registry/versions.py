"""A version of the model: begun as a folder, described in `model.json`, completed by its manifest."""

import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from upath import UPath

from linear_neuron.tasks.errors import DamagedError, StoreError, UserError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.name import command
from linear_neuron.tasks.parameters import Dataset, ExampleInputs, Training
from linear_neuron.tasks.registry.fingerprint import fingerprint
from linear_neuron.tasks.steps import get_logger, task
from linear_neuron.tasks.storage.files import describe_file, make_temporary, tag_file, user_errors
from linear_neuron.tasks.storage.store import MANIFEST, Store, digest, parse_json, to_json

FILE = "models.json"  # the index of all versions: a copy of what lists show, which may be lost
NAME = re.compile(r"(?!\.+$)[^/\\\0]+")  # a name of a folder, and never a path to one


class Summary(BaseModel):
    """The facts of a version that lists and searches need."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    dataset: str  # sha256 of its rows
    created_at: datetime
    target: str
    features: list[str]
    training: dict[str, Any]
    test: dict[str, Any]  # the metrics of its test rows
    bytes: int


class Row(BaseModel):
    """A version's summary, and the tag that its files had."""

    tag: str
    summary: Summary


ROWS = TypeAdapter(dict[str, Row])
INDEX_FORM = re.compile(rb'\{"sha256":"(?P<sha256>[0-9a-f]{64})","rows":(?P<rows>.*)\}', re.DOTALL)


def read_rows(store: Store) -> dict[str, Row]:
    """Read the index of all versions; empty where it is missing, damaged or of a release that gave it no digest."""
    with suppress(DamagedError, ValidationError):
        data = store.read(store.root / FILE) or b""
        found = INDEX_FORM.fullmatch(data)
        if found and digest(found["rows"]) == found["sha256"].decode():
            return ROWS.validate_json(found["rows"])
    return {}


def write_rows(store: Store, rows: dict[str, Row]) -> None:
    """Write the index with its digest for the next reader; without write access it is left out."""
    data = ROWS.dump_json(rows)
    with suppress(StoreError):
        store.write(store.root / FILE, b'{"sha256":"%b","rows":%b}' % (digest(data).encode(), data))


@dataclass(frozen=True)
class NewVersion:
    """A version that is being made."""

    version: str
    location: str  # the folder or URL of the version
    folder: Path  # the local folder that it is built in
    fingerprint: str  # digest of all that decides the outcome


@dataclass(frozen=True)
class UnchangedVersion:
    """A complete version that training would only repeat."""

    version: str
    location: str  # the folder or URL of the version


def version_folder(store: Store, version: str) -> UPath:
    """Locate the folder of a version."""
    return store.root.joinpath("models", version)


def start_version(store: Store) -> tuple[str, Path]:
    """Name a new version (its UTC start time and six hex digits) and the local folder to build it in.

    On a disk that is the version's own folder: readers ignore it until its manifest exists. Training creates it with
    its first file, so a run that stops before leaves none.
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
    """Find every complete version, oldest first: its name, and a tag that changes with its manifest and its model.

    The tag is empty where a change might not show.
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
    data = store.read(path) if NAME.fullmatch(version) else None
    if data is None:
        known = ", ".join(list_versions(store)[-5:]) or f"none yet, make one with `{command()} retrain`"
        raise UserError(f"{store.root} has no complete version {version!r}; the newest are: {known}.")
    try:
        manifest = parse_json(data, path)
        if manifest["version"] != version:
            raise ValueError("the manifest of another version")
        files = {
            name: {"sha256": str(facts["sha256"]), "bytes": 0, **facts} for name, facts in manifest["files"].items()
        }
        sum(int(facts["bytes"]) for facts in files.values())
    except (DamagedError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DamagedError(
            f"{path} is damaged, so version {version} can't be trusted; restore that file from a copy, or remove "
            f"the version's folder, and promote another version first if this one is the champion."
        ) from error
    return {"version": version, "files": files}


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
        raise DamagedError(f"{path} is not what its manifest says; see: {command()} verify.")
    try:
        return ModelVersion.model_validate_json(data), files
    except ValidationError as error:
        raise UserError(f"{path} can't be read by this release; see: {command()} verify.") from error


@cache
def _warn(message: str) -> None:
    """Log once in a run which version is damaged."""
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
    """Summarize a version; a damaged one is named in the log and is None."""
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

    Unchanged versions are taken from the index, which then gets the rows that it lacked.
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
    from linear_neuron.tasks.dataset.sources import (
        know_digest,
    )  # Its HTTP client takes a while to import, and `models` needs none.

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
    """Name a new version and make the folder that it is built in, unless an existing one would only be repeated.

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
    hold_dataset(store, sha256)
    version, folder = start_version(store)
    return NewVersion(version, str(version_folder(store, version)), folder, wanted)


def find_dataset(store: Store, sha256: str) -> UPath | None:
    """Find the rows with this digest in the store."""
    names = store.names("datasets")
    return next((store.root / "datasets" / name for name in names if name.partition(".")[0] == sha256), None)


def hold_dataset(store: Store, sha256: str) -> None:
    """Have retention keep a dataset that no version names yet, for as long as it keeps unfinished versions.

    Raises:
        DamagedError: it was removed since it was read.
    """
    with store.exclusive():
        if (path := find_dataset(store, sha256)) is None:
            raise DamagedError(f"The dataset {sha256[:12]} was removed since it was read; retrain again.")
        store.refresh(path)


@task("Publish the version", retries=2, retry_delay_seconds=5, timeout_seconds=600)
def publish(version: str, folder: Path) -> None:
    """Complete the version built in the folder with its manifest.

    Raises:
        DamagedError: its dataset was removed, so it could not be reproduced.
    """
    store = Store()
    hold_dataset(store, parse_json((folder / "model.json").read_bytes(), UPath(folder))["dataset"]["sha256"])
    get_logger().info("Published %s", publish_version(store, version, folder))
