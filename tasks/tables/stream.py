"""Files opened as streams: decompressed, a range of them if asked for, and hashed on the way."""

import gzip
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from backports import zstd
from upath import UPath

from tasks.errors import ChangedError, UnavailableError, UserError
from tasks.storage.store import is_local, locate

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

READ_BYTES = 1 << 20
OnRead = Callable[[int], None]  # is called after every read with the number of bytes as they are stored
ANSWER_SECONDS, SILENT_SECONDS = 300, 60  # that a web server has for each answer, which is 5 MB, and between two bytes
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # byte order marks


def check_format(first_line: bytes) -> None:
    """Refuse what looks like CSV and is read by other rules.

    Raises:
        UserError: says what it is, and how to make CSV of it.
    """
    if first_line.startswith(UTF16):
        raise UserError("this is UTF-16 text; save it as UTF-8")
    if b"\r" in first_line.rstrip(b"\r\n"):
        raise UserError("its lines end with a carriage return alone; save it with line feeds")


def _identify(stat: os.stat_result) -> tuple[int, ...]:
    """Say which file it is, and what shows that it was written to."""
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


class HashingReader(io.RawIOBase):
    """Reads an open file, or some bytes of it, and hashes what it reads."""

    def __init__(self, path: UPath, file: BinaryIO, size: int | None, on_read: OnRead) -> None:
        self._path, self._file, self._left, self._on_read = path, file, size, on_read
        self._identity = _identify(os.fstat(file.fileno())) if is_local(path) else None
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        """Say yes to io.BufferedReader, which asks."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill the buffer as far as one read of the file does."""
        view = memoryview(buffer)[: self._left]
        count = self._file.readinto(view)  # type: ignore[attr-defined]
        self.sha256.update(view[:count])
        if self._left is not None:
            self._left -= count
        self._on_read(count)
        return int(count)

    def read_first_line(self, longest: int) -> bytes:
        """Read and hash the first line of the file, before a range of it is read that begins later."""
        start = self._file.tell()
        self._file.seek(0)
        line = self._file.readline(longest)
        self.sha256.update(line)
        self._file.seek(start)
        return line

    def finish(self) -> str:
        """Read what is left, which a decompressor may have done without, and return the sha256 of everything in hex.

        Raises:
            ChangedError: what was read may be a mixture.
        """
        while self.read(READ_BYTES):
            pass
        if self.has_changed():
            raise ChangedError
        return self.sha256.hexdigest()

    def has_changed(self) -> bool:
        """Whether the file on the disk has been written to, replaced or removed since it was opened.

        A bucket refuses to read on in another object, and behind http nobody knows.
        """
        if self._identity is None:
            return False
        try:
            return _identify(Path(self._path.path).stat()) != self._identity
        except OSError:
            return True


@contextmanager
def _open_in_time(location: UPath) -> Iterator[BinaryIO]:
    """Open a file or URL, and turn what a web server is too slow for into one sentence."""
    if location.protocol in ("http", "https"):
        from aiohttp import ClientTimeout

        limits = {"timeout": ClientTimeout(total=ANSWER_SECONDS, sock_read=SILENT_SECONDS)}
        location = UPath(location, **location.storage_options, client_kwargs=limits)
    try:
        with location.open("rb") as file:
            yield file
    except TimeoutError as error:
        raise UnavailableError(
            f"its server was silent for {SILENT_SECONDS} s, or took more than {ANSWER_SECONDS} s for an answer; "
            "run the batch again when it is faster"
        ) from error


@contextmanager
def open_input(
    path: str, start: int = 0, stop: int | None = None, on_read: OnRead = lambda _: None
) -> Iterator[tuple[BinaryIO, HashingReader]]:
    """Open a file or URL, or a range of its bytes: its decompressed content, and the reader that hashes its bytes.

    Raises:
        ChangedError: the file changed meanwhile, so that whatever else is wrong says nothing of it.
        UnavailableError: a web server is too slow.
    """
    location = locate(path)
    with _open_in_time(location) as file:
        file.seek(start)
        hashing = HashingReader(location, file, None if stop is None else stop - start, on_read)
        content = io.BufferedReader(hashing, READ_BYTES)
        try:
            if path.lower().endswith(".gz"):
                yield cast(BinaryIO, gzip.GzipFile(fileobj=content)), hashing
            elif path.lower().endswith(".zst"):
                yield cast(BinaryIO, zstd.ZstdFile(content)), hashing
            else:
                yield content, hashing
        except Exception as error:
            if hashing.has_changed() or type(error).__name__ == "FileExpired":  # The latter is what s3fs says.
                raise ChangedError from error
            raise
