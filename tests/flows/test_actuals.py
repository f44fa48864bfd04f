"""Actuals on a real store: each key's last prediction before its truth, counted once, whatever is given again."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.actuals import actuals as flow
from flows.predict import predict
from tasks.actuals.performance import Entry, load_index, read_performance
from tasks.actuals.run import find_actuals, look_up, read_actuals, record
from tasks.errors import UserError, WorkError
from tasks.parameters import Actuals, Batch, Retention
from tasks.registry.alarms import read_alarms
from tasks.registry.champion import promote
from tasks.registry.retention import clean_store
from tasks.registry.verify import verify
from tasks.storage.store import Store
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


def test_errors_are_those_of_the_last_prediction(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\nc,3\n"))]))  # 3, 5 and 7
    (entry,) = run(write("truth.csv", "id,MEDV\na,4\nb,5\nx,1\n"))
    assert (entry.rows, entry.matched, entry.unmatched, entry.early, entry.rejected) == (3, 2, 1, 0, 0)
    (result,) = read_performance(served)
    assert (result.version, result.matched, result.interval) == ("20260101T000000Z-aaaaaa", 2, 90)
    assert (result.mse, result.mae, result.bias, result.coverage) == (0.5, 0.5, -0.5, 1.0)
    assert (result.mean_mse, result.promise.mse, result.promise.test_rows) == (30.5, 4.0, 100)
    assert result.rmse == pytest.approx(0.5**0.5)
    assert verify(served) == []


def test_a_later_batch_counts_for_the_keys_it_has(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\n"))]))
    predict.fn(Batch(inputs=[str(write("on/a.csv", "id,RM\na,3\n"))]))
    run(write("truth.csv", "id,MEDV\na,7\nb,5\n"))
    assert [(result.matched, result.mse) for result in read_performance(served)] == [(1, 0.0), (1, 0.0)]


def test_what_is_in_order_is_not_warned_of(served: Store, write: Write, caplog: pytest.LogCaptureFixture) -> None:
    for folder, rooms in (("in", 1), ("on", 3)):
        predict.fn(Batch(inputs=[str(write(f"{folder}/a.csv", f"id,RM\na,{rooms}\n"))]))
    caplog.clear()
    run(write("truth.csv", "id,MEDV\na,7\nb,5\n"))
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_truth_before_its_prediction_counts_not(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\n"))]))
    truths = write("truth.csv", "id,MEDV,day\na,4,2020-01-01\nb,5,2999-01-01\n")
    (entry,) = run(truths, known_at="day")
    assert (entry.matched, entry.unmatched, entry.early) == (1, 1, 1)


def test_what_was_known_stays_known(served: Store, write: Write) -> None:
    run(write("truth.csv", "id,MEDV\na,4\n"))
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    (entry,) = run(write("truth.csv", "id,MEDV\na,5\n"))
    assert (entry.matched, entry.early) == (0, 1), "the key was predicted after the file first told its truth"


def test_the_same_file_is_recorded_once(served: Store, write: Write, caplog: pytest.LogCaptureFixture) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    truths = write("truth.csv", "id,MEDV\na,4\n")
    before = run(truths)
    assert run(truths) == before
    assert "Found 1 file of actuals, 0 of them new" in caplog.text


def test_a_corrected_file_takes_the_place(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\n"))]))
    run(write("truth.csv", "id,MEDV\na,4\nb,9\n"))
    (entry,) = run(write("truth.csv", "id,MEDV\na,3\n"))
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
    path = write("truth.csv", "id,MEDV\na,4\nb,5\nc,7\nd,many\n,3\ne,1\ne,2\na,4\n")
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
    run(write("truth.csv", "id,MEDV\n7,4\n"))
    assert "None of 1 key, such as '7', was found in a finished batch, where keys are such as '007'" in caplog.text


def test_a_key_that_a_batch_has_twice_is_told(served: Store, write: Write, caplog: pytest.LogCaptureFixture) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\na,2\n"))]))
    run(write("truth.csv", "id,MEDV\na,3\n"))
    assert "1 key predicted more than once in one batch; the first row counts" in caplog.text
    assert [result.mse for result in read_performance(served)] == [0.0]


def test_a_key_in_two_files_of_a_batch_is_told(served: Store, write: Write, caplog: pytest.LogCaptureFixture) -> None:
    predict.fn(Batch(inputs=[str(write(f"in/{name}.csv", "id,RM\na,1\n")) for name in "ab"]))
    run(write("truth.csv", "id,MEDV\na,3\nb,3\n"))  # Nobody looks further once all are found.
    assert "1 key predicted more than once in one batch; the first row counts" in caplog.text


def test_key_and_target_may_be_the_champions(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    truths = write("truth.csv", "id,MEDV\na,3\n")
    with pytest.raises(UserError, match="Which column names a row is not known; give it, such as --key id"):
        run(truths, key="")
    make_version(served, "20260102T000000Z-bbbbbb", dataset={"name": "own", "key": "id"})
    promote(served, "20260102T000000Z-bbbbbb", "it knows the key")
    (entry,) = run(truths, key="")
    assert (entry.settings["key"], entry.settings["target"], entry.matched) == ("id", "MEDV", 1)


def test_a_batch_may_have_another_name_for_the_key(served: Store, write: Write, tmp_path: Path) -> None:
    batch = Batch(inputs=[str(write("in/a.csv", "number,RM\na,1\n"))], key="number", output=str(tmp_path / "out"))
    predict.fn(batch)
    (entry,) = run(write("truth.csv", "id,MEDV\na,3\n"), predictions=[str(tmp_path / "out")])
    assert entry.matched == 1


def test_parquet_and_queries_say_the_same(
    served: Store, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pl.DataFrame({"id": [1, 2], "RM": [1.0, 2.0]}).write_parquet(write("in/a.parquet", ""))
    predict.fn(Batch(inputs=[str(tmp_path / "in")]))
    pl.DataFrame({"id": [1, 2], "MEDV": [3, 6]}).write_parquet(tmp_path / "truth.parquet")
    (entry,) = run(tmp_path / "truth.parquet")
    (tmp_path / "facts.db").touch()
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_FACTS", f"sqlite:///{tmp_path}/facts.db")
    query = "sql:SELECT 1 AS id, 3.0 AS MEDV UNION SELECT 2, 6.0"
    _, other = run(query, connection="facts")
    assert entry.results == other.results
    assert [result.mse for result in read_performance(served)] == [0.5]


def test_a_broken_promise_is_an_alarm(served: Store, write: Write) -> None:
    rows = [(f"k{number}", number % 7) for number in range(500)]
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\n" + "".join(f"{key},{x}\n" for key, x in rows)))]))
    shifts = [-4 if number % 3 else 6 for number in range(500)]  # a third of them beyond the interval
    lines = [f"{key},{2 * x + 1 + shift}\n" for (key, x), shift in zip(rows, shifts, strict=True)]
    run(write("truth.csv", "id,MEDV\n" + "".join(lines)))
    alarms = {alarm["action"]: alarm["reason"] for alarm in read_alarms(served)}
    assert alarms["coverage.low"].startswith("The 90% interval of 20260101T000000Z-aaaaaa holds 66.6% of 500 actuals")
    assert "is 22.68 on 500 actuals; its test rows promised 4.00" in alarms["error.high"]


def test_a_kept_promise_is_none(served: Store, write: Write) -> None:
    rows = [(f"k{number}", number % 7) for number in range(500)]
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\n" + "".join(f"{key},{x}\n" for key, x in rows)))]))
    lines = [f"{key},{2 * x + 1 + (6 if n % 20 == 0 else 1.5)}\n" for n, (key, x) in enumerate(rows)]
    run(write("truth.csv", "id,MEDV\n" + "".join(lines)))
    assert read_alarms(served) == []


def test_a_version_that_is_gone_promised_nothing(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    served.remove(served.root / "models" / "20260101T000000Z-aaaaaa")
    run(write("truth.csv", "id,MEDV\na,3\n"), target="MEDV")
    (result,) = read_performance(served)
    assert (result.promise.mse, result.mean_mse, result.mse) == (None, None, 0.0)
    assert (result.promise.test_rows, result.promise.validation_rows) == (0, 0)


def test_predictions_that_cannot_be_read_are_passed_over(
    served: Store, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    other = Path(predict.fn(Batch(inputs=[str(write("on/b.csv", "nr,RM\na,1\n"))])))
    broken = Path(predict.fn(Batch(inputs=[str(write("up/c.csv", "id,RM\na,1\n"))])))
    (broken / "manifest.json").write_text("{")
    (entry,) = run(write("truth.csv", "id,MEDV\na,3\n"))
    assert entry.matched == 1
    assert f"{broken}/manifest.json is damaged, so its predictions are passed over" in caplog.text
    assert f"Passed over: {other}/b.predictions.csv" in caplog.text


def test_a_damaged_index_is_one_sentence(served: Store, write: Write) -> None:
    served.write(served.root / "actuals" / "index.json", b"{")
    with pytest.raises(UserError, match=r"index\.json is damaged; restore it from a copy, or remove it"):
        run(write("truth.csv", "id,MEDV\na,3\n"))


def test_the_index_is_json(served: Store, write: Write) -> None:
    run(write("truth.csv", "id,MEDV\na,3\n"))
    content = json.loads((served.root / "actuals" / "index.json").read_text())
    assert content["entries"][0]["settings"] == {"key": "id", "target": "MEDV", "known_at": ""}


def test_clean_removes_what_no_index_knows(served: Store, write: Write) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    run(write("truth.csv", "id,MEDV\na,3\n"))
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
    assert verify(served) == [f"{folder}/index.json is damaged; restore it from a copy, or remove {folder}."]


def test_verify_names_actuals_that_differ(served: Store, write: Write) -> None:
    (entry,) = run(write("truth.csv", "id,MEDV\na,3\n"))
    (name,) = entry.files
    (served.root / "actuals" / name).write_bytes(b"")
    assert "was emptied" in verify(served)[0]


def test_the_command_prints_a_line_a_version(served: Store, write: Write, run_cli: Run) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\nb,2\n"))]))
    done = run_cli("actuals", str(write("truth.csv", "id,MEDV\na,3\nb,5\n")), "--key", "id", "--json")
    assert json.loads(done.stdout)["results"][0]["matched"] == 2
    done = run_cli("actuals", str(write("truth.csv", "id,MEDV\na,3\nb,x\nc,1\n")), "--key", "id")
    assert done.stdout.splitlines()[1].split()[:3] == ["20260101T000000Z-aaaaaa", "1", "0.0000"]
    assert done.stdout.splitlines()[-1] == str(served.root / "actuals")
    done = run_cli("actuals", "nowhere.csv", "--key", "id")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("linear-neuron: There is nothing at nowhere.csv")


def test_a_recorded_run_shows_its_report(served: Store, write: Write, server: str) -> None:
    predict.fn(Batch(inputs=[str(write("in/a.csv", "id,RM\na,1\n"))]))
    flow(Actuals(inputs=[str(write("truth.csv", "id,MEDV\na,3\n"))], key="id"))
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


def test_another_run_in_between_is_told(served: Store, write: Write) -> None:
    new = find_actuals.fn(Actuals(inputs=[str(write("t.csv", "id,MEDV\na,1\n"))], key="id"))
    truths, errors = read_actuals.fn(new)
    found = look_up.fn(new, truths)
    before = run(write("u.csv", "id,MEDV\nb,1\n"))
    with pytest.raises(UserError, match="is being changed by too many others at once; try again"):
        record.fn(new, truths, errors, found)
    assert load_index(served)[0].entries == before
