"""A batch of segments -> their scores and embeddings, as the analysis asks, on the threads of the model."""

from __future__ import annotations

import logging
import time
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from audiopatch.errors import TrackError, UsageError
from audiopatch.events import GPU_LANES, NOTHING, Spent
from audiopatch.inference.settings import TOKENS, Analysis, Stack
from audiopatch.models.config import TransformerConfig
from audiopatch.models.engines.eager import USERS
from audiopatch.models.tagger import Tagger
from audiopatch.models.thresholds import Thresholds, require_thresholds
from audiopatch.reducers.plan import Plan, parse_plan
from audiopatch.types import CutSpec, Segment
from audiopatch.zoo.labels import never_tags

log: logging.Logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outputs:
    """scores (B, C) and embeddings (B, E), float32, None where not asked for; and what they took."""

    scores: np.ndarray | None
    embeddings: np.ndarray | None
    spent: Spent = NOTHING


class Extractor:
    """Runs the model on batches, in the thread that calls. Where memory runs out it halves the batch, and remembers.

    ``plan`` acts in place of the one that ``analysis`` spells: reducers that no text can name.
    """

    def __init__(self, tagger: Tagger, analysis: Analysis, *, batch_size: int, plan: Plan | None = None):
        self.tagger = tagger
        self.analysis = analysis
        spelled = check(tagger, analysis)
        self.plan: Plan = spelled if plan is None else plan
        self.stack: Stack | None = find_stack(tagger, analysis)
        self.batch_size = batch_size
        self.full_samples: int = round(tagger.card.segment_s * tagger.frontend.sample_rate)

    def __call__(self, segments: Sequence[Segment]) -> Outputs:
        """Segments of equal length -> Outputs in the same order.

        TrackError E_OOM for one that does not fit alone, E_TOO_SHORT for less audio than the plan can reduce.
        """
        pieces: list[Outputs] = []
        done = 0
        while done < len(segments):
            piece = segments[done : done + self.batch_size]
            try:
                pieces.append(self._run(piece))
                done += len(piece)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                self._shrink(len(piece), error)
            except UsageError as error:
                if piece[0].wave.size >= self.full_samples:
                    raise
                # what works on whole segments and not on this one is the track's fault, not the user's
                raise TrackError("E_TOO_SHORT", "infer", f"too short for this patchout: {error}") from error
        return Outputs(
            _join([piece.scores for piece in pieces]),
            _join([piece.embeddings for piece in pieces]),
            sum((piece.spent for piece in pieces), NOTHING),
        )

    @torch.inference_mode()
    def _run(self, segments: Sequence[Segment]) -> Outputs:
        tagger, device = self.tagger, self.tagger.device
        clock = time.thread_time if tagger.engine == "torch" else time.perf_counter  # others have threads of their own
        gpu = _GpuTime() if device.type == "cuda" else None
        began = clock()
        # pinned, or else the copy to a GPU would wait for everything before it on this stream
        wave = torch.empty(len(segments), segments[0].wave.size, pin_memory=device.type == "cuda")
        np.stack([segment.wave for segment in segments], out=wave.numpy())
        mel = tagger.hear(wave.to(device, non_blocking=True), self.plan)  # (B, n_mels, frames)
        heard = clock()
        found = self._infer(mel, self._seeds(segments))
        inferred = clock()
        if gpu:
            gpu.end()
        scores, embeddings = (None if values is None else values.float().cpu().numpy() for values in found)
        spent = Spent(frontend_s=heard - began, network_s=inferred - heard, gpu_s=gpu.seconds() if gpu else 0.0)
        return Outputs(scores, embeddings, spent)

    def _infer(self, mel: Tensor, seeds: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """mel (B, n_mels, frames) -> scores (B, C) and embeddings (B, E), None where not asked for."""
        tagger = self.tagger
        if not self.analysis.tags and self.stack:
            stacks = tagger.stacks(mel, self.stack.blocks, self.plan, seeds=seeds)
            return None, self._pick(stacks, self.stack)
        taps = self.stack.blocks if self.stack else ()
        found = tagger(mel, self.plan, taps, seeds=seeds)
        embedding = self._pick(found.stacks, self.stack) if self.stack else found.features
        return (
            tagger.scores(found.logits) if self.analysis.tags or self.analysis.dense else None,
            embedding if self.analysis.embeddings else None,
        )

    def _pick(self, stacks: dict[int, Tensor], stack: Stack) -> Tensor:
        """block -> (B, P + 1, D), to (B, n_blocks * n_tokens * D)."""
        names = stack_names(self.tagger)
        index = [names.index(token) for token in stack.tokens]
        return torch.cat([stacks[block][:, index].flatten(1) for block in stack.blocks], dim=1)

    def _seeds(self, segments: Sequence[Segment]) -> Tensor | None:
        """One per segment, from the user's seed, the audio itself and the segment's place in its track."""
        if not self.plan.draws:
            return None
        seed = self.analysis.seed
        values = [zlib.crc32(segment.wave.data, zlib.crc32(f"{seed}/{segment.index}".encode())) for segment in segments]
        return torch.tensor(values, dtype=torch.int64)

    def _shrink(self, n_segments: int, error: BaseException) -> None:
        if n_segments == 1:
            raise TrackError("E_OOM", "infer", "one segment alone does not fit into memory") from error
        self.batch_size: int = n_segments // 2
        log.warning("out of memory with %d segments at once; going on with %d", n_segments, self.batch_size)
        if self.tagger.device.type == "cuda":
            torch.cuda.empty_cache()


def check(tagger: Tagger, analysis: Analysis) -> Plan:
    """The plan of an analysis; what the model cannot do is a UsageError, before any work."""
    find_stack(tagger, analysis)
    if analysis.tags and not tagger.card.head.n_classes:
        raise UsageError(f"{tagger.card.name} has no classes to tag with; use it with: audiopatch embed")
    return find_plan(tagger, analysis.patchout)


def cut_for(tagger: Tagger, analysis: Analysis) -> CutSpec:
    """How tracks become segments for a model."""
    return CutSpec(
        sample_rate=tagger.frontend.sample_rate,
        segment_s=tagger.card.segment_s,
        overlap=analysis.overlap,
        n_segments=analysis.segments,
        min_s=tagger.min_s,
    )


def find_plan(tagger: Tagger, patchout: str | None) -> Plan:
    """The plan a text describes; on a network without tokens anything but none is a UsageError."""
    config = tagger.card.backbone
    plan = parse_plan(patchout, config.depth) if isinstance(config, TransformerConfig) else parse_plan(patchout)
    if plan and tagger.grid is None:
        raise UsageError(
            f"--patchout {patchout} cannot work: {tagger.card.name} is a convolutional network without tokens"
        )
    return plan


def stack_names(tagger: Tagger) -> tuple[str, ...]:
    """What an embedding stack of this model holds, in order."""
    config = tagger.card.backbone
    return stack_names_of(config) if isinstance(config, TransformerConfig) else ()


def stack_names_of(config: TransformerConfig) -> tuple[str, ...]:
    """The same of a transformer by its configuration."""
    return (*("cls", "dist")[: config.prefix], "avg")


def n_embedding(tagger: Tagger, analysis: Analysis) -> int:
    """How many numbers an embedding has; 0 where none is asked for."""
    config, stack = tagger.card.backbone, find_stack(tagger, analysis)
    if not analysis.embeddings:
        return 0
    if stack is None or not isinstance(config, TransformerConfig):
        return config.n_features
    return len(stack.blocks) * len(stack.tokens) * config.dim


def find_stack(tagger: Tagger, analysis: Analysis) -> Stack | None:
    """The blocks and tokens of embeddings; of all tokens, the default, those that the model has. Else a UsageError."""
    if analysis.stack is None:
        return None
    config, name = tagger.card.backbone, tagger.card.name
    if not isinstance(config, TransformerConfig):
        raise UsageError(
            f"--block cannot work: {name} is a convolutional network; leave it out for its pooled features"
        )
    for block in analysis.stack.blocks:
        if not 1 <= block <= config.depth:
            raise UsageError(f"block {block} does not exist; {name} has blocks 1 to {config.depth}")
    names = stack_names(tagger)
    if analysis.stack.tokens == TOKENS:
        return replace(analysis.stack, tokens=names)
    for token in analysis.stack.tokens:
        if token not in names:
            raise UsageError(f"unknown token '{token}'; take those of {name}: --tokens {','.join(names)}")
    return analysis.stack


class _GpuTime:
    """From here to ``end`` on this thread's stream; nobody waits for it."""

    def __init__(self) -> None:
        self._began, self._ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._began.record()

    def end(self) -> None:
        self._ended.record()

    def seconds(self) -> float:
        """Once the stream has passed the end."""
        return self._began.elapsed_time(self._ended) / 1e3


def _is_out_of_memory(error: Exception) -> bool:
    """A GPU's has a type of its own; on a CPU torch raises a bare RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _join(pieces: list[np.ndarray | None]) -> np.ndarray | None:
    present = [piece for piece in pieces if piece is not None]
    return np.concatenate(present) if present else None


NEVER = 2.0  # no score reaches it


def find_thresholds(tagger: Tagger, analysis: Analysis, plan: Plan) -> Thresholds | None:
    """What ``thresholds=True`` asks for, None where it does not; a UsageError where none fit this plan and pool."""
    if not analysis.thresholds:
        return None
    card = tagger.card
    return require_thresholds(card.thresholds, str(plan), analysis.pool, analysis.overlap, model=card.name)


def label_thresholds(tagger: Tagger, thresholds: Thresholds | None) -> tuple[float, ...]:
    """(C,) in the order of the model's labels; one that nobody measured is never meant, nor one that is no tag.

    Empty where all labels count from any score on.
    """
    never = never_tags(tagger.card.labels)
    if thresholds is None:
        return tuple(NEVER if label in never else 0.0 for label in tagger.labels) if never else ()
    return tuple(NEVER if label in never else thresholds.values.get(label, NEVER) for label in tagger.labels)


GPU_BATCH = 64  # segments


class Lanes:
    """Runs batches side by side; several threads may submit at once.

    On a CPU there is a lane for each of torch's threads: layers shared among all threads leave most of them waiting
    (two Zen 5 cores, float32: lanes are 1.7 times as fast for the default model, 1.2 for MAEST-30s). On a GPU there
    are two, each with a stream of its own: one copies while the other computes.
    """

    def __init__(self, extractor: Extractor):
        self._extractor = extractor
        device = extractor.tagger.device
        self._n_threads = torch.get_num_threads()
        self.n: int = GPU_LANES if device.type == "cuda" else self._n_threads
        # Its threads end with the pool, and so must know nothing that keeps it: neither these lanes nor the model.
        self._pool = ThreadPoolExecutor(self.n, "model", _enter, (device, max(1, self._n_threads // self.n)))
        self._fast: Callable[[], object] = lambda: None
        if device.type == "cpu":
            USERS.enter()
            self._fast = weakref.finalize(self, USERS.leave)

    def submit(self, batch: Sequence[Segment]) -> Future[Outputs]:
        """Segments of equal length; the future raises what ``Extractor`` raises."""
        return self._pool.submit(self._extractor, batch)

    def map(self, batches: Iterable[Sequence[Segment]]) -> Iterator[Outputs]:
        """Outputs in the order of the batches, of which a few are taken ahead: the model without all the rest."""
        waiting: deque[Future[Outputs]] = deque()
        for batch in batches:
            waiting.append(self.submit(batch))
            if len(waiting) > 2 * self.n:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def close(self) -> None:
        """End its threads, and let torch multiply as before."""
        self._pool.shutdown()
        self.restore_threads()
        self._fast()

    def restore_threads(self) -> None:
        """Let threads made from now on have as many threads as before; each lane told torch its own number."""
        torch.set_num_threads(self._n_threads)


def _enter(device: torch.device, n_threads: int) -> None:
    """Make this thread a lane."""
    if device.type == "cuda":
        torch.cuda.set_stream(torch.cuda.Stream(device))
    else:
        torch.set_num_threads(n_threads)


def batch_size_for(tagger: Tagger) -> int:
    """Segments that a lane computes at once, by default.

    On a CPU more than one clip gains a plain transformer nothing. The many small steps of a network of convolutions do:
    four clips at once take audiopatch-music 0.6 of the time, mn04 0.65 (Zen 4). Eight hardly gain more there; a Zen 3
    takes 0.85 of the time of four for mn04, 0.8 to 0.85 for audiopatch-music under plans that read a part of the mel.
    """
    if tagger.device.type == "cuda":
        return GPU_BATCH
    config = tagger.card.backbone
    return 1 if isinstance(config, TransformerConfig) and config.stem is None else 8
