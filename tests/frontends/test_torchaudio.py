"""torchaudio as a live twin of the front-ends, wherever it loads; running needs none of it."""

import numpy as np
import pytest
import torch

from audiopatch.frontends.ast import AstFrontend
from audiopatch.frontends.maest import MaestFrontend

torchaudio = pytest.importorskip("torchaudio", exc_type=ImportError)


def test_the_filterbank_features_are_kaldis(wave):
    samples = wave("ast_small/s4.flac")
    frontend = AstFrontend(512)
    twin = torchaudio.compliance.kaldi.fbank(
        samples - samples.mean(),
        htk_compat=True,
        sample_frequency=16_000,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=128,
        dither=0.0,
        frame_shift=10,
    )
    mel = frontend.log_mel(samples - samples.mean())[0].T
    np.testing.assert_allclose(mel, twin, atol=1e-3)


def test_maests_mel_is_torchaudios(wave):
    samples = wave("maest_small/m12.flac")
    transform = torchaudio.transforms.MelSpectrogram(
        sample_rate=16_000, n_fft=512, win_length=512, hop_length=256, n_mels=96, norm="slaney", mel_scale="slaney"
    )
    twin = torch.log10(1 + 10_000 * transform(samples))
    np.testing.assert_allclose(MaestFrontend().log_mel(samples), twin, atol=1e-3)
