"""Tiny twins of the families' geometries, with attention sharp enough that scores do not tie."""

import pytest
import torch

from audiopatch.models.config import StemConfig, TransformerConfig
from audiopatch.models.transformer import SpectrogramTransformer

_TINY = {"dim": 128, "depth": 4}
GEOMETRIES = {
    "maest": TransformerConfig(grid=(9, 22), n_mels=96, **_TINY),
    "passt": TransformerConfig(grid=(12, 16), n_mels=128, **_TINY),
    "ast": TransformerConfig(grid=(12, 14), n_mels=128, positions="full", norm_eps=1e-12, **_TINY),
    "audiomae": TransformerConfig(
        grid=(8, 16),
        n_mels=128,
        patch_stride=(16, 16),
        prefix=1,
        positions="full",
        pool="patch",
        final_norm=False,
        **_TINY,
    ),
    "stem": TransformerConfig(
        grid=(8, 16), n_mels=128, patch_stride=(16, 16), prefix=1, pool="both", stem=StemConfig(0.1), **_TINY
    ),
}


@pytest.fixture(scope="session")
def networks() -> dict[str, SpectrogramTransformer]:
    return {family: _network(config) for family, config in GEOMETRIES.items()}


@pytest.fixture(params=list(GEOMETRIES))
def backbone(request, networks) -> SpectrogramTransformer:
    """One network per family, in evaluation mode."""
    return networks[request.param].eval()


@pytest.fixture
def mel(backbone) -> torch.Tensor:
    """(3, n_mels, frames), as many frames as the position table has columns."""
    config = backbone.config
    n_frames = (config.grid[1] - 1) * config.patch_stride[1] + config.patch_size[1]
    loudness = torch.rand(3, config.n_mels, 1, generator=torch.Generator().manual_seed(1))
    return loudness * torch.randn(3, config.n_mels, n_frames, generator=torch.Generator().manual_seed(2))


def _network(config: TransformerConfig) -> SpectrogramTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SpectrogramTransformer(config)
        for name, parameter in network.named_parameters():
            if parameter.ndim == 4 and name.startswith("stem."):
                torch.nn.init.normal_(parameter, std=1.4 / parameter[0].numel() ** 0.5)
            elif parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.15 if "qkv" in name else 0.05)
    return network
