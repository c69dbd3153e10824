"""Fetch freely licensed music from Debian's game packages: to try the tools on, and what the default model learns from.

    python scripts/fetch_free_music.py FOLDER                    every package listed below
    python scripts/fetch_free_music.py FOLDER asc-music hyperrogue-music

Each package becomes FOLDER/PACKAGE with its audio files and its licence (``copyright``); nothing is installed. Tracker
modules are played into FLAC by ffmpeg where it is there, MIDI files are kept for ``render_scores.py --midi``. What is
there already is skipped, so the same command goes on where it stopped. Needs apt-get and dpkg-deb, as on Debian
and Ubuntu.
"""

from __future__ import annotations

import argparse
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

HELD_OUT = (  # never trained on: what the model card's figures are measured with
    "fretsonfire-songs-sectoid",
    "nexuiz-music",
    "starfighter-data",
    "supertux-data",
    "wesnoth-1.16-music",
)
PACKAGES = (
    "0ad-data",
    "abe-data",
    "ardentryst",
    "asc-music",
    "btanks-data",
    "caveexpress-data",
    "colobot-common-sounds",
    "drascula-music",
    "enigma-data",
    "extremetuxracer-data",
    "fillets-ng-data",
    "flare-game",
    "freedink-data",
    "freedroidrpg-data",
    "freeorion-data",
    "fretsonfire-songs-muldjord",
    "gunroar-data",
    "hedgewars-data",
    "hex-a-hop-data",
    "hyperrogue-music",
    "lordsawar-data",
    "lugaru-data",
    "marsshooter-data",
    "megaglest-data",
    "mu-cade-data",
    "naev-data",
    "noiz2sa-data",
    "openclonk-data",
    "parsec47-data",
    "pinball-table-gnu-data",
    "planetblupi-music-ogg",
    "plee-the-bear-data",
    "powermanga-data",
    "redeclipse-data",
    "rrootage-data",
    "singularity-music",
    "supertuxkart-data",
    "titanion-data",
    "torus-trooper-data",
    "tumiki-fighters-data",
    "tuxmath-data",
    "tuxtype-data",
    "ufoai-music",
    "unknown-horizons",
    "warmux-data",
    "warzone2100-music",
    "widelands-data",
    "xmoto-data",
    "zaz-data",
    *HELD_OUT,
    "asterisk-core-sounds-en-wav",  # speech in five languages, CC BY-SA
    "asterisk-core-sounds-es-wav",
    "asterisk-core-sounds-fr-wav",
    "asterisk-core-sounds-it-wav",
    "asterisk-core-sounds-ru-wav",
    "asterisk-moh-opsound-wav",
    "biniax2-data",
    "freedoom",
    "frozen-bubble-data",
    "gltron",
    "lincity-ng-data",
    "liquidwar-data",
    "openttd-openmsx",
    "pathological",
    "pingus-data",
    "rafkill-data",
    "scorched3d-data",
    "sonic-pi-samples",
    "tecnoballz-data",
    "wordwarvi-sound",
)
DOUBLES = (  # recordings that are in held-out packages too (found by comparing spectrogram envelopes): left out
    ("flare-game", "battle_theme.ogg"),
    ("singularity-music", "Through Space.ogg"),
    ("supertuxkart-data", "beneath_the_rabbit_hole.ogg"),
)
AUDIO = {".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav"}
FONTS = {".sf2"}  # of packages such as fluid-soundfont-gm, which render_scores.py plays with
ARCHIVES = {".pk3", ".zip"}  # some games keep their music in zip files
TRACKERS = {".it", ".mod", ".s3m", ".xm"}
SCORES = {".mid", ".midi"}


def main() -> int:
    arguments = _parser().parse_args()
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            print(f"{tool} is not here: this script needs Debian, Ubuntu or a relative of theirs", file=sys.stderr)
            return 6
    failed = []
    for package in arguments.packages or PACKAGES:
        try:
            n_files = fetch(package, arguments.folder)
        except subprocess.CalledProcessError as error:
            failed.append(package)
            print(f"{package}: {_last_line(error.stderr)}", file=sys.stderr)
        else:
            print(f"{package}: {'already there' if n_files is None else f'{n_files} audio files'}")
    if failed:
        print(f"not fetched: {', '.join(failed)} (run `apt-get update` first?)", file=sys.stderr)
    return 3 if failed else 0


def fetch(package: str, folder: Path) -> int | None:
    """Download and unpack one package; the number of its audio files, or None where it is there already."""
    target = folder / package
    if target.exists():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{package}-") as scratch:
        work = Path(scratch).resolve()  # the tools run there, whatever ``folder`` is relative to
        _run(["apt-get", "download", package], work)
        _run(["dpkg-deb", "-x", str(next(work.glob("*.deb"))), "tree"], work)
        kept = work / "kept"
        kept.mkdir()
        n_files = sum(
            _keep(path, kept / name)
            for path, name in _audio(work / "tree")
            if (package, Path(name).name) not in DOUBLES
        )
        shutil.copy(work / "tree/usr/share/doc" / package / "copyright", kept)
        kept.rename(target)  # last, so that a folder that is there is whole
    return n_files


def _audio(tree: Path) -> Iterator[tuple[Path | zipfile.Path, str]]:
    """Audio files of the tree and inside its zip archives, each with a relative path to keep it under."""
    for path in sorted(tree.rglob("*")):
        if path.suffix.lower() in AUDIO | FONTS | TRACKERS | SCORES and path.is_file():
            yield path, str(path.relative_to(tree)).removeprefix("usr/share/").removeprefix("games/")
        elif path.suffix.lower() in ARCHIVES and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if Path(name).suffix.lower() in AUDIO:
                        yield zipfile.Path(archive, name), f"{path.stem}/{name}"
        elif path.suffix.lower() == ".wad" and path.is_file():
            yield path, str(path.relative_to(tree)).removeprefix("usr/share/").removeprefix("games/")


def _keep(path: Path | zipfile.Path, target: Path) -> int:
    """Copy a file, or what becomes of it, to ``target``; how many files of audio there are then."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix.lower() in TRACKERS:
        play = ["ffmpeg", "-v", "error", "-t", "240", "-i", str(path), "-ac", "1", "-ar", "32000"]
        return int(shutil.which("ffmpeg") is not None and not subprocess.run([*play, f"{target}.flac"]).returncode)
    if target.suffix.lower() == ".wad":
        for name, score in _scores_in(path.read_bytes()):
            target.with_name(f"{target.stem}-{name}.mid").write_bytes(score)
        return 0
    with path.open("rb") as source, open(target, "wb") as sink:
        shutil.copyfileobj(source, sink)
    return int(target.suffix.lower() in AUDIO)


def _scores_in(wad: bytes) -> Iterator[tuple[str, bytes]]:
    """The MIDI files in the archive of a game of Doom's kind, each with its name."""
    n_lumps, directory = struct.unpack_from("<ii", wad, 4)
    for number in range(n_lumps):
        start, size, name = struct.unpack_from("<ii8s", wad, directory + 16 * number)
        if wad[start : start + 4] == b"MThd":
            yield name.rstrip(b"\0").decode("ascii"), wad[start : start + size]


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["failed without a word"])[-1]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="where the packages' music goes")
    parser.add_argument("packages", nargs="*", help="package names; all of the list in this file without any")
    return parser


if __name__ == "__main__":
    sys.exit(main())
