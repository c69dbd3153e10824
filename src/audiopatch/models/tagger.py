"""The Tagger: a front-end, a backbone, a head and their labels, as one module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audiopatch.catalog import Catalog
from audiopatch.frontends import FRONTENDS
from audiopatch.frontends.frontend import Frontend
from audiopatch.models.card import ModelCard
from audiopatch.models.config import (
    BackboneConfig,
    DymnConfig,
    HamConfig,
    MobileNetConfig,
    MusicnnConfig,
    TransformerConfig,
    VggConfig,
)
from audiopatch.models.dymn import DyMN
from audiopatch.models.ham import HybridTransformer
from audiopatch.models.heads import build_head
from audiopatch.models.mobilenet import MobileNet
from audiopatch.models.musicnn import Musicnn, Vgg
from audiopatch.models.stem import window_of
from audiopatch.models.transformer import SpectrogramTransformer
from audiopatch.reducers.plan import NO_REDUCTION, Plan


@dataclass(frozen=True)
class Prediction:
    """logits (B, C); features (B, E), what the head saw; stacks: block -> (B, P + 1, D)."""

    logits: Tensor
    features: Tensor
    stacks: dict[int, Tensor]


class Tagger(nn.Module):
    """From log-mel to a named result, with everything that belongs to the weights at hand.

    ``card`` says what the model is, ``labels`` names its classes in order, ``frontend`` makes its mels,
    ``weights_sha256`` identifies the weights ("random" where there are none); ``engine`` and ``dtype`` say what
    computes the backbone, as ``models.engines`` set it up: ``mixed`` with sums and norms in float32, or all of it.
    """

    def __init__(self, card: ModelCard, labels: Sequence[str]):
        super().__init__()
        self.card = card
        self.labels: tuple[str, ...] = tuple(labels)
        self.weights_sha256 = "random"
        self.dtype: torch.dtype = torch.float32
        self.mixed = True
        self.engine = "torch"
        with torch.device("cpu"):  # on the "meta" device, windows would import half of torch's compiler: a second
            frontend = FRONTENDS.load(card.frontend.name)
            self.frontend: Frontend = frontend(card.frontend.n_frames, **card.frontend.options)
        self.backbone: nn.Module = build_backbone(card.backbone)
        self.head: nn.Module = build_head(card.head, card.backbone.n_features)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def min_s(self) -> float:
        """The shortest audio the model takes, in seconds."""
        return self.frontend.min_samples / self.frontend.sample_rate

    @property
    def grid(self) -> tuple[int, int] | None:
        """(rows, cols) of patches in one full segment; None for a network without tokens."""
        config = self.card.backbone
        if not isinstance(config, TransformerConfig):
            return None
        return config.patch_grid(self.frontend.frames_of(round(self.card.segment_s * self.frontend.sample_rate)))

    def forward(
        self, mel: Tensor, plan: Plan = NO_REDUCTION, taps: Sequence[int] = (), *, seeds: Tensor | None = None
    ) -> Prediction:
        """mel (B, n_mels, frames) -> Prediction; stacks for the blocks in ``taps``."""
        with self._precision(mel):
            features = self.backbone(mel, plan, taps, seeds=seeds)
            pooled = features.pooled.float()
            return Prediction(self.head(pooled).float(), pooled, _float(features.stacks))

    def hear(self, wave: Tensor, plan: Plan = NO_REDUCTION) -> Tensor:
        """wave (B, S) -> mel (B, n_mels, frames), of which only what ``forward`` reads under ``plan`` need be right."""
        config = self.card.backbone
        if not isinstance(config, TransformerConfig):
            return self.frontend(wave)
        window = window_of(config, plan, self.frontend.frames_of(wave.shape[1]))
        return self.frontend(wave, window.frames if window else None)

    def stacks(
        self, mel: Tensor, taps: Sequence[int], plan: Plan = NO_REDUCTION, *, seeds: Tensor | None = None
    ) -> dict[int, Tensor]:
        """mel (B, n_mels, frames) -> block -> (B, P + 1, D); nothing past the last tap is computed."""
        with self._precision(mel):
            return _float(self.backbone(mel, plan, taps, last=max(taps), seeds=seeds).stacks)

    def scores(self, logits: Tensor) -> Tensor:
        """logits (..., C) -> scores in 0..1: sigmoid where labels may coexist, else softmax."""
        return logits.sigmoid() if self.card.multilabel else logits.softmax(dim=-1)

    def tag(self, wave: np.ndarray, sample_rate: int, **options: Any) -> dict[str, float]:
        """Label -> score in 0..1, the best first, as ``audiopatch tag`` finds them in a file of this audio.

        ``wave`` (S,), or with channels beside, holds floats from -1 to 1 at ``sample_rate`` Hz. ``options`` are
        ``patchout``, ``segments``, ``overlap``, ``pool`` and ``seed``. Audio that is too short is a UsageError.
        """
        return _LADDER.load("tag")(self, wave, sample_rate, **options)

    def embed(self, wave: np.ndarray, sample_rate: int, **options: Any) -> np.ndarray:
        """(E,) float32: the pooled features, or after ``block`` (a number or several) the ``tokens`` named.

        ``options`` are those, ``patchout``, ``segments``, ``overlap`` and ``seed``; the rest is as in ``tag``.
        """
        return _LADDER.load("embed")(self, wave, sample_rate, **options)

    def _precision(self, mel: Tensor) -> torch.autocast:
        # other engines see to it themselves
        autocast = self.engine == "torch" and self.dtype != torch.float32 and self.mixed
        return torch.autocast(mel.device.type, dtype=self.dtype if autocast else None, enabled=autocast)


# What cuts, batches and pools is above a model that knows only mels; by name, so that no import points up.
_LADDER = Catalog(
    "way", {"tag": "audiopatch.inference.clips:tag_wave", "embed": "audiopatch.inference.clips:embed_wave"}
)


def build_backbone(config: BackboneConfig) -> nn.Module:
    """The network a configuration describes, not yet loaded with weights."""
    return _BACKBONES[type(config)](config)


_BACKBONES: dict[type, type[nn.Module]] = {
    TransformerConfig: SpectrogramTransformer,
    HamConfig: HybridTransformer,
    MobileNetConfig: MobileNet,
    DymnConfig: DyMN,
    MusicnnConfig: Musicnn,
    VggConfig: Vgg,
}


def _float(stacks: dict[int, Tensor]) -> dict[int, Tensor]:
    return {block: stack.float() for block, stack in stacks.items()}
