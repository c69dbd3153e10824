"""Model cards: what a set of weights is, where it comes from, and under which licence. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from audiopatch.errors import WeightsError
from audiopatch.models.thresholds import Thresholds

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
    """

    width: float
    n_layers: int = 13
    tail: bool = True
    context: int = 0

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


@dataclass(frozen=True)
class Weights:
    """Where published weights lie. ``sha256`` may be a prefix where only that is known."""

    url: str = ""
    hub: str = ""
    filename: str = ""
    sha256: str = ""
    size_bytes: int = 0


@dataclass(frozen=True)
class ModelCard:
    """Weights know their front-end, network, labels, licence and published scores.

    ``segment_s`` is the length the model was trained on; ``multilabel`` chooses sigmoid over softmax;
    ``labels`` names a label set (see ``zoo.labels``); ``scores`` are published figures with their source as key;
    ``thresholds`` say from which score on a label is meant, for each way in which that has been measured: ask
    ``thresholds_for``; ``licence`` is that of the weights, ``code_licence`` that of the code they came with, ``page``
    where both were read; ``domain`` is what the labels (or, without labels, the training data) are about: music, sound
    or speech; ``shrunk_from`` names the model that it is a smaller copy of.
    """

    name: str
    family: str
    frontend: FrontendConfig
    backbone: BackboneConfig
    head: HeadConfig
    labels: str
    segment_s: float
    multilabel: bool = True
    weights: Weights | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    thresholds: tuple[Thresholds, ...] = ()
    licence: str = ""
    code_licence: str = ""
    paper: str = ""
    page: str = ""
    domain: str = ""
    summary: str = ""
    shrunk_from: str = ""

    def with_thresholds(self, measured: Thresholds) -> ModelCard:
        """``measured`` takes the place of what was measured in the same way on the same clips, and comes last."""
        others = (known for known in self.thresholds if known.conditions != measured.conditions)
        return replace(self, thresholds=(*others, measured))

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """The card that ``to_json`` wrote; anything else is a WeightsError that says what is off."""
        try:
            values = json.loads(text)
            values["frontend"] = _typed(FrontendConfig, values["frontend"])
            values["backbone"] = _backbone(values["backbone"])
            values["head"] = _head(values["head"])
            values["weights"] = _typed(Weights, values["weights"]) if values.get("weights") else None
            values["thresholds"] = _thresholds(values.get("thresholds", ()))
            return _typed(cls, values)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise WeightsError(f"this is no audiopatch model card: {error}") from error


def _thresholds(values: Any) -> tuple[Thresholds, ...]:
    """Those of a card; one of an earlier version holds one mapping from label to score, and no word about it."""
    if isinstance(values, Mapping):
        return (Thresholds(dict(values)),) if values else ()
    return tuple(_typed(Thresholds, one) for one in values)


def scaled_channels(channels: int, width: float, multiple: int = 8) -> int:
    """``channels * width`` rounded to a multiple of 8, never below 90 % of it (MobileNet's rule)."""
    target = channels * width
    rounded = max(multiple, int(target + multiple / 2) // multiple * multiple)
    return rounded + multiple if rounded < 0.9 * target else rounded


_BACKBONES: dict[str, type[BackboneConfig]] = {
    "transformer": TransformerConfig,
    "ham": HamConfig,
    "mobilenet": MobileNetConfig,
    "dymn": DymnConfig,
    "musicnn": MusicnnConfig,
    "vgg": VggConfig,
}
_T = TypeVar("_T")


def _backbone(values: dict[str, Any]) -> BackboneConfig:
    stem = _typed(StemConfig, values["stem"]) if values.get("stem") else None
    return _typed(_BACKBONES[values["kind"]], values | ({"stem": stem} if stem else {}))


def _head(values: dict[str, Any]) -> HeadConfig:
    return _typed(HeadConfig, values | {"parts": tuple(map(_head, values.get("parts", ())))})


def _typed(kind: type[_T], values: Mapping[str, Any]) -> _T:
    """``kind(**values)`` with JSON's lists as tuples; a value of another type than its field's is a TypeError."""
    made = kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    hints = get_type_hints(kind)
    for entry in fields(kind):  # type: ignore[arg-type]
        if not _is_a(getattr(made, entry.name), hints[entry.name]):
            raise TypeError(f"'{entry.name}' cannot be {getattr(made, entry.name)!r}")
    return made


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type: the few forms that cards use."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in arguments
    if origin in (Union, UnionType):
        return any(_is_a(value, argument) for argument in arguments)
    if origin is tuple:
        kinds = arguments[:1] * len(value) if isinstance(value, tuple) and arguments[-1] is ... else arguments
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_is_a, value, kinds))
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    if hint is int:
        return type(value) is int and abs(value) < 1 << 40
    return hint is Any or isinstance(value, origin or hint)
