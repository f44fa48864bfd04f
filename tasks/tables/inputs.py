"""Find the files that a path, a folder, a glob or a URL names."""

import re
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.name import FOLDERS, get_name, name_folder
from linear_neuron.tasks.parameters.base import SIGNED, hide_signature, hide_signatures
from linear_neuron.tasks.steps import get_logger, is_deployed
from linear_neuron.tasks.storage.files import tag_file
from linear_neuron.tasks.storage.store import IN_TIME, is_local, locate
from linear_neuron.tasks.text import list_first

MAGIC = re.compile(r"[*?\[]")
KNOWN = re.compile(r"\.((csv|tsv)(\.gz|\.zst)?|parquet)$", re.IGNORECASE)
TABS = re.compile(r"\.tsv(\.gz|\.zst)?$", re.IGNORECASE)
SEPARATORS = ",;\t|"  # of the columns of a CSV file
HIDDEN = re.compile(r"/[._][^/=]*(/|$)")  # a file or a folder; with = it may be a partition
OUTPUT = re.compile(r"\.(predictions|rejects)\.\w+$")  # of a batch
PARTITION = re.compile(r"/[^/=]+=[^/]*$")  # a folder whose name is the value of a column, as Hive makes them
TABLE_FORMATS = {"_delta_log": "Delta Lake", ".hoodie": "Hudi", "metadata": "Iceberg"}  # by what shows them
TYPES: dict[str, Literal["csv", "tsv", "parquet"]] = {
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/vnd.apache.parquet": "parquet",
}  # of the Content-Type that a web server gives
SHOWN = 5  # names of files that a line of the log shows


class InputFile(BaseModel):
    """A file of rows, and the name that its outputs go by in a batch."""

    model_config = ConfigDict(frozen=True)

    path: str  # an absolute path or a URL
    name: str  # relative to the folder that all inputs share, without suffixes
    size: int = 0  # bytes
    error: str = ""  # why it can't be read, where that is known before it is read
    origin: str = ""  # of a saved query, what names the query from run to run; empty for a file
    types: dict[str, str] = {}  # column -> integer, decimal or float, where it is a number in the database of a query
    format: Literal["", "csv", "tsv", "parquet"] = ""  # as its server says, where its name does not
    tag: str = ""  # as long as this is the same, so is the content; empty where that is unknown

    @property
    def identity(self) -> str:
        """What it is known by from run to run: its path, or the query whose rows it holds."""
        return self.origin or self.path

    def name_origin(self) -> "InputFile":
        """Return it with the query in place of the path of the saved rows, which are removed after the run."""
        return self.model_copy(update={"path": self.origin}) if self.origin else self

    def __getstate__(self) -> dict[Any, Any]:
        """Take the signature of a URL along to another process, which is all that leaves this one with it."""
        return super().__getstate__() | {"signed": SIGNED.get(self.path, "")}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        if signed := state.pop("signed", ""):
            SIGNED[state["__dict__"]["path"]] = signed
        super().__setstate__(state)

    @property
    def kind(self) -> Literal["csv", "tsv", "parquet"]:
        if self.format:
            return self.format
        if TABS.search(self.path):
            return "tsv"
        return "parquet" if self.path.lower().endswith(".parquet") else "csv"

    @property
    def separators(self) -> str:
        """What may separate its columns, where it is CSV."""
        return "\t" if self.kind == "tsv" else SEPARATORS


def list_files(text: str) -> tuple[str, list[InputFile]]:
    """Find what a path, glob or URL names: a folder, and the files beneath it, still without names.

    Folders and globs leave out hidden files, files of other kinds, outputs of a batch, and links that lead out of the
    folder; what looks like a file to read, and is left out, is logged. A file that is named alone is never left out.

    Raises:
        UserError: there is nothing at that path, or the files are part of a table that they alone do not show.
    """
    text = hide_signature(text)
    path = locate(text)
    fs, name = path.fs, path.path.rstrip("/")
    wait = {} if is_local(path) else IN_TIME
    try:
        if fs.isfile(name, **wait) or (fs.exists(name, **wait) and not fs.isdir(name, **wait)):
            root, infos = str(PurePosixPath(hide_signature(name)).parent), [fs.info(name, **wait)]
            return _address(fs, root), [_describe(fs, infos[0])]
        if text in SIGNED:
            raise UserError(f"There is nothing at {text}, or its signature has expired; ask for a new URL.")
        if is_folder := bool(fs.isdir(name, **wait)):
            root, infos = name, fs.ls(name, detail=True, **wait)
        else:
            root, infos = MAGIC.split(name)[0].rpartition("/")[0], list(fs.glob(name, detail=True, **wait).values())
            if not infos:
                raise FileNotFoundError
        chosen = _choose(fs, root, infos, text, is_folder=is_folder)
        _check_table_format(fs, {root, *(info["name"].rpartition("/")[0] for info in chosen)}, wait)
        if is_folder and not chosen:
            _check_partitions(infos, text)
    except FileNotFoundError:
        raise UserError(f"There is nothing at {text}; name files, folders, globs or URLs that exist.") from None
    except OSError as error:
        reason = error.strerror or hide_signatures(str(error)) or "its server does not answer in time"
        raise UserError(f"{text} can't be read: {reason}.") from None
    return _address(fs, root), [_describe(fs, info) for info in chosen]


def leave_out_missing(texts: list[str]) -> list[str]:
    """Leave out the folder that a deployment looks into by default, where nobody has made it: nothing is to be done."""
    own = {name_folder(folder, get_name()) for folder in FOLDERS}
    kept = []
    for text in texts:
        if is_deployed() and text in own and not (path := locate(text)).exists():
            get_logger().warning("There is no folder %s; make it, and put files there.", path)
        else:
            kept.append(text)
    return kept


def _choose(fs: Any, root: str, infos: list[dict[str, Any]], text: str, *, is_folder: bool) -> list[dict[str, Any]]:
    """Choose what can be read of a folder or glob, and log what is left out, by its reason."""
    chosen, left_out = [], dict[str, list[str]]()
    for info in infos:
        if reason := _find_reason(fs, root, info, is_folder=is_folder):
            left_out.setdefault(reason, []).append(PurePosixPath(info["name"]).name)
        elif KNOWN.search(info["name"]):
            chosen.append(info)
    if left_out:
        listed = [f"{reason} {len(names):,} ({list_first(sorted(names), SHOWN)})" for reason, names in left_out.items()]
        get_logger().warning("Left out of %s: %s", text, ", ".join(listed))
    return chosen


def _find_reason(fs: Any, root: str, info: dict[str, Any], *, is_folder: bool) -> str:
    """Say why something in a folder is left out; empty where it is not, or where nobody would expect it to be read.

    What a glob names is taken for a file, so that a folder or a broken link fails there, alone.
    """
    name, is_file = info["name"], _is_file(fs, info)
    below = name.removeprefix(root.rstrip("/")) if root and name.startswith(root) else f"/{PurePosixPath(name).name}"
    if not KNOWN.search(name):
        return "files of other kinds" if is_file and not HIDDEN.search(below) else ""
    if HIDDEN.search(below):
        return "hidden files"
    if OUTPUT.search(name):
        return "outputs of a batch"
    if info.get("islink") and not fs.exists(name):
        return "broken links" if is_folder else ""
    if _leads_out(root, info):
        return "links out of the folder"
    return "folders with names of files" if is_folder and not is_file else ""


def _leads_out(root: str, info: dict[str, Any]) -> bool:
    """Whether a link leads out of the folder, so that who can write there might have any other file shown."""
    return bool(info.get("islink")) and not Path(info["name"]).resolve().is_relative_to(Path(root or "/").resolve())


def _check_table_format(fs: Any, folders: set[str], wait: dict[str, Any]) -> None:
    """Refuse folders of a table format whose files hold rows that are no longer rows of the table.

    Raises:
        UserError: names the format.
    """
    # Iceberg has its files in data/, and Delta Lake and Hudi may have them in folders by the values of a column.
    for folder in sorted(folders | {folder.rpartition("/")[0] for folder in folders} - {""}):
        for marker, name in TABLE_FORMATS.items():
            with suppress(PermissionError):  # Whoever may read a folder need not be allowed to look above it.
                if fs.isdir(f"{folder}/{marker}", **wait) and (
                    marker != "metadata" or fs.glob(f"{folder}/metadata/*.metadata.json", **wait)
                ):
                    raise UserError(
                        f"{_address(fs, folder)} is a table of {name}, whose files may hold rows that were removed "
                        "from it; export its current rows to Parquet or CSV, or query it."
                    )


def _check_partitions(infos: list[dict[str, Any]], text: str) -> None:
    """Refuse a folder whose files are in folders by the values of a column.

    Raises:
        UserError: names the column.
    """
    if found := sorted(match[0][1:] for info in infos if (match := PARTITION.search(info["name"]))):
        column = found[0].partition("=")[0]
        raise UserError(
            f"{text} is partitioned: it has folders such as {found[0]}/, and the column {column!r} is in their names "
            f"alone. Write it as one table, or leave {column!r} out by the glob {text.rstrip('/')}/**/*.parquet."
        )


def _is_file(fs: Any, info: dict[str, Any]) -> bool:
    """Whether a name in a folder is a file, or a link to one."""
    return info["type"] == "file" or (bool(info.get("islink")) and bool(fs.isfile(info["name"])))


def _address(fs: Any, name: str) -> str:
    return name if "file" in fs.protocol else str(fs.unstrip_protocol(name))


def _describe(fs: Any, info: dict[str, Any]) -> InputFile:
    error, path = "", hide_signature(_address(fs, info["name"]))
    known = KNOWN.search(path.partition("?")[0] if "://" in path else path)
    of_server = "" if known else TYPES.get(info.get("mimetype") or "", "")
    if (shown := path.encode(errors="backslashreplace").decode()) != path:
        return InputFile(path=shown, name="", error="its name is not UTF-8; rename it")
    if not _is_file(fs, info):
        error = f"this is {'a folder and ' if info['type'] == 'directory' else ''}not a file"
    elif not known and not of_server:
        error = "its name must end in .csv or .tsv, with .gz or .zst if it is compressed, or in .parquet"
    tag = "" if error else _tag(fs, info)
    return InputFile(path=path, name="", size=info.get("size") or 0, error=error, format=of_server, tag=tag)


def _tag(fs: Any, info: dict[str, Any]) -> str:
    """Tag a file where its file system tells enough: a bucket tells when it was last put, besides what is in it."""
    if "file" in fs.protocol:
        with suppress(OSError):  # It may be gone by now.
            return tag_file(info["name"])
    return " ".join((info["ETag"].strip('"'), str(info["LastModified"]))) if "LastModified" in info else ""
