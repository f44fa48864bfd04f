"""The model store: every write of the project goes through this door, on a disk and on an object store alike.

The one commit rule is "manifest last": a folder counts when its `manifest.json` stands, and is ignored before.
"""

import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from upath import UPath

from tasks.errors import UserError
from tasks.model import Neuron

MANIFEST = "manifest.json"


def digest(data: bytes) -> str:
    """The sha256 of some bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def to_json(value: Any) -> bytes:
    """Readable JSON that says null for what is not a finite number, and so can be read by anybody."""
    return (json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value


@contextmanager
def _plainly(path: UPath) -> Iterator[None]:
    """Turns what a disk or a bucket may refuse into one sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise UserError(
            f"The store can't be written at {path}: {reason}. "
            "Make it writable, or name another by --store or LINEAR_NEURON_STORE."
        ) from error


class Store:
    """Datasets, models and predictions under one root, which is a folder or a URL such as s3://bucket/prefix."""

    def __init__(self, root: str | None = None) -> None:
        self.root = UPath(root or os.environ.get("LINEAR_NEURON_STORE") or "store")
        self.local = self.root.protocol in ("", "file")
        if self.local:
            self.root = UPath(Path(self.root.path).expanduser().absolute())

    def write(self, path: UPath, data: bytes) -> None:
        """Writes a whole file or nothing: a reader, and a crash at any moment, sees the old bytes or the new."""
        with _plainly(path):
            if not self.local:
                path.write_bytes(data)  # An object store shows an object when its one put is complete.
                return
            folder = Path(path.parent.path)
            folder.mkdir(parents=True, exist_ok=True)
            scratch = folder / f".{path.name}.{secrets.token_hex(4)}"
            try:
                with scratch.open("xb") as file:
                    file.write(data)
                    os.fsync(file.fileno())
                scratch.replace(path.path)
            finally:
                scratch.unlink(missing_ok=True)
            _sync_folder(folder)

    def check_writable(self) -> None:
        """Finds out before any work whether the work could be kept.

        Raises:
            UserError: the store refuses a write.
        """
        probe = self.root / f".probe-{secrets.token_hex(3)}"
        self.write(probe, b"")
        with _plainly(probe):
            probe.unlink()

    # Datasets, kept by digest

    def dataset(self, sha256: str, suffix: str) -> UPath:
        """Where a dataset of this digest is kept."""
        return self.root / "datasets" / f"{sha256}{suffix}"

    # Models, one folder a version

    def start_version(self) -> tuple[str, Path]:
        """A new version's name (its UTC start time and six hex digits) and the local folder to build it in.

        On a disk that is the version's own folder: until its manifest stands, readers ignore it.
        """
        version = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        if not self.local:
            return version, Path(tempfile.mkdtemp(prefix=f"{version}-"))
        folder = self.model(version)
        with _plainly(folder):
            folder.mkdir(parents=True)
        return version, Path(folder.path)

    def model(self, version: str) -> UPath:
        """The folder of a version."""
        return self.root / "models" / version

    def publish(self, version: str, folder: Path) -> UPath:
        """Completes a version built in `folder`: every file durable first, then the manifest. Returns its place."""
        files: dict[str, dict[str, Any]] = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            data = path.read_bytes()
            files[name] = {"sha256": digest(data), "bytes": len(data)}
            if self.local:
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            else:
                self.write(self.model(version) / name, data)
        place = self.model(version)
        self.write(place / MANIFEST, to_json({"version": version, "files": files}))
        return place

    def neuron(self, version: str) -> Neuron:
        """The model of a complete version, as plain numbers.

        Raises:
            UserError: there is no such version, or it is not complete.
        """
        folder = self.model(version)
        if not (folder / MANIFEST).exists():
            known = ", ".join(self.versions()[-5:]) or "none yet; make one by: linear-neuron retrain"
            raise UserError(f"{self.root} has no complete version {version!r}; the newest are: {known}.")
        return Neuron.model_validate_json((folder / "model.json").read_bytes())

    def versions(self) -> list[str]:
        """Every complete version, oldest first."""
        models = self.root / "models"
        if not models.exists():
            return []
        return sorted(folder.name for folder in models.iterdir() if (folder / MANIFEST).exists())


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable, which on POSIX is a change of the folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
