"""Masks that hold one bit for every byte of a text, so that each step works on 64 bytes at once.

Whether a byte is inside of quotes is the parity of the quotes up to it. How to find that for 64 bytes with a few shifts
is from "Parsing Gigabytes of JSON per Second" (The VLDB Journal, 2019). On 4 MB a step takes some 0.1 ms, where a list
of the places of the quotes takes 10 ms.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

Mask = NDArray[np.uint64]  # bit `at % 64` of word `at // 64` is that of byte `at`
Places = NDArray[np.int64]
ONE, TOP = np.uint64(1), np.uint64(63)


def count_byte(text: bytes, byte: int) -> int:
    """Count the bytes with a value, in a third of NumPy's time and a twentieth of that of bytes.count."""
    return int((pl.Series(np.frombuffer(text, np.uint8)) == byte).sum())


def find_byte(text: NDArray[np.uint8], byte: int) -> Mask:
    """Set the bits of all bytes with a value."""
    packed = np.packbits(text == byte, bitorder="little")
    mask = np.zeros(-(-len(text) // 64), np.uint64)
    mask.view(np.uint8)[: len(packed)] = packed
    return mask


def set_bits(places: Places, like: Mask) -> Mask:
    """Set the bits at some places, in a mask as long as another."""
    bits = np.zeros(64 * len(like), bool)
    bits[places] = True
    return np.packbits(bits, bitorder="little").view(np.uint64)


def list_places(mask: Mask) -> Places:
    """List the places of all bits that are set."""
    words = np.flatnonzero(mask)
    bits = np.unpackbits(mask[words].view(np.uint8), bitorder="little").view(bool)
    found = np.flatnonzero(bits)
    places: Places = words[found >> 6] * 64 + (found & 63)
    return places


def mark_odd(mask: Mask) -> Mask:
    """Set every bit that has an odd number of bits set in the mask up to it, its own included."""
    odd = mask.copy()
    for shift in (1, 2, 4, 8, 16, 32):
        odd ^= odd << np.uint64(shift)
    odd[1:] ^= np.uint64(0) - np.bitwise_xor.accumulate(odd >> TOP)[:-1]  # All bits of the words after an odd number.
    return odd


def move_on(mask: Mask) -> Mask:
    """Set every bit whose byte follows one that is set."""
    moved = mask << ONE
    moved[1:] |= mask[:-1] >> TOP
    return moved


def move_back(mask: Mask) -> Mask:
    """Set every bit whose byte stands before one that is set."""
    moved = mask >> ONE
    moved[:-1] |= mask[1:] << TOP
    return moved


def has_pair(text: bytes, first: bytes, second: bytes) -> bool:
    """Whether one byte stands before another somewhere."""
    array = np.frombuffer(text, np.uint8)
    return bool((find_byte(array, ord(first)) & move_back(find_byte(array, ord(second)))).any())


def count_bits(mask: Mask) -> int:
    """Count the bits that are set."""
    return int(np.bitwise_count(mask).sum())


def count_before(mask: Mask, places: Places) -> Places:
    """Count the bits that are set before each place; a place may be the end of the text."""
    if not len(places):
        return places
    words, bits = places >> 6, (places & 63).astype(np.uint64)
    padded = np.append(mask, np.uint64(0))
    counts = np.append(0, np.cumsum(np.bitwise_count(mask), dtype=np.int64))
    before: Places = counts[words] + np.bitwise_count(padded[words] & ((ONE << bits) - ONE))
    return before


def is_set(mask: Mask, places: Places) -> NDArray[np.bool_]:
    """Whether the bits at some places are set."""
    bits: Mask = mask[places >> 6] >> (places & 63).astype(np.uint64) & ONE
    return bits.astype(bool)
