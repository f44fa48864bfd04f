"""What the tests of the registry share."""

import pytest

from tasks.registry.champion import promote
from tasks.registry.log import log_decision
from tasks.storage.store import Store
from tests.helpers import make_version


@pytest.fixture
def full(store: Store) -> Store:
    for version in "abcd":
        make_version(store, version)
    promote(store, "a", "first")
    promote(store, "b", "better")
    log_decision(store, "refused", "c", "worse")
    return store
