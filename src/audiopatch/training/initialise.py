"""A network to train, and what it starts from: a zoo model of any grid, an image ViT, or chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiopatch.errors import UsageError, WeightsError
from audiopatch.frontends import FRONTENDS
from audiopatch.models.card import ModelCard
from audiopatch.models.config import BackboneConfig, FrontendConfig, HamConfig, TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.training.config import ModelChoice
from audiopatch.zoo.cards import CARDS
from audiopatch.zoo.load import load_model, random_tagger

_BLOCKS = "backbone.blocks."
_NEW_PARTS = ("backbone.conformers.", "backbone.channels.")  # start as the identity; no published weights have them


def build_tagger(choice: ModelChoice, labels: Sequence[str], *, name: str, multilabel: bool, seed: int) -> Tagger:
    """A Tagger for ``labels``, ready to train. A head of another size or kind than the base's starts anew."""
    base = _base(choice)
    card = card_for(base.card, choice, len(labels), name=name, multilabel=multilabel)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tagger = Tagger(card, labels)
        _random_start(tagger)
    source = _source(choice, base)
    if source is not None and (choice.keep_every, choice.sharing) != (1, 1):
        source = thinned(source, choice.keep_every, tagger.card.backbone)
    start_from(tagger, source, same_labels=tuple(labels) == base.labels)
    freeze(tagger, choice.n_frozen_blocks)
    return tagger


def sample_rate_of(choice: ModelChoice) -> int:
    """At which rate the model will listen, in Hz."""
    if choice.frontend:
        return FRONTENDS.load(choice.frontend).sample_rate
    card = CARDS[choice.base] if choice.base in CARDS else _base(choice).card
    return FRONTENDS.load(card.frontend.name).sample_rate


def _base(choice: ModelChoice) -> Tagger:
    """The base model; a known card whose weights are not wanted is not downloaded for its architecture alone."""
    if choice.weights != "base" and choice.base in CARDS:
        return random_tagger(CARDS[choice.base])
    return load_model(choice.base, device="cpu", dtype="float32")


def card_for(base: ModelCard, choice: ModelChoice, n_classes: int, *, name: str, multilabel: bool) -> ModelCard:
    """The base's card with the choices made: segment, front-end, stride, head, hybrid parts."""
    backbone, frontend = base.backbone, base.frontend
    segment_s = choice.segment_s or base.segment_s
    if isinstance(backbone, TransformerConfig):
        if (choice.segment_s, choice.frontend, choice.patch_stride) != (0.0, "", 0) or choice.frontend_options:
            frontend, backbone = _geometry(base, choice, segment_s)
        backbone = _fewer_weights(backbone, choice)
        if choice.n_conformers or choice.channel_attention:
            plain = {entry.name: getattr(backbone, entry.name) for entry in fields(TransformerConfig)} | {"kind": "ham"}
            extra = {"n_conformers": choice.n_conformers, "channel_attention": choice.channel_attention}
            backbone = HamConfig(**plain, **extra)
        if choice.head == "separated":
            if backbone.prefix != 2:
                raise UsageError(f"{choice.base} has no DIST token for a separated head; take a MAEST, PaSST or AST")
            backbone = replace(backbone, pool="stack", stack=("cls", "dist"))
    elif choice != ModelChoice(choice.base, choice.weights, choice.segment_s):
        raise UsageError(f"{choice.base} is no transformer: it takes no other front-end, stride, head or hybrid parts")
    kind = {"plain": base.head.kind if base.head.kind != "none" else "norm_linear", "separated": "separated"}[
        choice.head
    ]
    return replace(
        base,
        name=name,
        frontend=frontend,
        backbone=backbone,
        head=replace(base.head, n_classes=n_classes, kind=kind),
        labels="own",
        segment_s=segment_s,
        multilabel=multilabel,
        weights=None,
        scores={},
        summary=f"trained with audiopatch from {choice.base}",
    )


def _fewer_weights(backbone: TransformerConfig, choice: ModelChoice) -> TransformerConfig:
    """Fewer blocks, and fewer sets of weights for them."""
    if backbone.sharing > 1 and (choice.keep_every, choice.sharing) != (1, 1):
        raise UsageError(f"the blocks of {choice.base} share their weights already: leave out keep_every and sharing")
    blocks, sharing = kept_blocks(backbone.depth, choice.keep_every), max(choice.sharing, backbone.sharing)
    if choice.sharing < 1 or len(blocks) % sharing:
        raise UsageError(f"sharing = {choice.sharing} cannot work: it does not divide {len(blocks)} blocks")
    heads = tuple(backbone.block_heads[block] for block in blocks[::sharing]) if backbone.heads else ()
    return replace(backbone, depth=len(blocks), sharing=sharing, heads=heads)


def kept_blocks(depth: int, keep_every: int) -> list[int]:
    """Which blocks (from 0) a thinner network keeps: the first, the last, every so many between (PaSST, section 2.3.2).

    The residual stream changes less where neighbours go than where a run of blocks goes.
    """
    return list(dict.fromkeys((0, *range(1, depth - 1, keep_every), depth - 1)))


def thinned(source: Mapping[str, Tensor], keep_every: int, config: BackboneConfig) -> dict[str, Tensor]:
    """``source`` with those blocks alone, renumbered, and of blocks that share their weights the first.

    Weights of a network as thin as ``config`` stay as they are.
    """
    depth = 1 + max((int(key.split(".")[2]) for key in source if key.startswith(_BLOCKS)), default=-1)
    if not isinstance(config, TransformerConfig) or depth == config.depth // config.sharing:
        return dict(source)
    place = {str(old): new for new, old in enumerate(kept_blocks(depth, keep_every)[:: config.sharing])}
    found = {}
    for key, value in source.items():
        number, _, rest = key.removeprefix(_BLOCKS).partition(".")
        if not key.startswith(_BLOCKS):
            found[key] = value
        elif number in place:
            found[f"{_BLOCKS}{place[number]}.{rest}"] = value
    return found


def _geometry(base: ModelCard, choice: ModelChoice, segment_s: float) -> tuple[FrontendConfig, TransformerConfig]:
    """Front-end and network for another length, front-end or stride: the position table grows or shrinks with them."""
    backbone = base.backbone
    assert isinstance(backbone, TransformerConfig)
    frontend_name = choice.frontend or base.frontend.name
    options = choice.frontend_options or (base.frontend.options if frontend_name == base.frontend.name else {})
    stride = (choice.patch_stride,) * 2 if choice.patch_stride else backbone.patch_stride
    frontend = FRONTENDS.load(frontend_name)(None, **options)
    n_frames = round(segment_s * frontend.sample_rate) // frontend.hop_length
    backbone = replace(backbone, n_mels=frontend.n_mels, patch_stride=stride)
    rows, cols = backbone.patch_grid(n_frames)
    if backbone.positions == "split":
        cols = n_frames // stride[1]  # PaSST's and MAEST's tables are longer than the columns a segment gives
    return FrontendConfig(frontend_name, n_frames, options), replace(backbone, grid=(rows, cols))


def _random_start(tagger: Tagger) -> None:
    """As ViTs start: truncated normal with σ = 0.02 for matrices, tokens and positions, zero biases."""
    for name, parameter in tagger.backbone.named_parameters():
        in_block = name.startswith("blocks.") and parameter.ndim == 2
        if in_block or name.endswith(("_token", "pos_embed")):
            nn.init.trunc_normal_(parameter, std=0.02)
        elif name.startswith("blocks.") and name.endswith("bias"):
            nn.init.zeros_(parameter)


def _source(choice: ModelChoice, base: Tagger) -> Mapping[str, Tensor] | None:
    """The weights to start from under the Tagger's key names; None for chance."""
    if choice.weights == "random":
        return None
    if choice.weights == "base":
        return base.state_dict()
    if Path(choice.weights).is_file() and (image := _image_vit(Path(choice.weights))) is not None:
        return image
    return load_model(choice.weights, device="cpu", dtype="float32").state_dict()


def _image_vit(path: Path) -> Mapping[str, Tensor] | None:
    """A ViT or DeiT state dict with timm's key names; None if the file is something else."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = state.get("model", state) if isinstance(state, dict) else {}
    patch = state.get("patch_embed.proj.weight")
    if not isinstance(patch, Tensor) or patch.shape[1] != 3:
        return None
    dropped = ("head.", "head_dist.", "pre_logits.")
    return {f"backbone.{key}": value for key, value in state.items() if not key.startswith(dropped)}


def start_from(tagger: Tagger, source: Mapping[str, Tensor] | None, *, same_labels: bool) -> None:
    """Copy ``source`` into the Tagger: positions are fitted to its grid, an RGB patch embedding is summed.

    The head is copied where the labels are the same. Whatever else is missing or of another shape is a WeightsError.
    """
    if source is None:
        return
    own = tagger.state_dict()
    config = tagger.card.backbone
    found = dict(source)
    if isinstance(config, TransformerConfig):
        found = fit_positions(found, config)
        patch = found.get("backbone.patch_embed.proj.weight")
        if patch is not None and patch.shape[1] == 3:
            found["backbone.patch_embed.proj.weight"] = patch.sum(dim=1, keepdim=True)  # as PaSST and AST do
    for key, value in own.items():
        anew = key.startswith(_NEW_PARTS) or (key.startswith("head.") and not _same(found.get(key), value, same_labels))
        if anew:
            found[key] = value
        elif key not in found or found[key].shape != value.shape:
            shape = tuple(found[key].shape) if key in found else "missing"
            raise WeightsError(
                f"these weights do not fit the network: '{key}' should be {tuple(value.shape)}, is {shape}"
            )
    tagger.load_state_dict({key: found[key] for key in own})


def _same(found: Tensor | None, own: Tensor, same_labels: bool) -> bool:
    return same_labels and found is not None and found.shape == own.shape


def freeze(tagger: Tagger, n_blocks: int) -> None:
    """Keep the patch embedding, positions and the first ``n_blocks`` blocks as they are; 0 trains everything."""
    if not n_blocks:
        return
    config = tagger.card.backbone
    depth, sharing = (config.depth, config.sharing) if isinstance(config, TransformerConfig) else (0, 1)
    kept = tuple(f"blocks.{index}." for index in range(-(-n_blocks // sharing), depth // sharing))
    late = ("norm.", "conformers.", "channels.", *kept)
    for name, parameter in tagger.backbone.named_parameters():
        parameter.requires_grad_(name.startswith(late))


_FULL = "backbone.pos_embed"
_SPLIT = ("backbone.new_pos_embed", "backbone.freq_new_pos_embed", "backbone.time_new_pos_embed")
_CLS, _DIST = "backbone.cls_token", "backbone.dist_token"


def fit_positions(state: Mapping[str, Tensor], config: TransformerConfig) -> dict[str, Tensor]:
    """``state`` with its positions (and its number of prefix tokens) as ``config`` needs them."""
    found, (rows, cols) = dict(state), config.grid
    if _FULL in found:
        prefix, grid = _read_full(found.pop(_FULL), n_prefix=2 if _DIST in found else 1)
        fitted = _bicubic(grid, (rows, cols))
        freq, time = fitted.mean(dim=3, keepdim=True), fitted.mean(dim=2, keepdim=True)
    else:
        prefix, freq, time = (found.pop(key) for key in _SPLIT)
        grid = freq + time
    prefix = _prefix(prefix, config.prefix)
    if config.positions == "split":
        found |= dict(zip(_SPLIT, (prefix, _bicubic(freq, (rows, 1)), _bicubic(time, (1, cols))), strict=True))
    else:
        grid = _ast_axis(_ast_axis(grid, 2, rows), 3, cols)
        found[_FULL] = torch.cat([prefix, grid.flatten(2).transpose(1, 2)], dim=1)
    if config.prefix == 2:
        found.setdefault(_DIST, found[_CLS])  # a ViT without distillation: both tokens start alike
    else:
        found.pop(_DIST, None)
    return found


def _read_full(table: Tensor, n_prefix: int) -> tuple[Tensor, Tensor]:
    """(1, P + N, D) -> prefix (1, P, D), grid (1, D, rows, cols); images are square, spectrograms have 8 to 12 rows."""
    n = table.shape[1] - n_prefix
    rows = (
        math.isqrt(n) if math.isqrt(n) ** 2 == n else next(r for r in (12, 10, 9, 8, *range(16, 0, -1)) if n % r == 0)
    )
    return table[:, :n_prefix], table[:, n_prefix:].transpose(1, 2).unflatten(2, (rows, n // rows))


def _prefix(positions: Tensor, n: int) -> Tensor:
    return positions.expand(-1, n, -1) if positions.shape[1] == 1 else positions[:, :n]


def _bicubic(grid: Tensor, size: tuple[int, int]) -> Tensor:
    if grid.shape[2:] == size:
        return grid
    return F.interpolate(grid, size=size, mode="bicubic", align_corners=False)


def _ast_axis(grid: Tensor, axis: int, size: int) -> Tensor:
    """One axis of (1, D, rows, cols): the centre ``size`` entries, or stretched to ``size``."""
    old = grid.shape[axis]
    if size <= old:
        return grid.narrow(axis, old // 2 - size // 2, size)
    shape = (size, grid.shape[3]) if axis == 2 else (grid.shape[2], size)
    return F.interpolate(grid, size=shape, mode="bilinear", align_corners=False)
