"""What holds for every front-end in the catalog."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiopatch.errors import UsageError
from audiopatch.frontends import FRONTENDS
from audiopatch.frontends.frontend import power_spectrum

every_frontend = pytest.mark.parametrize("name", FRONTENDS)


def noise(n_samples: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, n_samples, generator=torch.Generator().manual_seed(n_samples)) * 0.1


@every_frontend
def test_the_shape_is_what_frames_of_says(name: str):
    frontend = FRONTENDS.load(name)(300)

    @given(extra=st.integers(0, 40_000))
    @settings(max_examples=8, deadline=None)
    def check(extra: int) -> None:
        n_samples = frontend.min_samples + extra
        assert frontend(noise(n_samples)).shape == (1, frontend.n_mels, frontend.frames_of(n_samples))
        whole = frontend.whole(noise(n_samples))
        assert whole.shape[2] == frontend.whole_frames(n_samples)

    check()


@every_frontend
def test_a_clip_does_not_depend_on_its_batch(name: str):
    frontend = FRONTENDS.load(name)(300)
    batch = noise(48_000, batch=3)
    torch.testing.assert_close(frontend(batch)[1:2], frontend(batch[1:2]), atol=1e-5, rtol=0)


@every_frontend
def test_autocast_does_not_touch_it(name: str):
    frontend = FRONTENDS.load(name)(300)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mel = frontend(noise(48_000))
    assert mel.dtype == torch.float32
    assert torch.equal(mel, frontend(noise(48_000)))


@every_frontend
def test_what_is_too_short_is_said(name: str):
    frontend = FRONTENDS.load(name)(300)
    frontend(noise(frontend.min_samples))
    with pytest.raises(UsageError, match="too few"):
        frontend(noise(frontend.min_samples)[:, 1:])


@every_frontend
def test_silence_is_finite(name: str):
    assert FRONTENDS.load(name)(300)(torch.zeros(1, 48_000)).isfinite().all()


@every_frontend
def test_bands_in_runs_are_the_product_with_the_whole_bank(name: str):
    frontend = FRONTENDS.load(name)()
    power = torch.rand(2, len(frontend.filterbank), 7, generator=torch.Generator().manual_seed(0))
    wanted = (power.transpose(1, 2) @ frontend.filterbank).transpose(1, 2)
    torch.testing.assert_close(
        frontend.in_bands(power), wanted, atol=0, rtol=1e-5
    )  # sums of hundreds of positive numbers


@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@pytest.mark.parametrize(("n_fft", "win_length"), [(512, 512), (1024, 800)])
def test_the_spectrum_is_torchs(n_fft: int, win_length: int, pad_mode: str):
    wave, window = noise(5_003, batch=2), torch.hann_window(win_length)
    wanted = torch.stft(wave, n_fft, 320, win_length, window, center=True, pad_mode=pad_mode, return_complex=True)
    found = power_spectrum(wave, n_fft=n_fft, hop_length=320, window=window, pad_mode=pad_mode)
    torch.testing.assert_close(found, wanted.abs().square(), atol=1e-5, rtol=1e-4)
