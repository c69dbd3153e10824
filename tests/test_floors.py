"""Imports only point down, and third-party packages stay where the architecture puts them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import audiopatch

ROOT = Path(audiopatch.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

FLOORS = {
    "__main__": 13, "cli": 12, "api": 11, "bench": 10, "inspection": 10, "library": 10, "distill": 9, "runners": 8,
    "training": 8, "evaluation": 7, "writing": 7, "inference": 6, "zoo": 5, "models": 4, "tables": 4, "datasets": 4,
    "reducers": 3, "frontends": 3, "tokens": 2, "audio": 2, "events": 2, "storage": 1, "types": 1, "amounts": 0,
    "catalog": 0, "documents": 0, "option": 0, "errors": -1,
}  # fmt: skip

# package: the only places (module prefixes below audiopatch) that may import it; "*" when only inside a function
ONLY_IN = {
    "typer": ("cli", "__main__"),
    "rich": ("cli",),
    "av": ("audio",),
    "soxr": ("audio",),
    "pathspec": ("audio",),
    "mutagen": ("writing",),
    "soundfile": ("audio", "datasets", "training", "distill"),
    "pyarrow": ("tables", "datasets", "bench", "inspection", "runners"),
    "matplotlib": ("bench", "inspection", "training", "evaluation"),
    "ray": ("runners",),
    "duckdb": ("library",),
    "fsspec": ("storage",),
    "sklearn": ("evaluation", "training", "distill", "bench", "datasets", "inspection", "library"),
    "tqdm": ("events", "training", "zoo"),
}
TORCH_FROM = 2
IMPORTED_WHEN_CALLED = {"duckdb", "fsspec", "sklearn", "matplotlib", "ray", "rich", "scipy", "openvino", "tqdm"}


def _name(path: Path) -> str:
    """``audio.decode`` for ``audio/decode.py``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


BY_NAME = {f"audiopatch.{_name(path)}".rstrip("."): path for path in MODULES}


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _imports(path: Path) -> tuple[tuple[str, bool], ...]:
    """(imported module, whether at the top of the file); those for type checkers alone do not count."""
    return tuple(_found_imports(path, _tree(path)))


def _found_imports(path: Path, tree: ast.Module) -> Iterator[tuple[str, bool]]:
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    top = {inner for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module), node in top


def _needed_by(path: Path) -> set[str]:
    """The modules of ours that a file names in an import, wherever in it: lazy ones and those for types included."""
    needed: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            needed |= {name if name in BY_NAME else str(node.module) for name in names}
        elif isinstance(node, ast.Import):
            needed |= {alias.name for alias in node.names}
    return (needed & BY_NAME.keys()) - {"audiopatch"}


def test_no_import_goes_round_in_circles():
    left = {name: _needed_by(path) - {name} for name, path in BY_NAME.items()}
    while free := {name for name, needed in left.items() if not needed & left.keys()}:
        left = {name: needed for name, needed in left.items() if name not in free}
    assert not left, f"these import each other: {sorted(left)}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_only_point_down(path):
    folder = _name(path).split(".")[0]
    if not folder:
        return  # the package itself names its public parts, lazily
    for module, _ in _imports(path):
        package, _, rest = module.partition(".")
        target = rest.split(".")[0]
        if package != "audiopatch" or target in ("", folder):
            continue
        assert FLOORS[target] < FLOORS[folder], f"{_name(path)} imports {module}, which is not below it"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_third_party_packages_stay_in_their_places(path):
    name = _name(path)
    for module, at_top in _imports(path):
        package = module.split(".")[0]
        if package in ONLY_IN:
            allowed = any(name == place or name.startswith(place + ".") for place in ONLY_IN[package])
            assert allowed, f"{name} imports {package}"
        if package in IMPORTED_WHEN_CALLED:
            assert not at_top, f"{name} imports {package} at its top; import it where it is used"
        if package == "torch" and name:
            assert FLOORS[name.split(".")[0]] >= TORCH_FROM, f"{name} imports torch"


def test_the_lowest_floors_need_nothing_but_numpy():
    for name in ("catalog", "errors", "types"):
        packages = {module.split(".")[0] for module, at_top in _imports(ROOT / f"{name}.py") if at_top}
        assert packages <= {*sys.stdlib_module_names, "audiopatch", "numpy"}


def test_every_folder_and_top_level_file_has_a_floor_here_and_in_contributing():
    rooms = {_name(path).split(".")[0] for path in MODULES} - {""}
    assert rooms == FLOORS.keys()
    contributing = Path(__file__).parents[1] / "CONTRIBUTING.md"
    listed = contributing.read_text(encoding="utf-8").split("## Floors")[1].split("```")[1]
    floors = [{name for name in line[3:].split() if name != "·"} for line in listed.strip("\n").splitlines()]
    said = {name: len(floors) - number for number, names in enumerate(floors) for name in names}
    assert said.keys() == rooms
    assert all((said[a] < said[b]) == (FLOORS[a] < FLOORS[b]) for a in rooms for b in rooms)


def test_no_two_public_classes_have_one_name():
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in _tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(_name(path))
    assert not {name: found for name, found in places.items() if len(found) > 1}
