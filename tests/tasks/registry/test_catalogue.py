"""The list of models, and the history of what was promoted and refused."""

import getpass

import pytest

from linear_neuron.tasks.registry.audit_log import LOG
from linear_neuron.tasks.registry.catalogue import list_history, list_models, render_history, render_models
from linear_neuron.tasks.registry.champion import POINTER, promote, roll_back
from linear_neuron.tasks.registry.versions import version_folder
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version


def test_models_are_listed_with_their_status(full: Store) -> None:
    rows = list_models(full)
    assert [(row["version"], row["status"]) for row in rows] == [
        ("a", "previous"),
        ("b", "champion"),
        ("c", "refused"),
        ("d", ""),
    ]
    assert rows[0]["bytes"] > 1000
    table = render_models(rows)
    assert " ".join(table.splitlines()[0].split()) == (
        "version created (UTC) predicts recipe test RMSE least squares status size"
    )
    assert "a        2026-01-01 00:00  MEDV from RM  notebook       7.07  +0% (7.07)     previous" in table
    assert [line.split("  ")[0] or line for line in table.splitlines()[1:]] == [
        "a",
        "  first",
        "b",
        "  better",
        "c",
        "  worse",
        "d",
    ]


def test_features_are_cut_and_a_reason_is_whole(store: Store) -> None:
    version = "20260101T000000Z-aaaaaa"
    make_version(store, version, features=["CRIM", "ZN", "INDUS", "CHAS", "NOX", "RM", "AGE", "DIS"])
    promote(store, version, "because " * 30)
    lines = render_models(list_models(store)).splitlines()
    assert [len(line) <= 120 for line in lines[:2]] == [True] * 2
    assert lines[1].startswith(f"{version}  2026-01-01 00:00  MEDV from CRIM, ZN, I…  notebook")
    assert "champion" in lines[1]
    assert lines[2] == "  " + "because " * 30


@pytest.mark.parametrize(
    ("mse", "floor", "shown"),
    [
        (0.00012**2, 0.0001**2, "0.00012    +20% (0.0001)"),
        (0.25, 0.0, "0.5000         0.0000"),
        (None, None, "-              -"),
    ],
)
def test_errors_of_any_size_are_shown(store: Store, mse: float | None, floor: float | None, shown: str) -> None:
    errors = {"neuron": {"mse": mse}, "mean": {"mse": 1.0}, "least_squares": {"mse": floor}}
    make_version(store, "a", metrics={"test": {"rows": 9, **errors}})
    row = render_models(list_models(store)).splitlines()[1]
    assert " ".join(shown.split()) in " ".join(row.split())


def test_history_tells_who_made_what_champion_when_why_and_in_whose_place(full: Store) -> None:
    roll_back(full, "slow")
    rows = list_history(full)
    assert [(row["action"], row["version"], row["replaced"], row["reason"]) for row in rows] == [
        ("promoted", "a", None, "first"),
        ("promoted", "b", "a", "better"),
        ("refused", "c", None, "worse"),
        ("rolled back", "a", "b", "slow"),
    ]
    assert {row["by"] for row in rows} == {getpass.getuser()}
    lines = render_history(rows).splitlines()
    assert lines[0].split("  ")[0] == "at (UTC)"
    assert lines[-1] == "  slow"
    assert lines[-2].split()[2:] == ["rolled", "back", "a", "b", getpass.getuser()]


def test_history_fits_into_120_columns_but_for_reasons(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "linear_neuron.tasks.registry.audit_log._find_actor", lambda: "somebody, run retrain RM notebook 2026-11-23"
    )
    for version in ("20260101T000000Z-aaaaaa", "20260102T000000Z-aaaaaa"):
        make_version(store, version)
        promote(store, version, "because " * 30)
    roll_back(store, "slow")
    lines = render_history(list_history(store)).splitlines()
    assert max(len(line) for line in lines if not line.startswith("  because")) <= 120
    assert lines[-2].endswith("  somebody, run retrain RM notebook 202…")


def test_history_reads_lines_of_before_it_said_who(full: Store) -> None:
    (full.root / LOG).write_text(
        '{"at": "2026-01-01T10:00:00+00:00", "action": "promoted", "version": "a", "reason": ""}\n'
    )
    full.remove(full.root / POINTER)
    assert render_history(list_history(full)).splitlines()[1].split() == ["2026-01-01", "10:00", "promoted", "a"]


def test_a_damaged_version_is_listed_as_such(full: Store) -> None:
    (version_folder(full, "b") / "model.json").write_bytes(b"{}")
    row = list_models(full)[1]
    assert (row["version"], row["status"], row["recipe"]) == ("b", "champion (damaged)", None)
    assert "champion (damaged), see: linear-neuron verify" in render_models(list_models(full)).splitlines()[3]


def test_no_history_is_said(store: Store) -> None:
    assert render_history(list_history(store)) == "No version was promoted or refused yet.\n"


def test_an_empty_store_says_how_to_begin(store: Store) -> None:
    assert render_models(list_models(store)) == "There is no version yet. Make one: linear-neuron retrain\n"


def test_a_damaged_version_is_listed_as_such_and_stops_nothing(full: Store) -> None:
    (version_folder(full, "b") / "model.json").write_bytes(b"{}")
    (version_folder(full, "d") / "manifest.json").write_bytes(b"[")
    rows = list_models(full)
    assert [(row["version"], row["status"]) for row in rows] == [
        ("a", "previous"),
        ("b", "champion (damaged)"),
        ("c", "refused"),
        ("d", "(damaged)"),
    ]
    last = render_models(rows).splitlines()[-1]
    assert last.split() == ["d", "(damaged),", "see:", "linear-neuron", "verify"]
