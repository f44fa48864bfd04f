"""Files written while their content is still being made."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from linear_neuron.tasks.storage.files import describe_file, digest_file, map_in_order, write_file


def test_results_come_in_order_and_no_more_items_are_taken_than_are_in_work() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(20):
            taken.append(item)
            yield item

    results = map_in_order(str, items(), threads=3)
    assert next(results) == "0"
    assert taken == [0, 1, 2, 3]
    assert list(results) == [str(item) for item in range(1, 20)]


@pytest.mark.parametrize(("limit", "taken_first"), [(0, 4), (25, 3), (15, 2), (5, 2)])
def test_fewer_items_are_in_work_if_they_weigh_more(limit: int, taken_first: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(20):
            taken.append(item)
            yield item

    results = map_in_order(str, items(), 3, lambda _: 10, limit)
    assert next(results) == "0"
    assert len(taken) == taken_first
    assert list(results) == [str(item) for item in range(1, 20)]


def test_a_written_file_has_every_chunk_and_the_digest_of_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linear_neuron.tasks.storage.files.SYNC_BYTES", 1000)
    chunks = [bytes([number]) * 700 for number in range(10)]
    facts = write_file(tmp_path / "file", iter(chunks))
    assert (tmp_path / "file").read_bytes() == b"".join(chunks)
    assert digest_file(tmp_path / "file") == hashlib.sha256(b"".join(chunks)).hexdigest()
    assert facts == describe_file(tmp_path / "file") == {"sha256": digest_file(tmp_path / "file"), "bytes": 7000}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_an_error_and_ends_the_reading() -> None:
    read = []

    def chunks() -> Iterator[bytes]:
        for number in range(100):
            read.append(number)
            yield bytes(1 << 20)

    with pytest.raises(OSError, match="No space left"):
        write_file(Path("/dev/full"), chunks())
    assert len(read) < 5
