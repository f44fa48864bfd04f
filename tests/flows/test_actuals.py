"""Actuals on a real store: each key's last prediction before its value was known, counted once."""

import json
import logging
import os
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from upath import UPath

from linear_neuron.flows.actuals import actuals as flow
from linear_neuron.flows.predict import predict
from linear_neuron.tasks.errors import UserError, WorkError
from linear_neuron.tasks.monitoring.forget import Search, forget
from linear_neuron.tasks.monitoring.performance import Entry, load_index, read_performance, swap_index
from linear_neuron.tasks.monitoring.record import find_actuals, read_actuals, record
from linear_neuron.tasks.parameters import Actuals, Batch, Retention
from linear_neuron.tasks.registry.alarms import read_alarms
from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.registry.retention import clean_store
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.storage.store import Store, Tagged
from tests.helpers import Run, make_version

Write = Callable[[str, str], Path]


@pytest.fixture
def served(store: Store, caplog: pytest.LogCaptureFixture) -> Store:
    """A store whose champion predicts 2 * RM + 1, with an interval of 5 to both sides."""
    metrics = {part: {"rows": 100, "neuron": {"mse": 4.0}} for part in ("test", "validation")}
    metrics["test"] |= {name: {"mse": 9.0} for name in ("mean", "least_squares")}
    intervals = {str(percent): 5.0 for percent in range(50, 100)}
    caplog.set_level(logging.INFO, "linear_neuron")
    make_version(
        store,
        "20260101T000000Z-aaaaaa",
        weights=[2.0],
        metrics=metrics,
        intervals=intervals,
        contract={"MEDV": {"mean": 10.0}},
    )
    promote(store, "20260101T000000Z-aaaaaa", "first")
    return store


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def run(path: Path | str, **settings: Any) -> list[Entry]:
    """Record actuals, and return what the index says."""
    flow.fn(Actuals(**{"inputs": [str(path)], "key": "id", **settings}))
    return load_index(Store())[0].entries


def test_predictions_of_a_replaced_file_are_found(served: Store, write: Write) -> None:
    for rows in ("a,1\nb,2", "c,3\nb,4", "d,5"):  # a is 3, b is 9 after it was 5, c is 7 and d is 11
        predict.fn(Batch(inputs=[str(write("in/orders.csv", f"id,RM\n{rows}\n"))]))
    (entry,) = run(write("sold.csv", "id,MEDV\na,4\nb,9\nc,7\nd,11\n"))
    assert (entry.rows, entry.matched, entry.unmatched) == (4, 4, 0)
    (result,) = read_performance(served)
    assert (result.matched, result.mse) == (4, 0.25)
    assert verify(served) == []


def test_older_predictions_of_a_key_do_not_double_it(
    served: Store, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    for rows in ("a,1\nb,2", "a,3\nb,4"):
        location = predict.fn(Batch(inputs=[str(write("in/orders.csv", f"id,RM\n{rows}\n"))]))
    assert list((Path(location) / ".older").rglob("*.predictions.csv"))
    (entry,) = run(write("sold.csv", "id,MEDV\na,7\nb,9\n"))
    assert (entry.matched, entry.unmatched, [result.mse for result in entry.results]) == (2, 0, [0.0])
    assert "predicted more than once" not in caplog.text


def test_errors_are_those_of_the_last_prediction(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\nc,3\n"))]))  # 3, 5 and 7
    (entry,) = run(write("sold.csv", "id,MEDV\na,4\nb,5\nx,1\n"))
    assert (entry.rows, entry.matched, entry.unmatched, entry.early, entry.rejected) == (3, 2, 1, 0, 0)
    (result,) = read_performance(served)
    assert (result.version, result.matched, result.interval) == ("20260101T000000Z-aaaaaa", 2, 90)
    assert (result.mse, result.mae, result.bias, result.coverage) == (0.5, 0.5, -0.5, 1.0)
    assert (result.mean_mse, result.expected.mse, result.expected.test_rows) == (30.5, 4.0, 100)
    assert result.rmse == pytest.approx(0.5**0.5)
    assert verify(served) == []


def test_a_later_batch_counts_for_the_keys_it_has(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\n"))]))
    predict.fn(Batch(inputs=[str(write("on/a.csv", "id,RM\na,3\n"))]))
    run(write("sold.csv", "id,MEDV\na,7\nb,5\n"))
    assert [(result.matched, result.mse) for result in read_performance(served)] == [(1, 0.0), (1, 0.0)]


def test_what_is_in_order_is_not_warned_of(served: Store, write: Write, caplog: pytest.LogCaptureFixture) -> None:
    for folder, rooms in (("in", 1), ("on", 3)):
        predict.fn(Batch(inputs=[str(write(f"{folder}/a.csv", f"id,RM\na,{rooms}\n"))]))
    caplog.clear()
    run(write("sold.csv", "id,MEDV\na,7\nb,5\n"))
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_key_in_another_form_finds_its_prediction(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\n5,1\n6.0,2\ncaf\u00e9,3\n"))]))
    (entry,) = run(write("sold.csv", "id,MEDV\n5.0,3\n 6,5\ncafe\u0301,7\n"))
    assert (entry.matched, entry.unmatched) == (3, 0)
    assert read_performance(served)[0].mse == 0


def test_a_value_known_before_its_prediction_does_not_count(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\n"))]))
    file = write("sold.csv", "id,MEDV,day\na,4,2020-01-01\nb,5,2999-01-01\n")
    (entry,) = run(file, known_at="day")
    assert (entry.matched, entry.unmatched, entry.early) == (1, 1, 1)


def test_what_was_known_stays_known(served: Store, write: Write) -> None:
    run(write("sold.csv", "id,MEDV\na,4\n"))
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    (entry,) = run(write("sold.csv", "id,MEDV\na,5\n"))
    assert (entry.matched, entry.early) == (0, 1), "the key was predicted after the first file had its value"


def test_the_same_file_is_recorded_once(served: Store, write: Write, caplog: pytest.LogCaptureFixture) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    file = write("sold.csv", "id,MEDV\na,4\n")
    before = run(file)
    assert run(file) == before
    assert "Found 1 file of actuals, 0 of them new" in caplog.text


def test_a_corrected_file_takes_the_place(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\n"))]))
    run(write("sold.csv", "id,MEDV\na,4\nb,9\n"))
    (entry,) = run(write("sold.csv", "id,MEDV\na,3\n"))
    assert (entry.rows, [result.mse for result in entry.results]) == (1, [0.0])
    folder = Path(str(served.root / "actuals"))
    assert verify(served) == []
    assert {path.name for path in folder.iterdir()} == {"index.json", *entry.files}


def test_a_correction_in_another_file_counts(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\n"))]))
    run(write("t/october.csv", "id,MEDV\na,4\nb,9\nx,1\n"))
    october, fixed = run(write("t/october-fixed.csv", "id,MEDV\nb,5\n"))
    assert [(entry.matched, entry.unmatched, entry.replaced) for entry in (october, fixed)] == [(1, 1, 1), (1, 0, 0)]
    (result,) = read_performance(served)
    assert (result.matched, result.mse) == (2, 0.5)


def test_of_several_files_the_last_one_counts(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\n"))]))
    write("t/1.csv", "id,MEDV\na,99\nb,5\n")
    first, second = run(write("t/2.csv", "id,MEDV\na,3\n").parent)
    assert [(entry.matched, entry.replaced) for entry in (first, second)] == [(1, 1), (1, 0)]
    assert [result.mse for result in read_performance(served)] == [0.0]


def test_bad_rows_are_listed_and_good_ones_count(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\nc,3\n"))]))
    path = write("sold.csv", "id,MEDV\na,4\nb,5\nc,7\nd,many\n,3\ne,1\ne,2\na,4\n")
    (entry,) = run(path)
    assert (entry.rows, entry.rejected, entry.matched) == (8, 4, 3)
    (name,) = [name for name in entry.files if name.endswith(".rejects.csv")]
    assert (served.root / "actuals" / name).read_text().splitlines() == [
        "file,line,column,value,reason,raw",
        f'{path},5,MEDV,many,not a number,"d,many"',
        f'{path},6,id,"",empty,",3"',
        f'{path},7,id,e,key with several values,""',
        f'{path},8,id,e,key with several values,""',
    ]


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("id,MEDV\na,x\nb,y\nc,1\n", {}, "line 2, column MEDV: 'x' is rejected as not a number; 2 of 3 rows can't be"),
        ("name,MEDV\na,1\n", {}, "there is no column 'id' among name, MEDV"),
        ("id,MEDV\n", {}, "has no rows"),
        ("id,MEDV\na,1\n", {"target": "id"}, "The key and the target are both 'id'"),
        ("id,MEDV,day\na,1,soon\n", {"known_at": "day"}, "line 2, column day: 'soon' is rejected as not a time"),
    ],
)
def test_a_bad_file_is_one_sentence(
    text: str, settings: dict[str, str], message: str, served: Store, write: Write
) -> None:
    write("t/good.csv", "id,MEDV,day\na,1,2026-01-01\n")
    with pytest.raises(WorkError) as caught:
        run(write("t/bad.csv", text).parent, **settings)
    assert message in str(caught.value)
    entries = load_index(served)[0].entries
    assert {bool(entry.error) for entry in entries} == ({True, False} if "target" not in settings else {True})
    failed = next(entry for entry in entries if entry.error)
    assert (failed.rows, failed.rejected, failed.unmatched, failed.early, failed.replaced) == (0, 0, 0, 0, 0)


def test_keys_of_another_type_are_shown(served: Store, write: Write, caplog: pytest.LogCaptureFixture) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\n007,1\n"))]))
    run(write("sold.csv", "id,MEDV\n7,4\n"))
    assert "None of 1 key, such as '7', was found in a finished batch, where keys are such as '007'" in caplog.text


def test_a_key_that_a_batch_has_twice_is_told(served: Store, write: Write, caplog: pytest.LogCaptureFixture) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\na,2\n"))]))
    run(write("sold.csv", "id,MEDV\na,3\n"))
    assert "1 key predicted more than once in one batch; the first row counts" in caplog.text
    assert [result.mse for result in read_performance(served)] == [0.0]


def test_a_key_in_two_files_of_a_batch_is_told(served: Store, write: Write, caplog: pytest.LogCaptureFixture) -> None:
    predict.fn(Batch(inputs=[str(write(f"in/{name}.csv", "id,RM\na,1\n")) for name in "ab"]))
    run(write("sold.csv", "id,MEDV\na,3\nb,3\n"))  # Nobody looks further once all are found.
    assert "1 key predicted more than once in one batch; the first row counts" in caplog.text


def test_key_and_target_may_be_the_champions(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    file = write("sold.csv", "id,MEDV\na,3\n")
    with pytest.raises(UserError, match="Which column names a row is not known; give it, such as --key id"):
        run(file, key="")
    make_version(served, "20260102T000000Z-bbbbbb", dataset={"name": "own", "key": "id"})
    promote(served, "20260102T000000Z-bbbbbb", "it knows the key")
    (entry,) = run(file, key="")
    assert (entry.settings["key"], entry.settings["target"], entry.matched) == ("id", "MEDV", 1)


def test_a_batch_may_have_another_name_for_the_key(served: Store, write: Write, tmp_path: Path) -> None:
    batch = Batch(inputs=[str(write("in/a.csv", "number,RM\na,1\n"))], key="number", output=str(tmp_path / "out"))
    predict.fn(batch)
    (entry,) = run(write("sold.csv", "id,MEDV\na,3\n"), predictions=[str(tmp_path / "out")])
    assert entry.matched == 1


def test_parquet_and_queries_say_the_same(
    served: Store, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pl.DataFrame({"id": [1, 2], "RM": [1.0, 2.0]}).write_parquet(write("in/a.parquet", ""))
    predict.fn(Batch(inputs=[str(tmp_path / "in")]))
    pl.DataFrame({"id": [1, 2], "MEDV": [3, 6]}).write_parquet(tmp_path / "sold.parquet")
    (entry,) = run(tmp_path / "sold.parquet")
    (tmp_path / "facts.db").touch()
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_FACTS", f"sqlite:///{tmp_path}/facts.db")
    query = "sql:SELECT 1 AS id, 3.0 AS MEDV UNION SELECT 2, 6.0"
    _, other = run(query, connection="facts")
    assert entry.results == other.results
    assert [result.mse for result in read_performance(served)] == [0.5]


def test_worse_than_expected_is_an_alarm(served: Store, write: Write) -> None:
    rows = [(f"k{number}", number % 7) for number in range(500)]
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\n" + "".join(f"{key},{x}\n" for key, x in rows)))]))
    shifts = [-4 if number % 3 else 6 for number in range(500)]  # a third of them beyond the interval
    lines = [f"{key},{2 * x + 1 + shift}\n" for (key, x), shift in zip(rows, shifts, strict=True)]
    run(write("sold.csv", "id,MEDV\n" + "".join(lines)))
    alarms = {alarm["action"]: alarm["reason"] for alarm in read_alarms(served)}
    assert alarms["coverage.low"].startswith("The 90% interval of 20260101T000000Z-aaaaaa holds 66.6% of 500 actuals")
    assert "is 4.76 on 500 actuals; on its test rows it is 2.00" in alarms["error.high"]


def test_as_good_as_expected_is_no_alarm(served: Store, write: Write) -> None:
    rows = [(f"k{number}", number % 7) for number in range(500)]
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\n" + "".join(f"{key},{x}\n" for key, x in rows)))]))
    lines = [f"{key},{2 * x + 1 + (6 if n % 20 == 0 else 1.5)}\n" for n, (key, x) in enumerate(rows)]
    run(write("sold.csv", "id,MEDV\n" + "".join(lines)))
    assert read_alarms(served) == []


def test_a_missing_version_has_no_expected_performance(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    served.remove(served.root / "models" / "20260101T000000Z-aaaaaa")
    run(write("sold.csv", "id,MEDV\na,3\n"), target="MEDV")
    (result,) = read_performance(served)
    assert (result.expected.mse, result.mean_mse, result.mse) == (None, None, 0.0)
    assert (result.expected.test_rows, result.expected.validation_rows) == (0, 0)


def test_predictions_that_cannot_be_read_are_passed_over(
    served: Store, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    other = Path(predict.fn(Batch(inputs=[str(write("on/b.csv", "nr,RM\na,1\n"))])))
    broken = Path(predict.fn(Batch(inputs=[str(write("up/c.csv", "id,RM\na,1\n"))])))
    (broken / "manifest.json").write_text("{")
    (entry,) = run(write("sold.csv", "id,MEDV\na,3\n"))
    assert entry.matched == 1
    assert f"{broken}/manifest.json is damaged, so its predictions are passed over" in caplog.text
    assert f"Passed over: {other}/b.predictions.csv" in caplog.text


def test_a_damaged_index_is_one_sentence(served: Store, write: Write) -> None:
    served.write(served.root / "actuals" / "index.json", b"{")
    with pytest.raises(UserError, match=r"index\.json is damaged; restore it from a copy, or move .*actuals away"):
        run(write("sold.csv", "id,MEDV\na,3\n"))


def test_the_index_is_json(served: Store, write: Write) -> None:
    run(write("sold.csv", "id,MEDV\na,3\n"))
    content = json.loads((served.root / "actuals" / "index.json").read_text())
    assert content["entries"][0]["settings"] == {"key": "id", "target": "MEDV", "known_at": ""}


def test_clean_removes_what_no_index_knows(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    run(write("sold.csv", "id,MEDV\na,3\n"))
    folder = Path(str(served.root / "actuals"))
    for name in ("old.parquet", "new.parquet"):
        (folder / name).touch()
    for path in folder.iterdir():
        if path.name != "new.parquet":
            os.utime(path, (1, 1))
    assert clean_store(served, Retention()) == [f"leftover {folder}/old.parquet"]
    (folder / "index.json").write_text("{")
    os.utime(folder / "new.parquet", (1, 1))
    assert clean_store(served, Retention()) == [], "nobody knows what is unused"
    fix = f"restore it from a copy, or move {folder} away and give all files of actual values again."
    assert verify(served) == [f"{folder}/index.json is damaged; {fix}"]


def test_recorded_files_stay_while_their_index_is_lost_or_another(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\n"))]))
    assert verify(served) == [], "a store without actual values"
    run(sold := write("sold.csv", "id,MEDV\na,3\n"))
    folder, more = Path(str(served.root / "actuals")), write("more.csv", "id,MEDV\nb,3\n")
    index, before = folder / "index.json", set(folder.iterdir())
    for path in before:
        os.utime(path, (1, 1))
    data = index.read_bytes()
    lost = f"{index} is missing, but files of actual values are there; restore it from a copy, or move {folder} away"
    cases = {b"": lost, b"entrie5": "is damaged", b"file5": "is damaged", b"MEDU": "is damaged"}
    for wrong, sentence in cases.items():
        right = {b"entrie5": b"entries", b"file5": b"files", b"MEDU": b"MEDV"}.get(wrong, b"")
        index.write_bytes(data.replace(right, wrong)) if wrong else index.unlink()
        assert sentence in "".join(verify(served))
        for command in (
            lambda: run(more),
            lambda: run(sold),
            lambda: forget(Search(served, "a", "", ()), ""),
            lambda: read_performance(served),
        ):
            with pytest.raises(UserError, match=re.escape(sentence)):
                command()
        assert clean_store(served, Retention()) == []
        assert before - {index} <= set(folder.iterdir())
    index.write_bytes(data)
    assert [entry.matched for entry in run(more)] == [1, 1]
    folder.rename(folder.parent / "away")
    assert [entry.matched for entry in run(more)] == [1]


def test_an_index_of_an_older_release_has_no_digest(served: Store, write: Write) -> None:
    run(sold := write("sold.csv", "id,MEDV\na,3\n"))
    index = Path(str(served.root / "actuals" / "index.json"))
    content = json.loads(index.read_text())
    assert content.pop("sha256")
    index.write_text(json.dumps(content))
    assert verify(served) == []
    assert len(run(sold)) == 1


def test_a_first_run_that_is_killed_leaves_nothing_in_the_way(
    served: Store, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    sold = write("sold.csv", "id,MEDV\na,3\n")
    with monkeypatch.context() as patch:
        patch.setattr("linear_neuron.tasks.monitoring.record.swap_index", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            run(sold)
    assert [path.suffix for path in Path(str(served.root / "actuals")).iterdir()].count(".parquet") == 1
    assert verify(served) == []
    assert len(run(sold)) == 1


def test_verify_names_actuals_that_differ(served: Store, write: Write) -> None:
    (entry,) = run(write("sold.csv", "id,MEDV\na,3\n"))
    (name,) = entry.files
    (served.root / "actuals" / name).write_bytes(b"")
    assert "was emptied" in verify(served)[0]


def test_the_command_prints_a_line_a_version(served: Store, write: Write, run_cli: Run) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\n"))]))
    done = run_cli("actuals", str(write("sold.csv", "id,MEDV\na,3\nb,5\n")), "--key", "id", "--json")
    assert json.loads(done.stdout)["results"][0]["matched"] == 2
    done = run_cli("actuals", str(write("sold.csv", "id,MEDV\na,3\nb,x\nc,1\n")), "--key", "id")
    assert done.stdout.splitlines()[1].split()[:3] == ["20260101T000000Z-aaaaaa", "1", "0.0000"]
    assert done.stdout.splitlines()[-1] == str(served.root / "actuals")
    done = run_cli("actuals", "nowhere.csv", "--key", "id")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("linear-neuron: There is nothing at nowhere.csv")


def test_a_recorded_run_shows_its_report(served: Store, write: Write, server: str) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    flow(Actuals(inputs=[str(write("sold.csv", "id,MEDV\na,3\n"))], key="id"))
    with get_client(sync_client=True) as client:
        filters = ArtifactFilter(key=ArtifactFilterKey(any_=["actuals-report"]))
        artifacts = client.read_artifacts(artifact_filter=filters)
    assert any(str(artifact.data).startswith("# 1 row of actuals, 1 matched\n") for artifact in artifacts)


def test_a_deployments_folder_may_be_empty(
    served: Store, tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="There are no actuals in"):
        run(tmp_path)
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "daily-actuals")
    state = flow(Actuals(inputs=[str(tmp_path)]), return_state=True)
    assert (state.name, state.message) == ("Empty", "There are no new actuals.")


def test_a_file_of_another_kind_fails_alone(served: Store, write: Write) -> None:
    write("t/a.csv", "id,MEDV\na,1\n")
    with pytest.raises(WorkError, match=r"1 of 2 files of actuals can't be used: .*notes\.txt"):
        flow.fn(Actuals(inputs=[str(write("t/notes.txt", "")), str(write("t/a.csv", "id,MEDV\na,1\n"))], key="id"))


def test_two_runs_at_once_record_both(served: Store, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\n"))]))
    one, other, swap = write("one.csv", "id,MEDV\na,3\n"), write("other.csv", "id,MEDV\nb,5\n"), Store.swap

    def swap_second(store: Store, path: UPath, expected: Tagged, data: bytes) -> bool:
        monkeypatch.setattr(Store, "swap", swap)
        run(other)
        return swap(store, path, expected, data)

    monkeypatch.setattr(Store, "swap", swap_second)
    entries = run(one)
    assert [(Path(entry.source).name, entry.matched) for entry in entries] == [("other.csv", 1), ("one.csv", 1)]
    assert verify(served) == []
    assert {path.name for path in (served.root / "actuals").iterdir()} == {
        "index.json",
        *(name for entry in entries for name in entry.files),
    }


def test_predictions_given_later_are_found(served: Store, write: Write, tmp_path: Path) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\n"))], output=str(tmp_path / "out")))
    sold = write("sold.csv", "id,MEDV\na,4\nx,1\n")
    (entry,) = run(sold)
    assert (entry.matched, entry.unmatched) == (0, 2)
    (entry,) = run(sold, predictions=[str(tmp_path / "out")])
    assert (entry.matched, entry.unmatched, [result.mse for result in entry.results]) == (1, 1, [1.0])
    (again,) = run(sold)
    assert (again.files, again.results) == (entry.files, entry.results), "what was matched stays"


def test_a_manifest_that_was_away_is_found_again(served: Store, write: Write, tmp_path: Path) -> None:
    manifest = Path(predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))) / "manifest.json"
    manifest.rename(tmp_path / "away")
    (entry,) = run(sold := write("t/sold.csv", "id,MEDV\na,3\n"))
    assert entry.matched == 0
    (tmp_path / "away").rename(manifest)
    sold.unlink()
    (entry, _) = run(write("t/other.csv", "id,MEDV\nb,3\n"))
    assert (entry.matched, entry.unmatched) == (1, 0), "its own file is not needed"
    assert verify(served) == []


def test_a_wrong_clock_hides_no_prediction(served: Store, write: Write) -> None:
    manifest = Path(predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))) / "manifest.json"
    manifest.write_text(re.sub(r'_at": "20\d\d', '_at": "2999', manifest.read_text()))
    (entry,) = run(write("sold.csv", "id,MEDV\na,3\n"))
    assert (entry.matched, entry.early) == (1, 0), "a batch that is there was not predicted in the future"


def test_lookups_end_after_a_year(served: Store, write: Write, tmp_path: Path) -> None:
    (entry,) = run(write("old.csv", "id,MEDV\na,3\n"))
    index, tagged = load_index(served)
    old = entry.model_copy(update={"recorded_at": entry.recorded_at - timedelta(days=367)})
    assert swap_index(served, tagged, index.model_copy(update={"entries": [old]}))
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    assert find_actuals.fn(Actuals(inputs=[str(tmp_path / "old.csv")], key="id")).lookup is False


def test_a_lookup_is_not_repeated_among_the_same_files(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    run(path := write("sold.csv", "id,MEDV\nx,3\n"))
    wanted = Actuals(inputs=[str(path)], key="id")
    assert find_actuals.fn(wanted).lookup is False
    predict.fn(Batch(inputs=[str(write("on/b.csv", "id,RM\nb,1\n"))]))
    assert find_actuals.fn(wanted).lookup is True


def test_keys_that_wait_longest_are_looked_up_first(
    served: Store, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linear_neuron.tasks.monitoring.record.LOOKUP_ROWS", 2)
    for name in "abc":
        inputs = [str(write(f"in/{name}.csv", f"id,RM\n{name}1,1\n"))]
        predict.fn(Batch(inputs=inputs, output=str(tmp_path / "out")))
        run(write(f"t/{name}.csv", f"id,MEDV\n{name}1,3\n{name}2,3\n{name}3,3\n"))
    other = write("t/other.csv", "id,MEDV\nz,3\n")
    for _ in range(4):
        run(other, predictions=[str(tmp_path / "out")])
    matched = {Path(entry.source).stem: entry.matched for entry in load_index(served)[0].entries}
    assert matched == {"a": 1, "b": 1, "c": 1, "other": 0}, "each run looks up some, and none waits for ever"


def test_an_alarm_of_a_killed_run_is_raised_by_the_next(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\n" + "".join(f"k{n},{n % 7}\n" for n in range(500))))]))
    sold = write("sold.csv", "id,MEDV\n" + "".join(f"k{n},{2 * (n % 7) + 9}\n" for n in range(500)))
    new = find_actuals.fn(Actuals(inputs=[str(sold)], key="id"))
    record.fn(new, *read_actuals.fn(new))
    assert read_alarms(served) == []
    run(sold)
    assert {alarm["action"] for alarm in read_alarms(served)} == {"coverage.low", "error.high"}


def test_a_mistyped_key_replaces_nothing(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\n"))]))
    before = run(path := write("sold.csv", "id,MEDV,name\na,4\n".replace("a,4", "a,4,p\nb,5,q")))
    with pytest.raises(WorkError, match="there is no column 'ide'"):
        run(path, key="ide")
    assert load_index(served)[0].entries == before
    with pytest.raises(WorkError, match="no key in column name was predicted, but 2 of its rows are recorded by id"):
        run(path, key="name")
    assert load_index(served)[0].entries == before
    assert verify(served) == []


def test_a_file_that_became_bad_replaces_nothing(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    before = run(write("sold.csv", "id,MEDV\na,4\n"))
    with pytest.raises(WorkError, match="not a number"):
        run(write("sold.csv", "id,MEDV\na,many\n"))
    assert load_index(served)[0].entries == before


def damage_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def damage_flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def damage_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        damage_truncated,
        damage_flipped,
        damage_folder,
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"null"),
        lambda path: path.write_bytes(b"[" * 100_000),
    ],
    ids=["truncated", "flipped", "folder", "missing", "empty", "null", "deep"],
)
def test_damaged_rows_stop_no_other_file(
    damage: Callable[[Path], object], served: Store, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\nc,3\n"))]))
    (entry,) = run(sold := write("t/sold.csv", "id,MEDV\na,4\nb,5\n"))
    (name,) = entry.files
    damage(Path(str(served.root / "actuals" / name)))
    old, new = run(write("more.csv", "id,MEDV\nb,6\nc,7\n"))
    assert (old, new.matched) == (entry, 2)
    assert f"Give {sold} again to replace it; until then its figures stay." in caplog.text
    rebuilt = run(sold)
    assert [entry.matched for entry in rebuilt] == [1, 2]
    assert verify(served) == []


@pytest.mark.parametrize("data", [b"null", b"[]", b"{", b"[" * 100_000, b'{"entries": [' + b"[" * 100_000, b"\xff"])
def test_a_damaged_index_of_any_kind_is_one_sentence(data: bytes, served: Store, write: Write) -> None:
    run(path := write("sold.csv", "id,MEDV\na,3\n"))
    (served.root / "actuals" / "index.json").write_bytes(data)
    with pytest.raises(UserError, match=r"index\.json is damaged; restore it from a copy, or move .*actuals away"):
        run(path)


def test_a_folder_in_the_place_of_a_manifest_is_passed_over(
    served: Store, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    damage_folder(Path(predict.fn(Batch(inputs=[str(write("on/b.csv", "id,RM\nb,1\n"))]))) / "manifest.json")
    (entry,) = run(write("sold.csv", "id,MEDV\na,3\nb,3\n"))
    assert entry.matched == 1
    assert "is damaged, so its predictions are passed over" in caplog.text


def test_slices_of_actuals_are_by_column_prediction_and_month(served: Store, write: Write, run_cli: Run) -> None:
    rows = [f"k{number},{number % 7 + 1},{'<b>south' if number % 2 else 'north'}" for number in range(60)]
    predict.fn(Batch(inputs=[str(write("in/a.csv", "\n".join(["id,RM,side", *rows])))], key="id"))
    wrong = [f"k{number},{2 * (number % 7 + 1) + 1 + (8 if number % 2 else 0)}" for number in range(60)]
    (entry,) = run(actual := write("sold.csv", "\n".join(["id,MEDV", *wrong])))
    assert {one.by for one in entry.results[0].slices} == {"period"}, "the model has no category"
    (entry,) = run(actual, by=["side", "none"])
    north, south = (one for one in entry.results[0].slices if one.by == "side")
    assert (north.level, north.rows, north.rmse, north.coverage) == ("<b>south", 30, 8.0, 0.0)
    assert (south.level, south.rows, south.rmse, south.bias, south.coverage) == ("north", 30, 0.0, 0.0, 1.0)
    (total,) = read_performance(served)
    assert len([one for one in total.slices if one.by == "side"]) == 2
    lines = run_cli("actuals", str(actual), "--key", "id", "--by", "side").stdout.splitlines()
    assert "Worst slice   RMSE 8.00, bias -8.00 where side <b>south (30 rows)" in lines
    assert [one.rows for one in run(write("sold.csv", "\n".join(["id,MEDV", *wrong[:40]])))[0].results[0].slices] == [
        40
    ]


def test_the_first_row_may_lack_a_prediction_and_so_a_label(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM,side\na,1,n\n"))], key="id"))
    (entry,) = run(write("sold.csv", "id,MEDV\nx,9\na,3\n"), by=["side"])
    assert [(one.level, one.rows) for one in entry.results[0].slices if one.by == "side"] == [("n", 1)]


def test_predictions_found_later_have_their_slices_too(served: Store, write: Write, tmp_path: Path) -> None:
    predict.fn(
        Batch(inputs=[str(write("in/a.csv", "id,RM,side\na,1,n\nb,2,s\n"))], key="id", output=str(tmp_path / "out"))
    )
    actual = write("sold.csv", "id,MEDV\na,3\nb,9\n")
    (entry,) = run(actual, by=["side"])
    assert entry.results == []
    (entry,) = run(actual, by=["side"], predictions=[str(tmp_path / "out")])
    assert {(one.level, one.rmse) for one in entry.results[0].slices if one.by == "side"} == {("n", 0.0), ("s", 4.0)}
