"""EAT and SSLAM: transformers whose norms stand after attention and MLP, fine-tuned or as pre-trained encoders.

Both have one code (SSLAM took over EAT's), two packagings (fairseq checkpoints and the hub) and see time first, as
AudioMAE does. Chen et al. 2024; Alex et al. 2025.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from audiopatch.errors import WeightsError
from audiopatch.models.card import ModelCard, Weights
from audiopatch.models.config import FrontendConfig, HeadConfig, TransformerConfig
from audiopatch.zoo.audiomae import frequency_first
from audiopatch.zoo.published import Published, depth_of, label_set, missing, shape_of, width_of

if TYPE_CHECKING:
    from torch import Tensor

N_MELS, _ROWS, _N_FRAMES = 128, 8, 1024
_STATS = {"mean": -4.268, "std": 4.569}  # AST's, rounded by the authors
_EPS, _HUB_HEAD_EPS = 1e-6, 1e-5

# fairseq's name of the encoder's first layers, and the hub's
_FAIRSEQ = "modality_encoders.IMAGE."
_KERNEL, _CLS, _POSITIONS = "local_encoder.proj.weight", "extra_tokens", "fixed_positional_encoder.positions"
_TOP = {
    "local_encoder.proj.": "backbone.patch_embed.proj.",
    "extra_tokens": "backbone.cls_token",
    "fixed_positional_encoder.positions": "backbone.pos_embed",
    "context_encoder.norm.": "backbone.pre_norm.",  # fairseq
    "pre_norm.": "backbone.pre_norm.",  # the hub
    "fc_norm.": "head.0.",
    "head.": "head.1.",
}
_PAPERS = {
    "eat": "Chen, Liang, Ma, Zheng, Chen 2024, arXiv 2401.03497",
    "sslam": "Alex, Atito, Mustafa, Awais, Jackson 2025, arXiv 2506.12222",
}
_PAGES = {"eat": "https://github.com/cwx-worst-one/EAT", "sslam": "https://github.com/ta012/SSLAM"}


def eat_card(
    name: str,
    *,
    dim: int = 768,
    depth: int = 12,
    cols: int = 768,
    n_classes: int = 527,
    head_eps: float = _HUB_HEAD_EPS,
    weights: Weights | None = None,
    scores: Mapping[str, float] | None = None,
) -> ModelCard:
    """The card of an EAT or an SSLAM, whichever ``name`` says; ``n_classes`` 0 is a pre-trained encoder.

    The features are CLS after the last block, as the classifier sees it.
    """
    backbone = TransformerConfig(
        grid=(_ROWS, cols),
        n_mels=N_MELS,
        dim=dim,
        depth=depth,
        prefix=1,
        patch_stride=(16, 16),
        positions="full",
        final_norm=False,
        norm_order="post",
    )
    n_frames = min(_N_FRAMES, 16 * cols)
    origin = "sslam" if "sslam" in name.lower() else "eat"
    return ModelCard(
        name=name,
        family="eat",
        frontend=FrontendConfig("ast", n_frames=n_frames, options=dict(_STATS)),
        backbone=backbone,
        head=HeadConfig(n_classes, eps=head_eps) if n_classes else HeadConfig(0, kind="none"),
        labels=label_set(n_classes),
        segment_s=n_frames / 100,
        weights=weights,
        scores=scores or {},
        licence="MIT",
        code_licence="MIT",
        paper=_PAPERS[origin],
        page=_PAGES[origin],
        domain="sound",
        summary="sound events of AudioSet" if n_classes else "pre-trained encoder, embeds only",
    )


_README = "mAP, AudioSet eval (the repository's README)"
# name, hub, width, blocks, mAP
_PUBLISHED = (
    ("eat-base-as2m", "worstchan/EAT-base_epoch30_finetune_AS2M", 768, 12, 0.489),
    ("eat-large-as2m", "worstchan/EAT-large_epoch20_finetune_AS2M", 1024, 24, 0.495),
    ("sslam-as2m", "ta012/SSLAM_AS2M_Finetuned", 768, 12, 0.502),
    ("eat-base-pretrained", "worstchan/EAT-base_epoch30_pretrain", 768, 12, None),
    ("eat-large-pretrained", "worstchan/EAT-large_epoch20_pretrain", 1024, 24, None),
    ("sslam-pretrained", "ta012/SSLAM_pretrain", 768, 12, None),
)
CARDS = tuple(
    eat_card(
        name,
        dim=dim,
        depth=depth,
        n_classes=0 if score is None else 527,
        weights=Weights(hub=hub),
        scores={} if score is None else {_README: score},
    )
    for name, hub, dim, depth, score in _PUBLISHED
)


SIGNS = (_KERNEL, _CLS, _POSITIONS)


def lacks(state: Mapping[str, Tensor]) -> list[str]:
    """Which keys of EAT and SSLAM, in either packaging, a state dict lacks."""
    return missing(_plain_names(state), SIGNS)


def read(state: Mapping[str, Tensor], name: str) -> Published:
    """A state dict -> card and renamed, reordered tensors; without a head, the model embeds only.

    The classifier's norm has fairseq's epsilon in fairseq's files, and torch's in the hub's.
    """
    from_fairseq = any(_FAIRSEQ in key for key in state)
    state = _plain_names(state)
    _check_sizes(state, name)
    has_head = "head.weight" in state
    card = eat_card(
        name,
        dim=width_of(state, "blocks.0.norm1.weight", 1),
        depth=depth_of(state),
        cols=shape_of(state, _POSITIONS, 3)[1] // _ROWS,
        n_classes=shape_of(state, "head.weight", 2)[0] if has_head else 0,
        head_eps=_EPS if from_fairseq else _HUB_HEAD_EPS,
    )
    ordered = dict(state)
    ordered[_KERNEL] = state[_KERNEL].transpose(2, 3).contiguous()
    ordered[_POSITIONS] = _with_cls(state[_POSITIONS])
    return Published(card, {_rename(key): value for key, value in ordered.items()})


def _plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the packagings' prefixes, and without what only pre-training uses: its decoder and its teacher."""
    plain = {key.removeprefix("model.").removeprefix(_FAIRSEQ): value for key, value in state.items()}
    return {key: value for key, value in plain.items() if not key.startswith(("decoder.", "_ema"))}


def _check_sizes(state: Mapping[str, Tensor], name: str) -> None:
    shape_of(state, _CLS, 3)
    if shape_of(state, _KERNEL, 4)[1:] != (1, 16, 16) or shape_of(state, _POSITIONS, 3)[1] % _ROWS:
        raise WeightsError(f"{name}: EAT has patches of 16 × 16 on 128 bands, and positions for whole columns of 8")


def _with_cls(positions: Tensor) -> Tensor:
    """(1, cols * 8, D), time first -> (1, 1 + 8 * cols, D), frequency first; CLS has no position of its own."""
    from torch.nn.functional import pad

    return frequency_first(pad(positions, (0, 0, 1, 0)), n_rows=_ROWS)


def _rename(key: str) -> str:
    for old, new in _TOP.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return f"backbone.{key}"
