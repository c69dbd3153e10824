"""What turns a file's new bytes back into its old ones: the pieces both have in common by place, the others in full.

A tagger moves most of a file and writes a little of it anew, so the way back is small: two numbers per piece that is
still there, wherever it is now, and the bytes that are not.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from collections.abc import Callable, Iterator
from mmap import mmap

Bytes = bytes | mmap

_LITERAL = 2**64 - 1  # in the place of an offset: the next bytes are among the literal ones
_BLOCK = 32  # bytes; a shorter piece in common costs more to name than to keep
_MOST_BLOCKS = 1 << 18  # of a file to look up, in larger blocks where it has more
_CHUNK = 1 << 20


def make_delta(old: Bytes, new: Bytes) -> bytes:
    """What ``apply_delta`` makes ``old`` of, given ``new``."""
    pieces = array("Q")
    literal = bytearray()
    done = 0
    for at, source, length in _common_pieces(old, new):
        if at > done:
            pieces.extend((_LITERAL, at - done))
            literal += old[done:at]
        pieces.extend((source, length))
        done = at + length
    if done < len(old):
        pieces.extend((_LITERAL, len(old) - done))
        literal += old[done:]
    return zlib.compress(struct.pack("<Q", len(pieces)) + _little(pieces).tobytes() + literal)


def apply_delta(delta: bytes, new: Bytes) -> Iterator[bytes]:
    """The old bytes, in chunks. ValueError or zlib.error for what is no delta of a file like ``new``."""
    content = zlib.decompress(delta)
    end = 8 + 8 * struct.unpack_from("<Q", content)[0]
    pieces = array("Q", content[8:end])
    literal = end
    for source, length in zip(*[iter(_little(pieces))] * 2, strict=True):
        if source == _LITERAL:
            yield content[literal : literal + length]
            literal += length
        elif source + length > len(new):
            raise ValueError("the delta is of another file")
        else:
            for at in range(source, source + length, _CHUNK):
                yield new[at : min(at + _CHUNK, source + length)]


def _common_pieces(old: Bytes, new: Bytes) -> Iterator[tuple[int, int, int]]:
    """(place in ``old``, place in ``new``, length) of what both have, in the order of ``old``."""
    shorter = min(len(old), len(new))
    head = _run(old, 0, new, 0, shorter)
    tail = _run_back(old, len(old), new, len(new), shorter - head)
    if head:
        yield 0, 0, head
    yield from _moved_pieces(old, head, len(old) - tail, new, head, len(new) - tail)
    if tail:
        yield len(old) - tail, len(new) - tail, tail


def _moved_pieces(old: Bytes, at: int, end: int, new: Bytes, begin: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """The same between the two ends: blocks of ``new`` looked up at every byte of ``old``, and grown both ways."""
    block = max(_BLOCK, (stop - begin) // _MOST_BLOCKS)
    places: dict[bytes, int] = {}
    for place in range(begin, stop - block + 1, block):
        places.setdefault(new[place : place + block], place)
    done, n_missed = at, 0
    while at + block <= end:
        source = places.get(old[at : at + block])
        if source is None:
            n_missed += 1
            at += 1 + n_missed // (64 * block)  # what has nothing in common is soon passed over
            continue
        back = _run_back(old, at, new, source, min(at - done, source))
        length = back + _run(old, at, new, source, min(end - at, len(new) - source))
        yield at - back, source - back, length
        done = at = at - back + length
        n_missed = 0


def _run(one: Bytes, at: int, other: Bytes, there: int, most: int) -> int:
    """How many bytes from two places on are equal."""
    return _count_equal(most, lambda n, m: one[at + n : at + m] == other[there + n : there + m])


def _run_back(one: Bytes, at: int, other: Bytes, there: int, most: int) -> int:
    """How many bytes before two places are equal."""
    return _count_equal(most, lambda n, m: one[at - m : at - n] == other[there - m : there - n])


def _count_equal(most: int, equal: Callable[[int, int], bool]) -> int:
    """Steps that double while all is equal, and halve once it is not: few comparisons, and none of much in vain."""
    n, step, growing = 0, _BLOCK, True
    while n < most and step:
        step = min(step, most - n)
        if equal(n, n + step):
            n += step
            step = min(2 * step, _CHUNK) if growing else step
        else:
            growing = False
            step //= 2
    return n


def _little(numbers: array) -> array:
    """The numbers in the order of bytes that files have here, on any machine."""
    if sys.byteorder == "big":
        numbers = array("Q", numbers)
        numbers.byteswap()
    return numbers
