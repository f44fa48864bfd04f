"""The name of a model, and the store that follows from it."""

import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.name import check_name, entitle, find_store
from linear_neuron.tasks.registry.catalogue import render_models
from linear_neuron.tasks.storage.store import Store


@pytest.mark.parametrize("name", ["sales", "a", "north-2", "x" * 40])
def test_a_good_name_stays_as_it_is(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["Sales", "../x", "a.b", "a b", "-a", "a-", "s\n", "é", "x" * 41, "a/b", "%2e", "<b>", "{{ $HOME }}"]
)
def test_a_bad_name_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(UserError, match=r"^A model can't have the name .+ such as sales\.$"):
        check_name(name)


def test_advice_is_for_the_named_model(monkeypatch: pytest.MonkeyPatch) -> None:
    assert render_models([]).endswith("Make one: linear-neuron retrain\n")
    monkeypatch.setenv("LINEAR_NEURON_NAME", "sales")
    assert render_models([]).endswith("Make one: linear-neuron --name sales retrain\n")


def test_the_projects_own_name_is_that_of_the_unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAR_NEURON_NAME", "linear-neuron")
    monkeypatch.setenv("LINEAR_NEURON_STORE", "/data/store")
    assert (find_store(), entitle("retrain")) == ("/data/store", "retrain")


@pytest.mark.parametrize(
    ("base", "store"),
    [
        ("/data/store", "/data/store-big-sales"),
        ("/data/store/", "/data/store-big-sales"),
        ("models", "models-big-sales"),
        ("s3://bucket/prefix/", "s3://bucket/prefix-big-sales"),
    ],
)
def test_a_named_model_has_its_store_beside_the_base(monkeypatch: pytest.MonkeyPatch, base: str, store: str) -> None:
    monkeypatch.setenv("LINEAR_NEURON_NAME", "big-sales")
    monkeypatch.setenv("LINEAR_NEURON_STORE", base)
    assert find_store() == store
    monkeypatch.setenv("LINEAR_NEURON_STORE_BIG_SALES", "/elsewhere")
    assert find_store() == "/elsewhere"
    assert str(Store().root) == "/elsewhere"
    assert str(Store("/data/other").root) == "/data/other"


@pytest.mark.parametrize("base", ["s3://bucket", "s3://bucket/", "/", ".", "..", "~", "a/.."])
def test_a_base_without_a_name_is_refused(monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    monkeypatch.setenv("LINEAR_NEURON_NAME", "sales")
    monkeypatch.setenv("LINEAR_NEURON_STORE", base)
    with pytest.raises(UserError, match=r"The store of sales can.t be put beside .*: set LINEAR_NEURON_STORE_SALES"):
        find_store()
