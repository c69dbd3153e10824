"""Imports only point down, and third-party packages stay where the architecture puts them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import audiopatch

ROOT = Path(audiopatch.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

FLOORS = {
    "cli": 9, "__main__": 10, "bench": 8, "inspection": 8, "runners": 7, "distill": 7,
    "training": 6, "inference": 6, "zoo": 5,
    "models": 4, "sinks": 4, "datasets": 4, "reducers": 3, "frontends": 3, "tokens": 2, "audio": 2,
    "storage": 1, "types": 1, "metrics": 1, "bootstrap": 1, "catalog": 0, "errors": -1, "cache": -1,
}  # fmt: skip

# package: the only places (module prefixes below audiopatch) that may import it; "*" when only inside a function
ONLY_IN = {
    "typer": ("cli", "__main__"),
    "rich": ("cli",),
    "av": ("audio",),
    "soxr": ("audio",),
    "pathspec": ("audio",),
    "soundfile": ("audio", "datasets", "training", "distill"),
    "pyarrow": ("sinks", "inference.read", "datasets", "bench", "inspection", "runners"),
    "matplotlib": ("bench", "inspection", "training", "inference"),
    "ray": ("runners",),
    "fsspec": ("storage",),
    "sklearn": ("metrics", "training", "distill", "bench", "datasets", "inference", "inspection"),
    "tqdm": ("inference", "training", "zoo"),
}
TORCH_FROM = 2
IMPORTED_WHEN_CALLED = {"fsspec", "sklearn", "matplotlib", "ray", "rich", "scipy", "openvino", "tqdm"}


def _name(path: Path) -> str:
    """``audio.decode`` for ``audio/decode.py``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(imported module, whether at the top of the file); those for type checkers alone do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
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


def test_every_folder_has_a_floor():
    assert {_name(path).split(".")[0] for path in MODULES} - {""} <= FLOORS.keys()
