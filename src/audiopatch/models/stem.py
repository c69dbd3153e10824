"""A convolutional stem and tail: tokens come from a MobileNet's map, and go back to it."""

from __future__ import annotations

from torch import Tensor, nn

from audiopatch.models.card import StemConfig
from audiopatch.models.linear import Linear
from audiopatch.models.mobilenet import mobilenet_layers
from audiopatch.tokens import TokenGrid


class ConvolutionalStem(nn.Module):
    """What lies before and after the blocks of a transformer inside a MobileNet.

    The map between layers ``n_layers`` and ``n_layers`` + 1 reaches the tail past the blocks; what the blocks found is
    added to it by a projection that begins at zero. So with any blocks the network begins as the MobileNet itself.
    """

    def __init__(self, config: StemConfig, dim: int):
        super().__init__()
        layers = mobilenet_layers(config.width)
        self.layers = nn.Sequential(*layers[: config.n_layers])
        self.to_token = Linear(config.channels, dim)
        if config.tail:
            self.to_map = Linear(dim, config.channels)
            nn.init.zeros_(self.to_map.weight)
            nn.init.zeros_(self.to_map.bias)
            self.tail = nn.Sequential(*layers[config.n_layers :])

    def enter(self, mel: Tensor, places: TokenGrid) -> Tensor:
        """mel (B, n_mels, frames) -> the map at ``places``, (B, N, channels)."""
        return places.gather(self.layers(mel[:, None]).flatten(2).transpose(1, 2))

    def leave(self, tokens: TokenGrid) -> Tensor:
        """Tokens after all blocks -> the tail's map (B, n_features, rows, cols), about half as many of both."""
        assert tokens.carried is not None  # enter saw to it
        return self.tail(tokens.as_filled_grid(tokens.carried + self.to_map(tokens.patches)))
