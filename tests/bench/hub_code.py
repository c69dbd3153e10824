"""What the hub's repositories of CED, EAT and MAEST hold beside weights, in short: code that transformers runs.

Calls, classes and tensors have the names of theirs, the sentences are ours. Served by ``test_check``.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torchaudio.transforms import AmplitudeToDB, MelSpectrogram
from transformers import BatchFeature, PretrainedConfig, PreTrainedModel, SequenceFeatureExtractor
from transformers.modeling_outputs import SequenceClassifierOutput


class Config(PretrainedConfig):
    """Both families': embed_dim, depth, and the number of classes and columns."""

    model_type = "standin"

    def __init__(self, embed_dim=64, depth=2, n_classes=1, n_cols=1, **kwargs):
        super().__init__(**kwargs)
        self.embed_dim, self.depth, self.n_classes, self.n_cols = embed_dim, depth, n_classes, n_cols


class Attention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (-1, 64)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        weights = (q @ k.transpose(-1, -2) / 8).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim, post_norm=False):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.mlp, self.post_norm = Attention(dim), Mlp(dim), post_norm

    def forward(self, x):
        if self.post_norm:
            x = self.norm1(x + self.attn(x))
            return self.norm2(x + self.mlp(x))
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Patches(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.proj = nn.Conv2d(1, dim, 16, stride=16)


class CedEncoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.init_bn, self.patch_embed = nn.BatchNorm2d(64), Patches(config.embed_dim)
        self.time_pos_embed = nn.Parameter(torch.zeros(1, config.embed_dim, 1, config.n_cols))
        self.freq_pos_embed = nn.Parameter(torch.zeros(1, config.embed_dim, 4, 1))
        self.blocks = nn.ModuleList(Block(config.embed_dim) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.embed_dim, eps=1e-6)

    def forward(self, mel):
        x = self.patch_embed.proj(self.init_bn(mel[..., None]).transpose(1, 3).transpose(2, 3))
        x = (x + self.time_pos_embed[..., : x.shape[3]] + self.freq_pos_embed).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class CedForAudioClassification(PreTrainedModel):
    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.encoder = CedEncoder(config)
        self.outputlayer = nn.Sequential(nn.LayerNorm(config.embed_dim), nn.Linear(config.embed_dim, config.n_classes))
        self.post_init()

    def forward(self, input_values):
        tokens = self.encoder(input_values)
        return SequenceClassifierOutput(logits=self.outputlayer(tokens.mean(1)).sigmoid(), hidden_states=tokens)


class CedFeatureExtractor(SequenceFeatureExtractor):
    def __init__(self, feature_size=64, sampling_rate=16000, padding_value=0.0, **kwargs):
        super().__init__(feature_size, sampling_rate, padding_value, **kwargs)

    def __call__(self, wave, sampling_rate=16000, return_tensors="pt"):
        mel = MelSpectrogram(sampling_rate, n_fft=512, hop_length=160, n_mels=64, f_max=8000)
        return BatchFeature({"input_values": AmplitudeToDB(top_db=120)(mel(torch.from_numpy(wave)[None]))})


class MAESTFeatureExtractor(SequenceFeatureExtractor):
    def __init__(self, max_length=1876, feature_size=96, sampling_rate=16000, padding_value=0.0, **kwargs):
        super().__init__(feature_size, sampling_rate, padding_value, **kwargs)
        self.max_length = max_length

    def __call__(self, wave, sampling_rate=16000, return_tensors="pt"):
        slaney = {"norm": "slaney", "mel_scale": "slaney", "pad_mode": "constant"}
        power = MelSpectrogram(sampling_rate, n_fft=512, hop_length=256, n_mels=96, **slaney)(torch.from_numpy(wave))
        mel = (1 + 10000 * power).log10()[:, : self.max_length]
        mel = F.pad(mel, (0, self.max_length - mel.shape[1]))
        return BatchFeature({"input_values": (mel.T[None] - 2.06755686098554) / (2 * 1.268292820667291)})


class EatNet(nn.Module):
    def __init__(self, config):
        super().__init__()
        dim = config.embed_dim
        self.local_encoder, self.extra_tokens = Patches(dim), nn.Parameter(torch.zeros(1, 1, dim))
        self.fixed_positional_encoder = nn.Module()
        self.fixed_positional_encoder.positions = nn.Parameter(torch.zeros(1, 8 * config.n_cols, dim))
        self.pre_norm = nn.LayerNorm(dim, eps=1e-6)
        self.blocks = nn.ModuleList(Block(dim, post_norm=True) for _ in range(config.depth))
        self.fc_norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, config.n_classes)


class EatModel(PreTrainedModel):
    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.model = EatNet(config)
        self.post_init()

    def extract_features(self, mel):
        net = self.model
        x = net.local_encoder.proj(mel).flatten(2).transpose(1, 2)  # (B, time first, D)
        x = x + net.fixed_positional_encoder.positions[:, : x.shape[1]]
        x = net.pre_norm(torch.cat([net.extra_tokens.expand(len(x), -1, -1), x], dim=1))
        for block in net.blocks:
            x = block(x)
        return x

    def forward(self, mel):
        return self.model.head(self.model.fc_norm(self.extract_features(mel)[:, 0]))
