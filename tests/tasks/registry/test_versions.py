"""A version that is damaged is not used."""

import pytest

from tasks.errors import UserError
from tasks.registry.versions import find_version, read_version, version_folder
from tasks.storage.store import Store


def test_a_model_whose_numbers_were_changed_is_not_used(full: Store) -> None:
    (version_folder(full, "a") / "model.json").write_bytes(
        (version_folder(full, "a") / "model.json").read_bytes() + b" "
    )
    with pytest.raises(UserError, match=r"model\.json is not what its manifest says; see: linear-neuron verify"):
        read_version(full, "a")
    (version_folder(full, "c") / "manifest.json").write_bytes(b"[]")
    with pytest.raises(UserError, match="is damaged, so version c can't be trusted"):
        read_version(full, "c")


def test_training_passes_over_a_damaged_version_and_names_it(full: Store, caplog: pytest.LogCaptureFixture) -> None:
    (version_folder(full, "d") / "manifest.json").write_bytes(b"[")
    for _ in range(2):
        assert find_version(full, "a") == "a"
    assert [record.message.partition(";")[0] for record in caplog.records] == [
        f"{full.root}/models/d/manifest.json is damaged, so version d can't be trusted"
    ]
