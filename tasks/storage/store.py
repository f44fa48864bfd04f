"""The model store: every write of the project goes through here, to a disk or to an object store.

The one commit rule is "manifest last": a folder does not exist for readers until its `manifest.json` is written.
"""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

import pydantic_core
from filelock import FileLock
from upath import UPath

from linear_neuron.tasks.errors import DamagedError, UserError
from linear_neuron.tasks.name import find_store
from linear_neuron.tasks.parameters.base import SIGNED
from linear_neuron.tasks.storage.files import (
    IS_FOLDER,
    Item,
    Result,
    make_temporary,
    map_in_order,
    sync_folder,
    user_errors,
)

MANIFEST = "manifest.json"
QUERIES = "queries"  # folder of the store for the rows of queries while a run predicts them
IN_TIME = {"timeout": 300}  # seconds that an object store has for a file or a listing, with all tries
WHOLE = IN_TIME | {
    "max_concurrency": 1
}  # makes s3fs get an object in one request, instead of asking for its size and then for parts
REQUESTS = 32  # that an object store answers at a time
TRIES = 100  # of a change that other processes may prevent
SCRATCH = re.compile(r"\.(.+\.[0-9a-f]{8}|probe-[0-9a-f]{6})")  # names of files that a killed run leaves in the store


class Tagged(NamedTuple):
    """A file as it was when it was read."""

    data: bytes | None  # None where there is no file
    tag: str | None  # an object store's ETag


class Found(NamedTuple):
    """A file in a listing."""

    at: datetime  # when it last changed
    tag: str  # an object store's ETag, which changes with the content; empty on a disk


def digest(data: bytes) -> str:
    """Digest some bytes with sha256, in hex."""
    return hashlib.sha256(data).hexdigest()


def to_json(value: Any) -> bytes:
    """Write readable JSON, with null for a number that is not finite, which JSON does not know."""
    return pydantic_core.to_json(value, indent=2, inf_nan_mode="null") + b"\n"


def parse_json(data: bytes, path: UPath) -> dict[str, Any]:
    """Parse the JSON object that a file of the store holds.

    Raises:
        DamagedError: the bytes are no JSON, another value than an object, or nested too deep.
    """
    try:
        value = pydantic_core.from_json(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise DamagedError(f"{path} is damaged; restore it from a copy, or remove it.")
    return value


def make_conflict(path: UPath) -> UserError:
    """Make the error for a change that other processes prevented, again and again."""
    return UserError(f"{path} is being changed by too many others at once; try again.")


def locate(name: str) -> UPath:
    """Make a path of a name: of a file or folder, or a URL of a bucket.

    A relative name is one of the folder or URL that LINEAR_NEURON_FOLDER names, since runs have a folder of their own;
    without it, of the current folder.

    Raises:
        UserError: a URL of a kind that we can't read, or can't without the S3 client, or one with a password.
    """
    scheme, is_url, rest = name.partition("://")
    if not is_url or scheme == "file":
        folder = os.environ.get("LINEAR_NEURON_FOLDER", "")
        if "://" in folder and not is_url and not Path(name).expanduser().is_absolute():
            return locate(f"{folder.rstrip('/')}/{name}")
        path = Path("" if "://" in folder else folder, Path(rest if is_url else name).expanduser()).absolute()
        return UPath(path.resolve() if ".." in path.parts else path)  # A name made of a path must not climb.
    if "@" in rest.partition("/")[0]:  # It would end up in logs, manifests and folder names.
        raise UserError(f"A {scheme}:// URL with a user or password can't be used: give one that needs neither.")
    if scheme not in ("s3", "http", "https"):
        raise UserError(f"{name} can't be used: name a file or folder of this machine, or an s3:// or https:// URL.")
    try:
        options: dict[str, Any] = {"use_listings_cache": False}  # What others write must be seen at once.
        if name in SIGNED:
            options["encoded"] = True  # A signature is of the URL as it is written.
        url: UPath = UPath(SIGNED.get(name, name), **options)
        _ = url.fs  # This imports the client; that of http comes with the one of S3.
    except ImportError as error:
        raise UserError(f"{name} needs the S3 client: pip install 'linear-neuron[s3]'.") from error
    return url


def make_folders(names: Iterable[str]) -> None:
    """Make folders that people put files into; where one cannot be made, the run that looks into it says why."""
    for path in (locate(name) for name in names if "://" not in name):
        if is_local(path):  # A bucket has no folders to be made.
            with suppress(OSError):
                Path(path.path).mkdir(exist_ok=True)


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

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

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
            with suppress(OSError):  # Retention removes what cannot be removed now.
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
        """Read the bytes of a file, by one request so that they are never those of two; None if there is no file.

        Raises:
            DamagedError: it is a folder.
        """
        with user_errors(path):
            try:
                return Path(path.path).read_bytes() if self.local else cast(bytes, path.fs.cat_file(path.path, **WHOLE))
            except (FileNotFoundError, NotADirectoryError):
                return None
            except IsADirectoryError:
                raise DamagedError(f"{path} {IS_FOLDER}") from None

    def read_checked(self, path: UPath, sha256: str) -> bytes:
        """Read a file whose digest is known.

        Raises:
            DamagedError: it is missing, a folder, or has other bytes.
        """
        data = self.read(path)
        if data is None:
            raise DamagedError(f"{path} is missing.")
        if digest(data) != sha256:
            raise DamagedError(f"{path} is damaged: its bytes are not those that were written.")
        return data

    def refresh(self, path: UPath) -> None:
        """Set the time of a file's last change to now, so that retention takes it for in use.

        Raises:
            DamagedError: it is missing.
        """
        with user_errors(path):
            try:
                if self.local:
                    os.utime(path.path)
                else:  # A bucket takes a copy of an object onto itself only with new metadata.
                    path.fs.copy(path.path, path.path, MetadataDirective="REPLACE")
            except FileNotFoundError:
                raise DamagedError(f"{path} is missing.") from None

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

    def copy(self, source: UPath, target: UPath) -> None:
        """Copy a file whole or not at all; on a disk it becomes another name of the same bytes."""
        with user_errors(target):
            if not self.local:
                target.fs.cp_file(source.path, target.path)
                return
            folder = Path(target.parent.path)
            folder.mkdir(parents=True, exist_ok=True)
            with self.writing(target) as scratch:
                try:
                    os.link(source.path, scratch)
                except OSError:  # Not every file system has hard links.
                    shutil.copyfile(source.path, scratch)

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
