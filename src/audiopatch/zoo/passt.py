"""PaSST: every published architecture, told apart by the sizes of its tensors; files are plain state dicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from audiopatch.errors import WeightsError
from audiopatch.models.card import ModelCard, Weights
from audiopatch.models.config import FrontendConfig, HeadConfig, TransformerConfig
from audiopatch.zoo.published import Published, depth_of, drop_unused, label_set, missing, shape_of, width_of

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE_RATE, N_MELS = 32000, 128
LABEL_SETS = {527: "audioset", 20: "openmic", 200: "fsd50k"}
STRIDE_OF_ROWS = {12: 10, 10: 12, 9: 14, 8: 16}  # rows of the position table -> patch stride
_PAPER = "Koutini, Schlüter, Eghbal-zadeh, Widmer 2022, arXiv 2110.05069"
_LICENCE = "Apache-2.0 (the repository's, where the weights are released)"
_URL = "https://github.com/kkoutini/PaSST/releases/download/"
_SUMMARIES = {527: "sound events of AudioSet", 20: "instruments of OpenMIC-2018", 200: "sound events of FSD50K"}


def passt_card(
    name: str,
    *,
    grid: tuple[int, int],
    n_classes: int,
    hop_length: int = 320,
    dim: int = 768,
    depth: int = 12,
    weights: Weights | None = None,
    scores: Mapping[str, float] | None = None,
) -> ModelCard:
    """The card of a PaSST checkpoint, from the sizes of its tensors and the mel hop it was trained with."""
    stride = STRIDE_OF_ROWS[grid[0]]
    backbone = TransformerConfig(grid=grid, n_mels=N_MELS, dim=dim, depth=depth, patch_stride=(stride, stride))
    n_frames = _segment_frames(backbone, hop_length)
    segment_s = n_frames * hop_length / SAMPLE_RATE
    return ModelCard(
        name=name,
        family="passt",
        frontend=FrontendConfig("passt", n_frames, {} if hop_length == 320 else {"hop_length": hop_length}),
        backbone=backbone,
        head=HeadConfig(n_classes=n_classes),
        labels=label_set(n_classes, LABEL_SETS),
        segment_s=segment_s,
        weights=weights,
        scores=scores or {},
        licence=_LICENCE,
        code_licence="Apache-2.0",
        paper=_PAPER,
        page="https://github.com/kkoutini/PaSST",
        domain="music" if n_classes == 20 else "sound",
        summary=f"{_SUMMARIES.get(n_classes, 'audio tags')}, segments of {segment_s:g} s",
    )


def _segment_frames(backbone: TransformerConfig, hop_length: int) -> int:
    """Frames of whole seconds where the table was made for them (998 // 10 = 99 columns: 10 s), else all it holds."""
    stride, cols = backbone.patch_stride[1], backbone.grid[1]
    per_second = SAMPLE_RATE // hop_length
    whole = round(cols * stride / per_second) * per_second
    return whole if whole and backbone.patch_grid(whole)[1] <= cols else (cols - 1) * stride + 16


_S10 = (12, 99)
# name (as in hear21passt), file, grid, classes, mAP on its own test set; None where the authors' name gives none
_PUBLISHED = (
    ("passt_s_swa_p16_128_ap476", "v0.0.1-audioset/passt-s-f128-p16-s10-ap.476-swa.pt", _S10, 527, 0.476),
    ("passt_s_kd_p16_128_ap486", "v.0.0.9/passt-s-kd-ap.486.pt", _S10, 527, 0.486),
    ("passt_l_kd_p16_128_ap47", "v.0.0.10/passt-l-kd-ap.47.pt", _S10, 527, 0.47),
    ("passt_s_swa_p16_128_ap4761", "v0.0.2-audioset/passt-s-f128-p16-s10-ap.4761-swa.pt", _S10, 527, 0.4761),
    ("passt_s_p16_128_ap472", "v0.0.2-audioset/passt-s-f128-p16-s10-ap.472.pt", _S10, 527, 0.472),
    ("passt_s_p16_s16_128_ap468", "v0.0.2-audioset/passt-s-f128-p16-s16-ap.468.pt", (8, 62), 527, 0.468),
    ("passt_s_swa_p16_s16_128_ap473", "v0.0.2-audioset/passt-s-f128-p16-s16-ap.473-swa.pt", (8, 62), 527, 0.473),
    ("passt_s_swa_p16_s14_128_ap471", "v0.0.2-audioset/passt-s-f128-p16-s14-ap.471-swa.pt", (9, 71), 527, 0.471),
    ("passt_s_p16_s14_128_ap469", "v0.0.2-audioset/passt-s-f128-p16-s14-ap.469.pt", (9, 71), 527, 0.469),
    ("passt_s_swa_p16_s12_128_ap473", "v0.0.2-audioset/passt-s-f128-p16-s12-ap.473-swa.pt", (10, 83), 527, 0.473),
    ("passt_s_p16_s12_128_ap470", "v0.0.2-audioset/passt-s-f128-p16-s12-ap.470.pt", (10, 83), 527, 0.470),
    ("stfthop100", "v0.0.3-audioset/passt-s-f128-stfthop100-p16-s10-ap.473-swa.pt", (12, 320), 527, 0.473),
    ("stfthop160", "v0.0.3-audioset/passt-s-f128-stfthop160-p16-s10-ap.473-swa.pt", (12, 200), 527, 0.473),
    ("passt_20sec", "v0.0.5/passt-s-f128-20sec-p16-s10-ap.474-swa.pt", (12, 200), 527, 0.474),
    ("passt_30sec", "v0.0.5/passt-s-f128-30sec-p16-s10-ap.473-swa.pt", (12, 300), 527, 0.473),
    ("openmic2008", "v0.0.5/openmic-passt-s-f128-10sec-p16-s10-ap.85.pt", _S10, 20, 0.85),
    ("openmic2008_passt_u", "v0.0.4-openmic/openmic2008.passt-u-f128-p16-s10-ap.85.pt", _S10, 20, 0.85),
    ("openmic2008_passt_u_swa", "v0.0.4-openmic/openmic2008.passt-u-f128-p16-s10-ap.85-swa.pt", _S10, 20, 0.85),
    ("fsd50k", "v0.0.5/fsd50k-passt-s-f128-p16-s10-ap.655.pt", _S10, 200, 0.655),
    ("fsd50k-n", "v0.0.5/fsd50k-passt-s-n-f128-p16-s16-ap.642.pt", (8, 62), 200, 0.642),
    ("passt_b_f128_p16_s16_ap_459", "v.0.0.7-audioset/passt-b-f128-p16-s16-ap.459.pt", (8, 62), 527, 0.459),
    ("passt_u600_f128_p16_s16_ap_460", "v.0.0.7-audioset/passt-u600-f128-p16-s16-ap.460.pt", (8, 62), 527, 0.460),
)
_DEPTHS = {"passt_l_kd_p16_128_ap47": 7}
_HOP_LENGTHS = {"stfthop100": 100, "stfthop160": 160}
_TEST_SETS = {527: "AudioSet eval", 20: "OpenMIC-2018 test", 200: "FSD50K eval"}
_KNOWN_FILES = {
    "passt_s_swa_p16_128_ap476": ("302903fa8c4aee817b11dc982da0b29aaf8d11a3e722420476d0a12c9db70c2c", 344665734),
}


def _published_card(name: str, path: str, grid: tuple[int, int], n_classes: int, score: float) -> ModelCard:
    sha256, size_bytes = _KNOWN_FILES.get(name, ("", 0))
    filename = path.rpartition("/")[2]
    return passt_card(
        name,
        grid=grid,
        n_classes=n_classes,
        hop_length=_HOP_LENGTHS.get(name, 320),
        depth=_DEPTHS.get(name, 12),
        weights=Weights(url=_URL + path, filename=filename, sha256=sha256, size_bytes=size_bytes),
        scores={f"mAP, {_TEST_SETS[n_classes]} (in the release's file name)": score},
    )


CARDS = tuple(_published_card(*row) for row in _PUBLISHED)


# ``head_dist`` is trained but never read at inference; the mel's buffers appear when a live MAEST was saved.
_UNUSED = ("head_dist.", "melspectrogram.")

# Columns of the table -> mel hop, where it is not 320: 10 s at hop 100 is the only input of 3200 frames.
_HOPS = {320: 100}
# 200 columns are 20 s at hop 320 or 10 s at hop 160. The shapes cannot tell; the published file's name does.
_AMBIGUOUS_COLS, _HOP_160 = 200, "hop160"


SIGNS = ("freq_new_pos_embed", "time_new_pos_embed")


def lacks(state: Mapping[str, Tensor]) -> list[str]:
    """Which of PaSST's keys a state dict lacks (MAEST's reader is asked first)."""
    return missing(state, SIGNS)


def read(state: Mapping[str, Tensor], name: str) -> Published:
    """A state dict -> card and renamed tensors. ``name`` is only asked where two published models share all shapes."""
    grid = split_position_grid(state)
    if grid[0] not in STRIDE_OF_ROWS:
        raise WeightsError(f"{name}: no PaSST has {grid[0]} rows of patches (12, 10, 9 and 8 are stride 10 to 16)")
    if shape_of(state, "patch_embed.proj.weight", 4)[1:] != (1, 16, 16):
        raise WeightsError(f"{name}: PaSST has patches of 16 × 16 on one channel")
    hop_length = 160 if grid[1] == _AMBIGUOUS_COLS and _HOP_160 in name else _HOPS.get(grid[1], 320)
    card = passt_card(
        name,
        grid=grid,
        n_classes=shape_of(state, "head.1.weight", 2)[0],
        hop_length=hop_length,
        dim=width_of(state),
        depth=depth_of(state),
    )
    return Published(card, to_tagger(state))


def split_position_grid(state: Mapping[str, Tensor]) -> tuple[int, int]:
    """(rows, cols) of the two position encodings."""
    return shape_of(state, "freq_new_pos_embed", 4)[2], shape_of(state, "time_new_pos_embed", 4)[3]


def to_tagger(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """PaSST's names -> the Tagger's: the head stays, everything else is the backbone."""
    used = drop_unused(state, _UNUSED)
    return {key if key.startswith("head.") else f"backbone.{key}": value for key, value in used.items()}
