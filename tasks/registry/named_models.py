"""The models whose stores lie beside each other: the one without a name, and those with names."""

import math
import os
from contextlib import suppress
from typing import Any

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.name import PATTERN, UNNAMED, find_base, find_store, get_name
from linear_neuron.tasks.registry.alarms import read_alarms
from linear_neuron.tasks.registry.champion import read_champion
from linear_neuron.tasks.registry.last_runs import read_runs
from linear_neuron.tasks.registry.versions import list_versions, read_version
from linear_neuron.tasks.storage.store import Store
from linear_neuron.tasks.text import draw_table, number

KINDS = "retrain", "predict", "actuals"
SETTING = "LINEAR_NEURON_STORE_"  # and a name: where that model's store is, if not beside the base


def list_named_models() -> list[dict[str, Any]]:
    """List each model that has versions or runs: its name, their number, how it is, and its store."""
    rows = []
    for name in ["", *find_names()]:
        store = Store(find_store(name))
        versions = len(list_versions(store))
        if versions or read_runs(store):
            rows.append({"name": name, "versions": versions, **describe_model(name), "store": str(store.root)})
    return rows


def describe_model(name: str) -> dict[str, Any]:
    """Describe how a model is: its champion, that one's test RMSE and last alarm, and the last run of each kind.

    Where its store is damaged or can't be read, the champion is what is wrong with it.
    """
    row: dict[str, Any] = {"model": name or UNNAMED, "champion": "", "test RMSE": None, "alarm": ""}
    row |= dict.fromkeys(KINDS, "")
    try:
        store = Store(find_store(name))
        row |= {kind: f"{run.state} {run.at:%Y-%m-%d %H:%M}" for kind, run in read_runs(store).items()}
        if champion := read_champion(store):
            row["champion"] = champion.version
            alarms = [entry for entry in read_alarms(store) if entry["version"] == champion.version]
            row["alarm"] = f"{alarms[-1]['action']} {alarms[-1]['at'][:10]}" if alarms else ""
            with suppress(KeyError, TypeError, ValueError):
                row["test RMSE"] = math.sqrt(read_version(store, champion.version).metrics["test"]["neuron"]["mse"])
    except UserError as error:
        row["champion"] = str(error)
    return row


def render_named_models(rows: list[dict[str, Any]]) -> str:
    """Write the models as a table for a terminal."""
    heads = ("name", "versions", "champion", "test RMSE", "alarm", *KINDS, "store")
    cells = [[_draw(row[head]) for head in heads] for row in rows]
    lines = draw_table(heads, cells, left=set(heads) - {"versions", "test RMSE"}) if rows else []
    return "".join(f"{line}\n" for line in lines) or "There is no model yet. Make one: linear-neuron retrain\n"


def _draw(value: Any) -> str:
    return number(value) if isinstance(value, float) else "-" if value in ("", None) else str(value)


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
