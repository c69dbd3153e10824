"""Patterns that name files and folders, in the language of .gitignore."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

IGNORE_FILE = ".audiopatchignore"


@dataclass(frozen=True)
class Rule:
    """One pattern: what it matches, whether only folders, and whether it takes back earlier ones (``!``)."""

    matches: re.Pattern[str]
    folders_only: bool
    negated: bool


def parse(lines: Iterable[str]) -> tuple[Rule, ...]:
    """Lines of an ignore file -> rules, as git reads them: ``#`` comments, ``!``, ``/`` at either end, ``**``."""
    rules = []
    for line in lines:
        text = re.sub(r"(?<!\\) +$", "", line.rstrip("\r\n"))
        if not text or text.startswith("#"):
            continue
        negated = text.startswith("!")
        text = text[1:] if negated else text
        folders_only = text.endswith("/")
        text = text.rstrip("/") if folders_only else text
        if text:
            rules.append(Rule(_compile(text), folders_only, negated))
    return tuple(rules)


def verdict(rules: Sequence[Rule], path: str, is_folder: bool) -> bool | None:
    """What the last matching rule says of ``path`` (relative, with ``/``): ignored, kept after all, or nothing."""
    for rule in reversed(rules):
        if (is_folder or not rule.folders_only) and rule.matches.fullmatch(path):
            return not rule.negated
    return None


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    """A pattern with a slash inside or in front counts from the ignore file's folder; one without, at any depth."""
    parts = pattern.removeprefix("/").split("/")
    anchored = "/" in pattern
    regex = "" if anchored else "(?:.*/)?"
    for n, part in enumerate(parts):
        is_last = n == len(parts) - 1
        if part == "**":
            regex += ".+" if is_last else "(?:.*/)?"
        else:
            regex += _translate(part) + ("" if is_last else "/")
    try:
        return re.compile(regex, re.DOTALL)
    except re.error:  # a backward range such as [z-a]: nothing lies in it
        return re.compile(r"(?!)")


def _translate(part: str) -> str:
    """One path component: ``*``, ``?``, ``[a-z]``, ``[!a-z]`` and backslash escapes, none of which match a slash."""
    regex, i = "", 0
    while i < len(part):
        c = part[i]
        closing = part.find("]", i + 2 + (part[i + 1 : i + 2] in ("!", "^"))) if c == "[" else -1
        if c == "*":
            regex += "[^/]*"
        elif c == "?":
            regex += "[^/]"
        elif closing > 0:
            inside = part[i + 1 : closing]
            negated = inside[0] in "!^"
            regex += ("(?!/)[^" if negated else "[") + re.sub(r"([\\\[&~|^])", r"\\\1", inside[negated:]) + "]"
            i = closing
        elif c == "\\" and i + 1 < len(part):
            i += 1
            regex += re.escape(part[i])
        else:
            regex += re.escape(c)
        i += 1
    return regex
