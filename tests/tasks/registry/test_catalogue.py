"""The list of models, and the check that everything is as its manifest says."""

import pytest

from tasks.dataset.download import dataset_file
from tasks.errors import UserError
from tasks.registry.catalogue import list_models, render_models
from tasks.registry.champion import POINTER, promote
from tasks.registry.log import log_decision
from tasks.registry.verify import verify
from tasks.registry.versions import read_version, version_folder
from tasks.storage.store import Store
from tests.helpers import make_version


@pytest.fixture
def full(store: Store) -> Store:
    for version in "abcd":
        make_version(store, version)
    promote(store, "a", "")
    promote(store, "b", "")
    log_decision(store, "refused", "c", "worse")
    return store


def test_models_are_listed_with_their_status(full: Store) -> None:
    rows = list_models(full)
    assert [(row["version"], row["status"]) for row in rows] == [
        ("a", "previous"),
        ("b", "champion"),
        ("c", "refused"),
        ("d", ""),
    ]
    assert rows[0]["bytes"] > 1000
    table = render_models(rows)
    assert " ".join(table.splitlines()[0].split()) == "version age features test MSE against the floor status size"
    assert "+0% (50.00)" in table


def test_an_empty_store_says_how_to_begin(store: Store) -> None:
    assert render_models(list_models(store)) == "There is no version yet; make one by: linear-neuron retrain\n"


def test_every_file_that_differs_is_named(full: Store) -> None:
    assert verify(full) == []
    (version_folder(full, "a") / "model.json").write_bytes(b"{}")
    (version_folder(full, "b") / "model.json").unlink()
    (version_folder(full, "c") / "manifest.json").write_bytes(b"{")
    full.write(dataset_file(full, "0" * 64, ".npz"), b"rot")
    full.write(
        full.root / POINTER, b'{"version": "x", "since": "2026-01-01T00:00:00Z", "previous": null, "reason": ""}'
    )
    message = verify(full)
    assert [line.partition(str(full.root))[2].partition(" ")[0] for line in message] == [
        "/models/a/model.json",
        "/models/b/model.json",
        "/models/c/manifest.json",
        f"/datasets/{'0' * 64}.npz",
        "/champion.json",
    ]
    full.write(full.root / POINTER, b"")
    assert "champion.json is damaged" in verify(full)[-1]


def test_a_model_whose_numbers_were_changed_is_not_used(full: Store) -> None:
    (version_folder(full, "a") / "model.json").write_bytes(
        (version_folder(full, "a") / "model.json").read_bytes() + b" "
    )
    with pytest.raises(UserError, match=r"model\.json is not what its manifest says; see: linear-neuron verify"):
        read_version(full, "a")
    (version_folder(full, "c") / "manifest.json").write_bytes(b"[]")
    with pytest.raises(UserError, match="is damaged, so version c can't be trusted"):
        read_version(full, "c")
