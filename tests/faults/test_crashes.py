"""Commands killed at some of the steps that they take, by `make faults` at every one, on a disk and in a bucket."""

import pytest

from tests.faults.faults import Kind
from tests.faults.matrix import MANY, MORE, ON_S3, RETRAIN, SCENARIOS, TRAINING, Scenario, World, explore

KILLS: set[Kind] = {"step", "torn write"}
REQUESTS: set[Kind] = {"request", "reply", "lost reply"}

pytestmark = pytest.mark.timeout(0)  # a command that hangs is ended by itself, and N may be large


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_a_kill_at_any_step_loses_nothing(worlds: list[World], scenario: Scenario) -> None:
    found = explore(worlds, scenario, KILLS, sample=10_000 if MANY else 20)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("scenario", ON_S3, ids=str)
def test_a_kill_at_any_request_loses_nothing(s3_worlds: list[World], scenario: Scenario) -> None:
    found = explore(s3_worlds, scenario, REQUESTS, sample=4)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("scenario", TRAINING, ids=str)
def test_a_killed_training_is_made_good_by_the_next(worlds: list[World], scenario: Scenario) -> None:
    found = explore(worlds, scenario, KILLS, sample=2 if scenario is RETRAIN else 1)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("scenario", MORE, ids=str)
def test_a_kill_at_some_steps_of_more_commands_loses_nothing(worlds: list[World], scenario: Scenario) -> None:
    found = explore(worlds, scenario, KILLS, sample=8)
    assert not found, "\n".join(found)
