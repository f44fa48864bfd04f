"""The models whose stores lie beside each other: the one without a name, and those with names."""

import os
from typing import Any

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.name import PATTERN, find_base, find_store, get_name
from linear_neuron.tasks.registry.champion import read_champion
from linear_neuron.tasks.registry.versions import list_versions
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.text import draw_table

SETTING = "LINEAR_NEURON_STORE_"  # and a name: where that model's store is, if not beside the base


def list_named_models() -> list[dict[str, Any]]:
    """List each model that has versions: its name, their number, its champion and its store."""
    rows = []
    for name in ["", *find_names()]:
        store = Store(find_store(name))
        if versions := list_versions(store):
            champion = read_champion(store)
            row = {"name": name, "versions": len(versions), "champion": champion.version if champion else ""}
            rows.append(row | {"store": str(store.root)})
    return rows


def render_named_models(rows: list[dict[str, Any]]) -> str:
    """Write the models as a table for a terminal."""
    heads = ("name", "versions", "champion", "store")
    lines = draw_table(heads, [[str(row[head]) or "-" for head in heads] for row in rows]) if rows else []
    return "".join(f"{line}\n" for line in lines) or "There is no model yet. Make one: linear-neuron retrain\n"


def check_named_model() -> None:
    """Check that this process's model exists.

    Raises:
        UserError: it has no version; the models that have some are named.
    """
    if Store().names("models"):
        return
    names = [name for name in find_names() if Store(find_store(name)).names("models")]
    raise UserError(
        f"There is no model {get_name()!r}: {Store().root} has no version. The models with a name: "
        f"{', '.join(names) or 'none'}. To make one: linear-neuron --name {get_name()} retrain"
    )


def find_names() -> list[str]:
    """Find the names of models: of the stores beside the base, and of the settings that say where one is."""
    base = Store(find_base()).root
    beside = Store(str(base.parent)).names() if base.name else []
    names = {name.removeprefix(f"{base.name}-") for name in beside if name.startswith(f"{base.name}-")}
    set_elsewhere = {
        key.removeprefix(SETTING).lower().replace("_", "-") for key in os.environ if key.startswith(SETTING)
    }
    return sorted(name for name in names | set_elsewhere if PATTERN.fullmatch(name))
