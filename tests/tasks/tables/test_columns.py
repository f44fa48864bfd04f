"""Find columns by name, and show the names of a table but no text of other files."""

import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.tables.columns import find_columns, require_columns


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param(["root:x:0:0:root:/root:/bin/bash"], id="passwords"),
        pytest.param(["ubuntu:x:1000:1000:Ubuntu", "", "", ":/home/ubuntu"], id="passwords with commas"),
        pytest.param(["hunter2"], id="a secret alone"),
        pytest.param(['{"token": "hunter2"', '"b": 1}'], id="JSON"),
        pytest.param(["TOKEN=hunter2", "b"], id="settings"),
        pytest.param(["-----BEGIN OPENSSH PRIVATE KEY-----"], id="a key"),
    ],
)
def test_first_line_of_other_files_is_not_shown(columns: list[str]) -> None:
    for search in (lambda: find_columns(columns, ["RM"], {}, []), lambda: require_columns(columns, ["RM"])):
        with pytest.raises(UserError, match=r"of a first line that does not look like names") as caught:
            search()
        assert not any(len(name) > 1 and name in str(caught.value) for name in columns)
