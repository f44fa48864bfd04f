"""Read signed URLs, and write their signature nowhere."""

import os
import pickle
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from upath import UPath

from linear_neuron.deployments.cli import models
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.parameters import Batch
from linear_neuron.tasks.parameters.base import SIGNED, hide_signature, hide_signatures
from linear_neuron.tasks.scoring.plan import find_sources
from linear_neuron.tasks.tables.inputs import list_files
from linear_neuron.tasks.tables.read import read_file

SECRET = "X-Amz-Signature=hunter2"  # noqa: S105, of a test


class Server(BaseHTTPRequestHandler):
    """Serves a table to whoever has the signature, and only by GET."""

    def do_HEAD(self) -> None:
        self.send_error(403)

    def do_GET(self) -> None:
        if "hunter2" not in self.path:
            self.send_error(403)
            return
        if "MEDV" in self.path:
            self.answer(b"RM,MEDV\n5,10\n6,14\n")
            return
        self.answer(b"id,RM\n1,5\n" if "id=3" not in self.path else b"id,RM\n3,5\n")

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/csv; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("name", ["x.csv", "download", "a/b.csv"])
def test_signed_url_is_read_without_its_signature(web: str, name: str) -> None:
    batch = Batch(inputs=[f"{web}/{name}?{SECRET}&X-Amz-Credential=a%2Fb"])
    assert batch.inputs == [f"{web}/{name}"]
    root, (file,) = find_sources(batch.inputs)
    assert (file.path, file.kind, file.error) == (f"{web}/{name}", "csv", "")
    (rows,) = read_file(file, ["RM"], lambda _: None, {})
    assert rows.rows["RM"].to_list() == ["5"]
    shown = f"{batch!r} {batch.model_dump_json()} {root} {file!r} {file.model_dump_json()}"
    assert not any(part in shown for part in ("hunter2", "Amz", "Credential"))


def test_urls_of_different_files_stay_different(web: str) -> None:
    urls = [f"{web}/download?id={number}&{SECRET}" for number in (3, 4)]
    _, files = find_sources(Batch(inputs=urls).inputs)
    assert len({file.path for file in files}) == 2
    rows = [next(iter(read_file(file, ["id"], lambda _: None, {}))).rows["id"].to_list() for file in files]
    assert sorted(rows) == [["1"], ["3"]]
    assert not any("id=" in file.path for file in files)


def test_signature_reaches_another_process(web: str) -> None:
    _, (file,) = list_files(f"{web}/x.csv?{SECRET}")
    sent = pickle.dumps(file)
    SIGNED.clear()
    received = pickle.loads(sent)  # noqa: S301, made above
    assert received == file
    assert [rows.rows["RM"].to_list() for rows in read_file(received, ["RM"], lambda _: None, {})] == [["5"]]


def test_expired_signature_is_one_sentence_without_it(web: str) -> None:
    url = f"{web}/x.csv?X-Amz-Signature=wrong"
    with pytest.raises(UserError, match=r"There is nothing at .*/x\.csv, or its signature has expired") as caught:
        list_files(url)
    assert "wrong" not in str(caught.value)
    _, (file,) = list_files(f"{web}/x.csv?{SECRET}")
    SIGNED[file.path] = url
    with pytest.raises(UserError, match=r"x\.csv can't be read: ") as caught:
        list(read_file(file, ["RM"], lambda _: None, {}))
    assert "wrong" not in str(caught.value)


def test_presigned_object_of_a_bucket_is_read(s3: str, tmp_path: Path) -> None:
    UPath(f"{s3}/x.csv").write_bytes(b"id,RM\n1,5\n")
    bucket, _, key = f"{s3}/x.csv".removeprefix("s3://").partition("/")
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1")
    url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
    assert "?" in url
    _, (file,) = list_files(url)
    assert "?" not in file.path
    assert [rows.rows["RM"].to_list() for rows in read_file(file, ["RM"], lambda _: None, {})] == [["5"]]


SIGNED_NAMES = [
    "X-Amz-Security-Token", "X-Goog-Signature", "Signature", "sig", "api-key", "api_key", "apikey", "key", "password",
    "passwd", "pwd", "access_token", "X%2DAmz-Signature", "client_secret", "Authorization", "sas", "private-token",
]  # fmt: skip


@pytest.mark.parametrize("name", SIGNED_NAMES)
def test_secret_of_a_url_is_never_shown(name: str) -> None:
    address = f"https://host/x.csv?page=2&{name}=hunter2&z=3"
    batch = Batch(inputs=[address])
    shown = f"{batch!r} {batch.model_dump_json()} {hide_signatures(f'cannot open {address}, sorry')}"
    assert "hunter2" not in shown
    assert SIGNED[batch.inputs[0]] == address
    pattern = Batch.model_json_schema()["properties"]["inputs"]["items"]["pattern"]
    assert not re.search(pattern, address) or "%" in name, "a server refuses it before it is kept"


SHARED_ACCESS = "sv=2022&ss=b&srt=o&sp=r&se=2026&st=2025&spr=https&skoid=1&sktid=2&skt=3&ske=4&sks=b&skv=5&sig=hunter2"


def test_shared_access_signature_is_left_out_whole() -> None:
    assert hide_signature(f"https://host/x.csv?{SHARED_ACCESS}") == "https://host/x.csv"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("st=NY", "st=CA"),
        ("key=a", "key=b"),
        ("token=a", "token=b"),
        ("expires=2026&sig=x", "expires=2027&sig=x"),
        (f"id=1&{SHARED_ACCESS}", f"id=2&{SHARED_ACCESS}"),
    ],
)
def test_urls_of_two_tables_never_count_as_one(one: str, other: str) -> None:
    shown = [hide_signature(f"https://host/x.csv?{query}") for query in (one, other)]
    assert len(set(shown)) == 2
    assert [SIGNED.get(url, url).partition("?")[2] for url in shown] == [one, other]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("X-Amz-Date=1&X-Amz-Security-Token=a&X-Amz-Signature=b", "X-Amz-Date=2&X-Amz-Signature=c"),
        ("AWSAccessKeyId=1&Expires=1&Signature=b", "AWSAccessKeyId=1&Expires=2&Signature=c"),
        ("Expires=1&Signature=b&Key-Pair-Id=c", "Policy=1&Signature=d&Key-Pair-Id=c"),
        (SHARED_ACCESS, SHARED_ACCESS.replace("se=2026", "se=2027").replace("hunter2", "other")),
    ],
)
def test_file_that_is_signed_again_is_the_same_table(one: str, other: str) -> None:
    assert len({hide_signature(f"https://host/x.csv?versionId=7&{query}") for query in (one, other)}) == 1


@pytest.mark.parametrize(
    "address",
    [
        "a?key=1.csv",
        "s3://bucket/x?token=1",
        "https://host/x.csv?page=2",
        "https://host/x?st=1&author=a&keyword=b",
        "sql:select 1",
    ],
)
def test_other_addresses_stay_as_they_are(address: str) -> None:
    assert hide_signature(address) == address


def test_models_are_measured_on_a_signed_url_without_showing_it(
    web: str, neuron: ModelVersion, capsys: pytest.CaptureFixture[str]
) -> None:
    models(on=f"{web}/MEDV.csv?{SECRET}")
    said = capsys.readouterr()
    assert f"On 2 rows of {web}/MEDV.csv {neuron.version}" in said.out
    assert "hunter2" not in said.out + said.err
