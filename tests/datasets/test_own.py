"""Own collections: copies of a file never stand on both sides of a split."""

from __future__ import annotations

import shutil

import pytest

from audiopatch.datasets import DATASETS
from audiopatch.datasets.own import copies_together
from audiopatch.datasets.recipe import Item
from audiopatch.training.data import open_dataset
from audiopatch.training.run_folder import RunFolder


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


def add(root, numbers) -> None:
    for number in numbers:
        for label in ("calm", "loud"):
            (root / label / f"new album {number}").mkdir(parents=True)
            (root / label / f"new album {number}" / "a.wav").write_bytes(f"new {label}{number:04d}".encode())


@pytest.mark.parametrize("recipe", ["folder", "csv"])
def test_what_a_model_learnt_stays_out_of_its_test_whatever_comes_or_goes(tmp_path, recipe):
    root = tmp_path / "music"
    collection(root)

    def opened(*models):
        files = sorted(file.relative_to(root) for file in root.rglob("*.wav"))
        (root / "tracks.csv").write_text("\n".join(["path,label", *(f"{file},{file.parts[0]}" for file in files)]))
        return open_dataset(recipe, root, {}, allow_missing=False, models=models)

    runs = [tmp_path / "first", tmp_path / "second"]
    models = [str(run / "model") for run in runs]
    for run, come in zip(runs, (range(0), range(9)), strict=True):
        add(root, come)
        run.mkdir()
        RunFolder(run).save_sides(opened())
    before = [RunFolder(run).sides(recipe) for run in runs]
    assert any(before[1][path] != side for path, side in before[0].items())  # a split of its own moves files

    shutil.rmtree(root / "calm" / "album 3")
    add(root, range(9, 20))
    shutil.move(root, tmp_path / "elsewhere")
    root = tmp_path / "elsewhere"
    now = opened(models[0])
    assert all(now.sides[path] == side for path, side in before[0].items() if path in now.sides)
    assert {now.sides[path] for path in now.sides.keys() - before[0].keys()} == {"train", "valid", "test"}
    (root / "loud" / "copy.wav").write_bytes((root / "loud" / "album 0" / "a.wav").read_bytes())
    assert opened(models[0]).sides["loud/copy.wav"] == before[0]["loud/album 0/a.wav"]
    both = opened(*models).sides
    learnt = {path for sides in before for path, side in sides.items() if side == "train"} & both.keys()
    assert {both[path] for path in learnt} == {"train"} and "test" in both.values()
    assert RunFolder(runs[0]).sides("gtzan") == {} and RunFolder(tmp_path).sides(recipe) == {}
