"""Compose accompaniments in the styles that free music lacks: swing, soul, country, reggae, salsa, hip hop ... as MIDI.

    apt-get install mma
    python scripts/compose_bands.py BANDS
    python scripts/render_scores.py FluidR3_GM.sf2 MUSIC/rendered-bands --midi BANDS

MMA (Musical MIDI Accompaniment, GPL) knows some three hundred styles as players wrote them down: drums, bass, chords,
walks, strums. Every style file gives one piece: three of its grooves after each other, each over a chord sequence of
its own, in a tempo of its own, half of them under a melody. The same number always gives the same piece.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

SEQUENCES = (
    "C Am F G", "C F G C", "Am F C G", "Dm7 G7 CM7 Am7", "Am Dm E7 Am", "C7 F7 C7 G7", "CM7 Em7 Dm7 G7", "Cm Ab Bb Cm",
    "C G Am F", "Em C G D", "Cm7 F7 Bb7 Eb", "F Fm C A7", "Dm Bb F C", "C C7 F Fm",
)  # fmt: skip
LEADS = (
    "TenorSax", "AltoSax", "Trumpet", "Flute", "JazzGuitar", "CleanGuitar", "OverdriveGuitar", "Piano1", "Vibraphone",
    "VoiceOohs", "SynthVox", "Harmonica", "Fiddle", "Organ1", "Accordion", "Clarinet", "SawWave", "SteelGuitar",
)  # fmt: skip
N_SECTIONS, N_PHRASES, MIN_BPM, MAX_BPM = 3, 4, 75, 165


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--library", type=Path, default=Path("/usr/share/mma/lib"), help="MMA's style files")
    parser.add_argument("folder", type=Path, help="where the MIDI files go")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    styles = sorted(arguments.library.rglob("*.mma"))
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda each: compose(arguments.folder, *each), enumerate(styles)))
    print(f"{sum(made)} pieces; {len(made) - sum(made)} styles that cannot play alone", file=sys.stderr)


def compose(folder: Path, number: int, style: Path) -> bool:
    """Write ``NUMBER-STYLE.mid``; False where the style has no groove to play by itself."""
    rng = np.random.default_rng((2026, number))
    text = style.read_text("latin-1")
    grooves = [line.split()[1] for line in text.splitlines() if line.lower().startswith("defgroove ")]
    if not grooves:
        return False
    name = f"{number:03d}-{style.parent.name}-{style.stem}"
    score = folder / f"{name}.mma"
    score.write_text("\n".join(_lines(grooves, rng, in_four="\nTime " not in text)) + "\n", encoding="utf-8")
    done = subprocess.run(["mma", score, "-f", folder / f"{name}.mid"], capture_output=True)
    score.unlink()
    return done.returncode == 0


def _lines(grooves: list[str], rng: np.random.Generator, *, in_four: bool) -> Iterator[str]:
    for groove in rng.choice(grooves, N_SECTIONS):
        yield f"Tempo {rng.integers(MIN_BPM, MAX_BPM)}"
        yield f"Groove {groove}"
        with_lead = in_four and rng.random() < 0.6
        if with_lead:
            yield f"Begin Melody\n Voice {rng.choice(LEADS)}\n Octave 5\n Articulate 90\nEnd"
        transpose = rng.integers(-5, 7)
        yield f"Transpose {transpose}"
        chords = str(rng.choice(SEQUENCES)).split()
        melodies = [_melody(rng) for _ in chords]
        for _ in range(N_PHRASES):
            for chord, melody in zip(chords, melodies, strict=True):
                yield f"{chord} {{{melody}}}" if with_lead else chord
        if with_lead:
            yield "Begin Melody\n Off\nEnd"


def _melody(rng: np.random.Generator) -> str:
    """A bar of quarters and eighths in C's pentatonic scale, some of them rests."""
    notes, left = [], 8
    while left:
        length = min(left, int(rng.choice([1, 1, 2, 2, 4])))
        length = 1 if length == 3 else length
        pitch = "r" if rng.random() < 0.2 else str(rng.choice(["c", "d", "e", "g", "a", "c+", "d+"]))
        notes.append(f"{8 // length}{pitch}")
        left -= length
    return ";".join(notes) + ";"


if __name__ == "__main__":
    main()
