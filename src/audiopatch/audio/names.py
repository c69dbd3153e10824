"""Which names a walk takes: those that look like audio, but for what patterns leave out, in a part of a library.

Only what a walk finds is held to this; files the user names are always tried.
"""

# Paths stay strings here: os does as it is told, and a library of millions is spared as many Path objects.
# ruff: noqa: PTH120, PTH122

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from pathspec import GitIgnoreSpec

AUDIO_EXTENSIONS = frozenset(
    # the common ones, then lossless, containers, speech and broadcast, older systems
    """
    mp3 flac ogg oga opus m4a aac mp4 wav aif aiff aifc wma
    wv ape tta alac shn tak ofr wave w64 rf64 bwf dsf dff caf
    mka webm weba mkv mov m4b m4r m4v 3gp 3g2 asf avi wmv flv f4v ogv mpg mpeg vob mts m2ts
    mp2 mp1 mpa mpc mp+ mpp ac3 eac3 dts thd amr awb spx gsm adts loas
    au snd ra rm rmvb voc xa adx oma aa3 at3
    """.split()  # noqa: SIM905 (sixty quoted words are hard to read)
)

# Music that is no recording (MIDI, tracker modules), is locked, or has the ending of something else (TypeScript).
_NOT_TAKEN = frozenset("mid midi kar rmi mod xm it s3m mtm stm 669 m4p aax aa ts".split())  # noqa: SIM905

IGNORE_FILE = ".audiopatchignore"
OUTPUT_NAMES = frozenset({"run.json", "tracks"})  # a folder with both is of our tables, and never holds music

# What programs and storage boxes keep beside the music: versions, bins, snapshots, pictures, notes of their own. Any
# other name is music, also those that begin with a dot (".38 Special", "...And Justice for All").
_HIDDEN = frozenset(
    """
    .git .svn .hg .bzr .trash .trashes .stversions .stfolder .sync .snapshot .snapshots .zfs .recycle .recycle.bin
    .recyclebin .cache .thumbnails .dropbox.cache .appledouble .appledesktop .appledb .spotlight-v100 .fseventsd
    .temporaryitems .documentrevisions-v100 .com.apple.timemachine.supported .@__thumb .@upload_cache .staging
    #recycle #snapshot $recycle.bin recycler @eadir @recycle @recently-snapshot @sharebin @tmp @synoeastream __macosx
    lost+found
    """.split()  # noqa: SIM905
) | {"system volume information"}
_HIDDEN_BEGINNINGS = ("._", ".trash-", ".nfs0", ".fuse_hidden", ".syncthing.", "~syncthing~", ".goutputstream-")


def looks_like_audio(name: str) -> bool:
    """Judged by the extension, in any case of letters."""
    return os.path.splitext(name)[1][1:].lower() in AUDIO_EXTENSIONS


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is nobody's music by a convention of systems, in any case of letters."""
    lower = name.lower()
    return lower in _HIDDEN or lower.startswith(_HIDDEN_BEGINNINGS)


def is_passed_over(name: str) -> bool:
    """Whether a file is music of a kind that is not taken."""
    return os.path.splitext(name)[1][1:].lower() in _NOT_TAKEN


_INSIDE = re.compile(r"/\*\*(/?) *$")


def parse(lines: Iterable[str]) -> GitIgnoreSpec:
    """Lines of an ignore file -> rules, as git reads them; a pattern that means nothing (``[z-a]``) matches nothing.

    ``a/**`` is all that is in a folder, ``a/**/`` every folder there, and neither, as pathspec has it, the folder too:
    then nothing in it could be kept.
    """
    patterns = []
    for line in lines:
        try:
            patterns += GitIgnoreSpec.from_lines([_INSIDE.sub(r"/**/*\1", line)]).patterns
        except (ValueError, re.error):
            continue
    return GitIgnoreSpec(patterns)


def verdict(rules: GitIgnoreSpec, path: str, is_folder: bool) -> bool | None:
    """What the last matching rule says of ``path`` (relative, with ``/``): ignored, kept after all, or nothing."""
    return rules.check_file(f"{path}/" if is_folder else path).include if len(rules) else None


class Area:
    """A part of a library: absolute paths of files and folders, and what lies below them."""

    def __init__(self, paths: Iterable[str]):
        self.paths: frozenset[str] = frozenset(paths)
        self._above = {folder for path in self.paths for folder in _parents(path)}

    def holds(self, path: str) -> bool:
        """Whether ``path`` is one of them, or below one."""
        return path in self.paths or any(folder in self.paths for folder in _parents(path))

    def leads_on(self, folder: str) -> bool:
        """Whether ``folder`` is one of them, below one, or above one."""
        return folder in self._above or self.holds(folder)


def _parents(path: str) -> Iterator[str]:
    """The folder that holds ``path``, the one that holds that, and so on up to the root."""
    folder = os.path.dirname(path)
    while folder != path:
        yield folder
        path, folder = folder, os.path.dirname(folder)
