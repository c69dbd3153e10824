"""The authors' own packages, run by an interpreter of their own: ``python references.py JOB.json``.

This file imports nothing of audiopatch, and each package only where it is used. A job names a family, the published
weights, the sizes of the network and an ``.npz`` of waveforms; what the package makes of them goes to another ``.npz``.
``ENVIRONMENTS`` says what must be installed for that.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np

# One clip: the front-end's output (bands, frames), logits or, where the package gives nothing else, scores, features.
Outputs = dict[str, Any]


def ast(job: dict[str, Any], waves: Sequence[np.ndarray]) -> Iterator[Outputs]:
    """transformers' AST behind its extractor; MAEST's copies on the hub bring one of their own."""
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    net = AutoModelForAudioClassification.from_pretrained(**job["hub"], trust_remote_code=True).eval()
    extract = AutoFeatureExtractor.from_pretrained(**job["hub"], trust_remote_code=True)
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
    """CED's own code on the hub, which gives scores, and the normed tokens whose mean is our feature."""
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    net = AutoModelForAudioClassification.from_pretrained(**job["hub"], trust_remote_code=True).eval()
    extract = AutoFeatureExtractor.from_pretrained(**job["hub"], trust_remote_code=True)
    for wave in waves:
        inputs = extract(wave, sampling_rate=16000, return_tensors="pt")
        found = net(**inputs)
        (mel,) = inputs.values()
        yield {"mel": mel[0], "scores": found.logits[0], "features": found.hidden_states[0].mean(dim=0)}


def eat(job: dict[str, Any], waves: Sequence[np.ndarray]) -> Iterator[Outputs]:
    """EAT's and SSLAM's own code on the hub, behind the filterbank of their pages."""
    import torch
    from torchaudio.compliance.kaldi import fbank
    from transformers import AutoModel

    net = AutoModel.from_pretrained(**job["hub"], trust_remote_code=True).eval()
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


def efficientat(job: dict[str, Any], waves: Sequence[np.ndarray]) -> Iterator[Outputs]:
    """EfficientAT's networks behind its AugmentMelSTFT; its code is a repository, not a package."""
    import torch

    os.chdir(job["source"])  # from where its code opens the list of labels
    sys.path.insert(0, job["source"])
    from helpers.utils import labels  # pyright: ignore[reportMissingImports]
    from models.dymn.model import get_model as dymn  # pyright: ignore[reportMissingImports]
    from models.mn.model import get_model as mn  # pyright: ignore[reportMissingImports]
    from models.preprocess import AugmentMelSTFT  # pyright: ignore[reportMissingImports]

    sizes, options = job["backbone"], job["frontend_options"]
    build = {"mobilenet": mn, "dymn": lambda **values: dymn(T_max=1.0, **values)}[sizes["kind"]]  # as after AudioSet
    net = build(num_classes=job["n_classes"], width_mult=sizes["width"]).eval()
    net.load_state_dict(torch.load(job["weights"], map_location="cpu", weights_only=True))
    job["labels"] = labels if job["n_classes"] == len(labels) else []
    extract = AugmentMelSTFT(n_mels=sizes["n_mels"], hopsize=options.get("hop_length", 320)).eval()
    for wave in map(torch.from_numpy, waves):
        mel = extract(wave[None])
        logits, features = net(mel[:, None])
        yield {"mel": mel[0], "logits": logits.flatten(), "features": features.flatten()}


def musicnn(job: dict[str, Any], waves: Sequence[np.ndarray]) -> Iterator[Outputs]:
    """musicnn's graph with the checkpoint inside the package.

    Its own front-end takes the logarithm in float16, which overflows on loud music, so the same librosa call is made
    here in float32, with the padding of the librosa that the networks were trained with.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # the graph is built of layers that Keras 3 has no longer
    import librosa
    import tensorflow as tf
    from musicnn import configuration as config
    from musicnn import models

    tf.compat.v1.disable_eager_execution()
    name = {"musicnn-msd": "MSD_musicnn", "musicnn-mtt": "MTT_musicnn"}[job["name"]]
    job["labels"] = getattr(config, f"{name[:3]}_LABELS")
    with tf.name_scope("model"):  # the checkpoint's names begin so
        batch = tf.compat.v1.placeholder(tf.float32, [None, job["n_frames"], config.N_MELS])
        logits, *_, penultimate = models.define_model(batch, False, name, job["n_classes"])
    with tf.compat.v1.Session() as session:
        tf.compat.v1.train.Saver().restore(session, f"{Path(models.__file__).parent / name}/")
        for wave in waves:
            power = librosa.feature.melspectrogram(
                y=wave,
                sr=config.SR,
                hop_length=config.FFT_HOP,
                n_fft=config.FFT_SIZE,
                n_mels=config.N_MELS,
                pad_mode="reflect",
            )
            mel = np.log10(1 + 10000 * power)[:, : job["n_frames"]]
            found = session.run([logits, penultimate], {batch: mel.T[None]})
            yield {"mel": mel, "logits": found[0][0], "features": found[1][0]}


@dataclass(frozen=True)
class Environment:
    """A virtual environment: ``packages`` as pip installs them; those that ask for what no longer exists, ``alone``
    without what they ask for."""

    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()


ENVIRONMENTS = {
    "torch": Environment(
        packages=(
            "torch==2.11.0",
            "torchaudio==2.11.0",
            "torchvision==0.26.0",
            "timm==1.0.31",
            "transformers==4.57.6",
            "maest-infer==0.2.0",
            "hear21passt==0.0.26",
            "dasheng==0.0.9",
        ),
    ),
    "tensorflow": Environment(
        packages=("tensorflow-cpu==2.20.0", "tf-keras==2.20.1", "librosa==0.11.0"),
        alone=("musicnn==0.1.0",),
    ),
}
# family -> its authors' code, and the environment that has it
REFERENCES: dict[str, tuple[Callable[..., Iterator[Outputs]], str]] = {
    "ast": (ast, "torch"),
    "maest": (maest, "torch"),
    "maest-hub": (ast, "torch"),
    "passt": (passt, "torch"),
    "dasheng": (dasheng, "torch"),
    "ced": (ced, "torch"),
    "eat": (eat, "torch"),
    "efficientat": (efficientat, "torch"),
    "musicnn": (musicnn, "tensorflow"),
}
# family -> the repository, at a commit, that its reference imports from, where that is no package
SOURCES = {
    "efficientat": "https://github.com/fschmid56/EfficientAT/archive/a425fdce92572e602a1d5634799bd9f1f2efa806.zip",
}
_TOLD = (
    "torch", "torchaudio", "transformers", "timm", "numpy", "maest-infer", "hear21passt", "dasheng",
    "tensorflow", "librosa", "musicnn",
)  # fmt: skip


def main(job_file: str) -> None:
    with open(job_file, encoding="utf-8") as file:
        job = json.load(file)
    with np.load(job["waves"]) as content:
        waves = [content[f"wave_{index}"] for index in range(len(content.files))]
    reference, environment = REFERENCES[job["family"]]
    found: Outputs = {}
    with _inference_mode() if environment == "torch" else nullcontext():
        for index, outputs in enumerate(reference(job, waves)):
            found |= {f"{name}_{index}": np.asarray(value, np.float32) for name, value in outputs.items()}
    np.savez(job["outputs"], **found)  # pyright: ignore[reportArgumentType]
    versions = {one.metadata["Name"]: one.version for one in distributions() if one.metadata["Name"] in _TOLD}
    with open(job["told"], "w", encoding="utf-8") as file:
        json.dump({"labels": job.get("labels", []), "python": sys.version.split()[0], "versions": versions}, file)


def _inference_mode() -> AbstractContextManager[Any]:
    import torch

    return torch.inference_mode()


if __name__ == "__main__":
    main(sys.argv[1])
