"""The published code itself, run beside ours on one tiny random network: transformers, maest-infer, hear21passt."""

import numpy as np
import pytest
import torch

from audiopatch.zoo import load_model
from audiopatch.zoo.reference import scene_embeddings

transformers = pytest.importorskip("transformers")


def save_twin(folder, **changes):
    """A tiny random AST in transformers, saved as a hub folder."""
    torch.manual_seed(3)
    sizes = {"hidden_size": 128, "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 512}
    twin = transformers.ASTForAudioClassification(transformers.ASTConfig(**sizes, **changes)).eval()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    twin.save_pretrained(folder)
    return twin


@pytest.mark.parametrize(
    "changes",
    [
        {"num_labels": 527},
        {"num_labels": 35, "max_length": 128},
        {"num_labels": 9, "max_length": 256, "frequency_stride": 16, "time_stride": 14},
    ],
)
def test_ast_on_the_hub(tmp_path, golden, changes):
    twin = save_twin(tmp_path, **changes)
    tagger = load_model(tmp_path, device="cpu")
    mel = tagger.frontend(golden.wave("ast_small/s4.flac"))
    prediction = tagger(mel)
    with torch.no_grad():
        theirs = twin(mel.transpose(1, 2), output_hidden_states=True)
        pooled = twin.audio_spectrogram_transformer(mel.transpose(1, 2)).pooler_output
    torch.testing.assert_close(prediction.logits, theirs.logits, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(prediction.features, pooled, atol=2e-4, rtol=1e-4)


def test_ast_saved_with_todays_key_names(tmp_path, golden):
    """torch.save(model.state_dict()) writes transformers 5's own names, save_pretrained those of version 4."""
    twin = save_twin(tmp_path, num_labels=9, max_length=128)
    (tmp_path / "model.safetensors").unlink()
    torch.save(twin.state_dict(), tmp_path / "pytorch_model.bin")
    tagger = load_model(tmp_path, device="cpu")
    mel = tagger.frontend(golden.wave("ast_small/s4.flac"))
    with torch.no_grad():
        torch.testing.assert_close(tagger(mel).logits, twin(mel.transpose(1, 2)).logits, atol=2e-4, rtol=1e-4)


def test_maest_on_the_hub_folds_the_positions(tmp_path, golden):
    """MAEST's own file, repackaged as its authors do for the hub, gives the same logits on the same frames."""
    original = load_model(golden.folder / "maest_small" / "discogs-maest-30s-small-half.ckpt", device="cpu")
    twin = transformers.ASTForAudioClassification(
        transformers.ASTConfig(
            hidden_size=128,
            num_attention_heads=2,
            num_hidden_layers=8,
            intermediate_size=512,
            num_labels=400,
            num_mel_bins=96,
            max_length=1876,
            layer_norm_eps=1e-6,
        )
    ).eval()
    twin.load_state_dict(repackaged(original))
    twin.save_pretrained(tmp_path)
    hub = load_model(tmp_path, device="cpu")
    mel = hub.frontend(golden.wave("maest_small/m30.flac"))
    assert mel.shape == (1, 96, 1876) and hub.card.family == "maest-hub"
    with torch.no_grad():
        theirs = twin(mel.transpose(1, 2)).logits
    ours = hub(mel)
    torch.testing.assert_close(ours.logits, theirs, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(ours.logits, original(mel).logits, atol=2e-4, rtol=1e-4)


def repackaged(tagger) -> dict[str, torch.Tensor]:
    """models.md section 2, "HF packaging", in transformers 5's names."""
    net, prefix = tagger.backbone, "audio_spectrogram_transformer."
    grid = (net.freq_new_pos_embed + net.time_new_pos_embed).flatten(2).transpose(1, 2)
    state = {
        f"{prefix}embeddings.cls_token": net.cls_token,
        f"{prefix}embeddings.distillation_token": net.dist_token,
        f"{prefix}embeddings.position_embeddings": torch.cat([net.new_pos_embed, grid], dim=1),
        f"{prefix}embeddings.patch_embeddings.projection.weight": net.patch_embed.proj.weight,
        f"{prefix}embeddings.patch_embeddings.projection.bias": net.patch_embed.proj.bias,
        f"{prefix}layernorm.weight": net.norm.weight,
        f"{prefix}layernorm.bias": net.norm.bias,
        "classifier.layernorm.weight": tagger.head[0].weight,
        "classifier.layernorm.bias": tagger.head[0].bias,
        "classifier.dense.weight": tagger.head[1].weight,
        "classifier.dense.bias": tagger.head[1].bias,
    }
    names = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.o_proj",
             "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}  # fmt: skip
    for index, block in enumerate(net.blocks):
        layer = f"{prefix}layers.{index}"
        for ours, theirs in names.items():
            module = block.get_submodule(ours)
            state |= {f"{layer}.{theirs}.weight": module.weight, f"{layer}.{theirs}.bias": module.bias}
        for kind in ("weight", "bias"):
            parts = zip("qkv", getattr(block.attn.qkv, kind).chunk(3), strict=True)
            state |= {f"{layer}.attention.{letter}_proj.{kind}": part for letter, part in parts}
    return state


def import_or_skip(name: str):
    """The package, or a skip that says why: both need torchaudio, which does not load beside every torch."""
    try:
        return __import__(name, fromlist=["_"])
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"{name} does not import here: {error}")


def test_maest_infer(golden):
    maest = import_or_skip("maest_infer.model").MAEST(
        img_size=(96, 1875), stride=(10, 10), num_classes=400, embed_dim=128, depth=8, num_heads=2, distilled=True
    )
    path = golden.folder / "maest_small" / "discogs-maest-30s-small-half.ckpt"
    maest.load_state_dict(torch.load(path, weights_only=True))
    tagger = load_model(path, device="cpu")
    wave = golden.wave("maest_small/m12.flac")
    with torch.no_grad():
        logits, features = maest.eval()(wave[0])
    prediction = tagger(tagger.frontend(wave))
    np.testing.assert_allclose(prediction.logits, logits, atol=2e-4)
    np.testing.assert_allclose(prediction.features, features, atol=2e-4)


def test_hear21passt(golden):
    passt = import_or_skip("hear21passt.models.passt").PaSST(
        stride=10, num_classes=40, embed_dim=128, depth=2, num_heads=2, distilled=True
    )
    preprocess = import_or_skip("hear21passt.models.preprocess")
    wrapper = import_or_skip("hear21passt.wrapper")
    path = golden.folder / "passt_small" / "passt-small.pt"
    passt.load_state_dict(torch.load(path, weights_only=True))
    mel = preprocess.AugmentMelSTFT(
        n_mels=128, sr=32000, win_length=800, hopsize=320, n_fft=1024, fmin=0.0, fmax=None, fmax_aug_range=2000
    )
    model = wrapper.PasstBasicWrapper(mel=mel, net=passt).eval()
    wave = golden.wave("passt_small/b3p7.flac")
    with torch.no_grad():
        theirs = model.get_scene_embeddings(wave)
    np.testing.assert_allclose(scene_embeddings(load_model(path, device="cpu"), wave), theirs, atol=2e-4)
