"""MusiCNN: the shipped weights against recordings of the original, the layout against a plain twin.

The recordings are the TensorFlow graphs' own scores; the shipped weights are rounded to float16, which is what the
tolerance is for. The second implementation keeps TensorFlow's order (time, frequency) and its names.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from audiopatch.errors import UsageError, WeightsError
from audiopatch.models.config import MusicnnConfig
from audiopatch.models.musicnn import ConvReluNorm, Musicnn
from audiopatch.reducers.plan import parse_plan
from audiopatch.zoo import CARDS, load_model

VGG_POOLS = {  # (time, frequency): size, stride
    "MSD": (((4, 1), (4, 1)), ((1, 4), (1, 4)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((4, 4), (4, 4))),
    "MTT": (((4, 1), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((4, 4), (4, 4))),
}


@pytest.mark.parametrize("data", ["MSD", "MTT"])
def test_shipped_weights_give_the_recorded_scores(golden, data: str):
    recorded = golden.arrays("musicnn/io.npz")
    tagger = load_model(f"musicnn-{data.lower()}", device="cpu", offline=True)
    mel = tagger.frontend.whole(golden.wave("musicnn/wave9s.flac"))
    np.testing.assert_allclose(mel[0].T[recorded["mel_frames"]], recorded["mel_values"], atol=1e-5)
    segments = torch.stack(mel[..., : 3 * 187].split(187, dim=2), dim=1)[0]
    synthetic = torch.from_numpy(recorded["mel_synthetic"]).transpose(1, 2)
    with torch.inference_mode():
        for inputs, name in ((segments, "9s"), (synthetic, "synthetic")):
            scores = tagger.scores(tagger(inputs).logits).numpy()
            assert np.abs(scores - recorded[f"scores_{name}_{data}"]).max() < 4e-4


def test_loud_music_gives_finite_scores(golden):
    """The authors' float16 logarithm overflows from 10000 mel = 65 520 on, and every score becomes NaN."""
    tagger = load_model("musicnn-msd", device="cpu")
    mel = tagger.frontend(torch.sign(golden.wave("musicnn/wave9s.flac"))[:, :48_000])
    assert 10 ** mel.max() > 65_520 and tagger(mel).logits.isfinite().all()


def test_a_convolutional_network_has_no_tokens():
    tagger = load_model("musicnn-mtt", device="cpu")
    assert tagger.grid is None and CARDS["musicnn-mtt"].licence == "ISC"
    with pytest.raises(UsageError, match="without tokens"):
        tagger(torch.zeros(1, 96, 187), parse_plan("F3T2"))


def convolved(x: Tensor, state, conv: str, norm: str, pad: tuple[int, ...] = (0, 0, 0, 0)) -> Tensor:
    """x (B, time, frequency, in) -> (B, time, frequency, out)."""
    kernel, bias = state[f"{conv}/kernel"], state[f"{conv}/bias"]
    return normed(F.conv2d(F.pad(x.permute(0, 3, 1, 2), pad), kernel.permute(3, 2, 0, 1), bias).relu(), state, norm)


def normed(x: Tensor, state, norm: str) -> Tensor:
    """x (B, channels, ...) by batch norm; of an image, its channels come last afterwards."""
    mean, variance = state[f"{norm}/moving_mean"], state[f"{norm}/moving_variance"]
    x = F.batch_norm(x, mean, variance, state[f"{norm}/gamma"], state[f"{norm}/beta"], eps=1e-3)
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def musicnn_logits(state, mel: Tensor) -> Tensor:
    """mel (B, time, 96) -> logits (B, 50), layer by layer as the paper's section 2 draws them."""
    x = normed(mel[:, None], state, "batch_normalization")
    front = []
    for index, name in enumerate(("conv2d", "conv2d_1", "conv2d_2", "conv2d_3", "conv2d_4")):
        frames = state[f"{name}/kernel"].shape[0]
        pad = (0, 0, (frames - 1) // 2, frames // 2)
        front.append(convolved(x, state, name, f"batch_normalization_{1 + index}", pad).amax(dim=2))
    maps = [torch.cat(front, dim=2)]
    for index in range(3):
        inside = maps[-1]
        out = convolved(
            inside[..., None], state, f"conv2d_{5 + index}", f"batch_normalization_{6 + index}", (0, 0, 3, 3)
        )
        maps.append(out[:, :, 0] + inside if index else out[:, :, 0])
    every = torch.cat(maps, dim=2)
    pooled = torch.stack([every.amax(dim=1), every.mean(dim=1)], dim=2).flatten(1)
    x = normed(pooled, state, "batch_normalization_9") @ state["dense/kernel"] + state["dense/bias"]
    return normed(x.relu(), state, "batch_normalization_10") @ state["dense_1/kernel"] + state["dense_1/bias"]


def vgg_logits(state, mel: Tensor, data: str) -> Tensor:
    x = normed(mel[:, None], state, "batch_normalization")
    for index, (size, stride) in enumerate(VGG_POOLS[data]):
        x = convolved(x, state, f"{1 + index}CNN", f"batch_normalization_{1 + index}", (1, 1, 1, 1))
        x = F.max_pool2d(x.permute(0, 3, 1, 2), size, stride).permute(0, 2, 3, 1)
    return x.flatten(1) @ state["dense/kernel"] + state["dense/bias"]


def test_a_checkpoints_variables_become_the_same_network(states, save):
    state, mel = states.musicnn(), torch.rand(2, 187, 96) * 3
    tagger = load_model(save(state, "my_MSD_musicnn.pt"), device="cpu")
    assert tagger.labels[0] == "rock" and sum(p.numel() for p in tagger.parameters()) == 787_159
    torch.testing.assert_close(tagger(mel.transpose(1, 2)).logits, musicnn_logits(state, mel), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("n_frames", [1, 31, 187, 700])
def test_the_peaks_of_a_convolution_are_the_maximum_of_its_map(n_frames: int):
    """With norms that turn the order round, and lengths that no block of frames divides."""
    x = torch.randn(3, 1, 96, n_frames)
    branches = Musicnn(MusicnnConfig()).eval()
    for branch in (*branches.timbral, *branches.temporal):
        torch.nn.init.normal_(branch.norm.weight)
        with torch.inference_mode():
            whole = ConvReluNorm.forward(branch, x).amax(dim=2)
            torch.testing.assert_close(branch(x), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("data", ["MSD", "MTT"])
def test_the_two_vggs_have_pools_of_their_own(states, save, data: str):
    state, mel = states.vgg(), torch.rand(2, 187, 96) * 3
    tagger = load_model(save(state, f"{data}_vgg.pt"), device="cpu")
    assert tagger.frontend.frames_of(tagger.frontend.min_samples) == 187
    torch.testing.assert_close(tagger(mel.transpose(1, 2)).logits, vgg_logits(state, mel, data), atol=1e-5, rtol=1e-4)


def test_the_name_must_say_which_tags_a_file_gives(states, save):
    for name in ("weights.pt", "MSD_or_MTT.pt"):
        with pytest.raises(WeightsError, match="put MSD or MTT into the file's name"):
            load_model(save(states.musicnn(), name), device="cpu")
