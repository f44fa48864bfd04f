"""Files that unpack to far more than they look like, and files that can't be unpacked."""

import gzip
import io
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from backports import zstd

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.tables.columns import find_columns
from linear_neuron.tasks.tables.csv import read_header
from linear_neuron.tasks.tables.stream import open_input

pytestmark = pytest.mark.slow

BOMB = "it unpacks to more than 100 times its size, .* unpack it and give it as CSV"


def read_all(path: Path | str, chunks: list[int] | None = None) -> int:
    """Read a file 1 MB at a time; return how many bytes it has, and list each chunk."""
    chunks = [] if chunks is None else chunks
    with open_input(str(path)) as (stream, _):
        while data := stream.read(1 << 20):
            chunks.append(len(data))
    return sum(chunks)


@pytest.mark.parametrize(("suffix", "pack"), [("gz", partial(gzip.compress, compresslevel=1)), ("zst", zstd.compress)])
def test_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / f"a.csv.{suffix}"
    path.write_bytes(pack(b"RM\n" + b"0\n" * (80 << 20)))
    read: list[int] = []
    with pytest.raises(UserError, match=BOMB):
        read_all(path, read)
    assert 32 <= len(read) < 90  # MB, of 160


def test_bomb_in_the_first_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv.zst").write_bytes(zstd.compress(b"x" * (48 << 20)))
    with open_input(str(tmp_path / "a.csv.zst")) as (stream, _), pytest.raises(UserError, match=BOMB):
        stream.readline(48 << 20)


def test_table_that_packs_well_is_read(tmp_path: Path) -> None:
    (tmp_path / "small.csv.gz").write_bytes(gzip.compress(b"5\n" * (16 << 20)))  # 32 MB, more than 1,000 times its size
    assert read_all(tmp_path / "small.csv.gz") == 32 << 20
    rng = np.random.default_rng(0)
    rows = b"".join(b"%.4f,%048d\n" % (rooms, 0) for rooms in rng.normal(6, 1, 800_000))
    (tmp_path / "large.csv.zst").write_bytes(zstd.compress(rows))
    assert read_all(tmp_path / "large.csv.zst") == len(rows) > 40 << 20


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv.gz", gzip.compress(b"5\n" * 9000, mtime=0)[:-9], "ended before the end-of-stream marker"),
        ("a.csv.gz", b"RM,id,place\n5,1,a\n", "Not a gzipped file"),
        ("a.csv.gz", gzip.compress(b"RM\n5\n", mtime=0)[:10] + b"\xff" * 20, "Invalid deflate block"),
        ("a.csv.zst", zstd.compress(b"5\n" * 9000)[:-2], "ended before the end-of-stream marker"),
        ("a.csv.zst", b"RM\n5\n", "Unable to decompress Zstandard data"),
        ("a.csv.zst", b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", "Frame requires too much memory"),  # a window of 2 GB
    ],
)
def test_damaged_packed_file_fails_with_the_reason(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"it can't be unpacked \(.*{reason}.*\); pack it again, or give it as it is"):
        read_all(tmp_path / name)


def test_first_line_of_zeros_is_refused() -> None:
    with pytest.raises(UserError, match="its first line has zero bytes, so it is no text; save it as CSV"):
        read_header(io.BytesIO(bytes(9 << 20)))


def test_first_line_without_an_end_is_refused() -> None:
    with pytest.raises(UserError, match="line 1 is longer than 4 MB; it must be the names of the columns"):
        read_header(io.BytesIO(b"x" * (9 << 20)))


def test_error_shows_the_start_of_a_long_name() -> None:
    with pytest.raises(UserError, match=r"there is no column 'RM' among x{100}; name the one"):
        find_columns(["x" * 1_000_000], ["RM"], {}, [])


class Packing(BaseHTTPRequestHandler):
    """Packs what it sends and names the encoding, whether that was asked for or not."""

    asked: ClassVar[set[str | None]] = set()

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.end_headers()

    def do_GET(self) -> None:
        self.asked.add(self.headers["Accept-Encoding"])
        self.do_HEAD()
        self.wfile.write(gzip.compress(b"RM\n" + b"0\n" * (1 << 20)))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def packing() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Packing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_encoding_of_a_web_server_is_not_unpacked(packing: str) -> None:
    assert 1000 < read_all(f"{packing}/a.csv") < 10_000
    assert Packing.asked == {"identity"}
    assert read_all(f"{packing}/a.csv.gz") == 3 + (
        2 << 20
    )  # Some servers name the encoding of a file that is stored as gz.
