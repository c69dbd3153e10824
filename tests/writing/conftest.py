"""Tables about the files of a test, in its folder ``out``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from made_tables import make_tables


@pytest.fixture
def tables(tmp_path) -> Callable[..., Path]:
    return lambda *files, **how: make_tables(tmp_path / "out", files, **how)
