"""Replace a file that a manifest lists: whatever moment a run is killed at, the manifest lists files as they are.

The new file is written beside the old one, listed instead of it, copied over it, and listed by the old name again.
"""

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from upath import UPath

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.registry.verify import find_fault, read_listed
from linear_neuron.tasks.scoring.manifest import OLDER
from linear_neuron.tasks.storage.files import describe_file, lock_folder, make_temporary
from linear_neuron.tasks.storage.store import MANIFEST, Store, is_local, parse_json, to_json
from linear_neuron.tasks.tables.remove_rows import Range, copy_without

STAGED = re.compile(rf"{re.escape(OLDER)}/forgotten(?:-(?P<folder>[^/]+))?/(?P<name>.+)")  # a new file's name at first
WAITING = 60  # seconds for a run that writes to the same batch


def _stage(name: str) -> str:
    """Name the new file; one in a folder of OLDER must not get two of them."""
    folder, _, rest = name.removeprefix(f"{OLDER}/").partition("/")
    return f"{OLDER}/forgotten-{folder}/{rest}" if name.startswith(f"{OLDER}/") else f"{OLDER}/forgotten/{name}"


def _unstage(staged: str) -> str:
    """Return the name that a new file is to get; empty where it is none."""
    if not (found := STAGED.fullmatch(staged)):
        return ""
    return f"{OLDER}/{found['folder']}/{found['name']}" if found["folder"] else found["name"]


def read_manifest(folder: UPath) -> dict[str, Any]:
    """Read the manifest of a folder; empty where it has none, since a run has not finished it."""
    data = Store(str(folder)).read(folder / MANIFEST)
    return {} if data is None else parse_json(data, folder / MANIFEST)


@contextmanager
def fetch(path: UPath) -> Iterator[Path]:
    """Give a file as one of this machine; one of a bucket is copied."""
    if is_local(path):
        yield Path(path.path)
        return
    with tempfile.TemporaryDirectory(dir=make_temporary("forget-")) as scratch:
        local = Path(scratch, path.name)
        path.fs.get_file(path.path, str(local))
        yield local


def remove_rows(folder: UPath, name: str, find: Callable[[UPath], list[Range]]) -> None:
    """Remove rows from a file of a version or a batch; one that no manifest lists goes whole: a run makes it again.

    A damaged file stays, since what is written of it would be listed as whole.
    """
    path, home = folder / name, Store(str(folder))
    with _hold(folder):
        listed = read_listed(home, folder)
        if not path.exists() or (name in listed and find_fault(path, listed[name])) or not (rows := find(path)):
            return
        if name not in listed:
            home.remove(path)
            return
        staged = _stage(name)
        with fetch(path) as local, home.writing(folder / staged) as scratch:
            copy_without(local, scratch, rows)
        _relist(folder, name, staged, describe_file(folder / staged))
        _finish(folder, staged)


def finish(folder: UPath) -> None:
    """Finish what a killed run began: name each new file that is listed as it is to be called, and remove others."""
    left = [name for name in (f"{OLDER}/{it}" for it in Store(str(folder)).find(OLDER)) if _unstage(name)]
    if not left:
        return
    with _hold(folder):
        for name in filter(_unstage, read_listed(Store(str(folder)), folder)):
            _finish(folder, name)
        for name in left:
            _remove_staged(folder, name)


def _finish(folder: UPath, staged: str) -> None:
    name, home = _unstage(staged), Store(str(folder))
    home.copy(folder / staged, folder / name)
    _relist(folder, staged, name, describe_file(folder / name))
    _remove_staged(folder, staged)


def _remove_staged(folder: UPath, staged: str) -> None:
    Store(str(folder)).remove(folder / staged)
    if is_local(folder):
        for parent in list(Path(staged).parents)[:-1]:
            with suppress(OSError):  # Others may be in it.
                Path(folder.path, parent).rmdir()


def _relist(folder: UPath, old: str, new: str, facts: dict[str, Any]) -> None:
    """List a file in the manifest under a new name instead of an old one."""

    def change(data: bytes | None) -> bytes:
        manifest = parse_json(data or b"", folder / MANIFEST)
        for group in _list_groups(manifest):
            if group.pop(old, None) is not None:
                group[new] = facts
        return to_json(manifest)

    Store(str(folder)).update(folder / MANIFEST, change)


def _list_groups(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """List the parts of a manifest that name files: of a version one, of a batch one for each input."""
    results = [*manifest.get("inputs", ()), *manifest.get("replaced", ())]
    return [manifest.get("files", {}), *(result["outputs"] for result in results)]


@contextmanager
def _hold(folder: UPath) -> Iterator[None]:
    """Keep runs that write to a batch out of it.

    Raises:
        UserError: one goes on for longer than a minute.
    """
    if not is_local(folder) or not folder.exists():
        yield
        return
    try:
        with lock_folder(Path(folder.path), WAITING):
            yield
    except TimeoutError:
        raise UserError(f"A run is writing to {folder}; forget the key again when it has ended.") from None
