"""The name of the model that this process works for, of several on one server; a single model needs none.

LINEAR_NEURON_NAME has it: the command line sets it by `--name`, and the worker for each run by its deployment's name.
"""

import os
import re

from linear_neuron.tasks.errors import UserError

VARIABLE = "LINEAR_NEURON_NAME"
UNNAMED = "linear-neuron"  # another way to say that the model has no name
FOLDERS = "inbox", "actuals"
PATTERN = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def check_name(name: str) -> str:
    """Return a name as it is, or an empty one for the model that has none.

    Raises:
        UserError: it can't be part of the names of folders, deployments and artifacts.
    """
    if not name or name == UNNAMED:
        return ""
    if not PATTERN.fullmatch(name):
        raise UserError(
            f"A model can't have the name {name[:80]!r}: use up to 40 of a to z, digits and hyphens, such as sales."
        )
    return name


def get_name() -> str:
    """Return the name of the model that this process works for; empty where it has none."""
    return check_name(os.environ.get(VARIABLE, ""))


def entitle(title: str, mark: str = ": ") -> str:
    """Put the model's name, if it has one, before the title of a run or a report or before the key of an artifact."""
    return f"{name}{mark}{title}" if (name := get_name()) else title


def command() -> str:
    """Begin a command that a message advises, with the `--name` of this model."""
    return f"linear-neuron --name {name}" if (name := get_name()) else "linear-neuron"


def name_champion(name: str) -> str:
    """Name the resource of the events about a model's champion."""
    return f"linear-neuron.champion.{name}" if name else "linear-neuron.champion"


def name_folder(folder: str, name: str) -> str:
    """Name the folder in which a model finds its files: to predict in `inbox`, and what became known in `actuals`."""
    return f"{folder}-{name}" if name else folder


def find_base() -> str:
    """Find the store of the model without a name, which also holds the state of the stack that is up."""
    return os.environ.get("LINEAR_NEURON_STORE") or "store"


def name_setting(name: str) -> str:
    """Name the environment variable that says where the store of a model is."""
    return f"LINEAR_NEURON_STORE_{name.upper().replace('-', '_')}"


def find_store(name: str | None = None) -> str:
    """Find a model's own store, or this model's: beside the base, or where LINEAR_NEURON_STORE_<NAME> says.

    It follows from the name, so no address of a store comes from a server.

    Raises:
        UserError: the base has no name to which the model's could be added.
    """
    base, name = find_base(), get_name() if name is None else name
    if not name:
        return base
    setting = name_setting(name)
    if own := os.environ.get(setting):
        return own
    folder, _, last = base.rstrip("/").rpartition("/")
    if not last.strip(".") or last.startswith("~") or folder.endswith("/"):
        raise UserError(f"The store of {name} can't be put beside {base}: set {setting}.")
    return f"{base.rstrip('/')}-{name}"
