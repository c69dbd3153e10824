"""What every dataset recipe gives: items with their labels, in splits, and an account of what was left out."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from audiopatch.errors import UsageError


@dataclass(frozen=True)
class Item:
    """One labelled clip.

    ``labels`` are the names of its classes; ``known`` those somebody decided about, None for all (OpenMIC has gaps).
    Items of one ``track`` are cuts of the same recording; ``group`` (an artist, a speaker) never spans two splits
    that audiopatch makes itself.
    """

    path: Path
    labels: tuple[str, ...]
    track: str = ""
    group: str = ""
    known: tuple[str, ...] | None = None


@dataclass(frozen=True)
class LeftOut:
    """An item the lists name but that takes no part, and why."""

    path: Path
    split: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """A dataset as found on disk, in ``home``. ``splits`` holds train and test, and valid where the dataset has one."""

    name: str
    labels: tuple[str, ...]
    multilabel: bool
    metrics: tuple[str, ...]
    splits: Mapping[str, tuple[Item, ...]]
    left_out: tuple[LeftOut, ...] = ()
    home: Path = Path()

    @property
    def sides(self) -> dict[str, str]:
        """Each item's split, by its path below ``home``."""
        return {below(self.home, item.path): split for split, items in self.splits.items() for item in items}

    def items(self, split: str) -> tuple[Item, ...]:
        """The items of a split; an unknown one is a UsageError that lists those there are."""
        if split not in self.splits:
            raise UsageError(f"{self.name} has no split '{split}'; it has: {', '.join(self.splits)}")
        return self.splits[split]


def below(home: Path, path: Path) -> str:
    """A path as seen from ``home``, which may move."""
    return os.path.relpath(path, home)


class Recipe(Protocol):
    """How a dataset on disk is read. ``metrics`` names the figures to report, the one that chooses models first.

    One reading gives labels, splits and gaps together, because they come from the same files.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def multilabel(self) -> bool: ...
    @property
    def metrics(self) -> tuple[str, ...]: ...

    def read(self, root: Path, *, allow_missing: bool = False) -> Dataset:
        """The dataset under ``root``. Missing lists or clips are a UsageError that says what was expected where;
        ``allow_missing`` leaves missing clips out, listed."""
        ...


TAGGING = ("map_macro", "roc_auc_macro")
CLASSIFICATION = ("accuracy", "f1_macro")


class Targets(NamedTuple):
    """``truth`` (N, C) float32 of 0 and 1; ``known`` (N, C) bool."""

    truth: np.ndarray
    known: np.ndarray


def targets(items: Sequence[Item], labels: Sequence[str]) -> Targets:
    """What items say of each label."""
    column = {label: index for index, label in enumerate(labels)}
    truth = np.zeros((len(items), len(labels)), np.float32)
    known = np.ones(truth.shape, bool)
    for row, item in enumerate(items):
        truth[row, [column[label] for label in item.labels]] = 1
        if item.known is not None:
            known[row] = False
            known[row, [column[label] for label in item.known]] = True
    return Targets(truth, known)


def find(recipe: Recipe, root: Path, *names: str) -> Path:
    """The first of ``names`` that exists under ``root``; else the sentence that says what was looked for."""
    for name in names:
        if (root / name).exists():
            return root / name
    raise UsageError(f"{recipe.title}: expected {' or '.join(names)} in {root}; not found. Get it from {recipe.url}")


def checked(
    recipe: Recipe,
    root: Path,
    splits: Mapping[str, Iterable[Item]],
    labels: Sequence[str],
    *,
    allow_missing: bool,
    broken: Mapping[Path, str] | None = None,
    left_out: Iterable[LeftOut] = (),
) -> Dataset:
    """The Dataset of what is there. ``broken`` clips are left out, listed; so are missing ones if allowed."""
    for label in labels:
        if not _fits_a_line(label):
            raise UsageError(f"{recipe.title}: the label {label!r} is no line of text, as models store them; rename it")
    broken, gaps, present = broken or {}, list(left_out), {}
    missing: list[LeftOut] = []
    for split, items in splits.items():
        present[split] = []
        for item in items:
            if item.path in broken:
                gaps.append(LeftOut(item.path, split, broken[item.path]))
            elif not item.path.is_file():
                missing.append(LeftOut(item.path, split, "the file is not there"))
            else:
                present[split].append(item)
    n_found = sum(map(len, present.values()))
    if missing and not (allow_missing and n_found):
        raise UsageError(_incomplete(recipe, root, missing, n_found))
    kept = {split: tuple(items) for split, items in present.items()}
    return Dataset(recipe.name, tuple(labels), recipe.multilabel, recipe.metrics, kept, (*gaps, *missing), root)


def _fits_a_line(label: str) -> bool:
    """No line ends, and no bytes that are no UTF-8: folder names may hold both."""
    return "".join(label.splitlines()) == label == label.encode(errors="replace").decode()


def _incomplete(recipe: Recipe, root: Path, missing: Sequence[LeftOut], n_found: int) -> str:
    example = missing[0].path
    shown = example.relative_to(root) if example.is_relative_to(root) else example
    source = f" Get it from {recipe.url}." if "://" in recipe.url else ""  # not from your own collection
    advice = " To go on without the missing ones: --allow-missing" if n_found else ""
    return (
        f"{recipe.title} is not complete in {root}: {n_found} of {n_found + len(missing)} clips found; "
        f"missing is, for instance, {shown}.{source}{advice}"
    )


SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}


def grouped_split(
    items: Iterable[Item],
    *,
    shares: Mapping[str, float] = SHARES,
    seed: int = 0,
    before: Mapping[Path, str] | None = None,
) -> dict[str, list[Item]]:
    """Whole groups go, largest first, to the split that still lacks most of their labels.

    The first split gets a label's only group, so that every label can be learned; with as many groups as splits every
    split sees the label. The same items and seed give the same split whatever their order. One item more or less may
    change that of any other: those that ``before`` names stay where it says, and bring the rest of their group along.
    """
    before = before or {}
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: str(item.path)):
        groups[item.group or str(item.path)].append(item)
    names = sorted(groups)
    np.random.default_rng(seed).shuffle(names)
    names.sort(key=lambda name: -len(groups[name]))
    total = Counter(label for group in groups.values() for item in group for label in item.labels)
    n_groups = Counter(label for group in groups.values() for label in {name for item in group for name in item.labels})
    wanted = _wanted(total, n_groups, shares)
    placed: dict[str, list[Item]] = {split: [] for split in shares}
    order = list(shares)

    def place(some: Iterable[Item], split: str) -> None:
        for item in some:
            placed[split].append(item)
            for label in item.labels:
                wanted[split][label] -= 1

    known = {name: [before[item.path] for item in groups[name] if item.path in before] for name in names}
    for name in filter(known.get, names):
        first = min(known[name], key=order.index)
        for item in groups[name]:
            place([item], before.get(item.path, first))
    for name in (name for name in names if not known[name]):
        labels = Counter(label for item in groups[name] for label in item.labels)
        place(groups[name], max(shares, key=lambda split: _lack(wanted[split], labels, total)))
    return placed


def _wanted(
    total: Mapping[str, int], n_groups: Mapping[str, int], shares: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """split -> label -> how many items it should get: its share, but at least one where there are groups enough."""
    first, *others = shares
    wanted: dict[str, dict[str, float]] = {}
    for split in others:
        least = {label: 1.0 if n_groups[label] >= len(shares) else 0.0 for label in total}
        wanted[split] = {label: max(shares[split] * n, least[label]) for label, n in total.items()}
    rest = {label: n - sum(wanted[split][label] for split in others) for label, n in total.items()}
    return {first: rest, **wanted}


def _lack(wanted: Mapping[str, float], labels: Mapping[str, int], total: Mapping[str, int]) -> float:
    """How much of these labels a split still lacks, rare labels weighing as much as frequent ones."""
    return sum(wanted[label] * n / total[label] ** 2 for label, n in labels.items())
