"""A U-Net whose middle and decoder read a label map by spatially adaptive normalisation: SDM's.

Sources: Park et al. 2019, arXiv 1903.07291 (SPADE); Wang et al. 2022, arXiv 2207.00050, section 3.2.
Parameter names follow WeilunWang/semantic-diffusion-model, so that its checkpoints load; no code of it is
used here.

What the norms take from the map depends neither on x nor on t: `encode` computes it once a picture, and all
steps share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.nets.adm import UNet, UNetConfig
from headwater.nets.adm_blocks import GROUPS, EncoderConfig, Stage, Upsample, zeroed

Size = tuple[int, int]


class ReadsMap(nn.Module):
    """What a norm takes from a map at every pixel: gamma and beta for each of its channels."""

    def __init__(self, channels: int, map_channels: int, hidden: int) -> None:
        super().__init__()
        self.channels = channels
        self.mlp_shared = nn.Sequential(nn.Conv2d(map_channels, hidden, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def read(self, told: Tensor, size: Size) -> Tensor:
        """gamma and beta (B, 2 channels, *size) of a map (B, map_channels, H, W)."""
        h = self.mlp_shared(F.interpolate(told, size=size, mode="nearest"))
        return torch.cat([self.mlp_gamma(h), self.mlp_beta(h)], dim=1)


class SPADENorm(ReadsMap):
    """GN(x) (1 + gamma) + beta."""

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """x (B, channels, H, W), normalised without weights of its own; modulation as `read` gives it."""
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        gamma, beta = modulation.to(x.dtype).chunk(2, dim=1)
        return F.group_norm(wide, GROUPS).to(x.dtype) * (1 + gamma) + beta


class SPADEResBlock(nn.Module):
    """`ResBlock` with SPADE in place of both norms: (B,in,H,W), (B,E), a map -> (B,out,H',W')."""

    def __init__(
        self, config: EncoderConfig, channels: int, out_channels: int, resample: nn.Module | None,
        map_channels: int, hidden: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.scale_shift, embedding = config.use_scale_shift_norm, 4 * config.model_channels
        self.resample = resample if resample is not None else nn.Identity()
        self.in_norm = SPADENorm(channels, map_channels, hidden)
        self.in_layers = nn.Sequential(nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1))
        self.emb_layers = nn.Sequential(
            nn.SiLU(), nn.Linear(embedding, (1 + self.scale_shift) * out_channels)
        )
        self.out_norm = SPADENorm(out_channels, map_channels, hidden)
        self.out_layers = nn.Sequential(
            nn.SiLU(),
            nn.Dropout(config.dropout),
            zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        self.skip_connection = (
            nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        )

    def norms(self, size: Size) -> tuple[tuple[SPADENorm, Size], tuple[SPADENorm, Size]]:
        """Both norms and the sizes at which they work, for features of that size."""
        return (self.in_norm, size), (self.out_norm, resampled(self, size))

    def forward(self, x: Tensor, emb: Tensor, told: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        """told: the map, or what both norms read from it."""
        if isinstance(told, Tensor):
            height, width = x.shape[-2:]
            before, after = (norm.read(told, size) for norm, size in self.norms((height, width)))
        else:
            before, after = told
        act, conv = self.in_layers
        h = conv(self.resample(act(self.in_norm(x, before))))
        modulation = self.emb_layers(emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = modulation.chunk(2, dim=1)
            h = self.out_norm(h, after) * (1 + scale) + shift
        else:
            h = self.out_norm(h + modulation, after)
        return self.skip_connection(self.resample(x)) + self.out_layers(h)


def resampled(layer: nn.Module, size: Size) -> Size:
    """The size of features after a layer of the decoder."""
    doubles = isinstance(getattr(layer, "resample", layer), Upsample)
    return (2 * size[0], 2 * size[1]) if doubles else size


class SPADEStage(Stage):
    """Layers in a row, of which residual blocks read the embedding and the map."""

    def norms(self, size: Size) -> Iterator[tuple[SPADENorm, Size]]:
        """The norms in order, and the size at which each works, for features of that size."""
        for layer in self:
            if isinstance(layer, SPADEResBlock):
                yield from layer.norms(size)
            size = resampled(layer, size)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, emb: Tensor, told: Tensor | Sequence[Tensor]
    ) -> Tensor:
        """told: the map, or what the norms read from it, in order."""
        left = [] if isinstance(told, Tensor) else list(told)
        for layer in self:
            if isinstance(layer, SPADEResBlock):
                x = layer(x, emb, told if isinstance(told, Tensor) else (left.pop(0), left.pop(0)))
            else:
                x = layer(x)
        return x


class SPADEUNet(UNet):
    """eps and variance = D(E(x_t, t), map, t): the noisy picture enters the encoder, the map the decoder."""

    def __init__(self, config: UNetConfig, map_channels: int, hidden: int = 128) -> None:
        def block(
            config: EncoderConfig, channels: int, out: int, resample: nn.Module | None = None
        ) -> nn.Module:
            return SPADEResBlock(config, channels, out, resample, map_channels, hidden)

        super().__init__(config, block)
        self.map_channels = map_channels
        self.middle_block = SPADEStage(*self.middle_block)
        self.output_blocks = nn.ModuleList(SPADEStage(*stage) for stage in self.output_blocks)

    def encode(self, told: Tensor) -> Tensor:
        """All that the norms read from maps (B, map_channels, H, W), in rows (B, n) for `forward`."""
        norms = [each for stage in self._norms(told.shape[-2], told.shape[-1]) for each in stage]
        return torch.cat([norm.read(told, size).flatten(1) for norm, size in norms], dim=1)

    def walk(
        self, x: Tensor, emb: Tensor, features: Tensor | None = None, context: Tensor | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """features: what `encode` made of the maps, or the maps themselves, which are then read on the way:
        less memory, more work. None is the empty map."""
        if features is None:
            features = x.new_zeros(1, self.map_channels, *x.shape[-2:]).expand(len(x), -1, -1, -1)
        told = list(self._told(features.to(emb.dtype), x))
        h, skips = x.to(emb.dtype), list[Tensor]()
        for i, block in enumerate(self.input_blocks):
            h = block(h, emb)
            skips.append(h)
            yield f"input_blocks.{i}", h
        h = self.middle_block(h, emb, told[0])
        yield "middle_block", h
        for i, block in enumerate(self.output_blocks):
            h = block(torch.cat([h, skips.pop()], dim=1), emb, told[i + 1])
            yield f"output_blocks.{i}", h

    def _norms(self, height: int, width: int) -> Iterator[list[tuple[SPADENorm, Size]]]:
        """Of the middle and each block of the decoder the norms, and the sizes at which they work."""
        fold = self.config.downsampling
        size = (height // fold, width // fold)
        for stage in (self.middle_block, *self.output_blocks):
            yield list(stage.norms(size))  # pyright: ignore[reportCallIssue]
            for layer in stage:  # pyright: ignore[reportGeneralTypeIssues]
                size = resampled(layer, size)

    def _told(self, features: Tensor, x: Tensor) -> Iterator[Tensor | list[Tensor]]:
        """What each block is told of the map."""
        at = 0
        for norms in self._norms(x.shape[-2], x.shape[-1]):
            if features.ndim == x.ndim:
                yield features
                continue
            found = list[Tensor]()
            for norm, (height, width) in norms:
                count = 2 * norm.channels * height * width
                found.append(features[:, at : at + count].unflatten(1, (-1, height, width)))
                at += count
            yield found
