"""What the tests of the flows share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from linear_neuron.flows.predict import predict as predict_flow
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.storage.store import Store
from tests.flows.helpers import Predict, Way


@pytest.fixture(params=[pytest.param("recorded", marks=pytest.mark.slow), "plain"])
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """The ways in which a flow runs: recorded at a server, and as plain functions where no server can be reached."""
    if request.param == "recorded":
        request.getfixturevalue("server")
        yield lambda flow: flow
    else:
        with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
            yield lambda flow: flow.fn


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the new versions of a test without plots, for which two thirds of the time of a retrain go."""
    monkeypatch.setattr("linear_neuron.tasks.reporting.plots.PLOTS", ())


@pytest.fixture
def predict(way: Way) -> Predict:
    return way(predict_flow)


@pytest.fixture
def served(store: Store, neuron: ModelVersion) -> Store:
    """A store whose one model is the champion."""
    promote(store, neuron.version, "by hand")
    return store


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    (folder / "a.csv").write_text("id,RM\n007,5\n008,x\n")
    (folder / "b.csv").write_text("id,RM\n1,6\n")
    return folder
