"""Measure the default model on the music it never heard, and write the tables of its card: ``make card``.

    python scripts/fetch_free_music.py MUSIC
    python scripts/measure_default.py MUSIC --teacher mn04_as_mAP_432.pt

Agreement with its teacher for every plan, by class at F0T0, and the speed of ``tag`` from files to tables, which a
busy machine falsifies (``--no-speed`` leaves the old figures, which name their machine). The tables replace what stands
between the markers in docs/default-model.md and in the model's own README.md; the scores go into its card.json.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from fetch_free_music import HELD_OUT

import audiopatch
from audiopatch.audio.walk import walk
from audiopatch.bench.measure import cpu_name
from audiopatch.distill.agreement import PLANS, HeldOut, as_scores, as_table
from audiopatch.distill.pieces import Pieces, prepare
from audiopatch.distill.teacher import Teachers
from audiopatch.distill.vocabulary import names_in, tags_of
from audiopatch.models.tagger import Tagger
from audiopatch.zoo import DEFAULT_MODEL, native
from audiopatch.zoo.labels import split_label
from audiopatch.zoo.load import load_model

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "src/audiopatch/zoo/packaged" / DEFAULT_MODEL
READMES = (ROOT / "docs/default-model.md", MODEL / "README.md")
AGREEMENT, SPEED = "<!-- agreement, by make card -->", "<!-- speed, by make card -->"
END = "<!-- end -->"
N_SHOWN = 8


def main() -> None:
    arguments = _parser().parse_args()
    pieces = held_out(arguments.music, arguments.pieces)
    student = load_model(MODEL, device="cpu", dtype="float32")
    tagger = load_model(arguments.teacher, device="cpu")
    held = held_against(tagger, student, pieces)
    rows = held.compare(student)
    said = [
        *as_table(rows),
        f"\n{rows[0].n_clips} clips of 10 s; with 95 % intervals by a bootstrap over tracks. An answer that is "
        f"always the same agrees in {held.commonest:.3f}.\n",
        *by_class(held, student),
    ]
    native.save_card(replace(student.card, scores=as_scores(rows)), MODEL)
    put(AGREEMENT, said)
    if not arguments.no_speed:
        put(SPEED, speeds(sorted({arguments.music / span.path for span in pieces.spans}), arguments.teacher))


def held_against(teacher: Tagger, student: Tagger, pieces: Pieces) -> HeldOut:
    """The held-out clips with a teacher's answers, for the labels of the student that the teacher knows."""
    pairs = [(column, tags[0]) for column, label in enumerate(student.labels) if (tags := names_in(teacher, label))]
    columns = [column for column, _ in pairs]
    tags = set(tags_of(student.labels))
    teachers = Teachers([teacher], [teacher.labels.index(tag) for _, tag in pairs])
    ranked = [place for place, column in enumerate(columns) if column in tags]
    return HeldOut(teachers, pieces, columns=columns, ranked=ranked)


def held_out(music: Path, folder: Path) -> Pieces:
    """The held-out packages' audio, decoded once."""
    albums = {folder / name: list(walk([music / name], root=str(music))) for name in HELD_OUT}
    for _ in prepare(albums, workers=2):
        pass
    return Pieces(list(albums))


def by_class(held: HeldOut, student: Tagger) -> list[str]:
    """A table of the classes that it ranks best and worst, by average precision at F0T0."""
    found = held.by_class(student)
    names = sorted(found, key=lambda number: -found[number])
    columns = np.arange(len(student.labels))[held.columns]

    def words(number: int) -> str:
        return f"{split_label(student.labels[columns[number]]).leaf} | {found[number]:.2f}"

    return [
        "| ranked best at F0T0 | average precision | ranked worst | average precision |",
        "|---|---|---|---|",
        *(f"| {words(best)} | {words(worst)} |" for best, worst in zip(names[:N_SHOWN], names[::-1], strict=False)),
    ]


def speeds(tracks: Sequence[Path], teacher: str) -> list[str]:
    """A table of ``tag`` on the held-out tracks, from files to tables, loading included."""
    lines = ["| `tag`, files to tables | × real time | tracks/s |", "|---|---|---|"]
    runs = [(f"{DEFAULT_MODEL}, {plan}", str(MODEL), plan) for plan in PLANS]
    for words, model, plan in [*runs, ("its teacher", teacher, "none")]:
        with tempfile.TemporaryDirectory() as output:
            began_s = time.monotonic()
            tables = audiopatch.tag(tracks, output, model=model, patchout=plan)
            took_s = time.monotonic() - began_s
            audio_s = tables.tracks["duration_s"].sum()
        lines.append(f"| {words} | {audio_s / took_s:.0f} | {len(tracks) / took_s:.1f} |")
    where = f"{os.cpu_count()} cores ({cpu_name()}), torch {torch.__version__}"
    return [
        *lines,
        "",
        f"Measured in fp32 on {where}, otherwise idle, on those five packages ({audio_s / 3600:.1f} h).",
    ]


def put(begin: str, lines: Sequence[str]) -> None:
    """Print the lines, and replace with them what stands between ``begin`` and the next end mark in both files."""
    text = "\n".join(lines)
    print(text)
    for path in READMES:
        before, found, rest = path.read_text(encoding="utf-8").partition(begin)
        if not found:
            continue
        _, _, after = rest.partition(END)
        path.write_text(f"{before}{begin}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("music", type=Path, help="where fetch_free_music.py put the packages")
    parser.add_argument("--teacher", default="mn04_as")
    parser.add_argument("--pieces", type=Path, default=ROOT / "build/held-out-pieces", help="decoded audio goes here")
    parser.add_argument("--no-speed", action="store_true")
    return parser


if __name__ == "__main__":
    main()
