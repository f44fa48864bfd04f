"""The index of actual values: which files of `actuals/` count. Nothing is deleted on the word of a damaged or lost one.

It is there before the first file is, and has a digest of its entries. So files without an index, and an index whose
entries have changed, are damage, and neither is taken for a store without actual values.
"""

from typing import Any

from linear_neuron.tasks.errors import DamagedError
from linear_neuron.tasks.storage.store import Store, Tagged, digest, parse_json, to_json

FOLDER = "actuals"
INDEX = "index.json"  # the manifest of FOLDER, whose files come and go


def load_entries(store: Store) -> tuple[list[dict[str, Any]], Tagged]:
    """Read the entries together with what is needed to replace the index; none where nothing was ever recorded.

    Raises:
        DamagedError: the index is damaged, or it is missing although files of actual values are there.
    """
    path = store.root / FOLDER / INDEX
    tagged = store.load(path)
    if tagged.data is None and _has_files(store):
        tagged = store.load(path)  # Another run may have begun it since.
        if tagged.data is None:
            raise make_error(store, "missing, but files of actual values are there")
    if tagged.data is None:
        return [], tagged
    try:
        content = parse_json(tagged.data, path)
        entries: list[dict[str, Any]] = content["entries"]
        list_recorded(entries)
        written = content.get("sha256")  # older releases write none
    except (DamagedError, KeyError, TypeError, AttributeError, ValueError):
        raise make_error(store) from None
    if written not in (None, _digest(entries)):
        raise make_error(store)
    return entries, tagged


def _has_files(store: Store) -> bool:
    return any(name.endswith(".parquet") and not name.startswith(".") for name in store.names(FOLDER))


def _digest(entries: list[dict[str, Any]]) -> str:
    return digest(to_json(entries))


def make_error(store: Store, state: str = "damaged") -> DamagedError:
    """Make the error for an index that cannot be used."""
    folder = store.root / FOLDER
    return DamagedError(
        f"{folder / INDEX} is {state}; restore it from a copy, "
        f"or move {folder} away and give all files of actual values again."
    )


def swap_entries(store: Store, expected: Tagged, entries: list[dict[str, Any]]) -> bool:
    """Replace the index, unless another run has done so since it was loaded."""
    content = {"entries": entries, "sha256": _digest(entries)}
    return store.swap(store.root / FOLDER / INDEX, expected, to_json(content))


def begin_index(store: Store) -> None:
    """Write an index without entries where there is none, so that no file is ever there without one."""
    entries, tagged = load_entries(store)
    if tagged.data is None:
        swap_entries(store, tagged, entries)


def list_recorded(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """List the files in FOLDER that count, each with its sha256 and bytes."""
    return {name: {"sha256": facts["sha256"], **facts} for entry in entries for name, facts in entry["files"].items()}
