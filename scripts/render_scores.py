"""Render made-up music with a General MIDI sound font: instruments that freely licensed recordings have too little of.

    apt-get download fluid-soundfont-gm && dpkg-deb -x fluid-soundfont-gm_*.deb .     # MIT
    python scripts/render_scores.py FluidR3_GM.sf2 MUSIC/rendered-scores

A score is drawn by chance, but keeps to rules that music keeps to: a key, a chord sequence in four-bar phrases, a
melody of small steps that meets the chords on strong beats, a bass, a drum pattern, phrases that come again. Every
one of the 128 instruments has a piece where it leads, alone or over a band of its style; the last pieces are for drums
alone. The same number always gives the same score. Needs ``tinysoundfont`` (pip) and ``soundfile``; nothing of
it is part of the package.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import tinysoundfont

SAMPLE_RATE = 32_000
N_PROGRAMS, N_PIECES, DRUMS_FROM, PIECE_BARS = 128, 192, 176, 32
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)  # semitones above the tonic
DORIAN, PENTATONIC = (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 7, 9)
PROGRESSIONS = ((0, 4, 5, 3), (0, 3, 4, 0), (0, 5, 3, 4), (1, 4, 0, 0), (5, 3, 0, 4), (0, 0, 3, 4), (0, 6, 5, 4))
LEAD, CHORDS, BASS, PAD, DRUMS = 0, 1, 2, 3, 9
KICK, SNARE, CLAP, CLOSED, OPEN, CRASH, RIDE, TOM = 36, 38, 39, 42, 46, 49, 51, 45


@dataclass(frozen=True)
class Style:
    """What plays under the lead: General MIDI programs (from 0), a drum pattern by name, beats per minute, a scale."""

    chords: int | None = None
    bass: int | None = None
    pad: int | None = None
    drums: str | None = None
    bpm: tuple[int, int] = (70, 130)
    scale: tuple[int, ...] = MAJOR
    broken: bool = False  # chords note by note


STYLES = {
    "alone": Style(bpm=(60, 130)),
    "with piano": Style(chords=0, broken=True, bpm=(60, 110)),
    "chamber": Style(chords=48, bass=43, bpm=(60, 120)),
    "orchestra": Style(chords=48, bass=43, pad=60, drums="timpani", bpm=(70, 130), scale=MINOR),
    "choir": Style(chords=52, pad=19, bpm=(50, 80)),
    "folk": Style(chords=25, bass=32, broken=True, bpm=(80, 130), scale=DORIAN),
    "jazz": Style(chords=0, bass=32, drums="swing", bpm=(100, 180), scale=DORIAN),
    "rock": Style(chords=29, bass=33, drums="rock", bpm=(100, 150), scale=MINOR),
    "metal": Style(chords=30, bass=34, drums="fast", bpm=(140, 190), scale=MINOR),
    "pop": Style(chords=4, bass=33, pad=89, drums="rock", bpm=(90, 130)),
    "funk": Style(chords=28, bass=36, drums="funk", bpm=(90, 115), scale=DORIAN),
    "electronic": Style(chords=81, bass=38, pad=90, drums="four", bpm=(120, 140), scale=MINOR),
    "latin": Style(chords=24, bass=32, drums="bossa", bpm=(100, 140), scale=MINOR),
    "east": Style(pad=104, drums="hand", bpm=(60, 110), scale=PENTATONIC),
}
PATTERNS: dict[str, dict[int, tuple[float, ...]]] = {  # beats of a 4/4 bar
    "rock": {KICK: (0, 2, 2.5), SNARE: (1, 3), CLOSED: tuple(np.arange(0, 4, 0.5))},
    "fast": {KICK: tuple(np.arange(0, 4, 0.25)), SNARE: (1, 3), CRASH: (0,), RIDE: (0, 1, 2, 3)},
    "swing": {RIDE: (0, 1, 1.67, 2, 3, 3.67), 44: (1, 3), KICK: (0,)},
    "funk": {KICK: (0, 0.75, 2.5), SNARE: (1, 1.75, 3), CLOSED: tuple(np.arange(0, 4, 0.25)), OPEN: (3.5,)},
    "four": {KICK: (0, 1, 2, 3), CLAP: (1, 3), OPEN: (0.5, 1.5, 2.5, 3.5)},
    "bossa": {KICK: (0, 1.5, 2, 3.5), 37: (0, 1.5, 3), CLOSED: tuple(np.arange(0, 4, 0.5))},
    "hand": {63: (0, 1.5, 2.5), 64: (1, 2, 3, 3.5), 54: (1, 3)},
    "timpani": {TOM: (0,), CRASH: (0,)},
}
DRUM_LED = tuple(name for name in PATTERNS if name != "timpani")


@dataclass(frozen=True)
class Note:
    """``start`` and ``length`` in beats."""

    channel: int
    key: int
    start: float
    length: float
    velocity: int


def compose(number: int) -> tuple[Style, int, float, list[Note]]:
    """Score ``number``: its style, the program that leads, beats per minute, and the notes."""
    rng = np.random.default_rng((2026, number))
    lead = number % N_PROGRAMS
    style = STYLES[_fitting(lead, rng) if number < N_PROGRAMS else str(rng.choice(list(STYLES)))]
    if number >= DRUMS_FROM:
        style = Style(drums=DRUM_LED[number % len(DRUM_LED)], bpm=(80, 150))
    tonic, progression = int(rng.integers(45, 57)), PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
    melodies = [list(_melody(rng, style.scale)) for _ in range(2)]
    notes = []
    for bar in range(PIECE_BARS):
        beat, degree = 4.0 * bar, progression[bar % 4] % len(style.scale)
        phrase = melodies[(bar // 8) % 2][bar % 4]
        if number < DRUMS_FROM and 2 <= bar < PIECE_BARS - 1 and bar % 16 != 15:
            notes += [  # with an intro, and breaths between the parts
                Note(LEAD, tonic + 12 + _pitch(style.scale, degree * (at == 0) + step), beat + at, length, velocity)
                for at, length, step, velocity in phrase
            ]
        notes += _accompaniment(style, tonic, degree, beat, rng)
        notes += _drums(style.drums, beat, rng, fill=bar % 8 == 7)
    return style, lead, float(rng.integers(*style.bpm)), notes


def _fitting(program: int, rng: np.random.Generator) -> str:
    """A style for a leading instrument, by its General MIDI family of eight; every other time it plays alone."""
    families = (
        "jazz with-piano pop", "with-piano alone", "choir alone", "folk latin jazz", "funk rock", "chamber orchestra",
        "orchestra choir", "jazz orchestra funk", "jazz funk pop", "chamber with-piano folk", "folk chamber east",
        "electronic pop", "electronic pop", "electronic alone", "east folk", "latin electronic", "rock", "electronic",
    )  # fmt: skip
    fitting = families[program // 8].split()
    if program in (29, 30):
        fitting = ["metal", "rock"]
    return "alone" if rng.random() < 0.35 else str(rng.choice(fitting)).replace("-", " ")


def _melody(rng: np.random.Generator, scale: tuple[int, ...]) -> Iterator[list[tuple[float, float, int, int]]]:
    """Four bars of (beat, length, step of the scale, velocity): small steps, chord tones on the first beat."""
    step = int(rng.choice([0, 2, 4]))
    for _ in range(4):
        bar, at = [], 0.0
        while at < 4:
            length = float(rng.choice([0.5, 1.0, 1.5, 2.0], p=[0.4, 0.4, 0.1, 0.1]))
            step = int(rng.choice([0, 2, 4]) if at == 0 else np.clip(step + rng.integers(-2, 3), -3, len(scale) + 3))
            if rng.random() > 0.1:
                bar.append((at, min(length, 4 - at) * 0.95, step, int(rng.integers(75, 115))))
            at += length
        yield bar


def _accompaniment(style: Style, tonic: int, degree: int, beat: float, rng: np.random.Generator) -> Iterator[Note]:
    chord = [tonic + _pitch(style.scale, degree + third) for third in (0, 2, 4)]
    if style.chords is not None and style.broken:
        order = [0, 1, 2, 1] * 2
        yield from (Note(CHORDS, chord[k], beat + 0.5 * i, 0.6, int(rng.integers(55, 80))) for i, k in enumerate(order))
    elif style.chords is not None:
        starts = (0.0, 2.0) if style.drums in (None, "timpani") else (0.0, 1.5, 2.5)
        yield from (Note(CHORDS, key, beat + at, 1.3, int(rng.integers(60, 85))) for at in starts for key in chord)
    if style.bass is not None:
        for at in (0.0, 1.0, 2.0, 3.0) if style.drums else (0.0, 2.0):
            yield Note(BASS, chord[int(at) % 3 if at else 0] - 12, beat + at, 0.9, int(rng.integers(75, 100)))
    if style.pad is not None:
        yield from (Note(PAD, key + 12, beat, 3.9, 55) for key in chord)


def _drums(pattern: str | None, beat: float, rng: np.random.Generator, *, fill: bool) -> Iterator[Note]:
    for key, beats in PATTERNS[pattern].items() if pattern else ():
        yield from (Note(DRUMS, key, beat + float(at), 0.2, int(rng.integers(70, 115))) for at in beats)
    if pattern and fill:
        yield from (Note(DRUMS, int(rng.choice([41, 45, 48, SNARE])), beat + 3 + 0.25 * i, 0.2, 110) for i in range(4))


def _pitch(scale: tuple[int, ...], step: int) -> int:
    """Semitones above the tonic of a step of the scale, in any octave."""
    return 12 * (step // len(scale)) + scale[step % len(scale)]


def render(number: int, font: Path) -> np.ndarray:
    """The sound of score ``number``: (S, 2) float32 at SAMPLE_RATE."""
    style, lead, bpm, notes = compose(number)
    synth = tinysoundfont.Synth(samplerate=SAMPLE_RATE, gain=-6)
    loaded = synth.sfload(str(font))
    programs = {LEAD: lead, CHORDS: style.chords, BASS: style.bass, PAD: style.pad}
    for channel, program in programs.items():
        if program is not None:
            synth.program_select(channel, loaded, 0, program)
    synth.program_select(DRUMS, loaded, 128, 0, is_drums=True)
    events = [(note.start, 1, note) for note in notes] + [(note.start + note.length, 0, note) for note in notes]
    sound, done = [], 0
    for beat, starts, note in sorted(events, key=lambda event: event[:2]):
        until = round(beat * 60 / bpm * SAMPLE_RATE)
        if until > done:
            sound.append(_generate(synth, until - done))
            done = until
        if starts:
            synth.noteon(note.channel, note.key, note.velocity)
        else:
            synth.noteoff(note.channel, note.key)
    sound.append(_generate(synth, 2 * SAMPLE_RATE))  # let it ring
    return np.concatenate(sound)


def render_midi(path: Path, font: Path) -> np.ndarray:
    """The sound of a MIDI file: (S, 2) float32 at SAMPLE_RATE."""
    synth = tinysoundfont.Synth(samplerate=SAMPLE_RATE, gain=-6)
    loaded = synth.sfload(str(font))
    for channel in range(16):
        synth.program_select(channel, loaded, 128 if channel == DRUMS else 0, 0, is_drums=channel == DRUMS)
    sequencer = tinysoundfont.Sequencer(synth)
    sequencer.midi_load(str(path))
    synth.callback = None  # generate would move the sequencer on, too
    sound = []
    while not sequencer.is_empty() and (moved_s := sequencer.process(1.0)) >= 0:
        if n_samples := round(moved_s * SAMPLE_RATE):
            sound.append(_generate(synth, n_samples))
    sound.append(_generate(synth, 2 * SAMPLE_RATE))
    return np.concatenate(sound)


def _generate(synth: tinysoundfont.Synth, n_samples: int) -> np.ndarray:
    return np.frombuffer(bytes(synth.generate(n_samples)), np.float32).reshape(-1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("font", type=Path, help="a General MIDI sound font (.sf2)")
    parser.add_argument("folder", type=Path, help="where the audio files go")
    parser.add_argument("--pieces", type=int, default=N_PIECES, help="how many made-up scores")
    parser.add_argument("--midi", type=Path, nargs="*", help="folders of MIDI files to render as well")
    parser.add_argument("--seconds", type=float, default=25.0, help="how much of each; longer ones count for more")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    folders = arguments.midi or []
    scores: list[int | Path] = [
        *range(arguments.pieces),
        *(path for each in folders for path in sorted(each.rglob("*.mid"))),
    ]
    with ProcessPoolExecutor(arguments.workers) as pool:
        done = [pool.submit(_file, score, arguments.font, arguments.folder, arguments.seconds) for score in scores]
        for number, future in enumerate(as_completed(done), start=1):
            future.result()
            print(f"{number} of {len(scores)}", end="\r", file=sys.stderr)


def _file(score: int | Path, font: Path, folder: Path, seconds: float) -> None:
    sound = render(score, font) if isinstance(score, int) else render_midi(score, font)
    sound = sound[: round(seconds * SAMPLE_RATE)]
    name = f"{score:03d}" if isinstance(score, int) else score.stem
    soundfile.write(folder / f"{name}.flac", sound / max(1.0, np.abs(sound).max()), SAMPLE_RATE)


if __name__ == "__main__":
    main()
