"""Which labels go into which field of a file, and under what name: the user's choice, or defaults that make sense."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from audiopatch.catalog import unknown_name
from audiopatch.errors import UsageError

POLICIES = ("fill", "append", "replace")
OWN = "AUDIOPATCH_"  # what begins so is ours
# Fields that say whose music it is: not for a model to tell.
_NOT_OURS = frozenset(
    """
    TITLE ARTIST ALBUM ALBUMARTIST COMPOSER DATE YEAR TRACKNUMBER DISCNUMBER LYRICS COPYRIGHT ISRC COVER PICTURE
    METADATA_BLOCK_PICTURE
    """.split()  # noqa: SIM905 (fourteen quoted words are hard to read)
)
_WORD = re.compile(r"[A-Z][A-Z0-9_ ]{1,39}")
_MUSIC = " music"  # AudioSet says "Rock music" where players say "Rock"; FSD50K says "Electric_guitar"
_SAYS_NOTHING = {"Music", "Musical instrument", "Song"}  # true of every track, and the best label of most


@dataclass(frozen=True)
class FieldRule:
    """What goes into one field.

    groups     of labels to choose from, "" being that of labels whose group nobody knows; empty for any label
    best       how many at most
    min_score  from which score on; None: the model's thresholds where it has any for such a run, else 0.1
    policy     fill: only where the file has no value (or one of ours); append: after the values that are there;
               replace: instead of them
    parents    also the parent of each label, before it ("Electronic" for "House")
    joined     one text of all values, for fields that players show as a sentence
    """

    groups: tuple[str, ...]
    best: int = 2
    min_score: float | None = None
    policy: str = "fill"
    parents: bool = False
    joined: bool = False


@dataclass(frozen=True)
class Rules:
    """Field, in capitals -> its rule; ``names``: label -> the name to write, "" for never."""

    fields: Mapping[str, FieldRule]
    names: Mapping[str, str] = field(default_factory=dict)

    def name_of(self, label: str, leaf: str) -> str:
        """What is written for a label: the user's name for it or for its leaf, else the leaf, shortened."""
        for known in (label, leaf):
            if known in self.names:
                return self.names[known]
        short = leaf.replace("_", " ").removesuffix(_MUSIC)
        if short in _SAYS_NOTHING:
            return self.names.get(short, "")
        return self.names.get(short, short)


def make_rules(
    best: Mapping[str, int | None] | None = None,
    *,
    policy: str | None = None,
    min_score: float | None = None,
    parents: bool = False,
    file: str | os.PathLike[str] | None = None,
) -> Rules:
    """Rules of a TOML file, and on top of them, where given, how many labels each field takes (0: none of it).

    Without a file and without a field it is the best two genres, where a file has none.
    """
    rules = read_rules(file) if file is not None else Rules({})
    chosen = dict(rules.fields)
    for name, count in (best or {}).items():
        if count == 0:
            chosen.pop(field_name(name), None)
        elif count is not None:
            key = field_name(name)
            chosen[key] = replace(chosen.get(key) or _default(key), best=count)
    if not chosen and file is None and not any(count is not None for count in (best or {}).values()):
        chosen["GENRE"] = _default("GENRE")
    if not chosen:
        raise UsageError("no field to write: give one, as in --genre 2")
    given = {"policy": policy, "min_score": min_score, "parents": parents or None}
    given = {key: value for key, value in given.items() if value is not None}
    return Rules({key: _checked(key, replace(rule, **given)) for key, rule in chosen.items()}, rules.names)


def read_rules(path: str | os.PathLike[str]) -> Rules:
    """``[fields.NAME]`` with the fields of ``FieldRule``, and ``[names]`` with ``"Heavy metal" = "Metal"``."""
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"cannot read the rules in {os.fspath(path)}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the rules in {os.fspath(path)} are no valid TOML: {error}") from None
    for name in content:
        if name not in ("fields", "names"):
            raise UsageError(f"{os.fspath(path)}: {unknown_name('table', name, ('fields', 'names'))}")
    tables, names = content.get("fields", {}), content.get("names", {})
    if not isinstance(tables, dict) or not isinstance(names, dict):
        raise UsageError(f"{os.fspath(path)}: [fields.genre] and [names] are tables")
    chosen = {field_name(name): _rule(field_name(name), values) for name, values in tables.items()}
    for label, name in names.items():
        if not isinstance(name, str):
            raise UsageError(f"{os.fspath(path)}: the name of '{label}' is a text, \"\" for never")
    return Rules(chosen, {label: check_value(name) for label, name in names.items()})


def check_value(text: str) -> str:
    """A value that every container can hold, and several of them together, without spaces around it; or UsageError."""
    if any(char in ";\0" or not char.isprintable() for char in text):
        raise UsageError(f"a value may hold neither ';' nor control characters: {text!r}")
    return text.strip()


def field_name(name: str) -> str:
    """A field's name in capitals; UsageError for one that labels have no business in."""
    upper = name.upper()
    if not _WORD.fullmatch(upper) or upper.startswith(OWN) or upper in _NOT_OURS:
        raise UsageError(
            f"'{name}' is no field that labels can go into; genre, mood, instrument, comment are, for example"
        )
    return upper


def _default(name: str) -> FieldRule:
    if name == "COMMENT":
        return FieldRule(groups=("genre", "mood", "voice", "instrument", ""), best=5, joined=True)
    if name == "GROUPING":
        return FieldRule(groups=("genre", "mood"), best=3)
    return FieldRule(groups=(name.lower(),))


def _rule(name: str, values: Any) -> FieldRule:
    if not isinstance(values, dict):
        raise UsageError(f"[fields.{name.lower()}] is a table, as in best = 2")
    known = [one.name for one in fields(FieldRule)]
    for key in values:
        if key not in known:
            raise UsageError(f"[fields.{name.lower()}]: {unknown_name('key', key, known)}")
    values = values | ({"groups": tuple(values["groups"])} if isinstance(values.get("groups"), list) else {})
    return _checked(name, replace(_default(name), **values))


def _checked(name: str, rule: FieldRule) -> FieldRule:
    where = f"the field {name.lower()}"
    if rule.policy not in POLICIES:
        raise UsageError(f"{where}: {unknown_name('policy', str(rule.policy), POLICIES)}")
    if not isinstance(rule.best, int) or isinstance(rule.best, bool) or rule.best < 1:
        raise UsageError(f"{where}: best is how many labels at most, from 1 on, not {rule.best!r}")
    if rule.min_score is not None and not (isinstance(rule.min_score, int | float) and 0 <= rule.min_score <= 1):
        raise UsageError(f"{where}: min_score is a score between 0 and 1, not {rule.min_score!r}")
    if not isinstance(rule.groups, tuple) or not all(isinstance(group, str) for group in rule.groups):
        raise UsageError(f'{where}: groups is a list of groups of labels, as in ["genre", "era"]')
    return rule
