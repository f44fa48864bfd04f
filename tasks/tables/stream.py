"""Files opened as streams: decompressed, a range of them if asked for, and hashed on the way."""

import gzip
import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from backports import zstd

from tasks.errors import UserError
from tasks.storage.store import locate

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

READ_BYTES = 1 << 20
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


class HashingReader(io.RawIOBase):
    """Reads a file, or `stop` bytes of it, and hashes what it reads."""

    def __init__(self, file: BinaryIO, stop: int | None, on_read: Callable[[int], None]) -> None:
        self._file, self._left, self._on_read = file, stop, on_read
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

    def finish(self) -> str:
        """Read what is left, which a decompressor may have done without, and return the sha256 of everything in hex."""
        while self.read(READ_BYTES):
            pass
        return self.sha256.hexdigest()


@contextmanager
def open_input(
    path: str, start: int = 0, stop: int | None = None, on_read: Callable[[int], None] = lambda _: None
) -> Iterator[tuple[BinaryIO, HashingReader]]:
    """Open a file or URL, or a range of its bytes: its decompressed content, and the reader that hashes its bytes.

    `on_read` is called after every read with the number of bytes as they are stored.
    """
    with locate(path).open("rb") as file:
        file.seek(start)
        hashing = HashingReader(file, None if stop is None else stop - start, on_read)
        content = io.BufferedReader(hashing, READ_BYTES)
        if path.lower().endswith(".gz"):
            yield cast(BinaryIO, gzip.GzipFile(fileobj=content)), hashing
        elif path.lower().endswith(".zst"):
            yield cast(BinaryIO, zstd.ZstdFile(content)), hashing
        else:
            yield content, hashing
