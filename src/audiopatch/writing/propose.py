"""What would change: the labels in the tables, by the rules, against what the files hold now."""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from audiopatch.errors import UsageError
from audiopatch.storage.place import is_remote
from audiopatch.tables.read import Tables, read
from audiopatch.writing.changes import Change, equal
from audiopatch.writing.containers import can_write, check_installed, open_tags
from audiopatch.writing.evidence import own_values, written_before
from audiopatch.writing.replace import Refused, words
from audiopatch.writing.rules import FieldRule, Rules, make_rules
from audiopatch.zoo.cards import least_scores
from audiopatch.zoo.labels import GROUPS, groups_in

if TYPE_CHECKING:
    import pandas as pd

_IN_TABLES = "GENRE"  # the one field whose present values the tables have
# Parents that say what kind of label it is, and are no label themselves: ours, and AudioSet's.
_HEADS = {
    "",
    *(group.capitalize() for group in GROUPS),
    "Music",
    "Music genre",
    "Music mood",
    "Music role",
    "Human voice",
}


class Scored(NamedTuple):
    """A value for a field, and the score of the label it comes from."""

    text: str
    score: float


@dataclass
class Proposal:
    """What would change, what would not and why.

    ``refused``: (path, reason) of files that cannot be written; ``n_kept`` values of the user's that stay;
    ``n_same`` fields that hold the values already; ``note``: from which scores on labels count, where nobody said so;
    ``no_field``: labels of no known group, such as one's own, that no rule takes, those of most tracks first.
    """

    changes: list[Change] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    n_tracks: int = 0
    n_kept: int = 0
    n_same: int = 0
    note: str = ""
    no_field: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def counts(self) -> dict[str, Counter[str]]:
        """Field -> how often each value would be written."""
        counts: dict[str, Counter[str]] = {}
        for change in self.changes:
            counts.setdefault(change.field, Counter()).update(change.new)
        return counts


def propose_changes(
    tables: Tables | str | os.PathLike[str] = "audiopatch.out",
    *,
    genre: int | None = None,
    mood: int | None = None,
    instrument: int | None = None,
    comment: int | None = None,
    policy: str | None = None,
    min_score: float | None = None,
    parents: bool = False,
    rules: Rules | str | os.PathLike[str] | None = None,
    look: bool | None = None,
    advance: Callable[[int, int], object] = lambda done, total: None,
) -> Proposal:
    """What ``apply_changes`` would write, of the labels in a folder of tables; no file is changed.

    ``genre``, ``mood``, ``instrument``, ``comment``: how many labels at most go into that field, 0 for none; without
    any, and without ``rules`` (a TOML file, see ``read_rules``), two genres where a file has none. ``policy``,
    ``min_score`` and ``parents`` are as in ``FieldRule``, for all fields.

    ``look``: read the present values from the files. The tables know a file's genre alone, so by default they are
    trusted where only empty genres are filled, and the files are read for anything else. False trusts them with all
    fields that are filled: values they do not know are found, and kept, when the file is written.
    """
    check_installed()
    tables = tables if isinstance(tables, Tables) else read(tables)
    best = {"genre": genre, "mood": mood, "instrument": instrument, "comment": comment}
    if not isinstance(rules, Rules):
        rules = make_rules(best, policy=policy, min_score=min_score, parents=parents, file=rules)
    if not len(tables.tags):
        raise UsageError(f"{tables.folder} holds no tags: make some with 'audiopatch tag'")
    others = [rule for rule in rules.fields.values() if rule.policy != "fill"]
    if look is None:
        look = bool(others) or any(name != _IN_TABLES for name in rules.fields)
    if not look and others:
        raise UsageError(f"look=False does for fields that are filled; policy={others[0].policy!r} must see the files")
    _, note = least_scores(tables.run, ())
    proposal = Proposal(note=note if any(rule.min_score is None for rule in rules.fields.values()) else "")
    proposal.no_field = without_field(tables, rules)
    values = best_labels(tables, rules)
    ours = {} if look else written_before(tables.folder)
    tracks = tables.tracks
    proposal.n_tracks = len(tracks)
    track: Any
    for done, track in enumerate(tracks.itertuples(), start=1):
        wanted = values.get(track.track_id)
        if wanted:
            _propose_track(proposal, track, wanted, rules, look, ours)
        advance(done, proposal.n_tracks)
    return proposal


def _propose_track(
    proposal: Proposal,
    track: Any,
    wanted: Mapping[str, list[Scored]],
    rules: Rules,
    look: bool,
    ours: Mapping[str, Any],
) -> None:
    path = path_on_disk(track)
    try:
        _check_writable(path)
        present = _look(path, wanted) if look else {_IN_TABLES: _in_tables(track, ours.get(path, ()))}
    except Refused as reason:
        proposal.refused.append((path, str(reason)))
        return
    for name, scored in wanted.items():
        now, own = present.get(name, ((), ()))  # of a field that the tables do not know
        new = decide(rules.fields[name], now, own, scored)
        if new is None:
            proposal.n_kept += 1
        elif equal(new, now):
            proposal.n_same += 1
        else:
            proposal.changes.append(_change(track, path, name, now, new, scored))


def decide(rule: FieldRule, now: Sequence[str], own: Sequence[str], scored: Sequence[Scored]) -> tuple[str, ...] | None:
    """The values a field should have; None where those of the user's stay alone. ``own`` among ``now`` are ours."""
    mine = {value.casefold() for value in own}
    theirs = [value for value in now if value.casefold() not in mine]
    proposed = tuple(dict.fromkeys(one.text for one in scored))
    if rule.joined:
        proposed = (" / ".join(proposed),)  # labels have commas of their own
    if rule.policy == "fill" and theirs:
        return None
    if rule.policy == "append":
        known = {value.casefold() for value in theirs}
        return (*theirs, *(value for value in proposed if value.casefold() not in known))
    return proposed


def path_on_disk(track: Any) -> str:
    """The path of a row of ``tracks``, as the system takes it."""
    raw = getattr(track, "path_bytes", None)
    if isinstance(raw, bytes):
        return os.fsdecode(raw)
    return os.fsdecode(base64.b64decode(raw)) if isinstance(raw, str) else track.path


def best_labels(tables: Tables, rules: Rules) -> dict[str, dict[str, list[Scored]]]:
    """track_id -> field -> the best labels for it, as they are written; whatever the files hold."""
    tags: pd.DataFrame = tables.tags
    words = tags["label"].astype("category").cat  # text formats bring plain text
    labels = list(words.categories)
    least, _ = least_scores(tables.run, labels)
    described = _described(tables, labels)
    plans = []  # per field: for each label what is written and from which score on; None where nothing is
    for name, rule in rules.fields.items():
        texts = [_texts(rules, rule, *described[label]) for label in labels]
        from_score = [_from_score(rule, least[label]) for label in labels]
        plans.append((name, rule.best, texts, from_score))
    found: dict[str, dict[str, list[Scored]]] = {}
    counts: dict[tuple[str, str], int] = {}
    rows = zip(tags["track_id"].tolist(), words.codes.tolist(), tags["score"].tolist(), strict=True)
    for track_id, code, score in rows:
        for name, best, texts, from_score in plans:
            if texts[code] and score >= from_score[code] and counts.get((track_id, name), 0) < best:
                counts[track_id, name] = counts.get((track_id, name), 0) + 1
                scored = found.setdefault(track_id, {}).setdefault(name, [])
                known = {one.text for one in scored}
                scored += [Scored(text, score) for text in texts[code] if text not in known]
    return found


def without_field(tables: Tables, rules: Rules) -> tuple[str, ...]:
    """Labels that count for a track and belong to no known group, where no field takes such; those of most tracks
    first."""
    if any(_takes(rule, "") for rule in rules.fields.values()):
        return ()
    named = tables.tags["label"].astype(str)
    least, _ = least_scores(tables.run, named.unique())
    from_score = {label: min(_from_score(rule, one) for rule in rules.fields.values()) for label, one in least.items()}
    counts = named[tables.tags["score"] >= named.map(from_score)].value_counts()
    described = _described(tables, list(counts.index))
    return tuple(leaf for group, _, label, leaf in described.values() if not group and rules.name_of(label, leaf))


def _from_score(rule: FieldRule, least: float) -> float:
    return least if rule.min_score is None else rule.min_score


def _takes(rule: FieldRule, group: str) -> bool:
    return not rule.groups or group in rule.groups


def _texts(rules: Rules, rule: FieldRule, group: str, parent: str, label: str, leaf: str) -> tuple[str, ...]:
    """What is written for a label; nothing where it is of another group, or never to be."""
    if not _takes(rule, group):
        return ()
    name = rules.name_of(label, leaf)
    above = rules.name_of(parent, parent) if rule.parents and parent not in _HEADS else ""
    return tuple(dict.fromkeys(text for text in (above, name) if text)) if name else ()


def _described(tables: Tables, labels: Sequence[str]) -> dict[str, tuple[str, str, str, str]]:
    """label -> its group, parent, itself, leaf."""
    frame = tables.labels
    frame = frame.astype(object).where(frame.notna(), "")
    groups = frame["label"].map(groups_in(frame))
    columns = (groups, frame["parent"], frame["label"], frame["leaf"])
    known = {row[2]: row for row in zip(*(column.tolist() for column in columns), strict=True)}
    return {label: known.get(label, ("", "", label, label)) for label in labels}


def _check_writable(path: str) -> None:
    if is_remote(path):
        raise Refused("is in a store; only files on a disk are written")
    if not can_write(path):
        raise Refused(f"tags are not written into such files ({os.path.splitext(path)[1][1:] or 'no ending'})")  # noqa: PTH122


def _look(path: str, names: Mapping[str, Any]) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Field -> its values in the file, and those of them that we wrote."""
    try:
        _, tags = open_tags(path, upgrade=True)
    except OSError as error:
        raise Refused("no such file" if isinstance(error, FileNotFoundError) else words(error)) from None
    return {name: (tags.read(name), own_values(tags, name)) for name in names}


def _in_tables(track: Any, ours: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The genre as the tables have it; ours where it is what we wrote."""
    genre = track.genre if isinstance(track.genre, str) else ""
    mine = next((tuple(values) for values in ours if values and genre in _forms(values)), ())
    return (mine or ((genre,) if genre else ())), mine


def _forms(values: Sequence[str]) -> set[str]:
    """How several values look in the tables: as we note them, or as decoders tell of them."""
    return {between.join(values) for between in ("; ", ";", " ")} | {values[0]}


def _change(
    track: Any, path: str, name: str, now: tuple[str, ...], new: tuple[str, ...], scored: Sequence[Scored]
) -> Change:
    score_of = {one.text: round(float(one.score), 4) for one in scored}
    text = lambda value: value if isinstance(value, str) else ""  # noqa: E731 (a missing one is NaN)
    joined = list(score_of.values()) if len(new) == 1 and new[0] not in score_of else None
    return Change(
        path, name, now, new,
        scores=tuple(joined or [score_of.get(value) for value in new]),
        artist=text(track.artist), album=text(track.album), title=text(track.title),
        track_id=track.track_id, size_bytes=int(track.size_bytes), mtime_ns=int(track.mtime_ns),
        audio_hash=text(track.audio_hash),
    )  # fmt: skip
