from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiopatch.writing.delta import apply_delta, make_delta


def _back(old: bytes, new: bytes) -> bytes:
    return b"".join(apply_delta(make_delta(old, new), new))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=90), max_size=8), st.permutations(range(8)), st.binary(max_size=40))
def test_any_old_bytes_come_back(pieces, order, between):
    old = b"".join(pieces)
    new = between.join(pieces[at] for at in order if at < len(pieces))
    assert _back(old, new) == old
    assert _back(new, old) == new


def test_moved_and_repeated_pieces_cost_little():
    chance = random.Random(0)
    text, cover, audio = chance.randbytes(500), chance.randbytes(300_000), chance.randbytes(2_000_000)
    old = b"ID3" + cover + text + audio
    for new in (
        b"ID3" + text + chance.randbytes(900) + cover + bytes(4096) + audio,
        audio + cover + text,
        b"ID3" + cover + bytes(7) + text + audio[:-128],
    ):
        delta = make_delta(old, new)
        assert b"".join(apply_delta(delta, new)) == old and len(delta) < 1500


def test_pages_that_are_numbered_anew_cost_a_few_bytes_each():
    chance = random.Random(1)
    pages = [chance.randbytes(4400) for _ in range(300)]
    ogg = lambda first: b"".join(  # noqa: E731
        b"OggS" + number.to_bytes(4, "little") + chance.randbytes(4) + page for number, page in enumerate(pages, first)
    )
    old, new = ogg(0), chance.randbytes(9000) + ogg(2)
    assert len(make_delta(old, new)) < 300 * 20
    assert _back(old, new) == old


def test_a_delta_of_another_file_is_refused():
    delta = make_delta(bytes(1000), bytes(999))
    with pytest.raises(ValueError, match="of another file"):
        list(apply_delta(delta, bytes(10)))
    with pytest.raises(zlib.error):
        list(apply_delta(b"nonsense", bytes(10)))
