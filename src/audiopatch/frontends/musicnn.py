"""MusiCNN's log-mel: MAEST's 96 Slaney bands without its normalisation (Pons & Serra 2019, arXiv 1909.06654)."""

from __future__ import annotations

from audiopatch.frontends.maest import MaestFrontend


class MusicnnFrontend(MaestFrontend):
    """wave (B, S) at 16 kHz -> (B, 96, 1 + S // 256): log10(1 + 10000 mel), with the edges of the audio reflected.

    In float32 throughout: the authors' package takes the logarithm in float16, where 10000 mel of loud music
    overflows and every score becomes NaN. ``min_frames`` is the shortest input the network takes.
    """

    mean, scale = 0.0, 1.0  # the network's first layer normalises

    def __init__(self, n_frames: int | None = None, *, min_frames: int = 16):
        super().__init__(n_frames)
        self.min_samples = (min_frames - 1) * self.hop_length
