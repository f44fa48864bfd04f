"""Move inputs that are predicted out of the inbox, so that a file of the same name may come next."""

import errno
from pathlib import Path

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.scoring.manifest import BatchRun, FileResult, Manifest
from linear_neuron.tasks.steps import get_logger, task
from linear_neuron.tasks.storage.files import digest_file, user_errors
from linear_neuron.tasks.storage.store import is_local, locate
from linear_neuron.tasks.tables.inputs import KNOWN, InputFile
from linear_neuron.tasks.text import plural


def check_done(folder: str, files: list[InputFile]) -> None:
    """Check before any work that files can be moved to a folder.

    Raises:
        UserError: the folder or a file is not on this machine, or the files are in that folder already.
    """
    home = locate(folder)
    if not is_local(home) or not all(is_local(locate(file.path)) for file in files):
        raise UserError("--done moves files of this machine to a folder of it; leave it out for buckets and URLs.")
    folder_path = Path(home.path).resolve()
    if inside := [file.path for file in files if Path(file.path).parent.resolve().is_relative_to(folder_path)]:
        raise UserError(f"{inside[0]} is in the folder of --done already; name another one.")


@task("Move the inputs that are done")
def move_done(manifest: Manifest, batch_run: BatchRun) -> None:
    """Move the files that the run was asked for and that are predicted; one that has changed since stays."""
    if not batch_run.batch.done:
        return
    results = [result for result in manifest.of_last_run().inputs if not result.error and not result.source.origin]
    moved = sum(_move(result, Path(locate(batch_run.batch.done).path)) for result in results)
    get_logger().info("Moved %s to %s", plural(moved, "file"), batch_run.batch.done)


def _move(result: FileResult, home: Path) -> bool:
    """Move a file if it is the one that was predicted; whether it was moved.

    It is read before it is moved, so that a kill at any moment leaves no file in the folder that was not predicted.
    Another one might come between, so it is put back if the file that was moved is not the one that was read.
    """
    source = Path(result.source.path)
    if source.is_symlink():
        get_logger().warning("%s is a link, so it stays", source)
        return False
    target = _find_free(home / Path(result.source.name).parent / source.name, result.sha256)
    with user_errors(locate(str(target))):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            read = _name_content(source)
            if same := digest_file(source) == result.sha256:
                source.rename(target)
        except FileNotFoundError:
            return False  # It is gone already.
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            raise UserError(f"{home} is on another disk than {source}; name a folder of --done on the same.") from None
        if same and _name_content(target) == read:
            return True
        if same:
            target.rename(_find_free(source, digest_file(target)))
    get_logger().warning("%s has changed since it was predicted, so it stays", source)
    return False


def _name_content(path: Path) -> tuple[int, int, int]:
    """Name the content of a file by what a move of it does not change."""
    facts = path.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _find_free(path: Path, sha256: str) -> Path:
    """Find a name that no other file has; one with the same content, which the digest shows, is replaced."""
    if not path.exists():
        return path
    ending = found[0] if (found := KNOWN.search(path.name)) else path.suffix
    return path.with_name(f"{path.name.removesuffix(ending)}.{sha256[:8]}{ending}")
