"""Sizes of memory as people write them."""

from __future__ import annotations

import re

from audiopatch.errors import UsageError

_FACTORS = {"M": 1, "MB": 1, "MIB": 1.048576, "G": 1000, "GB": 1000, "GIB": 1073.741824}


def megabytes(text: str | None) -> int | None:
    """``2GB``, ``800 MB``, ``1.5GiB`` -> megabytes."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]+)", text.strip().upper())
    if match is None or match[2] not in _FACTORS:
        raise UsageError(f"--max-memory {text} is no size; write it as in 2GB or 800MB")
    return int(float(match[1]) * _FACTORS[match[2]])
