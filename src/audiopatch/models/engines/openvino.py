"""The OpenVINO engine: the backbone compiled for whole segments and a fixed plan, on a CPU."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import cache, partial

import torch
from torch import Tensor, nn

from audiopatch.errors import UsageError, first_line
from audiopatch.models.engines.openvino_program import Program, ProgramKey, Unconvertible, convert, openvino, quantise
from audiopatch.models.engines.traced import Traceable, check_fixed, code_of, identity
from audiopatch.models.features import Features
from audiopatch.models.processor import processor
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import NO_REDUCTION, Plan
from audiopatch.storage.cache import cache_folder

log: logging.Logger = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}


def prepare(tagger: Tagger, dtype: str) -> None:
    """Let OpenVINO compute ``tagger``'s backbone; "auto" is bfloat16 where the processor has it, else float32.

    Without the package an EnvironmentProblem.
    """
    if dtype == "auto":
        dtype = "bfloat16" if processor().bfloat16 else "float32"
    if dtype not in _DTYPES:
        raise UsageError(f"--engine openvino cannot compute in '{dtype}'; choose auto, {', '.join(_DTYPES)}")
    if tagger.device.type != "cpu":
        raise UsageError("--engine openvino runs on the CPU; use --device cpu, or --engine torch for a GPU")
    openvino()  # here, not at the first segment: an output folder must not be claimed for what cannot run
    n_frames = tagger.frontend.frames_of(round(tagger.card.segment_s * tagger.frontend.sample_rate))
    tagger.backbone = OpenVinoBackbone(tagger.backbone, dtype, n_frames=n_frames)
    tagger.dtype, tagger.engine = _DTYPES[dtype], "openvino"


class OpenVinoBackbone(nn.Module):
    """mel (B, n_mels, frames) -> Features without tokens, in place of the backbone it was made from.

    Each plan (with its taps and last block) is compiled once and kept in the cache folder. Segments of another length
    than ``n_frames`` and plans that cannot be compiled are left to torch; the log says so once. A thread that torch
    gives a share of the threads there were at the start is taken for one of several that call at once.
    """

    def __init__(self, backbone: nn.Module, dtype: str, *, n_frames: int):
        super().__init__()
        self.eager = backbone
        self.dtype = dtype
        self.n_frames = n_frames
        self._network = identity(backbone)
        self._n_threads = torch.get_num_threads()
        self._programs: dict[tuple[ProgramKey, int], Program | None] = {}
        self._finding = threading.Lock()

    def forward(
        self,
        mel: Tensor,
        plan: Plan = NO_REDUCTION,
        taps: Sequence[int] = (),
        *,
        last: int | None = None,
        seeds: Tensor | None = None,
    ) -> Features:
        """As the backbone's own ``forward``, but ``tokens`` is None."""
        if plan.draws:
            _say_once(f"patchout {plan} runs on torch: chance has a part in it")
        elif mel.shape[2] == self.n_frames:
            traceable = Traceable(self.eager, plan, taps, last)
            if program := self._program(traceable, mel):
                return traceable.features(program(mel))
        else:
            _say_once("segments of another length than the model's run on torch: OpenVINO is compiled for whole ones")
        return self.eager(mel, plan, taps, last=last, seeds=seeds)

    def calibrate(
        self, mel: Tensor, plan: Plan = NO_REDUCTION, taps: Sequence[int] = (), *, last: int | None = None
    ) -> None:
        """Make and keep the int8 program of a plan from real segments, mel (N, n_mels, frames).

        UsageError for a plan that draws by chance.
        """
        check_fixed(plan)
        traceable = Traceable(self.eager, plan, taps, last)
        model = quantise(convert(traceable, mel[:1]), mel)
        self._key(traceable, mel).save(model)

    def _program(self, traceable: Traceable, mel: Tensor) -> Program | None:
        key, n_streams = self._key(traceable, mel), max(1, self._n_threads // torch.get_num_threads())
        with self._finding:
            if (key, n_streams) not in self._programs:
                self._programs[key, n_streams] = self._find(key, n_streams, traceable, mel)
            return self._programs[key, n_streams]

    def _find(self, key: ProgramKey, n_streams: int, traceable: Traceable, mel: Tensor) -> Program | None:
        program = partial(Program, dtype=self.dtype, n_streams=n_streams, n_threads=self._n_threads)
        if key.path.exists():
            try:
                return program(key.path)
            except RuntimeError as error:
                log.warning("%s is damaged and of no more use: %s", key.path, first_line(error))
        if self.dtype == "int8":
            block = f" --block {traceable.taps[0]}" if len(traceable.taps) == 1 else ""
            raise UsageError(
                f"no int8 program was made yet for this model with patchout {traceable.plan}{block}; make it once from "
                f"your own music: audiopatch export MODEL --patchout PLAN{block} --int8 FOLDER"
            )
        try:
            model = convert(traceable, mel[:1])
        except Unconvertible as error:
            _say_once(f"patchout {traceable.plan} runs on torch: {error}")
            return None
        try:
            key.save(model)
        except (OSError, RuntimeError) as error:  # OpenVINO's own is a RuntimeError
            _say_once(f"the next run will compile again: nothing can be kept in {cache_folder()} ({first_line(error)})")
            return program(model)
        return program(key.path)  # as later runs do, for the file's weights may be of half precision

    def _key(self, traceable: Traceable, mel: Tensor) -> ProgramKey:
        shape = (mel.shape[1], mel.shape[2])
        plan = traceable.plan
        return ProgramKey(self._network, str(plan), code_of(plan), traceable.taps, traceable.last, shape, self.dtype)


@cache
def _say_once(sentence: str) -> None:
    log.warning(sentence)
