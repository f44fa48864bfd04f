"""The commands about the versions in the store."""

import sqlite3

import pytest

from tasks.model import ModelVersion
from tasks.registry.champion import promote
from tasks.storage.store import Store
from tests.helpers import Run, make_version


def test_sql_is_a_select_of_the_champion_or_of_a_version(neuron: ModelVersion, store: Store, run_cli: Run) -> None:
    assert "has no champion yet" in run_cli("sql", "--dialect", "sqlite").stderr
    other = make_version(store, "20260102T000000Z-bbbbbb", intervals={"50": 2.0, "90": 10.0})
    promote(store, neuron.version, "first")
    with sqlite3.connect(":memory:") as session:
        session.execute("CREATE TABLE homes (id, RM)")
        session.execute("INSERT INTO homes VALUES ('007', 6)")
        query = run_cli("sql", "--dialect", "sqlite", "--table", "homes").stdout
        assert session.execute(query).fetchall() == [("007", 6, 13.0, 12.5, 13.5, 0)]
        query = run_cli("sql", other.version, "--dialect", "sqlite", "--table", "homes", "--interval", "50").stdout
        assert session.execute(query).fetchall() == [("007", 6, 19.0, 17.0, 21.0, 0)]
    session.close()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            ["--dialect", "oracle"],
            'Invalid value "oracle" for --dialect. Choose from: "postgres", "duckdb", "sqlite".',
        ),
        (["--dialect", "duckdb", "--interval", "49"], 'Invalid value "49" for --interval. Must be >= 50.'),
        (["--dialect", "duckdb", "--table", "a..b"], "There can be no table 'a..b'; name it as TABLE or SCHEMA.TABLE."),
        ([], 'Command "sql" parameter --dialect requires an argument.'),
    ],
)
def test_a_wrong_call_of_sql_is_one_sentence(
    neuron: ModelVersion, run_cli: Run, wrong: list[str], sentence: str
) -> None:
    done = run_cli("sql", neuron.version, *wrong)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"linear-neuron: {sentence}\n")
