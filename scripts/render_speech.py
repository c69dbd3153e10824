"""Speak made-up announcements, stories and rhymes with eSpeak NG: voices that freely licensed music has too little of.

    apt-get install espeak-ng
    python scripts/render_speech.py MUSIC/rendered-speech

Fourteen minutes in ten languages, half of it English, by voices of every pitch and pace; training mixes them under and
over music (see ``distill/augment_wave.py``). The same number always gives the same file.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

N_FILES, LEAST_S = 42, 20.0
TEXTS = {
    "en": (
        "The quick brown fox jumps over the lazy dog, and then it sits down by the river to think about music.",
        "Good evening and welcome to the programme. Tonight we talk about rivers, railways, and small machines.",
        "Yo, listen to the beat, I walk down the street, my rhymes are complete, stand up on your feet.",
        "Once upon a time, in a village far away, there lived a clockmaker whose clocks told different hours.",
    ),
    "de": ("Guten Abend, meine Damen und Herren. Heute sprechen wir über das Wetter und über die Eisenbahn.",),
    "fr": ("Bonsoir et bienvenue. Ce soir nous parlons de musique, de machines et de la mer.",),
    "es": ("Buenas noches y bienvenidos. Hoy hablamos de la música, del mar y de las montañas.",),
    "it": ("Buonasera a tutti. Oggi parliamo di musica e di vecchie macchine.",),
    "pt": ("Boa noite. Hoje falamos de música e de máquinas antigas.",),
    "ru": ("Добрый вечер. Сегодня мы говорим о музыке и о старых машинах.",),
    "hi": ("नमस्ते, आज हम संगीत के बारे में बात करेंगे।",),
    "cmn": ("你好，今天我们谈谈音乐和老机器。",),
    "sw": ("Habari za jioni, leo tunazungumza kuhusu muziki na mashine.",),
}
VARIANTS = (*(f"m{n}" for n in (1, 2, 3, 4, 5, 7)), *(f"f{n}" for n in range(1, 6)), "croak", "whisper", "klatt4")


def speak(number: int) -> tuple[np.ndarray, int]:
    """The sound of file ``number`` (S,) and its sample rate."""
    rng = np.random.default_rng((2026, number))
    language = "en" if rng.random() < 0.5 else str(rng.choice(list(TEXTS)))
    voice = f"{language}+{rng.choice(VARIANTS)}"
    options = ["-v", voice, "-p", str(rng.integers(20, 85)), "-s", str(rng.integers(110, 210))]
    said, rate, length_s = [], 22_050, 0.0
    while length_s < LEAST_S:
        text = str(rng.choice(TEXTS[language]))
        done = subprocess.run(["espeak-ng", *options, "--stdout", text], check=True, capture_output=True)
        wave, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
        said.append(wave)
        length_s += len(wave) / rate
    return np.concatenate(said) * 0.7, rate


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="where the FLAC files go")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(N_FILES):
        soundfile.write(folder / f"{number:02d}.flac", *speak(number))


if __name__ == "__main__":
    sys.exit(main())
