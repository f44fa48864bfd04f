"""The commands about the versions in the store."""

import json
import sqlite3
from pathlib import Path

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


def test_models_are_measured_on_a_table(neuron: ModelVersion, store: Store, run_cli: Run, tmp_path: Path) -> None:
    make_version(store, "20260102T000000Z-bbbbbb")
    table = tmp_path / "actuals.csv"
    table.write_text("RM,MEDV\n5,10\n6,14\n")
    lines = run_cli("models", "--on", str(table)).stdout.splitlines()
    assert [line.split()[7:9] for line in lines[1:3]] == [["50.00", "1.00"], ["50.00", "30.50"]]
    assert lines[3].startswith(f"On 2 rows of {table} {neuron.version} would have been the best of 2 versions: 1.00, ")
    rows = json.loads(run_cli("models", "--on", str(table), "--json").stdout)
    assert [(row["realised_mse"], row["realised_rows"]) for row in rows] == [(1.0, 2), (30.5, 2)]
    wrong = run_cli("models", "--on", str(tmp_path / "none.csv"))
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith(f"linear-neuron: There is nothing at {tmp_path}/none.csv")


def test_models_are_a_page_too(neuron: ModelVersion, store: Store, run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "actuals.csv").write_text("RM,MEDV\n5,10\n6,14\n")
    done = run_cli("models", "--html", str(tmp_path / "a.html"), "--on", str(tmp_path / "actuals.csv"))
    assert done.stdout.startswith("version "), "what is printed stays the same"
    assert done.stderr == ""
    page = (tmp_path / "a.html").read_text()
    assert page.count("data:image/png;base64,") == 1
    assert f"<p>On 2 rows of {tmp_path}/actuals.csv {neuron.version} would have been the best" in page
