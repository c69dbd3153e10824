"""A front-end that is told which frames will be read gives exactly those."""

import pytest
import torch

from audiopatch.frontends import FRONTENDS


@pytest.mark.parametrize("name", list(FRONTENDS))
def test_the_frames_asked_for_are_those_of_the_whole(name):
    frontend = FRONTENDS.load(name)()
    wave = torch.randn(3, 2 * frontend.sample_rate, generator=torch.Generator().manual_seed(0))
    whole = frontend(wave)
    n_frames = whole.shape[2]
    for frames in ([0], [0, 1, 2, 40, 41, n_frames - 1], list(range(n_frames)), list(range(50, n_frames))):
        torch.testing.assert_close(frontend(wave, frames)[:, :, frames], whole[:, :, frames], atol=2e-5, rtol=1e-5)


def test_frames_that_nobody_reads_are_not_computed():
    frontend = FRONTENDS.load("passt")()
    mel = frontend(torch.randn(1, 32000), [5, 6])
    assert mel.shape == (1, 128, 100) and mel[:, :, [4, 7]].unique().numel() == 1


def test_a_clip_does_not_depend_on_its_batch():
    frontend = FRONTENDS.load("passt")()
    wave = torch.randn(3, 32000)
    assert torch.equal(frontend(wave)[1:2], frontend(wave[1:2]))
