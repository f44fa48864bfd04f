import numpy as np
import pytest
from numpy.typing import NDArray

from linear_neuron.tasks.tables import quotes as bits

SIZES = (1, 63, 64, 65, 128, 1000)


@pytest.fixture(params=SIZES)
def text(request: pytest.FixtureRequest) -> NDArray[np.uint8]:
    positions = np.random.default_rng(request.param).integers(0, 5, request.param)
    drawn: NDArray[np.uint8] = np.frombuffer(b'ab,"\n', np.uint8)[positions]
    return drawn


def unpack(mask: bits.Mask, size: int) -> NDArray[np.bool_]:
    return np.unpackbits(mask.view(np.uint8), bitorder="little")[:size].astype(bool)


def test_mask_has_a_bit_for_each_byte(text: NDArray[np.uint8]) -> None:
    mask = bits.find_byte(text, ord('"'))
    assert (unpack(mask, len(text)) == (text == ord('"'))).all()
    assert bits.count_bits(mask) == (text == ord('"')).sum(), "none is set beyond the text"


def test_positions_and_bits_are_each_others_inverse(text: NDArray[np.uint8]) -> None:
    mask = bits.find_byte(text, ord(","))
    positions = bits.list_positions(mask)
    assert positions.tolist() == np.flatnonzero(text == ord(",")).tolist()
    assert (bits.set_bits(positions, mask) == mask).all()


def test_odd_bits_are_inside_of_quotes(text: NDArray[np.uint8]) -> None:
    odd = bits.mark_odd(bits.find_byte(text, ord('"')))
    assert unpack(odd, len(text)).tolist() == (np.cumsum(text == ord('"')) % 2 == 1).tolist()


def test_neighbours_are_found_across_words(text: NDArray[np.uint8]) -> None:
    mask, is_comma = bits.find_byte(text, ord(",")), text == ord(",")
    assert unpack(bits.move_on(mask), len(text)).tolist() == [False, *is_comma[:-1].tolist()]
    assert unpack(bits.move_back(mask), len(text)).tolist() == [*is_comma[1:].tolist(), False]


@pytest.mark.parametrize(
    ("text", "has"), [("x" * 63 + "ab", True), ("ba" * 40 + "b", True), ("ba", False), ("a", False)]
)
def test_a_pair_of_bytes_is_found(text: str, has: bool) -> None:
    assert bits.has_pair(text.encode(), b"a", b"b") == has


def test_bits_before_a_position_are_counted(text: NDArray[np.uint8]) -> None:
    positions = np.arange(len(text) + 1)
    counts = bits.count_before(bits.find_byte(text, ord(",")), positions)
    assert counts.tolist() == [0, *np.cumsum(text == ord(",")).tolist()]


def test_bits_are_read_by_their_positions(text: NDArray[np.uint8]) -> None:
    found = bits.is_set(bits.find_byte(text, ord(",")), np.arange(len(text)))
    assert found.tolist() == (text == ord(",")).tolist()
