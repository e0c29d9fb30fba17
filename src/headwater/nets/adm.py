"""The U-Net of guided diffusion (ADM), parameter for parameter.

Source: Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", 2021,
arXiv 2105.05233, section 3; the reference implementation is openai/guided-diffusion (MIT).
Module names follow the reference, so published checkpoints load with `strict=True`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headwater.nets.adm_blocks import (
    Block,
    EncoderConfig,
    GroupNorm32,
    ResBlock,
    Stage,
    Upsample,
    attention,
    check_input,
    encoder,
    middle,
    time_mlp,
    timestep_embedding,
    zeroed,
)


@dataclass(frozen=True)
class UNetConfig(EncoderConfig):
    """Architecture of a U-Net; the other fields are `EncoderConfig`'s.

    `out_channels` is twice the number of image channels when the variance is learned.
    """

    num_classes: int | None = None
    num_heads_upsample: int = -1
    """Heads in the decoder; -1 means `num_heads`."""

    @property
    def decoder_heads(self) -> int:
        return self.num_heads if self.num_heads_upsample == -1 else self.num_heads_upsample

    def head_counts(self, width: int) -> tuple[int, ...]:
        return self.heads(width, self.num_heads), self.heads(width, self.decoder_heads)


class UNet(nn.Module):
    """Noise (and variance) predictor: (B,C,H,W), (B,), optional labels (B,) -> (B,out,H,W)."""

    def __init__(self, config: UNetConfig, block: Block = ResBlock) -> None:
        """block: what the residual blocks of the middle and the decoder are."""
        super().__init__()
        self.config = config
        self.time_embed = time_mlp(config.model_channels)
        if config.num_classes is not None:
            self.label_emb = nn.Embedding(config.num_classes, 4 * config.model_channels)
        self.input_blocks, skips = encoder(config)
        self.middle_block = middle(config, block)
        self.output_blocks = decoder(config, skips, block)
        self.out = nn.Sequential(
            GroupNorm32(config.widths[0]),
            nn.SiLU(),
            zeroed(nn.Conv2d(config.widths[0], config.out_channels, 3, padding=1)),
        )

    def forward(
        self, x: Tensor, timesteps: Tensor, y: Tensor | None = None, features: Tensor | None = None
    ) -> Tensor:
        """One evaluation; the output has the dtype of `x`.

        Args:
            x: (B, in_channels, H, W), usually in [-1, 1] plus noise; H and W need not be equal.
            timesteps: (B,), integer or fractional, in the numbering the network was trained with.
            y: (B,) integer labels, for class-conditional networks only.
            features: (B, width of the first level, H, W), added to the first convolution's output.

        Raises:
            ValueError: on a wrong shape, or a missing or unexpected `y`.
        """
        last = x
        for _, output in self.stages(x, timesteps, y, features):
            last = output
        return self.out(last).to(x.dtype)

    def stages(
        self, x: Tensor, timesteps: Tensor, y: Tensor | None = None, features: Tensor | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """The same evaluation block by block: yields (name, output) in order of computation.

        Names are `input_blocks.0` ..., `middle_block`, `output_blocks.0` ... (0 = deepest).
        """
        check_input(self.config, x, timesteps)
        yield from self.walk(x, self.embed(timesteps, y), features)

    def walk(
        self, x: Tensor, emb: Tensor, features: Tensor | None = None, context: Tensor | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """The blocks, given an embedding (B, 4 model_channels) of time and whatever else it sums up.

        context: tokens (B, L, context_channels) that every attention block reads beside the pixels.
        """
        h = x.to(emb.dtype)
        skips: list[Tensor] = []
        for i, block in enumerate(self.input_blocks):
            h = block(h, emb, context)
            if i == 0 and features is not None:
                h = h + features.to(h.dtype)
            skips.append(h)
            yield f"input_blocks.{i}", h
        h = self.middle_block(h, emb, context)
        yield "middle_block", h
        for i, block in enumerate(self.output_blocks):
            h = block(torch.cat([h, skips.pop()], dim=1), emb, context)
            yield f"output_blocks.{i}", h

    def embed(self, timesteps: Tensor, y: Tensor | None = None) -> Tensor:
        """Timestep (and label) embedding: (B,) -> (B, 4 model_channels)."""
        table = timestep_embedding(timesteps, self.config.model_channels)
        emb = self.time_embed(table.to(next(self.time_embed.parameters()).dtype))
        if (y is None) != (self.config.num_classes is None):
            raise ValueError(
                "pass labels y: this network is class-conditional."
                if y is None
                else "leave y out: this network was trained without class labels."
            )
        return emb if y is None else emb + self.label_emb(y)


def decoder(config: UNetConfig, skips: Sequence[int], block: Block = ResBlock) -> nn.ModuleList:
    """All output blocks, deepest first; `skips` are the encoder's output channels."""
    remaining = list(skips)
    width = config.widths[-1]
    blocks = []
    for level, out in reversed(list(enumerate(config.widths))):
        for i in range(config.num_res_blocks + 1):
            stage = Stage(block(config, width + remaining.pop(), out))
            width = out
            if 2**level in config.attention_resolutions:
                stage.append(attention(config, width, config.decoder_heads))
            if level and i == config.num_res_blocks:
                stage.append(upsample(config, width, block))
            blocks.append(stage)
    return nn.ModuleList(blocks)


def upsample(config: UNetConfig, width: int, block: Block = ResBlock) -> nn.Module:
    if config.resblock_updown:
        return block(config, width, width, Upsample(width, convolve=False))
    return Upsample(width, config.conv_resample)
