"""Predict in Python: `load_champion`, `predict` and `Store`; docs/python.md shows them.

In the repository `tasks`, `flows` and `deployments` are links in here to the folders beside this one, so that a module
has one name, such as `linear_neuron.tasks.model`, in a checkout and in the wheel, whatever a user calls `tasks.py`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linear_neuron.deployments.notebook import Champion, Store, load_champion, predict

__all__ = ["Champion", "Store", "load_champion", "predict"]


def __getattr__(name: str) -> Any:
    """Import what predicts when it is first asked for, so that the command line does not wait for Polars."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("linear_neuron.deployments.notebook"), name)


def __dir__() -> list[str]:
    """List the names, which a shell completes."""
    return __all__
