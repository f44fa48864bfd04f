"""Which files a batch is to predict."""

import re
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Any

from tasks.errors import UserError
from tasks.parameters import Batch
from tasks.scoring.manifest import InputFile, leads_out, plural
from tasks.steps import get_logger, is_deployed, task
from tasks.storage.store import locate

MAGIC = re.compile(r"[*?\[]")
KNOWN = re.compile(r"\.(csv|csv\.gz|csv\.zst|parquet)$", re.IGNORECASE)
LEFT_OUT = re.compile(r"/[._][^/]*$|\.(predictions|rejects)\.\w+$")  # hidden files, and the outputs of a batch


def list_files(text: str) -> tuple[str, list[InputFile]]:
    """Find what a path, glob or URL stands for: a folder, and the files beneath it, still without names.

    Hidden files and files of other kinds are left out of folders and globs; a file that is named alone never is.

    Raises:
        UserError: there is nothing at that path.
    """
    path = locate(text)
    fs, name = path.fs, path.path.rstrip("/")
    try:
        if fs.isfile(name) or (fs.exists(name) and not fs.isdir(name)):
            root, infos = str(PurePosixPath(name).parent), [fs.info(name)]
            return _address(fs, root), [_describe(fs, infos[0])]
        if fs.isdir(name):
            root, infos = name, [info for info in fs.ls(name, detail=True) if _is_file(fs, info)]
        else:
            root, infos = MAGIC.split(name)[0].rpartition("/")[0], list(fs.glob(name, detail=True).values())
            if not infos:
                raise FileNotFoundError
    except FileNotFoundError:
        raise UserError(f"There is nothing at {text}; name files, folders, globs or URLs that exist.") from None
    except OSError as error:
        raise UserError(f"{text} can't be read: {error.strerror or error}.") from error
    return _address(fs, root), [_describe(fs, info) for info in _choose(infos, text)]


def _choose(infos: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Choose what can be predicted of a folder or glob, and log what is of another kind."""
    infos = [info for info in infos if not LEFT_OUT.search(info["name"])]
    chosen = [info for info in infos if KNOWN.search(info["name"])]
    if others := [PurePosixPath(info["name"]).name for info in infos if info not in chosen]:
        shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        get_logger().warning("Left out of %s, %s of another kind: %s", text, plural(len(others), "file"), shown)
    return chosen


def _is_file(fs: Any, info: dict[str, Any]) -> bool:
    """Whether a name in a folder is a file, or a link to one."""
    return info["type"] == "file" or (bool(info.get("islink")) and bool(fs.isfile(info["name"])))


def _address(fs: Any, name: str) -> str:
    return name if "file" in fs.protocol else str(fs.unstrip_protocol(name))


def _describe(fs: Any, info: dict[str, Any]) -> InputFile:
    error, path = "", _address(fs, info["name"])
    if (shown := path.encode(errors="backslashreplace").decode()) != path:
        return InputFile(path=shown, name="", error="its name is not UTF-8; rename it")
    if not _is_file(fs, info):
        error = f"this is {'a folder and ' if info['type'] == 'directory' else ''}not a file"
    elif not KNOWN.search(info["name"]):
        error = "its name must end in .csv, .csv.gz, .csv.zst or .parquet"
    return InputFile(path=path, name="", size=info.get("size") or 0, error=error)


def find_sources(inputs: list[str]) -> tuple[str, list[InputFile]]:
    """Find the folder that all inputs share, and the files in order, each named by its path in it without the suffix.

    Raises:
        UserError: an input stands for nothing.
    """
    listed = [list_files(text) for text in inputs]
    levels = zip(*(location.split("/") for location, _ in listed), strict=False)
    root = "/".join(level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels))
    sources: dict[str, InputFile] = {}
    names: dict[str, str] = {}
    for source in sorted((source for _, files in listed for source in files), key=lambda source: source.path):
        name = KNOWN.sub("", source.path.removeprefix(f"{root}/").replace("://", "/"))
        error = source.error
        if names.setdefault(name, source.path) != source.path:
            error = f"its predictions would take the place of those of {names[name]}; rename one of them"
            name = PurePosixPath(source.path).name
        if leads_out(name):
            error, name = f"its predictions can't be called {name}; rename it or its folder", PurePosixPath(name).name
        sources.setdefault(source.path, source.model_copy(update={"name": name, "error": error}))
    return root, list(sources.values())


@task("Find the inputs", retries=2, timeout_seconds=600)
def find_inputs(batch: Batch) -> tuple[str, list[InputFile]]:
    """Find the folder that all inputs share, and the files to predict.

    Raises:
        UserError: there are none; a deployment's inbox may be empty.
    """
    root, sources = find_sources(batch.inputs)
    if not sources and not is_deployed():
        raise UserError(f"There is no file to predict in {', '.join(batch.inputs)}; put CSV or Parquet files there.")
    get_logger().info("Found %s, %.1f MB", plural(len(sources), "file"), sum(source.size for source in sources) / 1e6)
    return root, sources
