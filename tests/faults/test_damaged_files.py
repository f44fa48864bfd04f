"""Any file of the store may be truncated, changed, replaced or a folder: `verify` names it, and the rest goes on."""

from collections.abc import Callable

import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.parameters import Promotion, Retention
from linear_neuron.tasks.registry.audit_log import log_decision
from linear_neuron.tasks.registry.catalogue import list_models
from linear_neuron.tasks.registry.champion import promote, roll_back
from linear_neuron.tasks.registry.promotion import find_pending, forget_pending
from linear_neuron.tasks.registry.retention import clean_store
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.registry.versions import list_versions
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version


@pytest.fixture
def full(store: Store) -> Store:
    for version in "abcd":
        make_version(store, version)
    promote(store, "a", "first")
    promote(store, "b", "better")
    log_decision(store, "refused", "c", "worse")
    return store


VERSIONS = "models/b/manifest.json", "models/b/model.json", "predictions/x/manifest.json"
RECORDS = "champion.json", "promotions.jsonl", "alarms.jsonl"
DAMAGES: dict[str, Callable[[bytes], bytes] | None] = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "null": lambda _: b"null",
    "list": lambda _: b"[]",
    "deep": lambda _: b"[" * 100_000,
    "binary": lambda _: b"\xff\x00",
    "other": lambda _: b'{"version": "a", "files": {"model.json": 5}, "entries": 3, "at": 1}',
    "folder": None,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name",
    [*VERSIONS, *RECORDS, "models.json", "pending/d.json", "actuals/index.json", "backtests/x/manifest.json"],
)
def test_a_damaged_file_is_one_sentence_and_the_rest_goes_on(full: Store, name: str, damage: str) -> None:
    path = full.root / name
    if (data := full.read(path)) is None:
        data = b'{"version": "x", "files": {"x": {"sha256": "", "bytes": 3}}, "entries": []}'
        full.write(path, data)
    before = verify(full)
    if change := DAMAGES[damage]:
        full.write(path, change(data))
    else:
        path.unlink()
        path.mkdir()
    harmless = name in ("models.json", "pending/d.json") or (damage == "empty" and name.endswith("jsonl"))
    found = [line for line in verify(full) if line not in before]
    assert len(found) <= 1 if harmless else 1 <= len(found) <= 2, found
    assert all(str(full.root) in line for line in found)
    for command in (
        lambda: list_models(full),
        lambda: clean_store(full, Retention()),
        lambda: find_pending(full, Promotion()),
        lambda: promote(full, "a", "by hand"),
        lambda: roll_back(full, "by hand"),
        lambda: forget_pending(full, "d"),
    ):
        try:
            command()
        except UserError as error:
            assert name.partition("/")[2].rpartition("/")[2] in str(error) or name in str(error)  # noqa: PT017
    assert list_versions(full)[0] == "a", "nothing was removed"
    if name != "promotions.jsonl" and not (name == "champion.json" and damage == "folder"):
        assert promote(full, "a", "again").version == "a"
