"""The model in a notebook, by `import linear_neuron`; docs/python.md shows it."""

import subprocess
import sys

import polars as pl
import pytest

import linear_neuron
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.storage.store import Store


def test_the_champion_is_loaded_from_the_default_store(neuron: ModelVersion, store: Store) -> None:
    with pytest.raises(UserError, match="has no champion yet"):
        linear_neuron.load_champion()
    promote(store, neuron.version, "first")
    champion = linear_neuron.load_champion()
    assert champion.model == neuron
    assert champion.predict(pl.DataFrame({"RM": [6]}), interval=50).row(0) == (13.0, 12.5, 13.5, False)
    with pytest.raises(UserError, match="retrain --force"):
        champion.contributions(pl.DataFrame({"RM": [6]}))


def test_predict_is_that_of_the_champion(neuron: ModelVersion, store: Store) -> None:
    promote(store, neuron.version, "first")
    frame = pl.DataFrame({"RM": [6]})
    assert linear_neuron.predict(frame).row(0) == linear_neuron.load_champion().predict(frame).row(0)
    assert linear_neuron.predict(frame, linear_neuron.Store(str(store.root)), 50).row(0) == (13.0, 12.5, 13.5, False)


def test_champion_and_store_are_shown_in_a_line(neuron: ModelVersion, store: Store) -> None:
    assert repr(store) == f"Store('{store.root}')"
    assert repr(linear_neuron.Champion(neuron)) == f"Champion({neuron.version}: {neuron.formula})"
    many = neuron.model_copy(update={"features": ["RM"] * 50, "weights": [1.0] * 50})
    assert len(repr(linear_neuron.Champion(many))) < 120


def test_import_is_quick_and_needs_no_tensorflow() -> None:
    code = """if True:
        import sys
        import linear_neuron
        print({"polars", "numpy", "pydantic"} & sys.modules.keys())
        linear_neuron.predict
        print({"tensorflow", "keras", "prefect"} & sys.modules.keys())
    """
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert printed.split() == ["set()", "set()"]


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'linear_neuron' has no attribute 'fit'"):
        linear_neuron.fit  # noqa: B018
    assert "load_champion" in dir(linear_neuron)
