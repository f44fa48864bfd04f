"""What the tests of the registry share."""

import pytest

from linear_neuron.tasks.registry.audit_log import log_decision
from linear_neuron.tasks.registry.champion import promote
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
