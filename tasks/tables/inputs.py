"""Which files a path, a folder, a glob or a URL stands for, for both wings."""

import re
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tasks.errors import UserError
from tasks.steps import get_logger
from tasks.storage.files import tag_file
from tasks.storage.store import IN_TIME, is_local, locate

MAGIC = re.compile(r"[*?\[]")
KNOWN = re.compile(r"\.((csv|tsv)(\.gz|\.zst)?|parquet)$", re.IGNORECASE)
TABS = re.compile(r"\.tsv(\.gz|\.zst)?$", re.IGNORECASE)
SEPARATORS = ",;\t|"  # of the columns of a CSV file
LEFT_OUT = re.compile(r"/[._][^/]*$|\.(predictions|rejects)\.\w+$")  # hidden files, and the outputs of a batch


def plural(count: int, noun: str) -> str:
    """Write a count with its noun, such as `1 file` or `2,000 files`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


class InputFile(BaseModel):
    """A file of rows, and the name that its outputs go by in a batch."""

    model_config = ConfigDict(frozen=True)

    path: str  # an absolute path or a URL
    name: str  # relative to the folder that all inputs share, without suffixes
    size: int = 0  # bytes
    error: str = ""  # why it can't be read, where that is known before it is read
    tag: str = ""  # as long as this is the same, so is the content; empty where that can't be told

    @property
    def kind(self) -> Literal["csv", "tsv", "parquet"]:
        if TABS.search(self.path):
            return "tsv"
        return "parquet" if self.path.lower().endswith(".parquet") else "csv"

    @property
    def separators(self) -> str:
        """What may separate its columns, where it is CSV."""
        return "\t" if self.kind == "tsv" else SEPARATORS


def list_files(text: str) -> tuple[str, list[InputFile]]:
    """Find what a path, glob or URL stands for: a folder, and the files beneath it, still without names.

    Hidden files and files of other kinds are left out of folders and globs; a file that is named alone never is.

    Raises:
        UserError: there is nothing at that path.
    """
    path = locate(text)
    fs, name = path.fs, path.path.rstrip("/")
    wait = {} if is_local(path) else IN_TIME
    try:
        if fs.isfile(name, **wait) or (fs.exists(name, **wait) and not fs.isdir(name, **wait)):
            root, infos = str(PurePosixPath(name).parent), [fs.info(name, **wait)]
            return _address(fs, root), [_describe(fs, infos[0])]
        if fs.isdir(name, **wait):
            root, infos = name, [info for info in fs.ls(name, detail=True, **wait) if _is_file(fs, info)]
        else:
            root, infos = MAGIC.split(name)[0].rpartition("/")[0], list(fs.glob(name, detail=True, **wait).values())
            if not infos:
                raise FileNotFoundError
    except FileNotFoundError:
        raise UserError(f"There is nothing at {text}; name files, folders, globs or URLs that exist.") from None
    except OSError as error:
        raise UserError(
            f"{text} can't be read: {error.strerror or str(error) or 'its server does not answer in time'}."
        ) from error
    return _address(fs, root), [_describe(fs, info) for info in _choose(infos, text)]


def _choose(infos: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Choose what can be read of a folder or glob, and log what is of another kind."""
    infos = [info for info in infos if not LEFT_OUT.search(info["name"])]
    if others := [PurePosixPath(info["name"]).name for info in infos if not KNOWN.search(info["name"])]:
        shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        get_logger().warning("Left out of %s, %s of another kind: %s", text, plural(len(others), "file"), shown)
    return [info for info in infos if KNOWN.search(info["name"])]


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
        error = "its name must end in .csv or .tsv, with .gz or .zst if it is compressed, or in .parquet"
    return InputFile(path=path, name="", size=info.get("size") or 0, error=error, tag="" if error else _tag(fs, info))


def _tag(fs: Any, info: dict[str, Any]) -> str:
    """Tag a file where its file system tells enough: a bucket tells when it was last put, besides what is in it."""
    if "file" in fs.protocol:
        with suppress(OSError):  # It may be gone by now.
            return tag_file(info["name"])
    return " ".join((info["ETag"].strip('"'), str(info["LastModified"]))) if "LastModified" in info else ""
