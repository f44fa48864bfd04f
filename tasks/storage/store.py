"""The model store: every write of the project comes through here, to a disk and to an object store alike.

The one commit rule is "manifest last": a folder does not exist for readers before its `manifest.json` is written.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

from filelock import FileLock
from upath import UPath

from tasks.errors import UserError
from tasks.name import find_store
from tasks.storage.files import Item, Result, make_temporary, map_in_order, sync_folder, to_finite, user_errors

MANIFEST = "manifest.json"
IN_TIME = {"timeout": 300}  # seconds that an object store has for a file or a listing, with all tries
WHOLE = IN_TIME | {"max_concurrency": 1}  # has s3fs get an object at once, and not ask for its size and then for parts
REQUESTS = 32  # that an object store answers at a time
TRIES = 100  # of a change that others get in the way of
SCRATCH = re.compile(r"\.(.+\.[0-9a-f]{8}|probe-[0-9a-f]{6})")  # names of files that a killed run leaves in the store


class Tagged(NamedTuple):
    """A file as it was when it was read."""

    data: bytes | None  # None where there is no file
    tag: str | None  # an object store's ETag


class Found(NamedTuple):
    """What a listing says of a file."""

    at: datetime  # when it last changed
    tag: str  # an object store's ETag, which is another one when the content is; empty on a disk


def digest(data: bytes) -> str:
    """Digest some bytes with sha256, in hex."""
    return hashlib.sha256(data).hexdigest()


def to_json(value: Any) -> bytes:
    """Write readable JSON, with null for a number that is not finite, which JSON does not know."""
    return (json.dumps(to_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def make_conflict(path: UPath) -> UserError:
    """Make the error of a change that others got in the way of, again and again."""
    return UserError(f"{path} is being changed by too many others at once; try again.")


def locate(name: str) -> UPath:
    """Make a path of a name: of a file or folder, or a URL of a bucket.

    A relative name is one of the folder that LINEAR_NEURON_FOLDER names, since runs have a folder of their own; without
    it, of the current folder.

    Raises:
        UserError: a URL of a kind that we can't read, or can't without the S3 client, or one with a password.
    """
    scheme, is_url, rest = name.partition("://")
    if not is_url or scheme == "file":
        path = Path(os.environ.get("LINEAR_NEURON_FOLDER", ""), Path(rest if is_url else name).expanduser()).absolute()
        return UPath(path.resolve() if ".." in path.parts else path)  # What is named after a path must not climb.
    if "@" in rest.partition("/")[0]:  # It would stand in logs, manifests and the names of folders.
        raise UserError(f"A {scheme}:// URL with a user or password can't be used: give one that needs neither.")
    if scheme not in ("s3", "http", "https"):
        raise UserError(f"{name} can't be used: name a file or folder of this machine, or an s3:// or https:// URL.")
    try:
        url = UPath(name, use_listings_cache=False)  # What others write must be seen at once.
        _ = url.fs  # This imports the client; that of http comes with the one of S3.
    except ImportError as error:
        raise UserError(f"{name} needs the S3 client: pip install 'linear-neuron[s3]'.") from error
    return url


def is_local(path: UPath) -> bool:
    """Whether a path is on a disk of this machine, and not in a bucket or behind a URL."""
    return path.protocol in ("", "file")


class Store:
    """Datasets, models and predictions under one root, which is a folder or a URL such as s3://bucket/prefix."""

    def __init__(self, root: str | None = None) -> None:
        name = root or find_store()
        self.root = locate(name)
        if self.root.protocol in ("http", "https"):
            raise UserError(f"{name} can't be written to: name a folder of this machine, or an s3:// URL.")
        self.local = is_local(self.root)
        self._lock = FileLock(f"{self.root.path}/.lock", timeout=60)

    def write(self, path: UPath, data: bytes) -> None:
        """Write a whole file or nothing: a reader, and a crash at any moment, sees the old bytes or the new."""
        with user_errors(path):
            if not self.local:
                path.fs.pipe_file(path.path, data, **IN_TIME)  # An object is there when its one put is complete.
            else:
                with self.writing(path) as scratch:
                    scratch.write_bytes(data)

    @contextmanager
    def writing(self, path: UPath, durable: bool = True) -> Iterator[Path]:
        """Give a local scratch file, which becomes `path` if the block writes it and ends well, and is gone if not."""
        with user_errors(path):
            if self.local:
                folder = Path(path.parent.path)
                folder.mkdir(parents=True, exist_ok=True)
                scratch = folder / f".{path.name}.{secrets.token_hex(4)}"
            else:
                folder = make_temporary()
                scratch = folder / path.name
        try:
            yield scratch
            if not scratch.exists():
                return
            with user_errors(path):
                if not self.local:
                    path.fs.put_file(str(scratch), path.path)
                    return
                if durable:  # Anything else may be lost with the power, so its digest has to be checked.
                    with scratch.open("rb") as file:
                        os.fsync(file.fileno())
                scratch.replace(path.path)
                if durable:
                    sync_folder(folder)
        finally:
            scratch.unlink(missing_ok=True)
            if not self.local:
                shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other processes of this machine from changing what `update` changes; a dead one's lock is freed."""
        if not self.local:
            yield
            return
        with user_errors(self.root):
            Path(self.root.path).mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    def load(self, path: UPath) -> Tagged:
        """Read a file together with what `swap` needs to see whether it has changed since."""
        if self.local:
            return Tagged(self.read(path), None)
        with user_errors(path):
            try:
                return Tagged(tag=path.fs.info(path.path, **IN_TIME)["ETag"], data=path.fs.cat_file(path.path, **WHOLE))
            except FileNotFoundError:
                return Tagged(None, None)

    def swap(self, path: UPath, expected: Tagged, data: bytes) -> bool:
        """Replace a file by `data`, unless it has changed since it was loaded. Returns whether it was replaced.

        On a disk a lock guards the comparison. On an object store the put is conditional on the ETag.
        """
        if self.local:
            with self.exclusive():
                if unchanged := self.read(path) == expected.data:
                    self.write(path, data)
                return unchanged
        condition = {"IfNoneMatch": "*"} if expected.tag is None else {"IfMatch": expected.tag}
        with user_errors(path):
            try:
                path.fs.pipe_file(path.path, data, **condition, **IN_TIME)
            except Exception as error:
                if self.read(path) == data:
                    return True  # Only the reply was lost, and the put was tried again or given up.
                code = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code")
                if code not in ("PreconditionFailed", "ConditionalRequestConflict"):
                    raise
                return False
        return True

    def update(self, path: UPath, change: Callable[[bytes | None], bytes]) -> None:
        """Replace a file by what `change` makes of its bytes (None if it is not there), losing no other update."""
        with self.exclusive():
            for _ in range(TRIES):
                expected = self.load(path)
                data = change(expected.data)
                if data == expected.data or self.swap(path, expected, data):
                    return
        raise make_conflict(path)

    def read(self, path: UPath) -> bytes | None:
        """Read the bytes of a file, by one request so that they are never those of two; None if there is no file."""
        with user_errors(path):
            try:
                return Path(path.path).read_bytes() if self.local else cast(bytes, path.fs.cat_file(path.path, **WHOLE))
            except (FileNotFoundError, NotADirectoryError):
                return None

    def each(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Do work on every item, in order; on an object store many at a time, since each request has to wait."""
        return map(work, items) if self.local else map_in_order(work, items, REQUESTS)

    def names(self, *parts: str) -> list[str]:
        """List what is directly in a folder of the store, by name; nothing where there is no such folder."""
        folder = self.root.joinpath(*parts)
        with user_errors(folder):
            try:
                return sorted(item.name for item in folder.iterdir())
            except (FileNotFoundError, NotADirectoryError):  # The latter is what a prefix without objects is.
                return []

    def find(self, *parts: str, deep: bool = True) -> dict[str, Found]:
        """Find what is beneath a folder of the store, or directly in it, by relative names; on a disk folders, too."""
        folder = self.root.joinpath(*parts)
        wait = {} if self.local else IN_TIME
        with user_errors(folder):
            found = folder.fs.find(folder.path, maxdepth=None if deep else 1, withdirs=True, detail=True, **wait)
        prefix = folder.path.rstrip("/") + "/"
        return {
            name.removeprefix(prefix): Found(
                at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC), info.get("ETag", "")
            )
            for name, info in found.items()
            if (at := info.get("mtime") or info.get("LastModified")) is not None and name.startswith(prefix)
        }

    def remove(self, path: UPath) -> None:
        """Remove a folder or file; of a folder the manifest first, so that nobody reads what is going away."""
        with user_errors(path), suppress(FileNotFoundError):  # Another run may have removed it.
            if (path / MANIFEST).exists():
                (path / MANIFEST).unlink()
            path.fs.rm(path.path, recursive=True)

    def check_writable(self) -> None:
        """Find out before any work whether the work could be kept.

        Raises:
            UserError: the store refuses a write.
        """
        self.write(probe := self.root / f".probe.{secrets.token_hex(4)}", b"")
        with user_errors(probe):
            probe.unlink()
