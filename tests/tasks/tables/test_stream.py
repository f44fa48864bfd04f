"""Files opened as streams."""

import gzip
import hashlib
from pathlib import Path

import pytest
from backports import zstd
from upath import UPath

from tasks.errors import ChangedError
from tasks.tables.stream import open_input

CONTENT = b'1,5,"a\nb"\n2,6,y\n'


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".csv", CONTENT),
        (".csv.gz", gzip.compress(CONTENT) + gzip.compress(b"more")),
        (".CSV.ZST", zstd.compress(CONTENT)),
    ],
)
def test_content_is_decompressed_and_digested_as_stored(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    read: list[int] = []
    with open_input(str(path), on_read=read.append) as (stream, hashing):
        assert stream.read().startswith(CONTENT)
        assert hashing.finish() == hashlib.sha256(content).hexdigest()
    assert sum(read) == len(content)


def test_a_range_of_a_file_is_read_alone(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"0123456789")
    with open_input(str(tmp_path / "a.csv"), 3, 7) as (stream, hashing):
        assert stream.read() == b"3456"
        assert hashing.finish() == hashlib.sha256(b"3456").hexdigest()


def test_an_object_that_is_replaced_while_it_is_read_is_refused(s3: str) -> None:
    path = UPath(f"{s3}/changing.csv")
    path.write_bytes(CONTENT)

    def read_late() -> None:
        with open_input(str(path)) as (stream, _):
            path.write_bytes(CONTENT.upper())
            stream.read()

    with pytest.raises(ChangedError):
        read_late()
