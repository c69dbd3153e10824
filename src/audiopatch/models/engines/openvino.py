"""The OpenVINO engine: the backbone compiled for whole segments and a fixed plan, on a CPU."""

from __future__ import annotations

import hashlib
import logging
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import astuple, dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audiopatch import __version__
from audiopatch.errors import UsageError, first_line, missing_extra
from audiopatch.models.engines.traced import Traceable, check_fixed, code_of, identity, trace
from audiopatch.models.features import Features
from audiopatch.models.processor import processor
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import NO_REDUCTION, Plan
from audiopatch.storage.place import cache_folder

_MAX_ERROR = 1e-3  # relative, of the converted program in float32 against torch


class Unconvertible(Exception):
    """OpenVINO cannot take this network with this plan; the text says why."""


@dataclass(frozen=True)
class ProgramKey:
    """Everything a program depends on, besides the versions that made it: equal keys may share a file.

    ``network`` and ``code`` are what ``traced`` says of the backbone and of the plan's own reducers; ``shape`` is one
    mel's, (n_mels, frames).
    """

    network: str
    plan: str
    code: str
    taps: tuple[int, ...]
    last: int | None
    shape: tuple[int, int]
    dtype: str

    @property
    def path(self) -> Path:
        """Where the program lies in the cache folder, made or not."""
        text = repr((astuple(self), __version__, openvino().__version__))
        digest = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
        return cache_folder() / "openvino" / digest / "program.xml"

    def save(self, model: Any) -> None:
        """Keep ``model`` at ``path``. Half precision halves the file where bfloat16 follows.

        The weights come first and each file takes its place whole, so that nobody who finds one finds half a program,
        whoever else makes the same one meanwhile.
        """
        home = self.path.parent
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as draft:
            made = Path(draft) / self.path.name
            openvino().save_model(model, made, compress_to_fp16=self.dtype == "bfloat16")
            for file in (made.with_suffix(".bin"), made):
                file.replace(home / file.name)


class Program:
    """mel (B, n_mels, frames) -> the traced function's tensors, one clip after another.

    ``model`` is an ``ov.Model`` or the path of a saved one; a file that holds none is a RuntimeError. Up to
    ``n_streams`` threads may call it at once; they share ``n_threads`` evenly.
    """

    def __init__(self, model: Any, dtype: str, *, n_streams: int, n_threads: int):
        ov = openvino()
        options = {
            "INFERENCE_PRECISION_HINT": _precision(dtype),
            "INFERENCE_NUM_THREADS": n_threads,
            "NUM_STREAMS": n_streams,
            "ENABLE_CPU_PINNING": False,  # decoders share these cores
        }
        self._compiled = _core().compile_model(model, "CPU", options)
        # OpenVINO's bindings look numpy up when they first show a tensor. Two threads that come to this at once wait
        # for each other forever (seen: one holds the interpreter's lock, the other the lookup's), so one does it here.
        _ = ov.Tensor(np.zeros(1, np.float32)).data
        self._of_thread = threading.local()

    def __call__(self, mel: Tensor) -> list[Tensor]:
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._compiled.create_infer_request()
        request = self._of_thread.request
        clips = []
        for clip in mel.numpy():
            request.infer([clip[None]])
            clips.append([output.data.copy() for output in request.output_tensors])
        return [torch.from_numpy(np.concatenate(parts)) for parts in zip(*clips, strict=True)]


def _precision(dtype: str) -> str:
    """Of what is computed in floating point: all of it, or the layers that int8 leaves.

    Where a processor only emulates bfloat16, OpenVINO computes in float32 instead; told so, it also does where its
    kernels are held down to older instructions than the processor's, and else would find none.
    """
    return "bf16" if dtype != "float32" and processor().bfloat16 else "f32"


def convert(traceable: Traceable, mel: Tensor) -> Any:
    """The ``ov.Model`` of a backbone for one mel (1, n_mels, frames), checked against torch; else Unconvertible."""
    ov = openvino()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch.export about its own insides
            model = ov.convert_model(trace(traceable, mel))
    except Exception as error:  # torch and OpenVINO raise dozens of kinds here, and any of them means torch goes on
        raise Unconvertible(f"it does not convert ({first_line(error)})") from error
    compiled = _core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    error = _relative_error(list(compiled([mel.numpy()]).values()), traceable(mel))
    if not error <= _MAX_ERROR:  # NaN is no match either
        raise Unconvertible(f"converted, it differs from torch by {error:.1%}")
    return model


@cache
def _core() -> Any:
    """One for the life of the process.

    Its CPU plugin gives the thread that loads it a stack for signals, and frees that when it goes itself: after that
    Ctrl-C would be a segmentation fault.
    """
    return openvino().Core()


def quantise(model: Any, mel: Tensor) -> Any:
    """Post-training int8, calibrated on mel (N, n_mels, frames)."""
    try:
        with _without_telemetry():
            import nncf
    except ImportError as error:
        raise missing_extra("--dtype int8", "openvino") from error
    clips = nncf.Dataset([clip[None] for clip in mel.numpy()])
    with redirect_stdout(sys.stderr):  # for its bars: stdout is for data
        return nncf.quantize(model, clips, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(mel))


def openvino() -> ModuleType:
    """The package, or an EnvironmentProblem that says how to get it."""
    try:
        with _without_telemetry():
            import openvino
            import openvino.tools.ovc.convert_impl  # now, and not when a model is converted
    except ImportError as error:
        raise missing_extra("--engine openvino", "openvino") from error
    return openvino


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """OpenVINO's and NNCF's imports call an analytics service unless the package that does is not there."""
    name = "openvino_telemetry"
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # what Python takes for "cannot be imported"
    try:
        yield
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before


def _relative_error(outputs: Sequence[np.ndarray], expected: Sequence[Tensor]) -> float:
    """The largest over the outputs of |difference| / |expected|; NaN if one is."""
    pairs = zip(map(torch.from_numpy, outputs), expected, strict=True)
    return float(torch.stack([(output - wanted).norm() / wanted.norm() for output, wanted in pairs]).max())


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
