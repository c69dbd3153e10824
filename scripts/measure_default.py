"""Measure the default model on the music it never heard, and write the tables of its card: ``make card``.

    python scripts/fetch_free_music.py MUSIC
    python scripts/measure_default.py MUSIC

Agreement with its teachers for every plan, together and each by the labels it knows, and the speed of ``tag`` from
files to tables, which a busy machine falsifies (``--no-speed`` leaves the old figures, which name their machine). The
tables replace what stands between the markers in docs/default-model.md and in the model's own README.md; the scores go
into its card.json.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from fetch_free_music import HELD_OUT

import audiopatch
from audiopatch.audio.walk import walk
from audiopatch.bench.measure import cpu_name
from audiopatch.distill.agreement import Agreement, as_scores, as_table
from audiopatch.distill.calibrate import samples
from audiopatch.distill.pieces import Pieces, prepare
from audiopatch.distill.run import TOGETHER, views_of_labels
from audiopatch.distill.teacher import Teachers
from audiopatch.distill.vocabulary import Mixing
from audiopatch.zoo import DEFAULT_MODEL, native
from audiopatch.zoo.load import load_model

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "src/audiopatch/zoo/packaged" / DEFAULT_MODEL
READMES = (ROOT / "docs/default-model.md", MODEL / "README.md")
AGREEMENT, SPEED = "<!-- agreement, by make card -->", "<!-- speed, by make card -->"
END = "<!-- end -->"
TEACHERS = ("mn04_as", "musicnn-msd", "musicnn-mtt")
PLANS = ("F0T0", "F0T2", "F0T2R8", "F0T3R8", "F0T4R8", "F3T0", "F3T2", "F4T10")
N_MIXED = 480  # clips of the held-out music that say how the teachers' scales fit together


def main() -> None:
    arguments = _parser().parse_args()
    pieces = held_out(arguments.music, arguments.pieces)
    student = load_model(MODEL, device="cpu", dtype="float32")
    clip_s = student.card.segment_s
    teachers = Teachers([load_model(name, device="cpu", dtype="float32") for name in TEACHERS])
    waves = samples(pieces, N_MIXED, clip_s, teachers.device)
    mixing = Mixing.measure(teachers, torch.cat([teachers(wave, pieces.sample_rate).logits for wave in waves]))
    views = views_of_labels(teachers, mixing, pieces, clip_s=clip_s)
    rows = {name: view.compare(student, PLANS) for name, view in views.items()}
    together = rows[TOGETHER]
    said = [
        *as_table(together),
        f"\n{together[0].n_clips} clips of 10 s; with 95 % intervals by a bootstrap over tracks. An answer that is "
        f"always the same agrees in {views[TOGETHER].commonest:.3f}.\n",
        *by_teacher(rows),
    ]
    native.save_card(replace(student.card, scores=as_scores(together)), MODEL)
    put(AGREEMENT, said)
    if not arguments.no_speed:
        put(SPEED, speeds(sorted({arguments.music / span.path for span in pieces.spans})))


def by_teacher(rows: Mapping[str, Sequence[Agreement]]) -> list[str]:
    """A table of the agreement with each single teacher, by the labels that it knows."""
    names = [name for name in rows if name != TOGETHER]
    lines = [
        "| plan | " + " | ".join(f"{name}: top-1, mAP" for name in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for number, row in enumerate(rows[TOGETHER]):
        found = (rows[name][number] for name in names)
        lines.append(
            f"| {row.plan} | " + " | ".join(f"{x.top1.value:.2f}, {x.map_macro.value:.2f}" for x in found) + " |"
        )
    return lines


def held_out(music: Path, folder: Path) -> Pieces:
    """The held-out packages' audio, decoded once."""
    albums = {folder / name: list(walk([music / name], root=str(music))) for name in HELD_OUT}
    for _ in prepare(albums, workers=2):
        pass
    return Pieces(list(albums))


def speeds(tracks: Sequence[Path]) -> list[str]:
    """A table of ``tag`` on the held-out tracks, from files to tables, loading included."""
    lines = ["| `tag`, files to tables | × real time | tracks/s |", "|---|---|---|"]
    runs = [(f"{DEFAULT_MODEL}, {plan}", str(MODEL), plan) for plan in PLANS]
    for words, model, plan in [*runs, ("its first teacher", TEACHERS[0], "none")]:
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
    parser.add_argument("--pieces", type=Path, default=ROOT / "build/held-out-pieces", help="decoded audio goes here")
    parser.add_argument("--no-speed", action="store_true")
    return parser


if __name__ == "__main__":
    main()
