"""OpenLineage events of real runs, at a real HTTP receiver on loopback."""

import json
import logging
import os
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from linear_neuron.flows.actuals import actuals
from linear_neuron.flows.predict import predict
from linear_neuron.flows.retrain import retrain
from linear_neuron.tasks import lineage
from linear_neuron.tasks.errors import UserError, WorkError
from linear_neuron.tasks.lineage import name_data
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Actuals, Batch, Dataset
from linear_neuron.tasks.registry.versions import read_version
from linear_neuron.tasks.storage.store import Store
from tests.deployments.helpers import Site, free_port
from tests.flows.helpers import Way
from tests.life import COLUMNS, SMALL, write_month
from tests.postgres import Postgres

Found = dict[str, tuple[list[str], int | None]]  # name of a dataset -> its columns and rows
TYPES = {"id": "string", "sold_on": "timestamp", "area": "double", "price": "double"}


@pytest.fixture(autouse=True)
def _no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the client writes into the environment, and the settings of the machine's owner."""
    for name in [name for name in os.environ if name.startswith("OPENLINEAGE")]:
        monkeypatch.delenv(name)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site()
    monkeypatch.setenv("OPENLINEAGE_URL", site.url)
    yield site
    site.close()


def list_data(event: dict[str, Any], side: str) -> Found:
    """List the datasets of one side of an event, all of which are files."""
    assert {data["namespace"] for data in event[side]} <= {"file"}
    return {
        data["name"]: (
            [column["name"] for column in data["facets"]["schema"]["fields"]],
            data[f"{side[:-1]}Facets"][f"{side[:-1]}Statistics"].get("rowCount"),
        )
        for data in event[side]
    }


def list_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    return [message for message in found if "ineage" in message]


def test_each_flow_sends_its_data(way: Way, store: Store, tmp_path: Path, receiver: Site) -> None:
    write_month(tmp_path, "2026-01", 100, SMALL)
    sales, ask, sold = (tmp_path / name for name in ("sales", "ask/2026-01.csv", "sold/2026-01.csv"))
    version = Path(way(retrain)(Dataset.model_validate({"source": str(sales)} | COLUMNS))).name
    batch = Path(way(predict)(Batch(inputs=[str(ask)], key="id")))
    way(actuals)(Actuals(inputs=[str(sold)], key="id"))
    assert set(receiver.asked) == {"/api/v1/lineage"}
    started, ended = receiver.posted[::2], receiver.posted[1::2]
    assert [event["eventType"] for event in started] == ["START"] * 3
    assert [event["eventType"] for event in ended] == ["COMPLETE"] * 3
    assert [event["job"]["name"] for event in ended] == ["retrain", "predict", "actuals"]
    assert {event["job"]["namespace"] for event in receiver.posted} == {"linear-neuron"}
    assert [event["run"]["runId"] for event in started] == [event["run"]["runId"] for event in ended]
    assert len({UUID(event["run"]["runId"]) for event in ended}) == 3

    learned, scored, known = ended
    (snapshot,) = (Path(str(store.root)) / "datasets").glob("*.npy")
    model = str(store.root / "models" / version)
    assert {column["name"]: column["type"] for column in learned["inputs"][0]["facets"]["schema"]["fields"]} == TYPES
    columns = ["area", "price", "id", "sold_on"]
    assert list_data(learned, "inputs") == {str(sales): (columns, 100)}
    assert list_data(learned, "outputs") == {str(snapshot): (columns, 100), model: (["area", "price"], None)}
    assert list_data(scored, "inputs") == {model: (["area", "price"], None), str(ask): (["area", "id"], 100)}
    added = ["area", "id", "prediction", "prediction_low", "prediction_high", "extrapolated"]
    predictions = str(batch / "2026-01.predictions.csv")
    assert list_data(scored, "outputs") == {str(batch): (added, 100), predictions: (added, 100)}
    assert scored["outputs"][1]["outputFacets"]["outputStatistics"]["size"] == Path(predictions).stat().st_size
    assert list_data(known, "inputs") == {str(sold): (["id", "price"], 100), str(batch): (["id", "prediction"], 100)}
    assert list_data(known, "outputs") == {str(store.root / "actuals"): (["id", "price", "prediction"], 100)}


@pytest.mark.slow
def test_a_recorded_run_has_the_id_of_its_flow_run(
    server: str, served: Store, inbox: Path, receiver: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINEAR_NEURON_NAME", "sales")
    state = predict(Batch(inputs=[str(inbox / "b.csv")]), return_state=True)
    assert {event["run"]["runId"] for event in receiver.posted} == {str(state.state_details.flow_run_id)}
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(UUID(receiver.posted[0]["run"]["runId"])).name == "sales: predict b.csv"


def test_a_failed_run_says_why_and_what_it_did(
    served: Store, inbox: Path, receiver: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINEAR_NEURON_NAME", "sales")
    monkeypatch.setenv("LINEAR_NEURON_STORE_SALES", str(served.root))
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "plant")
    (inbox / "c.csv").write_text("id,size\n1,2\n")
    with pytest.raises(WorkError):
        predict.fn(Batch(inputs=[str(inbox)], max_rejects=1))
    event = receiver.posted[-1]
    assert (event["eventType"], event["job"]["namespace"], event["job"]["name"]) == ("FAIL", "plant", "sales.predict")
    assert event["run"]["facets"]["errorMessage"]["message"].startswith("1 of 3 files can't be predicted: ")
    found = {Path(name).name: rows for name, (_, rows) in list_data(event, "inputs").items()}
    assert found == {"a.csv": 2, "b.csv": 1, "c.csv": 0, "20260101T000000Z-aaaaaa": None}
    assert [rows for _, rows in list_data(event, "outputs").values()] == [2, 1, 1]


def test_of_many_files_the_folder_is_named(
    served: Store, inbox: Path, receiver: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage, "MOST", 1)
    location = predict.fn(Batch(inputs=[str(inbox)], max_rejects=1))
    assert {name: rows for name, (_, rows) in list_data(receiver.posted[-1], "outputs").items()} == {location: 2}


@pytest.mark.slow
def test_a_query_and_a_table_have_no_password(
    cluster: Postgres, served: Store, receiver: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = cluster.url.replace("prefect@", "prefect:hidden@")
    place = address.partition("@")[2].partition("/")[0]
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_SALES", address)
    engine = create_engine(cluster.url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    with engine.begin() as session:
        session.execute(text('create table lineage_sales as select 1 as id, 6.5 as "RM"'))
    predict.fn(Batch(inputs=["sql:select * from lineage_sales"], connection="sales", into="lineage_predicted"))
    query = receiver.posted[-1]["inputs"][1]
    table = receiver.posted[-1]["outputs"][1]
    assert (query["namespace"], table["namespace"]) == (f"postgres://{place}",) * 2
    assert query["name"].startswith("postgres.public.query-")
    assert table["name"] == "postgres.public.lineage_predicted"
    assert query["inputFacets"]["inputStatistics"]["rowCount"] == 1
    assert table["outputFacets"]["outputStatistics"]["rowCount"] == 1
    assert "hidden" not in json.dumps(receiver.posted)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("/data/a b.csv", ("file", "/data/a b.csv")),
        ("file:///data/a.csv", ("file", "/data/a.csv")),
        ("s3://bucket/2026/*.csv", ("s3://bucket", "2026/*.csv")),
        ("https://me:hidden@host:8443/a%20b.csv?sig=hidden", ("https://host:8443", "a b.csv")),
        ("sql:select 1", ("postgres://db:5433", "shop.public.query-822ae07d")),
        ("sql:sales/monday-822ae07d", ("postgres://db:5433", "shop.public.monday-822ae07d")),
    ],
)
def test_data_is_named_as_the_standard_says(
    source: str, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINEAR_NEURON_CONNECTION_SALES", "postgresql://me:hidden@db:5433/shop?sslmode=require")
    assert name_data(source, "" if "/" in source else "sales") == expected


def test_a_query_on_a_file_is_named_as_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("sqlite", "duckdb"):
        monkeypatch.setenv("LINEAR_NEURON_CONNECTION_SALES", f"{scheme}:///{tmp_path}/sales.db")
        assert name_data("sql:select 1", "sales") == ("file", f"{tmp_path}/sales.db")


def check_batch(inbox: Path, caplog: pytest.LogCaptureFixture, reason: str) -> None:
    """Check that a batch is predicted, and that the log has one sentence on its events and no password."""
    caplog.set_level(logging.DEBUG)
    assert (Path(predict.fn(Batch(inputs=[str(inbox / "b.csv")]))) / "b.predictions.csv").exists()
    (warning,) = list_warnings(caplog)
    assert warning == f"A lineage event was not taken ({reason}); look at OPENLINEAGE_URL and its receiver."
    assert "hidden" not in caplog.text


def test_a_receiver_that_is_down_is_a_warning(
    served: Store, inbox: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", f"http://me:hidden@127.0.0.1:{free_port()}")
    check_batch(inbox, caplog, "ConnectionError")


def test_a_receiver_that_fails_is_a_warning(
    served: Store, inbox: Path, caplog: pytest.LogCaptureFixture, receiver: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", receiver.url.replace("127.", "me:hid%64en@127."))
    receiver.status = 500
    check_batch(inbox, caplog, "HTTP 500")
    assert receiver.keys == [f"Basic {b64encode(b'me:hidden').decode()}"] * 2  # Neither event was tried twice.


def test_a_receiver_that_never_answers_is_a_warning(
    served: Store, inbox: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage, "SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://me:hidden@127.0.0.1:{silent.getsockname()[1]}")
        caplog.set_level(logging.DEBUG)
        predict.fn(Batch(inputs=[str(inbox / "b.csv")]))
    (warning,) = list_warnings(caplog)
    assert "(no answer in 0.5 s)" in warning or "(ReadTimeout)" in warning
    assert "hidden" not in caplog.text


def test_an_address_that_is_none_is_a_warning(
    served: Store, inbox: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", "me:hidden@nowhere")
    check_batch(inbox, caplog, "it must begin with http:// or https:// and a host")


def test_a_key_is_sent_and_a_secret_of_an_error_is_not(
    served: Store, inbox: Path, receiver: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "opensesame")

    @lineage.trace
    def refuse() -> None:
        raise UserError("There is nothing at https://me:hidden@host/a.csv?sig=hidden, or is there? Look.")

    with pytest.raises(UserError):
        refuse()
    assert receiver.keys == ["Bearer opensesame"] * 2
    message = receiver.posted[1]["run"]["facets"]["errorMessage"]["message"]
    assert message == "There is nothing at https://host/a.csv or is there? Look."


def test_data_that_cannot_be_named_is_a_warning(
    neuron: ModelVersion, receiver: Site, caplog: pytest.LogCaptureFixture
) -> None:
    @lineage.trace
    def run() -> str:
        lineage.note_version(None)  # type: ignore[arg-type]
        return "done"

    assert run() == "done"
    assert list_warnings(caplog) == ["The lineage events lack data of this run: AttributeError"]
    assert receiver.posted[1]["eventType"] == "COMPLETE"


def test_the_transport_of_the_client_takes_events(
    served: Store, inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "file")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", str(path))
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__APPEND", "true")
    predict.fn(Batch(inputs=[str(inbox / "b.csv")]))
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"]


def test_without_the_extra_a_run_warns(
    served: Store, inbox: Path, caplog: pytest.LogCaptureFixture, receiver: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openlineage.client", None)
    predict.fn(Batch(inputs=[str(inbox / "b.csv")]))
    assert list_warnings(caplog) == ["Lineage events need one package more: pip install 'linear-neuron[lineage]'."]
    assert receiver.posted == []


@pytest.mark.slow
def test_a_run_without_a_setting_imports_no_client_and_no_tensorflow(served: Store, inbox: Path) -> None:
    code = (
        "import os, sys; from linear_neuron.flows import actuals, predict, retrain; "
        "from linear_neuron.tasks.parameters import Batch; predict.predict.fn(Batch(inputs=[sys.argv[1]])); "
        "os.environ |= {'OPENLINEAGE_URL': 'http://127.0.0.1:1', 'OPENLINEAGE_DISABLED': 'true'}; "
        "predict.predict.fn(Batch(inputs=[sys.argv[1]])); "
        "print({'openlineage', 'tensorflow', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(inbox / "b.csv")], check=True, stdout=-1, text=True)
    assert done.stdout == "set()\n"


def test_a_version_of_the_example_is_traced_to_its_url(
    store: Store, receiver: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = Path(retrain.fn(Dataset(source="package"))).name
    event = receiver.posted[-1]
    (read,), (written,) = event["inputs"], event["outputs"]
    assert (read["namespace"], read["name"].rpartition("/")[2]) == (
        "https://storage.googleapis.com",
        "boston_housing.npz",
    )
    assert read["inputFacets"]["inputStatistics"]["rowCount"] == 506
    assert written["name"] == str(store.root / "models" / version)
    assert read_version(store, version).target in json.dumps(written["facets"])
