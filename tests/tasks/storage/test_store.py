"""A write is whole or not there, and a version exists once its manifest does."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.httpsession import AIOHTTPSession
from upath import UPath

from linear_neuron.tasks.errors import DamagedError, StoreError, UserError
from linear_neuron.tasks.registry.versions import list_versions, publish_version, read_version, start_version
from linear_neuron.tasks.storage.store import SCRATCH, Store, digest, locate, parse_json, to_json


def test_a_failed_write_leaves_the_old_bytes_and_no_litter(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.root / "champion.json"
    store.write(path, b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"refuses .*champion.json: No space left on device"):
        store.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in store.root.iterdir()] == ["champion.json"]


def test_a_store_that_can_not_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"refuses .*--store or LINEAR_NEURON_STORE"):
        Store(str(tmp_path / "file" / "store")).check_writable()


def test_a_look_whether_a_store_is_writable_leaves_nothing(store: Store) -> None:
    store.check_writable()
    assert store.names() == []


def test_a_scratch_file_has_a_name_that_clean_knows(store: Store) -> None:
    with store.writing(store.root / "champion.json") as scratch:
        assert SCRATCH.fullmatch(scratch.name)


def test_a_folder_whose_removal_fails_has_lost_its_manifest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store.root / "models" / "a"
    for name in ("manifest.json", "model.json"):
        store.write(folder / name, b"{}")

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type(folder.fs), "rm", fail)
    with pytest.raises(UserError, match="Input/output error"):
        store.remove(folder)
    assert store.names("models", "a") == ["model.json"]


def test_a_path_that_climbs_is_resolved_and_a_link_kept(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert locate(f"{tmp_path}/link/../sales.csv").path == str(tmp_path.parent / "sales.csv")
    assert locate(f"{tmp_path}/link/sales.csv").path == f"{tmp_path}/link/sales.csv"


def test_versions_are_named_by_time_and_count_once_their_manifest_stands(store: Store) -> None:
    assert list_versions(store) == []
    version, folder = start_version(store)
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
    assert list_versions(store) == []
    location = publish_version(store, version, folder)
    assert list_versions(store) == [version]
    manifest = json.loads((location / "manifest.json").read_text())
    assert manifest == {"version": version, "files": {"metrics.json": {"sha256": digest(b"{}"), "bytes": 2}}}


def test_an_unknown_version_is_refused_and_the_known_ones_named(store: Store) -> None:
    with pytest.raises(UserError, match=r"no complete version 'v1'; the newest are: none yet"):
        read_version(store, "v1")


def test_json_has_null_where_a_number_is_not_finite() -> None:
    assert json.loads(to_json({"a": [float("nan"), (float("inf"), 1.5)]})) == {"a": [None, [None, 1.5]]}


def test_json_shows_letters_of_any_script_as_they_are() -> None:
    assert to_json({"面积": "Größe"}) == '{\n  "面积": "Größe"\n}\n'.encode()


@pytest.mark.parametrize("name", ["gs://bucket/prefix", "abfs://container", "memory://x", "oops://x"])
def test_other_urls_than_s3_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"^{name} can't be used: name a file or folder of this machine, or an s3://"):
        Store(name)


@pytest.mark.parametrize("name", ["http://host/x", "https://host/x"])
def test_a_store_behind_http_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"^{name} can't be written to: name a folder of this machine, or an s3://"):
        Store(name)


@pytest.mark.parametrize("name", ["https://me:s3cret@host/a.csv", "s3://key:s3cret@bucket/a"])
def test_a_password_in_a_url_is_refused_unseen(name: str) -> None:
    with pytest.raises(UserError, match=r"^A \w+:// URL with a user or password can't be used") as error:
        locate(name)
    assert "s3cret" not in str(error.value)


def test_a_bucket_without_its_client_is_refused() -> None:
    code = "import sys; sys.modules['s3fs'] = None; from linear_neuron.tasks.storage.store import Store; Store('s3://other/x')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.endswith("UserError: s3://other/x needs the S3 client: pip install 'linear-neuron[s3]'.\n")


FULL = """
import resource, sys
from linear_neuron.tasks.registry.versions import publish_version, start_version
from linear_neuron.tasks.storage.store import Store, locate, to_json
store = Store(sys.argv[1])
version, folder = start_version(store)
folder.mkdir(parents=True)
(folder / "metrics.json").write_text("{}")
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    publish_version(store, version, folder)
finally:  # Coverage, too, writes a file at the end.
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_disk_that_fills_up_is_one_sentence_and_no_version(store: Store, size: int) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(store.root), str(size)], capture_output=True, text=True, check=False
    )
    assert run.stderr.splitlines()[-1].startswith(
        f"linear_neuron.tasks.errors.StoreError: The store refuses {store.root}/models/"
    )
    assert "File too large" in run.stderr
    assert list_versions(store) == []
    assert store.names("models", *store.names("models")) == ["metrics.json"]


def test_what_is_found_has_the_time_of_its_last_change(store: Store) -> None:
    store.write(store.root / "a" / "b" / "c.csv", b"")
    os.utime((store.root / "a" / "b" / "c.csv").path, (10, 10))
    assert store.find("a")["b/c.csv"].at == datetime.fromtimestamp(10, UTC)
    assert list(store.find("a", deep=False)) == ["b"]
    assert store.find("nothing") == {}


def test_a_file_that_has_changed_since_is_not_replaced(store: Store, s3: str) -> None:
    for kind in (store, Store(f"{s3}/swap")):
        path = kind.root / "file"
        absent = kind.load(path)
        assert kind.swap(path, absent, b"1")
        assert not kind.swap(path, absent, b"2")
        first = kind.load(path)
        assert kind.swap(path, first, b"3")
        assert not kind.swap(path, first, b"4")
        assert kind.read(path) == b"3"


def test_a_bucket_gets_the_manifest_last_and_shows_at_once_what_others_wrote(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, written = Store(f"{s3}/order"), []
    assert list_versions(shared) == []
    version, folder = start_version(shared)
    (folder / "plots").mkdir()
    for name in ("metrics.json", "plots/fit.png"):
        (folder / name).write_text("{}")
    write = Store.write

    def note(store: Store, path: UPath, data: bytes) -> None:
        written.append(path.name)
        write(store, path, data)

    monkeypatch.setattr(Store, "write", note)
    publish_version(shared, version, folder)
    assert written == ["metrics.json", "fit.png", "manifest.json"]
    assert list_versions(shared) == [version]
    code = "import sys; from upath import UPath; UPath(sys.argv[1]).write_bytes(b'{}')"
    subprocess.run([sys.executable, "-c", code, f"{s3}/order/models/by-another/manifest.json"], check=True)
    assert list_versions(shared) == [version, "by-another"]


def test_a_bucket_is_asked_once_for_a_file_and_once_for_all_versions(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, asked = Store(f"{s3}/few"), []
    for version in "abc":
        shared.write(shared.root / "models" / version / "manifest.json", b"{}")
    shared.write(shared.root / "models" / "unfinished" / "plots" / "manifest.json", b"{}")
    send = AIOHTTPSession.send

    async def note(session: Any, request: Any) -> Any:
        asked.append(request.method)
        return await send(session, request)

    monkeypatch.setattr(AIOHTTPSession, "send", note)
    assert shared.read(shared.root / "models" / "a" / "manifest.json") == b"{}"
    assert asked == ["GET"]
    assert list_versions(shared) == list("abc")
    assert len(asked) <= 3


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b'"text"', b'{"a": 1', b"[" * 100_000, b'{"a": ' + b"[" * 100_000, b"{\xff}"],
    ids=["empty", "null", "list", "text", "truncated", "deep", "deep inside", "no text"],
)
def test_damaged_json_is_one_sentence(data: bytes, store: Store) -> None:
    with pytest.raises(DamagedError, match=r"index\.json is damaged; restore it from a copy, or remove it\.$"):
        parse_json(data, store.root / "index.json")


def test_a_folder_that_must_be_a_file_is_damage(store: Store) -> None:
    Path(str(store.root / "champion.json")).mkdir(parents=True)
    path = store.root / "champion.json"
    sentence = r"/champion\.json is a folder, but must be a file; remove it, or move it away\.$"
    with pytest.raises(DamagedError, match=sentence):
        store.read(path)
    with pytest.raises(StoreError, match=sentence):
        store.write(path, b"")


def test_only_the_bytes_that_were_written_are_read(store: Store) -> None:
    path = store.root / "actuals" / "rows.parquet"
    with pytest.raises(DamagedError, match=r"rows\.parquet is missing\."):
        store.read_checked(path, digest(b"rows"))
    store.write(path, b"rows")
    assert store.read_checked(path, digest(b"rows")) == b"rows"
    store.write(path, b"sows")
    with pytest.raises(DamagedError, match=r"rows\.parquet is damaged: its bytes are not those that were written\."):
        store.read_checked(path, digest(b"rows"))


def test_relative_names_begin_at_the_folder_or_bucket_that_is_set(monkeypatch: pytest.MonkeyPatch, s3: str) -> None:
    monkeypatch.setenv("LINEAR_NEURON_FOLDER", f"{s3}/files/")
    assert str(locate("inbox")) == f"{s3}/files/inbox"
    assert [str(locate(name)) for name in ("/a/b", "file:///a/b", f"{s3}/c")] == ["/a/b", "/a/b", f"{s3}/c"]
    monkeypatch.setenv("LINEAR_NEURON_FOLDER", "/folder")
    assert str(locate("inbox")) == "/folder/inbox"
