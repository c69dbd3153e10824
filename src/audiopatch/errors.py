"""What can go wrong, as a small tree of exceptions; each carries the exit code the command line answers with."""

from __future__ import annotations


class AudioPatchError(Exception):
    """Base of every error audiopatch raises on purpose. Its text is a sentence for the user."""

    exit_code = 1


class UsageError(AudioPatchError):
    """An argument, option or combination that cannot work; the text says what would."""

    exit_code = 2


class NoAudioError(AudioPatchError):
    """The inputs hold no audio file."""

    exit_code = 4


class WeightsError(AudioPatchError):
    """Weights are missing, corrupt, unsafe, offline, or of another shape than their card says."""

    exit_code = 5


class EnvironmentProblem(AudioPatchError):
    """The machine lacks something: a decoder, a device, memory, disk space, an optional package."""

    exit_code = 6


def missing_extra(what: str, extra: str) -> EnvironmentProblem:
    """The problem that ``what`` takes packages which are not here, with the command that brings them."""
    return EnvironmentProblem(f"{what} needs packages that are not installed: {install_command(extra)}")


def install_command(extra: str) -> str:
    """What to type so that an extra joins this installation: of a checkout, a file or an index, by pip, uv or pipx."""
    import json
    import shlex
    import sys
    from importlib.metadata import PackageNotFoundError, distribution
    from pathlib import Path
    from urllib.parse import unquote, urlsplit

    try:
        found = distribution("audiopatch")
        origin, installer = json.loads(found.read_text("direct_url.json") or "{}"), found.read_text("INSTALLER") or ""
    except PackageNotFoundError:  # run from its sources
        origin, installer = {"url": Path(__file__).parents[2].as_uri(), "dir_info": {"editable": True}}, ""
    prefix, python = Path(sys.prefix), shlex.quote(sys.executable)
    command = f"uv pip install --python {python}" if installer.strip() == "uv" else f"{python} -m pip install"
    extras = {extra}
    for tool, kept in (("pipx", "pipx_metadata.json"), ("uv tool", "uv-receipt.toml")):
        if (prefix / kept).exists():  # these make the installation anew, with what is named and nothing else
            command = f"{tool} install --force"
            extras |= _extras_in((prefix / kept).read_text(encoding="utf-8"))
    url, wanted = origin.get("url", ""), f"[{','.join(sorted(extras))}]"
    package = f"audiopatch{wanted}" if not url else f"audiopatch{wanted} @ {url}"
    if "dir_info" in origin:
        package = f"{unquote(urlsplit(url).path)}{wanted}"
    editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
    return f"{command} {editable}{shlex.quote(package)}"


def _extras_in(text: str) -> set[str]:
    """Those that pipx or uv was asked for: ``audiopatch[write,s3]``, or ``extras = ["write", "s3"]``."""
    import re

    found = re.search(r'audiopatch\[([^\]]+)\]|name = "audiopatch", extras = \[([^\]]+)\]', text)
    return set(re.findall(r"[\w-]+", found[1] or found[2])) if found else set()


class OutputMismatchError(AudioPatchError):
    """The output folder was written with other parameters, or is in use by another run."""

    exit_code = 7


class TrackError(AudioPatchError):
    """One track failed; becomes one row of the errors table and never ends a run.

    ``code`` is one of product codes (E_DECODE, E_EMPTY, E_TOO_SHORT, E_TRUNCATED, E_PERM, E_VANISHED,
    E_NETWORK, E_IO, E_WRITE, E_OOM, E_NAN, E_TIMEOUT, E_WORKER_CRASH, and E_INTERNAL
    for a mistake of audiopatch itself, with its traceback); ``stage`` is open, decode, infer or write.
    """

    def __init__(self, code: str, stage: str, message: str):
        super().__init__(message)
        self.code = code
        self.stage = stage


def first_line(error: BaseException) -> str:
    """What another library says of a failure, short enough to stand in a sentence of ours."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
