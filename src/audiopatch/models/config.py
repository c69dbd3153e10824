"""What a front-end, a network and a head are built from, as numbers that a card can hold. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

# kernel, expanded channels, output channels, squeeze-excitation, hardswish, stride (MobileNetV3-Large, table 1)
MOBILENET_ROWS = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


@dataclass(frozen=True)
class StemConfig:
    """A MobileNet around a transformer: its first ``n_layers`` of 17 make the tokens, its others take them back.

    A token is one cell of the map between them, of ``channels`` channels, for ``stride`` × ``stride`` points of the
    mel. Without a ``tail`` the transformer's own pooling ends the network. With ``context`` each cell first takes in
    what ``context`` filters per channel hear in the 5 × 5 cells around it: patchout then drops less of what was heard.
    With ``whole`` maps of which nothing was dropped have a context, a way back and a tail of their own.
    With ``all_rows`` the tail hears as many rows as there were: those that patchout dropped are guessed from others.
    """

    width: float
    n_layers: int = 13
    tail: bool = True
    context: int = 0
    whole: bool = False
    all_rows: bool = False

    @property
    def channels(self) -> int:
        return scaled_channels(MOBILENET_ROWS[self.n_layers - 2][2], self.width)

    @property
    def stride(self) -> int:
        return 2 * math.prod(row[5] for row in MOBILENET_ROWS[: self.n_layers - 1])

    @property
    def n_features(self) -> int:
        return MobileNetConfig(self.width).n_features if self.tail else 0


_MOST_SHARING = 64  # so that no card can make a small file run for hours


@dataclass(frozen=True)
class TransformerConfig:
    """A vision transformer on a mel spectrogram (the lineage of PaSST, MAEST, AST, AudioMAE, CED, EAT, Dasheng).

    ``grid`` is the size of the position table in patches (rows, cols); inputs may have fewer columns, never more.
    ``prefix`` counts the special tokens: 0 = none, 1 = CLS, 2 = CLS and DIST. Attention heads are ``head_dim`` wide.
    ``norm_order``: layer norms stand before attention and MLP, or ("post", EAT) after them and once before block 1.
    ``mel_affine``: a scale and a shift per mel band come first (CED's batch norm).
    ``positions``: "split" adds a frequency and a time encoding (PaSST, section 3.1), "full" one table per cell.
    ``pool`` makes the clip's features: the mean of the prefix tokens, of the patch tokens, the sum of both, or the
    tokens that ``stack`` names ("cls", "dist", "avg" for the patch mean), one after the other.
    ``stem``: tokens are cells of a convolutional map instead of patches of the mel. Where it has a tail, the tail's
    features come first, and those that ``pool`` makes after them.
    ``sharing``: so many blocks in a row run on one set of weights (ALBERT's groups, Lan et al. 2020).
    ``heads``: how many attention heads each set of weights has, where some were removed; () is ``n_heads`` in each.
    """

    grid: tuple[int, int]
    n_mels: int
    dim: int = 768
    depth: int = 12
    prefix: Literal[0, 1, 2] = 2
    patch_size: tuple[int, int] = (16, 16)
    patch_stride: tuple[int, int] = (10, 10)
    positions: Literal["split", "full"] = "split"
    pool: Literal["prefix", "patch", "both", "stack"] = "prefix"
    stack: tuple[str, ...] = ()
    final_norm: bool = True
    norm_eps: float = 1e-6
    mlp_ratio: int = 4
    stem: StemConfig | None = None
    head_dim: int = 64
    norm_order: Literal["pre", "post"] = "pre"
    mel_affine: bool = False
    sharing: int = 1
    heads: tuple[int, ...] = ()
    kind: Literal["transformer", "ham"] = "transformer"

    def __post_init__(self) -> None:
        if not self.prefix and self.pool in ("prefix", "both"):
            raise ValueError(f"a network without prefix tokens cannot pool by '{self.pool}'")
        if not 1 <= self.sharing <= _MOST_SHARING or self.depth % self.sharing:
            raise ValueError(f"{self.depth} blocks cannot share their weights in runs of {self.sharing}")
        if self.heads and (len(self.heads) != self.depth // self.sharing or min(self.heads) < 1):
            raise ValueError(f"'heads' are one number of at least 1 per set of block weights, not {self.heads}")

    @property
    def n_heads(self) -> int:
        return self.dim // self.head_dim

    @property
    def block_heads(self) -> tuple[int, ...]:
        """The attention heads of block 1, 2, ..."""
        sets = self.heads or (self.n_heads,) * (self.depth // self.sharing)
        return tuple(n for n in sets for _ in range(self.sharing))

    @property
    def n_features(self) -> int:
        n_tokens = len(self.stack) if self.pool == "stack" else 1
        return n_tokens * self.dim + (self.stem.n_features if self.stem else 0)

    @property
    def n_along(self) -> int:
        """Features of each step of time: those of a tail's map, or of the patch tokens."""
        return self.stem.n_features if self.stem and self.stem.tail else self.dim

    @property
    def stack_index(self) -> list[int]:
        """Where the tokens that ``stack`` names lie in ``TokenGrid.stack()``."""
        names = (*("cls", "dist")[: self.prefix], "avg")
        return [names.index(token) for token in self.stack]

    def patch_grid(self, n_frames: int) -> tuple[int, int]:
        """(rows, cols) of patches that an input of ``n_frames`` gives; only convolutional stems pad."""
        (h, w), (dh, dw) = self.patch_size, self.patch_stride
        if self.stem:
            return math.ceil(self.n_mels / dh), math.ceil(n_frames / dw)
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


@dataclass(frozen=True)
class DymnConfig:
    """EfficientAT's dynamic MobileNet, every channel count scaled by ``width`` (Schmid et al. 2024)."""

    width: float
    n_mels: int = 128
    kind: Literal["dymn"] = "dymn"

    @property
    def n_features(self) -> int:
        return MobileNetConfig(self.width).n_features


@dataclass(frozen=True)
class MusicnnConfig:
    """MusiCNN: musically motivated convolutions, then dense ones (Pons & Serra 2019). It has one published size."""

    n_mels: int = 96
    kind: Literal["musicnn"] = "musicnn"

    @property
    def n_features(self) -> int:
        return 200


@dataclass(frozen=True)
class VggConfig:
    """MusiCNN's VGG baseline; ``pools`` names the data set whose file has these max-pools."""

    pools: Literal["msd", "mtt"]
    n_mels: int = 96
    kind: Literal["vgg"] = "vgg"

    @property
    def n_features(self) -> int:
        return 256


BackboneConfig = TransformerConfig | MobileNetConfig | DymnConfig | MusicnnConfig | VggConfig


@dataclass(frozen=True)
class HeadConfig:
    """From features to logits.

    LayerNorm + Linear, a plain Linear, EfficientAT's two-layer MLP, a probe (MLP with ReLU, as MAEST's), one
    LayerNorm + Linear each for CLS and DIST (``separated``), none (embeddings only), or several heads, the named
    ``parts``, whose logits follow each other (``joint``). A part reads the first ``n_inputs`` features, or all.
    """

    n_classes: int
    kind: Literal["norm_linear", "linear", "mlp", "probe", "separated", "joint", "none"] = "norm_linear"
    eps: float = 1e-5
    n_hidden: int = 0
    dropout: float = 0.2
    name: str = ""
    n_inputs: int = 0
    parts: tuple[HeadConfig, ...] = ()


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
