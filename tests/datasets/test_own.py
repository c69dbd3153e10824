"""Own collections: copies of a file never stand on both sides of a split."""

from __future__ import annotations

import pytest

from audiopatch.datasets import DATASETS
from audiopatch.datasets.own import copies_together
from audiopatch.datasets.recipe import Item


def collection(root, n: int = 12) -> None:
    """Two labels of n files each, in albums of one; every file of the first has its copy beside these."""
    for number in range(n):
        for label in ("calm", "loud"):
            (root / label / f"album {number}").mkdir(parents=True)
            (root / label / f"album {number}" / "a.wav").write_bytes(f"{label}{number:04d}".encode())
        (root / "calm" / f"copy {number}.wav").write_bytes(f"calm{number:04d}".encode())


@pytest.mark.parametrize("recipe", ["folder", "csv"])
def test_a_copy_is_on_the_side_of_what_it_copies(tmp_path, recipe):
    collection(tmp_path)
    root = tmp_path
    if recipe == "csv":
        files = sorted(tmp_path.rglob("*.wav"))
        rows = [f"{file.relative_to(tmp_path)},{file.relative_to(tmp_path).parts[0]}" for file in files]
        root = tmp_path / "tracks.csv"
        root.write_text("\n".join(["path,label", *rows]))
    splits = DATASETS.load(recipe).read(root).splits
    side = {item.path.read_bytes(): set() for items in splits.values() for item in items}
    for name, items in splits.items():
        for item in items:
            side[item.path.read_bytes()].add(name)
    assert len(side) == 24 and all(len(names) == 1 for names in side.values())
    assert all(splits[name] for name in ("train", "valid", "test"))


def test_groups_are_united_by_a_copy_in_each(tmp_path):
    content = {"a1": b"same", "a2": b"other", "b1": b"same", "b2": b"more", "c1": b"none", "empty1": b"", "empty2": b""}
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    items = [Item(tmp_path / name, ("x",), group=name[0] if name[0] in "abc" else "") for name in content]
    items.append(Item(tmp_path / "missing", ("x",)))
    a1, a2, b1, b2, c1, *alone = (item.group for item in copies_together(items))
    assert a1 == a2 == b1 == b2 and c1 == "c"
    assert len({item.group or str(item.path) for item in copies_together(items)[5:]}) == len(alone) == 3
