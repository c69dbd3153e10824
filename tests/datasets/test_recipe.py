"""The split made for datasets without one: groups stay whole, labels spread, order does not matter."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from audiopatch.datasets.recipe import Item, grouped_split

items_of = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=60)


def make(rows):
    return [
        Item(Path(f"{n:03}.mp3"), (f"label {label}",), group=f"artist {artist}")
        for n, (label, artist) in enumerate(rows)
    ]


@settings(max_examples=60, deadline=None)
@given(items_of, st.integers(0, 99))
def test_every_item_once_and_no_group_on_two_sides(rows, seed):
    items = make(rows)
    splits = grouped_split(items, seed=seed)
    assert sorted(item.path for some in splits.values() for item in some) == sorted(item.path for item in items)
    side = {}
    for split, some in splits.items():
        for item in some:
            assert side.setdefault(item.group, split) == split
    shuffled = random.Random(seed).sample(items, len(items))
    assert grouped_split(shuffled, seed=seed) == splits


@settings(max_examples=30, deadline=None)
@given(items_of)
def test_every_label_of_one_artist_can_be_learned(rows):
    rows = [(label, label) for label, _ in rows]  # one artist per label
    splits = grouped_split(make(rows))
    assert {item.labels for item in splits["train"]} == {item.labels for some in splits.values() for item in some}


def test_labels_are_spread_like_the_shares():
    items = make([(n % 4, n) for n in range(400)])
    splits = grouped_split(items)
    for split, share in (("train", 0.8), ("valid", 0.1), ("test", 0.1)):
        count = Counter(item.labels[0] for item in splits[split])
        assert all(abs(n - 100 * share) <= 1 for n in count.values()) and len(count) == 4
