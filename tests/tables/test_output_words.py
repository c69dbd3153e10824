"""How a refused folder says what is different."""

from __future__ import annotations

from audiopatch.tables.output import differences


def test_differences_are_said_in_words_not_in_python():
    before, now = {"n_segments": 1, "top_k": 10, "stack": None}, {"n_segments": None, "top_k": 10, "stack": [2]}
    assert differences(before, now) == ["segments was 1, now all", "stack was none, now [2]"]
