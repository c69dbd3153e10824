"""The README of a distilled model: what it learnt from, and how far it agrees with its teacher where it never heard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from audiopatch.models.card import ModelCard
from audiopatch.training.agreement import Agreement, HeldOut, as_table


def write_readme(
    folder: Path,
    card: ModelCard,
    held: HeldOut,
    rows: Sequence[Agreement],
    *,
    teacher: str,
    hours: float,
    segments: int,
) -> None:
    """README.md into a native model folder."""
    lines = [
        f"# {card.name}",
        "",
        f"{card.summary[:1].upper()}{card.summary[1:]}; {card.paper}.",
        "",
        f"- **Teacher:** {teacher}; its licence, and that of the music, say what may be done with this model",
        f"- **Training:** {segments:,} crops of {hours:.1f} h of music without labels",
        f"- **Input:** {card.segment_s:g} s of audio at a time, front-end `{card.frontend.name}`",
        "",
        "```",
        f"audiopatch tag ~/Music --model {folder}",
        "```",
        "",
        *as_table(rows),
        "",
        f"Agreement with the teacher on {rows[0].n_clips} clips of albums that were held out, with 95 % intervals by a",
        f"bootstrap over tracks; an answer that is always the same agrees in {held.commonest:.3f}. Classes that the",
        "teacher gets wrong, the student learnt wrong.",
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")
