"""What the history of the versions says, as a page and as an artifact."""

import resource
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect import flow

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.monitoring.performance import Entry, Expected, Index, Performance, load_index, swap_index
from linear_neuron.tasks.registry.alarms import raise_alarm
from linear_neuron.tasks.registry.audit_log import ALARMS, log_decision
from linear_neuron.tasks.registry.catalogue import list_models
from linear_neuron.tasks.registry.champion import promote, roll_back
from linear_neuron.tasks.registry.versions import version_folder
from linear_neuron.tasks.reporting.history import collect_history, show_history, write_history, write_page
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def make(store: Store, name: str, day: int, mse: float, **changes: object) -> None:
    errors = {"neuron": {"mse": mse}, "mean": {"mse": 84.0}, "least_squares": {"mse": 40.0}}
    made = BEGIN + timedelta(days=day)
    make_version(store, name, created_at=made, metrics={"test": {"rows": 9, **errors}}, **changes)


def realise(version: str, day: int, mse: float, matched: int = 10) -> Performance:
    return Performance(
        version=version,
        batch=f"batch-{day}",
        predicted_at=BEGIN + timedelta(days=day),
        interval=90,
        matched=matched,
        mse=mse,
        mae=1,
        bias=0,
        fourth=1,
        coverage=None,
        mean_mse=None,
        expected=Expected(),
    )


@pytest.fixture
def story(store: Store) -> Store:
    """A champion, a refused version, another champion, a way back, and one of another target."""
    make(store, "a", 0, 50)
    make(store, "b", 1, 60)
    make(store, "c", 2, 45)
    make(store, "d", 3, 7, target="price")
    make(store, "e", 4, 1)
    (version_folder(store, "e") / "model.json").write_bytes(b"{}")
    promote(store, "a", "first")
    log_decision(store, "refused", "b", "worse")
    log_decision(store, "refused", "c", "it reads another column")
    promote(store, "c", "by hand")
    roll_back(store, "slow")
    raise_alarm(store, "drift.detected", "a", "drifted")
    raise_alarm(store, "error.high", "a", "too high")
    raise_alarm(store, "champion.old", "a", "old")
    results = [realise("a", 5, 70.0), realise("a", 6, 100.0, matched=20), realise("d", 6, 8.0), realise("gone", 7, 9.0)]
    entry = Entry(source="a.csv", input="0", settings={"target": "MEDV"}, recorded_at=BEGIN, results=results)
    assert swap_index(store, load_index(store)[1], Index(entries=[entry]))
    return store


def test_the_history_is_that_of_the_champions_target(story: Store) -> None:
    results = [realise("a", 5, 70.0), realise("d", 6, 8.0), realise("gone", 7, 9.0)]
    history = collect_history(story, list_models(story), results)
    assert history is not None
    assert history.target == "MEDV"
    assert history.tested == [(BEGIN, 50), (BEGIN + timedelta(days=2), 45)]
    assert history.refused == [(BEGIN + timedelta(days=1), 60)]
    assert [error for _, error in history.least_squares] == [40, 40, 40]
    assert [error for _, error in history.served] == [50, 45, 50]
    assert history.realized == [(BEGIN + timedelta(days=5), 70)]
    assert (len(history.drifts), len(history.failing)) == (1, 1)


def test_alarms_of_before_the_first_version_are_left_out(story: Store) -> None:
    make(story, "f", 10_000, 45)
    promote(story, "f", "better")
    history = collect_history(story, list_models(story, newest=1), [])
    assert history is not None
    assert (len(history.tested), history.drifts, history.failing) == (1, [], [])


def test_without_a_champion_the_newest_version_says_the_target(store: Store) -> None:
    assert collect_history(store, [], []) is None
    make(store, "a", 0, 50)
    make(store, "b", 1, float("nan"))
    make(store, "c", 2, 7, target="price")
    history = collect_history(store, list_models(store), [])
    assert history is not None
    assert (history.target, history.tested, history.served) == ("price", [(BEGIN + timedelta(days=2), 7)], [])


def test_the_newest_versions_come_with_the_champion(story: Store) -> None:
    assert [row["version"] for row in list_models(story, newest=2)] == ["a", "d", "e"]
    assert [row["version"] for row in list_models(story, newest=5)] == ["a", "b", "c", "d", "e"]
    assert [row["version"] for row in list_models(story, newest=9)] == ["a", "b", "c", "d", "e"]


def test_the_page_has_the_chart_and_a_table(story: Store, tmp_path: Path) -> None:
    rows = list_models(story)
    write_page(story, rows, "", str(tmp_path / "history.html"))
    page = (tmp_path / "history.html").read_text()
    assert page.count("data:image/png;base64,") == 1
    page = page.replace(' style="text-align:right"', "")
    assert "<td>a</td>\n<td>MEDV from RM</td>\n<td>7.07</td>\n<td>6.32</td>\n<td>9.49</td>\n<td>champion: slow" in page
    assert [page.index(f"<td>{version}</td>") for version in "edcba"] == sorted(
        page.index(f"<td>{version}</td>") for version in "abcde"
    )
    assert "<td>e</td>\n<td>-</td>\n<td>-</td>\n<td>-</td>\n<td>-</td>\n<td>(damaged)</td>" in page
    assert "on that table" not in page


def test_the_page_has_the_errors_on_a_given_table(story: Store, tmp_path: Path) -> None:
    rows = [row | {"realised_mse": 12.0 if row["version"] == "a" else None} for row in list_models(story)]
    write_page(story, rows, "On 2 rows of <b>.csv a is the best.\nLeft out: 1.\n", str(tmp_path / "history.html"))
    page = (tmp_path / "history.html").read_text()
    page = page.replace(' style="text-align:right"', "")
    assert "<th>on that table</th>" in page
    assert "<td>9.49</td>\n<td>3.46</td>\n<td>champion: slow</td>" in page
    assert "&lt;b&gt;.csv a is the best." in page
    assert "<p>Left out: 1.</p>" in page


def test_a_page_is_written_whole_or_not_at_all(story: Store, tmp_path: Path) -> None:
    file = tmp_path / "history.html"
    write_page(story, list_models(story), "", str(file))
    limits, size = resource.getrlimit(resource.RLIMIT_FSIZE), file.stat().st_size
    file.write_text("before")
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 100, limits[1]))
    try:
        with pytest.raises(UserError, match=r"history\.html can't be written: File too large"):
            write_page(story, list_models(story), "", str(file))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir() if "history" in path.name] == ["history.html"]


def test_a_page_that_cannot_be_written_is_one_sentence(store: Store, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"none/a\.html can't be written: .*\. Name a file in a folder that is there\.$"
    ):
        write_page(store, [], "", str(tmp_path / "none" / "a.html"))


def test_an_empty_store_has_a_table_without_rows_and_no_chart(store: Store) -> None:
    assert "base64" not in write_history(store, [], [])


def test_outside_of_a_run_nothing_is_drawn(story: Store, caplog: pytest.LogCaptureFixture) -> None:
    (story.root / ALARMS).write_text("{")
    show_history()
    assert caplog.text == ""


def test_a_damaged_log_does_not_end_a_run(story: Store, server: str, caplog: pytest.LogCaptureFixture) -> None:
    (story.root / ALARMS).write_text("{")

    @flow(name="history")
    def run() -> None:
        show_history()

    run()
    assert f"The history is not shown: {story.root / ALARMS}, line 1, is damaged" in caplog.text
