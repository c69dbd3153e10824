"""Repairing a shrunk model: it learns to answer as the whole one does, and stays as it was where that did not help."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiopatch.audio.inputs import Inputs
from audiopatch.distill.augment_wave import resample_fft
from audiopatch.distill.config import DistillConfig
from audiopatch.distill.library import Library
from audiopatch.distill.pieces import Pieces
from audiopatch.distill.run import PIECES, Watch, distill_to_folder
from audiopatch.distill.shrink import Repair, Shrunk, answers, change
from audiopatch.distill.stopping import StopAsked, never, until
from audiopatch.errors import UsageError
from audiopatch.events import Measured, Note, Observer, counted, silent
from audiopatch.models.tagger import Tagger
from audiopatch.zoo.load import load_model

# Unlike a new student it knows nearly everything, so a repair of minutes wants many small steps: of audiopatch-small at
# 2 G-MACs, 40 steps of these took the change of held-out answers from 0.27 to 0.18, with the rates of ``DistillConfig``
# to 0.22.
SETTINGS = {
    "batch_size": "16", "n_kept": "0", "plans_per_step": "1", "plans": '[["F0T0", 0.5], ["F0T2", 0.5]]', "lr": "3e-4",
    "lr_matrices": "6e-4",
}  # fmt: skip
CLIPS_PER_TRACK, LEAST_CLIPS = 3, 24
SHRUNK = "shrunk"  # beside the model that came of it, the one that began


def repair(
    inputs: Inputs,
    made: Shrunk,
    folder: Path,
    *,
    model: str,
    seconds: float,
    device: str = "auto",
    resume: bool = False,
    force: bool = False,
    stop: Callable[[], bool] = never,
    observer: Observer = silent,
) -> Shrunk | None:
    """Let it learn for ``seconds`` to answer as ``model`` does, into ``folder``/model; None where it was stopped, and
    saved, before. ``resume`` goes on from there.

    Where its answers on held-out music are then no nearer, the model is that of ``made``.
    """
    if not load_model(str(made.folder), device="cpu").card.head.n_classes:
        raise UsageError(
            f"{model} has no labels, and a repair learns what a model says of them; without one the model is finished: "
            f"{made.folder}"
        )
    watch = Watch(
        note=lambda text: observer(Note(text)),
        prepared=counted(observer, "decoding"),
        row=lambda row: observer(Measured(row)),
    )
    finished = distill_to_folder(
        inputs, folder,
        teachers=[model], student=str(made.folder), held_out=[], config=DistillConfig(max_s=seconds), settings=SETTINGS,
        device=device, resume=resume, force=force, stop=stop, watch=watch,
    )  # fmt: skip
    if not finished:
        return None
    held, _ = Library.of(inputs.tracks()).pieces(folder / PIECES)
    try:
        came_of_it = _measure(held, model, made.folder, folder / "model", device, stop)
    except StopAsked:
        return None
    words = f"of {came_of_it.before:.3g} before and {came_of_it.after:.3g} after"
    if came_of_it.helped:
        watch.note(f"nearer to the whole model on {came_of_it.n_clips} held-out clips: a change {words}")
    else:
        watch.note(
            f"no nearer to the whole model on {came_of_it.n_clips} held-out clips, a change {words}: left as it was"
        )
        shutil.rmtree(folder / "model")
        shutil.copytree(made.folder, folder / "model")
    return replace(made, folder=folder / "model", repair=came_of_it)


def refuse_repair(student: str | None, folder: Path) -> None:
    """A UsageError where distilling into ``folder`` is a repair, which ``repair`` alone ends: by whether it helped."""
    if student is not None and Path(student).resolve() == (folder / SHRUNK).resolve():
        raise UsageError(
            f"{folder} is a repair, which ends with the better of two models; go on with the command that began it, "
            "'audiopatch shrink', and --resume"
        )


def _measure(held: Pieces, model: str, before: Path, after: Path, device: str, stop: Callable[[], bool]) -> Repair:
    """Both models against ``model`` on three clips of each held-out track, or more where there are few tracks."""
    whole = load_model(model, device=device, dtype="float32")
    per_track = max(CLIPS_PER_TRACK, math.ceil(LEAST_CLIPS / len(held.spans)))
    clips, _ = held.spread(round(whole.card.segment_s * held.sample_rate), per_track=per_track)
    mels = [_mel(whole, clip, held.sample_rate) for clip in until(stop, clips)]
    meant = answers(whole, until(stop, mels))
    found = [
        change(whole, meant, answers(load_model(str(one), device=device, dtype="float32"), until(stop, mels)))
        for one in (before, after)
    ]
    return Repair(len(mels), *found)


@torch.no_grad()
def _mel(tagger: Tagger, clip: np.ndarray, sample_rate: int) -> Tensor:
    """clip (S,) int16 -> mel (n_mels, frames)."""
    wave = torch.from_numpy(clip).to(tagger.device).float() / 32768
    return tagger.frontend(resample_fft(wave[None], sample_rate, tagger.frontend.sample_rate))[0]
