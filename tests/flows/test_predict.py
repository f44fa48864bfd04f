"""The predict flow as a whole, on a real server: whole or not at all, once and not twice, on one machine or several."""

import gzip
import os
import re
import signal
import subprocess
import sys
import threading
from functools import partial
from html import escape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest
from backports import zstd
from prefect import tags
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from linear_neuron.deployments.cli import main
from linear_neuron.flows.predict import predict as predict_flow
from linear_neuron.tasks.errors import UserError, WorkError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch, Training
from linear_neuron.tasks.registry.champion import promote
from linear_neuron.tasks.registry.verify import verify
from linear_neuron.tasks.reporting.page import render_page
from linear_neuron.tasks.scoring.batch import read_manifest
from linear_neuron.tasks.scoring.plan import digest_input
from linear_neuron.tasks.storage.store import Store, digest
from linear_neuron.tasks.tables.inputs import InputFile
from tests.flows.helpers import Predict, check, contents, wait_until
from tests.helpers import Run, make_version


def test_a_batch_leaves_predictions_rejects_and_a_manifest(served: Store, inbox: Path, predict: Predict) -> None:
    location = predict(Batch(inputs=[str(inbox)]))
    assert location.startswith(f"{served.root}/predictions/20260101T000000Z-aaaaaa-")
    added = "prediction,prediction_low,prediction_high,extrapolated"
    assert contents(location) == {
        "a.predictions.csv": f"id,RM,{added}\n007,5,11.0,10.5,11.5,false\n".encode(),
        "a.rejects.csv": b'line,column,value,reason,raw\n3,RM,x,not a number,"008,x"\n',
        "b.predictions.csv": f"id,RM,{added}\n1,6,13.0,12.5,13.5,false\n".encode(),
    }
    manifest = read_manifest(location)
    check(manifest, location)
    assert manifest.version == "20260101T000000Z-aaaaaa"
    assert [(item.source.name, item.rows, item.predicted, item.rejects) for item in manifest.inputs] == [
        ("a", 2, 1, {"not a number": 1}),
        ("b", 1, 1, {}),
    ]
    assert manifest.inputs[0].sha256 == digest((inbox / "a.csv").read_bytes())
    assert (manifest.total.rows, manifest.total.histogram) == (3, [0, 0, 2, 0, 0])


@pytest.mark.usefixtures("server")
def test_the_report_of_a_batch_is_in_the_ui(served: Store, inbox: Path) -> None:
    location = predict_flow(Batch(inputs=[str(inbox)]))
    with get_client(sync_client=True) as client:
        filters = ArtifactFilter(key=ArtifactFilterKey(any_=["predict-report"]))
        reports = [str(artifact.data) for artifact in client.read_artifacts(artifact_filter=filters)]
    (text,) = [report for report in reports if location in report]
    assert text.startswith("# 2 files, 3 rows, 2 predicted")
    assert "| not a number | 1 |" in text
    assert "![Predictions beside the training targets](data:image/svg+xml;base64," in text
    assert "±0.5000 (90%, split-conformal); on the model's test rows its 90% interval held 90% of the time" in text
    assert f"`{location}/a.predictions.csv`" in text
    assert len(text) < 60_000


@pytest.mark.usefixtures("server")
def test_names_of_files_mean_nothing_in_the_report(served: Store, tmp_path: Path) -> None:
    names = ["# x.csv", "[a](b).csv", "![i](x.png).csv", "<b>`.csv"]
    for name in names:
        (tmp_path / name).write_text("id,RM\n1,6\n" if name.startswith("#") else f"id,{name}\n")
    with pytest.raises(WorkError, match="3 of 4 files"):
        predict_flow(Batch(inputs=[str(tmp_path / "*.csv")]))
    with get_client(sync_client=True) as client:
        text = next(str(artifact.data) for artifact in client.read_artifacts() if str(tmp_path) in str(artifact.data))
    page = render_page(text, "").partition("<body>")[2]
    assert set(re.findall(r"<(\w+)", page)) == {"h1", "h2", "p", "strong", "ul", "li", "code"}
    assert text.count("](data:image/svg+xml;base64,") == 1, "only the UI shows it"
    assert all(escape(f"{tmp_path}/{name}") in page for name in names[1:])


@pytest.mark.usefixtures("served")
def test_scoring_waits_for_no_slots_of_tags(server: str, inbox: Path) -> None:
    with tags("slots"):
        predict_flow(Batch(inputs=[str(inbox)]))
    body = {"flow_runs": {"tags": {"all_": ["slots"]}}, "task_runs": {"name": {"any_": ["Score files"]}}}
    (run,) = wait_until(lambda: httpx.post(f"{server}/task_runs/filter", json=body).json())
    assert run["tags"] == []


def test_verify_knows_the_files_of_a_batch(served: Store, inbox: Path, predict: Predict) -> None:
    location = Path(predict(Batch(inputs=[str(inbox)])))
    assert verify(served) == []
    (location / "a.predictions.csv").write_bytes(b"other")
    (location / "b.predictions.csv").unlink()
    assert verify(served) == [
        f"{location}/a.predictions.csv has other bytes than its manifest says.",
        f"{location}/b.predictions.csv is missing.",
    ]


def test_verify_knows_batches_in_other_folders(served: Store, inbox: Path, predict: Predict, tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    location = Path(predict(Batch(inputs=[str(inbox)], output=output)))
    (tmp_path / "out" / "notes").mkdir()
    (location / "a.predictions.csv").write_bytes(b"")
    emptied = f"{location}/a.predictions.csv was emptied; its manifest says "
    assert verify(served) == [], "the store knows nothing of it"
    for folder in (output, str(location)):
        (found,) = verify(served, [folder])
        assert found.startswith(emptied)
    with pytest.raises(UserError, match=r"There is no batch of predictions in .*/notes"):
        verify(served, [f"{output}/notes"])


def test_what_is_done_is_not_done_again_and_what_changed_is(served: Store, inbox: Path, predict: Predict) -> None:
    location = predict(Batch(inputs=[str(inbox)]))
    before = {name: (Path(location) / name).stat().st_ino for name in contents(location)}
    (inbox / "a.csv").write_text("id,RM\n007,7\n008,6\n")  # Of the same size as before, and with no rejects now.
    (inbox / "c.csv").write_text("id,RM\n3,7\n")
    assert predict(Batch(inputs=[str(inbox)])) == location
    after = {name: (Path(location) / name).stat().st_ino for name in contents(location)}
    older = sorted(name for name in after if name.startswith(".older/"))
    assert [name.rpartition("/")[2] for name in older] == ["a.predictions.csv", "a.rejects.csv"]
    assert sorted(after.keys() - set(older)) == ["a.predictions.csv", "b.predictions.csv", "c.predictions.csv"]
    assert after["b.predictions.csv"] == before["b.predictions.csv"]
    assert after["a.predictions.csv"] != before["a.predictions.csv"]
    assert b"007,7,15.0" in contents(location)["a.predictions.csv"]
    assert [after[name] for name in older] == [before["a.predictions.csv"], before["a.rejects.csv"]]
    check(read_manifest(location), location)


def test_a_killed_run_leaves_a_manifest_that_is_right(
    served: Store, inbox: Path, monkeypatch: pytest.MonkeyPatch, predict: Predict
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    batch = Batch(inputs=[str(inbox)])
    location = predict(batch)
    (inbox / "c.csv").write_text("id,RM\n2,7\n")
    with monkeypatch.context() as patch:
        patch.setattr("linear_neuron.flows.predict.publish_batch", die)
        with pytest.raises(KeyboardInterrupt):
            predict(batch)
        assert (Path(location) / "manifest.json").exists(), "what it names was not touched"
        (inbox / "a.csv").write_text("id,RM\n007,7\n")
        with pytest.raises(KeyboardInterrupt):
            predict(batch)
    assert verify(served) == [], "it names the older predictions, where they are now"
    unfinished = read_manifest(location)
    assert [result.source.name for result in unfinished.inputs] == ["b"]
    assert [result.source.name for result in unfinished.replaced] == ["a"]
    before = {
        name: (Path(location) / name).stat().st_ino for name in contents(location) if name.endswith(".predictions.csv")
    }
    assert predict(batch) == location
    check(read_manifest(location), location)
    assert before == {name: (Path(location) / name).stat().st_ino for name in before}, "nothing was predicted twice"
    assert read_manifest(location).total.predicted == 3
    assert not (Path(location) / "a.rejects.csv").exists()


def test_a_file_that_left_the_inbox_stays_predicted(served: Store, inbox: Path, predict: Predict) -> None:
    location = predict(Batch(inputs=[str(inbox)]))
    (inbox / "a.csv").unlink()
    (Path(location) / "b.predictions.csv").unlink()
    predict(Batch(inputs=[str(inbox)]))
    assert sorted(contents(location)) == ["a.predictions.csv", "a.rejects.csv", "b.predictions.csv"]
    check(read_manifest(location), location)


def test_a_new_champion_and_other_settings_write_to_places_of_their_own(
    served: Store, inbox: Path, neuron: ModelVersion, predict: Predict
) -> None:
    first = predict(Batch(inputs=[str(inbox)]))
    other = predict(Batch(inputs=[str(inbox)], interval=50))
    make_version(served, "20260102T000000Z-bbbbbb", weights=neuron.weights, bias=2.0)
    promote(served, "20260102T000000Z-bbbbbb", "by hand")
    third = predict(Batch(inputs=[str(inbox)]))
    assert len({first, other, third}) == 3
    assert b"007,5,11.0" in contents(first)["a.predictions.csv"]
    assert b"007,5,12.0" in contents(third)["a.predictions.csv"]
    assert read_manifest(third).version == "20260102T000000Z-bbbbbb"


def test_a_deployment_fails_once_for_a_bad_file(
    server: str, served: Store, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "daily-predict")
    (inbox / "bad.csv").write_text("id,RM\n1,x\n2,y\n")
    (inbox / "folder.csv").mkdir()
    batch = Batch(inputs=[f"{inbox}/*"])
    with pytest.raises(UserError, match=r"2 of 4 files can't be predicted: .*/bad\.csv: 2 of 2 rows can't be"):
        predict_flow(batch)
    location = predict_flow(batch)
    assert len(read_manifest(location).failed) == 2, "they are still named"
    assert contents(location)["bad.rejects.csv"].count(b"not a number") == 2
    assert read_manifest(location).total.predicted == 2
    assert verify(served) == []
    (inbox / "bad.csv").write_text("id,RM\n1,x\n")
    with pytest.raises(UserError, match=r"bad\.csv: 1 of 1 rows"):
        predict_flow(batch)


@pytest.mark.parametrize(
    "damage", [b"{", b"[{}]", b'[{"source": {"path": "a", "name": "a"}, "outputs": {"../../x": {}}}]']
)
def test_a_damaged_record_of_a_batch_is_made_again(served: Store, inbox: Path, predict: Predict, damage: bytes) -> None:
    location = Path(predict(Batch(inputs=[str(inbox)])))
    before = contents(str(location))
    (location / ".work").mkdir()
    (location / ".work" / "1.json").write_bytes(damage)
    (location / "manifest.json").write_bytes(b'{"inputs": %s}' % damage)
    bystander = location.parent.parent / "x"
    bystander.write_text("not ours")
    assert predict(Batch(inputs=[str(inbox)])) == str(location)
    assert contents(str(location)) == before
    assert verify(served) == []
    assert bystander.read_text() == "not ours"


def test_nested_bytes_beside_a_rejected_row_pass_through(served: Store, inbox: Path, predict: Predict) -> None:
    pl.DataFrame({"RM": [None, 5.0], "blobs": [[b"\xff"], [b"\x00"]]}).write_parquet(inbox / "c.parquet")
    location = Path(predict(Batch(inputs=[str(inbox)])))
    assert pl.read_parquet(location / "c.predictions.parquet")["blobs"].to_list() == [[b"\x00"]]
    assert '""blobs"":""[\\""/w==\\""]""' in (location / "c.rejects.csv").read_text()


def test_an_output_that_was_emptied_is_made_again(served: Store, inbox: Path, predict: Predict) -> None:
    location = predict(Batch(inputs=[str(inbox)]))
    before = contents(location)
    (Path(location) / "b.predictions.csv").write_bytes(b"")
    assert predict(Batch(inputs=[str(inbox)])) == location
    assert contents(location) == before
    assert verify(served) == []


def test_a_file_that_changes_while_it_fails_is_tried_again(
    served: Store, inbox: Path, predict: Predict, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inbox / "late.csv").write_text("id,rm\n1,5\n")

    def digest_later(source: InputFile) -> str:
        Path(source.path).write_text("id,RM\n1,5\n")  # As long as before, and good.
        return digest_input(source)

    with monkeypatch.context() as patch:
        patch.setattr("linear_neuron.tasks.scoring.run.digest_input", digest_later)
        with pytest.raises(UserError, match="there is no column 'RM'"):
            predict(Batch(inputs=[str(inbox)]))
    location = predict(Batch(inputs=[str(inbox)]))
    assert contents(location)["late.predictions.csv"].endswith(b"\n1,5,11.0,10.5,11.5,false\n")


def test_a_bad_file_is_tried_again_when_more_is_allowed(served: Store, inbox: Path, predict: Predict) -> None:
    (inbox / "bad.csv").write_text("id,RM\n1,x\n2,y\n")
    for _ in range(2):
        with pytest.raises(UserError, match=r"1 of 3 files can't be predicted: .*/bad\.csv: 2 of 2 rows can't be"):
            predict(Batch(inputs=[str(inbox)]))
    location = predict(Batch(inputs=[str(inbox)], max_rejects=1))
    assert read_manifest(location).failed == []


def test_a_run_reports_on_the_files_it_was_asked_for(served: Store, inbox: Path, run_cli: Run) -> None:
    run_cli("predict", str(inbox / "a.csv"))
    shown = run_cli("predict", str(inbox / "b.csv")).stdout
    assert "Files         1\n" in shown
    assert "Predicted     1 row, 0 of them outside the range trained on\nRejected      0 rows\n" in shown
    (location,) = (served.root / "predictions").iterdir()
    assert [result.source.name for result in read_manifest(str(location)).inputs] == ["a", "b"]


def test_bombs_fail_early_and_the_others_are_predicted(served: Store, inbox: Path, predict: Predict) -> None:
    (inbox / "c.csv.zst").write_bytes(zstd.compress(b"id,RM\n" + (b"0" * 1000 + b",5\n") * 50_000))
    (inbox / "d.csv.gz").write_bytes(gzip.compress(bytes(40 << 20)))
    with pytest.raises(
        UserError, match=r"2 of 4 files can't be predicted: .*/c\.csv\.zst: it unpacks to more than 100"
    ):
        predict(Batch(inputs=[str(inbox)], max_rejects=1))
    (folder,) = Path(served.root.path, "predictions").iterdir()
    assert sorted(contents(str(folder))) == ["a.predictions.csv", "a.rejects.csv", "b.predictions.csv"]


def test_a_file_that_fails_fails_alone_and_the_run_tells_it(served: Store, inbox: Path, run_cli: Run) -> None:
    (inbox / "empty.csv").touch()
    (inbox / "folder.csv").mkdir()
    (inbox / "wrong.parquet").write_text("RM\n5\n")
    (inbox / "torn.csv.gz").write_bytes(b"\x1f\x8b\x08\x00")
    done = run_cli("predict", f"{inbox}/*")
    assert done.returncode == 1
    (location,) = (served.root / "predictions").iterdir()
    last = done.stderr.splitlines()[-1]
    assert last.startswith("linear-neuron: 4 of 6 files can't be predicted: ")
    assert f"{inbox}/empty.csv: the file is empty; the first line must name the columns; " in last
    assert f"{inbox}/folder.csv: this is a folder and not a file; " in last
    assert f"{inbox}/wrong.parquet: this is not a Parquet file, whatever its name says. " in last
    assert last.endswith(f"See {location}.")
    manifest = read_manifest(str(location))
    check(manifest, str(location))
    assert sorted(manifest.files) == ["a.predictions.csv", "a.rejects.csv", "b.predictions.csv"]
    assert [item.source.name for item in manifest.failed] == ["empty", "folder", "torn", "wrong"]
    for name in ("empty.csv", "wrong.parquet", "torn.csv.gz"):
        (inbox / name).unlink()
    (inbox / "folder.csv").rmdir()
    (inbox / "empty.csv").write_text("RM\n5\n")
    assert run_cli("predict", f"{inbox}/*").returncode == 0
    assert not read_manifest(str(location)).failed


def test_the_command_prints_a_summary_and_the_folder_as_the_last_line(served: Store, inbox: Path, run_cli: Run) -> None:
    output = inbox.parent / "out"
    arguments = ("--output", str(output), "--format", "parquet", "--columns", "RM=id", "--max-rejects", "1")
    done = run_cli("predict", str(inbox / "a.csv"), str(inbox / "b.csv"), *arguments)
    assert done.returncode == 0, done.stderr
    (location,) = output.iterdir()
    assert done.stdout.splitlines()[-1] == str(location)
    assert "Predicted     3 rows, 1 of them outside the range trained on" in done.stdout
    assert pl.read_parquet(location / "a.predictions.parquet")["prediction"].to_list() == [15.0, 17.0]
    assert sorted(path.name for path in location.iterdir()) == [
        "a.predictions.parquet",
        "b.predictions.parquet",
        "manifest.json",
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--interval", "40"], "--interval: Input should be greater than or equal to 50, not '40'."),
        (["--max-rejects", "2"], "--max-rejects: Input should be less than or equal to 1, not '2'."),
        (["--columns", "RM"], "--columns: must be FEATURE=COLUMN, such as RM=rooms"),
        (
            ["--connection", "pg://u:secret@h"],
            "--connection: must be a name of letters, digits, - and _, never an address",
        ),
        (
            ["--runner", "dask", "--dask-address", "tcp://user:secret@host:8786"],
            "--dask-address: must be the address of a Dask scheduler, such as tcp://host:8786, without a user or a",
        ),
        (["https://user:secret@host/a.csv"], "--inputs: must not hold a URL with a user or a password"),
        (["--as-of", "2999-01-01"], "--as-of: is a day that is still to come; name today or an earlier one"),
        (["--format", "xlsx"], "--format: Input should be 'same', 'csv' or 'parquet', not 'xlsx'."),
    ],
)
def test_a_users_mistake_is_one_sentence_and_status_2(
    served: Store,
    inbox: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(inbox.parent)
    monkeypatch.setattr(sys, "argv", ["linear-neuron", "predict", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert sentence in said.err.splitlines()[-1]
    assert "secret" not in said.err
    assert not (served.root / "predictions").exists()


def test_without_a_champion_nothing_is_predicted(store: Store, inbox: Path, predict: Predict) -> None:
    with pytest.raises(UserError, match=r"store has no champion yet\. Make one: linear-neuron retrain"):
        predict(Batch(inputs=[str(inbox)]))


def test_without_a_place_to_write_nothing_is_predicted(served: Store, inbox: Path, predict: Predict) -> None:
    with pytest.raises(UserError, match=r"The output folder .*/inbox/a.csv can't be written: Not a directory"):
        predict(Batch(inputs=[str(inbox)], output=str(inbox / "a.csv")))


@pytest.mark.slow
def test_a_killed_batch_of_many_files_is_finished_by_the_next_run(
    served: Store, server: str, tmp_path: Path, run_cli: Run
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for number in range(400):
        (inbox / f"{number:03}.csv").write_text(f"id,RM\n{number},{number % 7}\n")
    command = [sys.executable, "-c", "from linear_neuron.deployments.cli import main; main()", "predict", str(inbox)]
    first = subprocess.Popen(command, env=os.environ | {"PREFECT_API_URL": server}, stderr=subprocess.DEVNULL)
    predictions = served.root / "predictions"
    try:
        wait_until(lambda: len(list(predictions.glob("*/.work/*.json"))) >= 2 if predictions.exists() else False)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    (location,) = predictions.iterdir()
    assert not (location / "manifest.json").exists()
    done = {name: Path(location.path, name).stat().st_ino for name in contents(str(location)) if name.endswith(".csv")}
    assert 200 <= len(done) < 400
    again = run_cli("predict", str(inbox))
    assert again.returncode == 0, again.stderr
    manifest = read_manifest(str(location))
    check(manifest, str(location))
    assert len(manifest.inputs) == manifest.total.predicted == 400
    kept = [name for name, inode in done.items() if Path(location.path, name).stat().st_ino == inode]
    assert len(kept) >= 200
    for number in (0, 200, 399):
        line = f"{number},{number % 7},{number % 7 * 2 + 1:.1f},"
        assert line.encode() in contents(str(location))[f"{number:03}.predictions.csv"]


@pytest.mark.xdist_group("references")
def test_the_numbers_are_those_of_keras(store: Store, tmp_path: Path) -> None:
    """On a million random rows, and on the edges of float32 wherever the prediction does not overflow."""
    from linear_neuron.tasks.training.neuron import build_neuron

    rng = np.random.default_rng(0)
    limit = np.finfo(np.float32)
    edges = [0.0, -0.0, limit.smallest_subnormal, limit.tiny, limit.eps, limit.max / 20, limit.min / 20, 2**24 + 1]
    bits = rng.integers(0, 0x7D000000, 200_000, np.int32).view(np.float32)
    x = np.concatenate([edges, rng.normal(6, 2, 600_000), bits, -bits]).astype(np.float32)
    keras_neuron, line = build_neuron(1, Training()), np.array([3.3427968, 1.2760874], np.float32)  # the tutorial's
    keras_neuron.set_weights([line[:1, None], line[1:]])
    version = make_version(store, "20260101T000000Z-aaaaaa", weights=line[:1].tolist(), bias=float(line[1])).version
    promote(store, version, "by hand")
    pl.DataFrame({"RM": x}).write_parquet(tmp_path / "x.parquet")
    location = predict_flow.fn(Batch(inputs=[str(tmp_path / "x.parquet")], output=str(tmp_path)))
    ours = pl.read_parquet(f"{location}/x.predictions.parquet")["prediction"].to_numpy()
    theirs = keras_neuron.predict(x[:, None], batch_size=1 << 16, verbose=0)[:, 0]
    assert len(ours) == len(theirs) > 1_000_000
    assert np.all(np.abs(ours - theirs) <= 2 * limit.eps * np.abs(theirs) + limit.tiny)


@pytest.mark.usefixtures("server", "served")
def test_an_empty_inbox_is_no_failure_of_a_deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    batch = Batch(inputs=[str(tmp_path / "empty")])
    with pytest.raises(UserError, match=r"There is no file to predict in .*/empty; put CSV or Parquet files there"):
        predict_flow(batch)
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "daily-predict")
    state = predict_flow(batch, return_state=True)
    assert (state.name, state.message) == ("Empty", "There is no file to predict.")
    monkeypatch.setenv("LINEAR_NEURON_FOLDER", str(tmp_path))
    assert predict_flow(return_state=True).name == "Empty", "nobody has made the inbox"


def test_a_column_of_no_feature_is_refused(served: Store, inbox: Path, predict: Predict) -> None:
    with pytest.raises(UserError, match=r"--columns names LSTAT, which .* does not read; it reads RM\."):
        predict(Batch(inputs=[str(inbox)], columns=["LSTAT=status"]))


def test_a_file_behind_http_is_predicted(served: Store, inbox: Path, predict: Predict) -> None:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(inbox))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        location = predict(Batch(inputs=[f"http://127.0.0.1:{server.server_port}/b.csv"]))
        server.shutdown()
    (predictions,) = contents(location).values()
    assert predictions.endswith(b"\n1,6,13.0,12.5,13.5,false\n")
