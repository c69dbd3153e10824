"""What a network looks like, as plain values: enough to build it without its weights. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class TransformerConfig:
    """A pre-LN vision transformer on a mel spectrogram (the lineage of PaSST, MAEST, AST and AudioMAE).

    ``grid`` is the size of the position table in patches (rows, cols); inputs may have fewer columns, never more.
    ``prefix`` counts the special tokens: 1 = CLS, 2 = CLS and DIST.
    ``positions``: "split" adds a frequency and a time encoding (PaSST, section 3.1), "full" one table per cell.
    ``pool`` makes the clip's features: the mean of the prefix tokens, of the patch tokens, the sum of both, or the
    tokens that ``stack`` names ("cls", "dist", "avg" for the patch mean), one after the other.
    """

    grid: tuple[int, int]
    n_mels: int
    dim: int = 768
    depth: int = 12
    prefix: Literal[1, 2] = 2
    patch_size: tuple[int, int] = (16, 16)
    patch_stride: tuple[int, int] = (10, 10)
    positions: Literal["split", "full"] = "split"
    pool: Literal["prefix", "patch", "both", "stack"] = "prefix"
    stack: tuple[str, ...] = ()
    final_norm: bool = True
    norm_eps: float = 1e-6
    mlp_ratio: int = 4
    kind: Literal["transformer", "ham"] = "transformer"

    @property
    def n_heads(self) -> int:
        return self.dim // 64

    @property
    def n_features(self) -> int:
        return self.dim * max(1, len(self.stack))

    @property
    def stack_index(self) -> list[int]:
        """Where the tokens that ``stack`` names lie in ``TokenGrid.stack()``."""
        names = ("cls", "dist", "avg") if self.prefix == 2 else ("cls", "avg")
        return [names.index(token) for token in self.stack]

    def patch_grid(self, n_frames: int) -> tuple[int, int]:
        """(rows, cols) of patches that an input of ``n_frames`` gives; no padding anywhere."""
        (h, w), (dh, dw) = self.patch_size, self.patch_stride
        return (self.n_mels - h) // dh + 1, (n_frames - w) // dw + 1


@dataclass(frozen=True)
class HamConfig(TransformerConfig):
    """HAM-AST: a spectrogram transformer, then ``n_conformers`` Conformer blocks, then (if asked) channel attention."""

    n_conformers: int = 3
    conv_kernel: int = 31
    channel_attention: bool = True
    kind: Literal["transformer", "ham"] = "ham"


@dataclass(frozen=True)
class MobileNetConfig:
    """EfficientAT's MobileNetV3-Large with every channel count scaled by ``width`` (Schmid et al. 2023)."""

    width: float
    n_mels: int = 128
    kind: Literal["mobilenet"] = "mobilenet"

    @property
    def n_features(self) -> int:
        return 6 * scaled_channels(160, self.width)


BackboneConfig = TransformerConfig | MobileNetConfig


@dataclass(frozen=True)
class HeadConfig:
    """From features to logits.

    LayerNorm + Linear, a plain Linear, EfficientAT's two-layer MLP, a probe (MLP with ReLU, as MAEST's), one
    LayerNorm + Linear each for CLS and DIST (``separated``), or none (embeddings only).
    """

    n_classes: int
    kind: Literal["norm_linear", "linear", "mlp", "probe", "separated", "none"] = "norm_linear"
    eps: float = 1e-5
    n_hidden: int = 0
    dropout: float = 0.2


@dataclass(frozen=True)
class FrontendConfig:
    """A front-end's catalog name, the longest input in frames its model takes, and its own options."""

    name: str
    n_frames: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


def scaled_channels(channels: int, width: float, multiple: int = 8) -> int:
    """``channels * width`` rounded to a multiple of 8, never below 90 % of it (MobileNet's rule)."""
    target = channels * width
    rounded = max(multiple, int(target + multiple / 2) // multiple * multiple)
    return rounded + multiple if rounded < 0.9 * target else rounded
