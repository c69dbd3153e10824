"""PaSST against outputs recorded from hear21passt 0.0.26, through its HEAR calls as well."""

import pytest
import torch

from audiopatch.errors import UsageError
from audiopatch.zoo import load_model
from audiopatch.zoo.reference import scene_embeddings, timestamp_embeddings


@pytest.fixture(scope="module")
def passt(golden):
    """A small PaSST with random weights, of whose classes the first 40 were kept."""
    return load_model(golden.folder / "passt_small" / "passt-small.pt", device="cpu")


@pytest.fixture(scope="module")
def recorded(golden):
    return golden.arrays("passt_small/io.npz")


@pytest.mark.parametrize("name", ["a10", "b3p7"])  # a whole segment; a shorter input
def test_logits_and_features_are_the_references(passt, golden, recorded, parity, name: str):
    prediction = passt(passt.frontend(golden.wave(f"passt_small/{name}.flac")))
    parity(prediction.logits, recorded[f"logits_{name}"])
    parity(prediction.features, recorded[f"features_{name}"])


def test_patch_embedding_is_the_references(passt, golden, recorded, parity):
    patches = passt.backbone.patch_embed.proj(passt.frontend(golden.wave("passt_small/a10.flac"))[:, None])
    parity(patches[..., :3].detach(), recorded["patch_embed_a10_first3cols"])


def test_scene_embeddings_are_hears(passt, golden, recorded, parity):
    ten = golden.wave("passt_small/a10.flac")
    parity(scene_embeddings(passt, ten), recorded["scene_all"])
    parity(scene_embeddings(passt, ten, mode="embed_only"), recorded["scene_embed_only"])
    parity(scene_embeddings(passt, ten, mode="logits"), recorded["scene_logits"])


def test_scene_embeddings_of_a_long_file_are_hears(passt, golden, recorded, parity):
    parity(scene_embeddings(passt, golden.wave("passt_small/c17p3.flac")), recorded["scene_long_all"])


def test_timestamp_embeddings_are_hears(passt, golden, recorded, parity):
    embeddings, times_ms = timestamp_embeddings(passt, golden.wave("passt_small/b3p7.flac"))
    parity(embeddings[:, ::5], recorded["timestamp_embed_b_all"])  # every fifth is recorded
    assert torch.equal(times_ms, torch.from_numpy(recorded["timestamp_ms_b"]))


def test_recordings_in_one_batch_do_not_mix(passt, golden):
    wave = golden.wave("passt_small/b3p7.flac")[:, :40_000]
    both, _ = timestamp_embeddings(passt, torch.cat([wave, wave.flip(1)]), hop_s=0.4)
    alone, _ = timestamp_embeddings(passt, wave.flip(1), hop_s=0.4)
    torch.testing.assert_close(both[1:], alone, atol=1e-4, rtol=0)


def test_what_hear_cannot_take_is_said(passt):
    with pytest.raises(UsageError, match="too few"):
        timestamp_embeddings(passt, torch.zeros(1, 2000))
    with pytest.raises(UsageError, match="unknown mode 'al'"):
        scene_embeddings(passt, torch.zeros(1, 32000), mode="al")
    with pytest.raises(UsageError, match="recordings, samples"):
        scene_embeddings(passt, torch.zeros(32000))
