"""Open files as streams: decompressed, a range of them if asked for, and hashed on the way."""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from backports import zstd
from isal import igzip, igzip_lib
from upath import UPath

from linear_neuron.tasks.errors import ChangedError, UnavailableError, UserError
from linear_neuron.tasks.parameters.base import SIGNED
from linear_neuron.tasks.storage.store import is_local, locate

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

READ_BYTES, PACKED_BYTES = 1 << 20, 1 << 17  # at a time; of a packed file less, since it counts as unpacked by then
OnRead = Callable[[int], None]  # is called after every read with the number of bytes as they are stored
ANSWER_SECONDS, SILENT_SECONDS = 300, 60  # that a web server has for each answer, which is 5 MB, and between two bytes
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # byte order marks
UNPACKED_FREE, UNPACKED_TIMES = 32 << 20, 100  # bytes a file may unpack to, and times its stored bytes besides
# The stub of igzip_lib says that IsalError is no type.
CORRUPT: Any = (igzip.BadGzipFile, EOFError, igzip_lib.IsalError, zstd.ZstdError)


def check_format(first_line: bytes) -> None:
    """Refuse what looks like CSV and is read by other rules.

    Raises:
        UserError: says what it is, and how to make CSV of it.
    """
    if first_line.startswith(UTF16):
        raise UserError("this is UTF-16 text; save it as UTF-8")
    if b"\0" in first_line:
        raise UserError(
            "its first line has zero bytes, so it is no text; save it as CSV, and name it .gz or .zst if packed"
        )
    if b"\r" in first_line.rstrip(b"\r\n"):
        raise UserError("its lines end with a carriage return alone; save it with line feeds")


def check_unpacked(unpacked: int, stored: int) -> None:
    """Refuse what unpacks to far more than is stored of it, since it may be made to fill the disk or the memory.

    Apache POI draws the line at 100 times as well (ZipSecureFile, The Apache Software Foundation, 2014).

    Raises:
        UserError: says what to do with a table that is like this.
    """
    if unpacked > UNPACKED_FREE + UNPACKED_TIMES * stored:
        raise UserError(
            f"it unpacks to more than {UNPACKED_TIMES} times its size, as a file does that is made to fill a disk; "
            "if it is a real table, unpack it and give it as CSV"
        )


def _identify(stat: os.stat_result) -> tuple[int, ...]:
    """Say which file it is, and what shows that it was written to."""
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


class HashingReader(io.RawIOBase):
    """Reads an open file, or some bytes of it, and hashes what it reads."""

    def __init__(self, path: UPath, file: BinaryIO, size: int | None, on_read: OnRead) -> None:
        self._path, self._file, self._left, self._on_read = path, file, size, on_read
        self._identity = _identify(os.fstat(file.fileno())) if is_local(path) else None
        self.sha256, self.stored = hashlib.sha256(), 0  # of what was read, and how many bytes that are

    def readable(self) -> bool:
        """Say yes to io.BufferedReader, which asks."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill the buffer as far as one read of the file does."""
        view = memoryview(buffer)[: self._left]
        count = self._file.readinto(view)  # type: ignore[attr-defined]
        self.sha256.update(view[:count])
        self.stored += count
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


class Unpacked:
    """The content of a compressed file, as far as it is no bomb."""

    def __init__(self, content: igzip.GzipFile | zstd.ZstdFile, hashing: HashingReader) -> None:
        self._content, self._hashing, self._bytes = content, hashing, 0

    def read(self, size: int = -1) -> bytes:
        """Read some bytes, or what is left."""
        return self._count(self._content.read(size))

    def readline(self, size: int = -1) -> bytes:
        """Read to the end of a line, or some bytes."""
        return self._count(self._content.readline(size))

    def _count(self, data: bytes) -> bytes:
        self._bytes += len(data)
        check_unpacked(self._bytes, self._hashing.stored)
        return data


@contextmanager
def _open_in_time(location: UPath) -> Iterator[BinaryIO]:
    """Open a file or URL, and turn what a web server is too slow for into one sentence."""
    if location.protocol in ("http", "https"):
        from aiohttp import ClientTimeout

        client: dict[str, Any] = {"timeout": ClientTimeout(total=ANSWER_SECONDS, sock_read=SILENT_SECONDS)}
        # A file comes as it is stored; what a server packs for the way would be unpacked to any size.
        client |= {"headers": {"Accept-Encoding": "identity"}, "auto_decompress": False}
        location = UPath(location, **location.storage_options, client_kwargs=client)
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
        UserError: it can't be unpacked, or to far too much.
    """
    location = locate(path)
    with _open_in_time(location) as file:
        file.seek(start)
        hashing = HashingReader(location, file, None if stop is None else stop - start, on_read)
        gz, zst = (path.lower().endswith(suffix) for suffix in (".gz", ".zst"))
        content = io.BufferedReader(hashing, PACKED_BYTES if gz or zst else READ_BYTES)
        try:
            if gz:
                yield cast(BinaryIO, Unpacked(igzip.GzipFile(fileobj=content), hashing)), hashing  # type: ignore[no-untyped-call]
            elif zst:
                yield cast(BinaryIO, Unpacked(zstd.ZstdFile(content), hashing)), hashing
            else:
                yield content, hashing
        except Exception as error:
            _explain(error, path, hashing)
            raise


def _explain(error: Exception, path: str, hashing: HashingReader) -> None:
    """Turn an error that says little, or too much, into one sentence; leave any other to be raised.

    Raises:
        ChangedError: the file changed.
        UserError: it can't be unpacked, or the server of a signed URL refuses.
    """
    if hashing.has_changed() or type(error).__name__ == "FileExpired":  # The latter is what s3fs says.
        raise ChangedError from error
    if isinstance(error, CORRUPT):
        raise UserError(f"it can't be unpacked ({error}); pack it again, or give it as it is") from error
    if path in SIGNED and not isinstance(error, UserError):  # What was raised may have the signature.
        status = getattr(error, "status", None) or type(error).__name__
        raise UserError(f"its server refuses to go on ({status}); ask for a new URL if it has expired") from None
