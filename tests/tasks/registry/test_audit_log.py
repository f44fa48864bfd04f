"""Who did it: the user of a command, and a deployment with what started it."""

import getpass
import os

import pytest
from prefect import flow

from linear_neuron.tasks.registry.audit_log import get_actor


def test_a_command_is_its_users() -> None:
    assert get_actor() == getpass.getuser()


def test_a_typed_name_comes_first_on_one_line() -> None:
    assert get_actor(" Ada\nLovelace ") == f"Ada Lovelace, {getpass.getuser()}"
    assert get_actor(" \n") == getpass.getuser()


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)  # as in a container
    assert get_actor() == "user 4000000"


@pytest.mark.usefixtures("server")
def test_a_recorded_command_names_its_run() -> None:
    user, _, run = str(flow(get_actor)()).partition(", run ")
    assert user == getpass.getuser()
    assert run
