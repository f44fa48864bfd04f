"""Commands on a machine that fails: no space, no files, no permission, a bad sector, a clock that is wrong."""

import pytest

from tests.faults.faults import Kind
from tests.faults.matrix import MORE, ON_S3, SCENARIOS, TRAINING, Scenario, World, explore

pytestmark = pytest.mark.timeout(0)
MACHINE: set[Kind] = {"disk full", "disk full at a size", "read-only", "bad sector", "few open files", "clock set back"}
STORE: set[Kind] = {"error reply", "store gone", "store erring"}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_a_failing_machine_loses_nothing_and_is_told_in_a_sentence(worlds: list[World], scenario: Scenario) -> None:
    found = explore(worlds, scenario, MACHINE, sample=6)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("scenario", ON_S3, ids=str)
def test_a_failing_bucket_loses_nothing_and_is_told_in_a_sentence(s3_worlds: list[World], scenario: Scenario) -> None:
    found = explore(s3_worlds, scenario, STORE, sample=3)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("scenario", TRAINING, ids=str)
def test_a_training_that_the_machine_stops_is_made_good_by_the_next(worlds: list[World], scenario: Scenario) -> None:
    found = explore(worlds, scenario, MACHINE, sample=1)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("scenario", MORE, ids=str)
def test_a_failing_machine_loses_nothing_of_more_commands(worlds: list[World], scenario: Scenario) -> None:
    found = explore(worlds, scenario, MACHINE, sample=3)
    assert not found, "\n".join(found)
