"""What the end of a Parquet file says of its size once it is unpacked, which Polars does not tell.

The end is one struct in the compact protocol of Apache Thrift (parquet-format, The Apache Software Foundation, 2013).
"""

import io
from pathlib import Path
from typing import Any

STRUCT, LIST, BINARY = 12, 9, 8  # the protocol's numbers of the types that such a file has, beside whole numbers
FIXED = {1: 0, 2: 0, 3: 1}  # true, false and a byte -> bytes that it takes beside its type
ROW_GROUPS, BYTES, ROWS = 4, 2, 3  # the numbers of a field of the file, and of two of a row group


def count_unpacked(path: Path, columns: int) -> int:
    """Count the bytes that a Parquet file unpacks to, at least: those of its pages, and one for every value.

    A value that stands in many rows is stored once, so that the pages alone do not tell what the rows take.
    """
    with path.open("rb") as file:
        file.seek(-8, io.SEEK_END)
        size = int.from_bytes(file.read(4), "little")
        file.seek(-8 - size, io.SEEK_END)
        footer = _read_struct(io.BytesIO(file.read(size)))
    return sum(max(group[BYTES], group[ROWS] * columns) for group in footer[ROW_GROUPS])


def _read_struct(data: io.BytesIO) -> dict[int, Any]:
    """Read the fields of a struct by their numbers."""
    fields: dict[int, Any] = {}
    number = 0
    while head := data.read(1)[0]:
        number = number + (head >> 4) if head >> 4 else _read_signed(data)
        fields[number] = _read_value(data, head & 15)
    return fields


def _read_value(data: io.BytesIO, kind: int) -> Any:
    if kind == STRUCT:
        return _read_struct(data)
    if kind == LIST:
        head = data.read(1)[0]
        count = _read_number(data) if head >> 4 == 15 else head >> 4
        return [_read_value(data, head & 15) for _ in range(count)]
    if kind == BINARY:
        return data.read(_read_number(data))
    return data.read(FIXED[kind]) if kind in FIXED else _read_signed(data)


def _read_signed(data: io.BytesIO) -> int:
    number = _read_number(data)
    return number >> 1 ^ -(number & 1)


def _read_number(data: io.BytesIO) -> int:
    """Read a number of seven bits a byte, the lowest first."""
    number, shift = 0, 0
    while (byte := data.read(1)[0]) & 128:
        number |= (byte & 127) << shift
        shift += 7
    return number | byte << shift
