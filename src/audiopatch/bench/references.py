"""The authors' own packages, run by an interpreter of their own: ``python references.py JOB.json``.

This file imports nothing of audiopatch, and each package only where it is used. A job names a family, the published
weights, the sizes of the network and an ``.npz`` of waveforms; what the package makes of them goes to another ``.npz``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import distributions
from typing import Any

import numpy as np

# One clip: the front-end's output (bands, frames), logits or, where the package gives nothing else, scores, features.
Outputs = dict[str, Any]


def ast(job: dict[str, Any], waves: Sequence[np.ndarray]) -> Iterator[Outputs]:
    """transformers' ASTForAudioClassification and its extractor."""
    from transformers import ASTFeatureExtractor, ASTForAudioClassification

    net = ASTForAudioClassification.from_pretrained(job["weights"]).eval()
    extract = ASTFeatureExtractor.from_pretrained(job["weights"])
    job["labels"] = [net.config.id2label[index] for index in range(net.config.num_labels)]
    for wave in waves:
        mel = extract(wave, sampling_rate=16000, return_tensors="pt").input_values
        features = net.audio_spectrogram_transformer(mel).pooler_output
        yield {"mel": mel[0].T, "logits": net(mel).logits[0], "features": features[0]}


def maest(job: dict[str, Any], waves: Sequence[np.ndarray]) -> Iterator[Outputs]:
    """maest-infer's MAEST: the mel of the whole clip, cut to whole segments."""
    import torch
    from maest_infer.model import MAEST

    sizes, frames = job["backbone"], job["n_frames"]
    net = MAEST(
        img_size=(96, frames),
        stride=(10, 10),
        num_classes=job["n_classes"],
        embed_dim=sizes["dim"],
        depth=sizes["depth"],
        num_heads=sizes["dim"] // 64,
        distilled=True,
    )
    state = torch.load(job["weights"], map_location="cpu", weights_only=True)
    net.load_state_dict({key: value for key, value in state.items() if not key.startswith("melspectrogram.")})
    net.eval().init_melspectrogram()
    job["labels"] = list(getattr(net, "labels", ()))
    for wave in map(torch.from_numpy, waves):
        logits, features = net(wave)
        yield {"mel": net.melspectrogram(wave)[:, :frames], "logits": logits[0], "features": features[0]}


def passt(job: dict[str, Any], waves: Sequence[np.ndarray]) -> Iterator[Outputs]:
    """hear21passt's PaSST behind its AugmentMelSTFT."""
    import torch
    from hear21passt.models.passt import PaSST
    from hear21passt.models.preprocess import AugmentMelSTFT

    sizes = job["backbone"]
    stride, n_cols = sizes["patch_stride"][0], sizes["grid"][1]
    net = PaSST(
        img_size=(128, stride * n_cols),
        stride=stride,
        num_classes=job["n_classes"],
        embed_dim=sizes["dim"],
        depth=sizes["depth"],
        num_heads=sizes["dim"] // 64,
        distilled=True,
    ).eval()
    net.load_state_dict(torch.load(job["weights"], map_location="cpu", weights_only=True))
    hop = job["frontend_options"].get("hop_length", 320)
    extract = AugmentMelSTFT(n_mels=128, sr=32000, win_length=800, hopsize=hop, n_fft=1024, fmax_aug_range=2000).eval()
    for wave in map(torch.from_numpy, waves):
        mel = extract(wave[None])
        logits, features = net(mel[:, None])
        yield {"mel": mel[0], "logits": logits[0], "features": features[0]}


def dasheng(job: dict[str, Any], waves: Sequence[np.ndarray]) -> Iterator[Outputs]:
    """dasheng's encoder; the mean of its tokens is our feature."""
    import torch
    from dasheng.pretrained.pretrained import Dasheng

    sizes = job["backbone"]
    net = Dasheng(
        patch_size=[64, 4],
        patch_stride=[64, 4],
        embed_dim=sizes["dim"],
        depth=sizes["depth"],
        num_heads=sizes["dim"] // sizes["head_dim"],
        target_length=4 * sizes["grid"][1],
    ).eval()
    content = torch.load(job["weights"], map_location="cpu", weights_only=True)
    state = content.get("model", content)
    head = {key: state.pop(key) for key in list(state) if key.startswith("outputlayer.")}
    net.load_state_dict(state)
    for wave in map(torch.from_numpy, waves):
        mel = net.front_end(wave[None])[0]
        features = net(wave[None]).mean(dim=1)
        out: Outputs = {"mel": mel, "features": features[0]}
        if head:
            normed = torch.nn.functional.layer_norm(
                features, features.shape[-1:], head["outputlayer.0.weight"], head["outputlayer.0.bias"]
            )
            out["logits"] = (normed @ head["outputlayer.1.weight"].T + head["outputlayer.1.bias"])[0]
        yield out


def ced(job: dict[str, Any], waves: Sequence[np.ndarray]) -> Iterator[Outputs]:
    """CED's own code on the hub, which gives scores."""
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    net = AutoModelForAudioClassification.from_pretrained(job["hub"] or job["weights"], trust_remote_code=True).eval()
    extract = AutoFeatureExtractor.from_pretrained(job["hub"] or job["weights"], trust_remote_code=True)
    for wave in waves:
        inputs = extract(wave, sampling_rate=16000, return_tensors="pt")
        (mel,) = inputs.values()
        yield {"mel": mel[0], "scores": net(**inputs).logits[0]}


def eat(job: dict[str, Any], waves: Sequence[np.ndarray]) -> Iterator[Outputs]:
    """EAT's and SSLAM's own code on the hub, behind the filterbank of their pages."""
    import torch
    from torchaudio.compliance.kaldi import fbank
    from transformers import AutoModel

    net = AutoModel.from_pretrained(job["hub"] or job["weights"], trust_remote_code=True).eval()
    for wave in map(torch.from_numpy, waves):
        mel = fbank(
            (wave - wave.mean())[None],
            htk_compat=True,
            sample_frequency=16000,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=128,
            dither=0.0,
            frame_shift=10,
        )[:1024]
        mel = (torch.nn.functional.pad(mel, (0, 0, 0, 1024 - len(mel))) + 4.268) / (4.569 * 2)
        out: Outputs = {"mel": mel.T, "features": net.extract_features(mel[None, None])[0, 0]}
        yield out | ({"logits": net(mel[None, None])[0]} if job["n_classes"] else {})


REFERENCES: dict[str, tuple[Callable[..., Iterator[Outputs]], tuple[str, ...]]] = {
    "ast": (ast, ("transformers>=4.50", "torch")),
    "maest": (maest, ("maest-infer==0.2.0", "torchaudio==2.11.0", "torch==2.11.0")),
    "passt": (passt, ("hear21passt==0.0.26", "torchaudio==2.11.0", "torch==2.11.0")),
    "dasheng": (dasheng, ("dasheng==0.0.9", "torchaudio==2.11.0", "torch==2.11.0")),
    "ced": (ced, ("transformers>=4.50,<5", "torchaudio==2.11.0", "torch==2.11.0")),
    "eat": (eat, ("transformers>=4.50,<5", "timm", "torchaudio==2.11.0", "torch==2.11.0")),
}
_TOLD = ("torch", "torchaudio", "transformers", "timm", "numpy", "maest-infer", "hear21passt", "dasheng")


def main(job_file: str) -> None:
    import torch

    with open(job_file, encoding="utf-8") as file:
        job = json.load(file)
    with np.load(job["waves"]) as content:
        waves = [content[f"wave_{index}"] for index in range(len(content.files))]
    found: Outputs = {}
    with torch.inference_mode():
        for index, outputs in enumerate(REFERENCES[job["family"]][0](job, waves)):
            found |= {f"{name}_{index}": np.asarray(value.float()) for name, value in outputs.items()}
    np.savez(job["outputs"], **found)  # pyright: ignore[reportArgumentType]
    versions = {one.metadata["Name"]: one.version for one in distributions() if one.metadata["Name"] in _TOLD}
    with open(job["told"], "w", encoding="utf-8") as file:
        json.dump({"labels": job.get("labels", []), "python": sys.version.split()[0], "versions": versions}, file)


if __name__ == "__main__":
    main(sys.argv[1])
