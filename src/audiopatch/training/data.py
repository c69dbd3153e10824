"""The clips of a run: found where the user says, split as runs before did, decoded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from audiopatch.amounts import audio
from audiopatch.datasets import DATASETS
from audiopatch.datasets.recipe import SHARES, Dataset
from audiopatch.datasets.waves import Waves, decode_waves, with_audio
from audiopatch.errors import UsageError
from audiopatch.events import Note, Observer, counted
from audiopatch.storage.place import at_home, cache_folder
from audiopatch.training.run_folder import RunFolder


def need_data(root: Path | None, dataset: str, command: str) -> Path:
    """Where the data is; a UsageError with the ``command`` that takes it where nobody said."""
    if root is None:
        recipe = DATASETS.load(dataset)
        example = f"audiopatch {command} ~/data"
        raise UsageError(f"where is the data? Name its folder, as in: {example} ({recipe.title}: {recipe.url})")
    return root


def open_dataset(
    name: str, root: Path, options: Mapping[str, Any], *, allow_missing: bool, models: Sequence[str] = ()
) -> Dataset:
    """The dataset called ``name`` under ``root``; options that its recipe lacks are a UsageError.

    Where the split is made here, what the runs of ``models`` learnt from is none of what is left for a test.
    """
    recipe = DATASETS.load(name)
    known = {entry.name for entry in fields(recipe)}
    unknown = options.keys() - known
    if unknown:
        raise UsageError(f"{name} has no option '{min(unknown)}'")
    if "sides" in known:
        options = {"sides": _sides(name, models), **options}
    return replace(recipe, **options).read(at_home(root).resolve(), allow_missing=allow_missing)


def _sides(dataset: str, models: Sequence[str]) -> dict[str, str]:
    """Where each clip stood for the runs of some models: with the clips to learn from, if it did for one of them."""
    found: dict[str, str] = {}
    for model in models:
        for path, side in RunFolder(at_home(model).parent).sides(dataset).items():
            found[path] = min(side, found.get(path, side), key=list(SHARES).index)
    return found


def decode(dataset: Dataset, sample_rate: int, workers: int, observer: Observer) -> tuple[Dataset, Waves]:
    """All clips of a dataset, decoded once; what cannot be decoded is said, and left out."""
    paths = [item.path for items in dataset.splits.values() for item in items]
    report = counted(observer, "decoding")
    waves = decode_waves(paths, sample_rate, cache_folder(), workers=workers, report=report)
    whole = with_audio(dataset, waves)
    if whole.left_out:
        first = whole.left_out[0]
        clips = "clip" if len(whole.left_out) == 1 else "clips"
        such_as = f"such as {first.path.name} ({first.reason})"
        observer(Note(f"{len(whole.left_out)} {clips} left out, {such_as}; see left_out.tsv"))
    length = audio(sum(waves.n_samples(path) for path in set(paths) if path in waves) / sample_rate)
    sizes = ", ".join(f"{len(items)} {split}" for split, items in whole.splits.items())
    observer(Note(f"{dataset.name}: {sizes} clips, {len(dataset.labels)} labels, {length} of audio"))
    return whole, waves
