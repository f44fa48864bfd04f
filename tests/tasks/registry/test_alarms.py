"""Alarms are raised once, in the log of the run and in that of the store."""

import logging

import pytest

from linear_neuron.tasks.registry.alarms import raise_alarm, read_alarms
from linear_neuron.tasks.storage.store import Store


def test_an_alarm_is_a_line_and_a_warning(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert raise_alarm(store, "coverage.low", "v1", "it holds 50%.", figures={"coverage": 0.5})
    assert caplog.messages == ["Alarm coverage.low: it holds 50%."]
    (alarm,) = read_alarms(store)
    kept = {"action": "coverage.low", "version": "v1", "reason": "it holds 50%.", "figures": {"coverage": 0.5}}
    assert kept.items() <= alarm.items()
    assert alarm["by"]


def test_an_alarm_is_raised_once_per_key(store: Store) -> None:
    raised = [raise_alarm(store, "drift.detected", *about) for about in [("v1", "a"), ("v1", "b"), ("v2", "a")]]
    assert raised == [True, False, True]
    assert raise_alarm(store, "error.high", "v1", "a", key="batch 1")
    assert raise_alarm(store, "error.high", "v1", "a", key="batch 2")
    assert not raise_alarm(store, "error.high", "v1", "a", key="batch 2")
    assert [alarm["action"] for alarm in read_alarms(store)] == ["drift.detected"] * 2 + ["error.high"] * 2


def test_a_longer_name_is_another_alarm(store: Store) -> None:
    assert raise_alarm(store, "champion.old", "v10", "old")
    assert raise_alarm(store, "champion.old", "v1", "old")
