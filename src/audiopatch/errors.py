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
