"""The network, the denoiser and the draws of AnoDDPM's reference code, made of what its arrays hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from headwater.core import Denoiser, Diffusion, schedule
from headwater.core.transition import Level
from headwater.nets.adm import UNet, UNetConfig
from headwater.noise import Simplex
from headwater.noise.simplex import octaves, tables

FILES = ["model", "model_conv_rgb"]
NAMES = {
    "time_embedding.1": "time_embed.0",
    "time_embedding.3": "time_embed.2",
    "down": "input_blocks",
    "middle": "middle_block",
    "up": "output_blocks",
    "embed_layers": "emb_layers",
    "to_qkv": "qkv",
    "downsample": "op",
}
"""What the reference calls its modules, and what guided diffusion calls the same ones."""
LAW = Simplex()


def network(ref: Any, **changes: int) -> UNet:
    """guided diffusion's U-Net with the reference's weights: names mapped, sizes turned into factors."""
    net, size = ref.config["net"], ref.config["net"]["img_size"]
    config = UNetConfig(
        in_channels=net["in_channels"],
        model_channels=net["base_channels"],
        out_channels=net["in_channels"],
        num_res_blocks=net["num_res_blocks"],
        attention_resolutions=tuple(size // int(s) for s in net["attention_resolutions"].split(",")),
        channel_mult=tuple(net["channel_mults"]),
        num_heads=net["n_heads"],
        num_head_channels=net["n_head_channels"],
        resblock_updown=net["biggan_updown"],
    )
    weights = {renamed(name): value for name, value in ref.under("w").items()}
    # Sines come first there, cosines here.
    first = weights["time_embed.0.weight"]
    weights["time_embed.0.weight"] = first.roll(first.shape[1] // 2, 1)
    found = UNet(replace(config, **changes))
    found.load_state_dict(weights, strict=True)
    return found.eval()


def renamed(name: str) -> str:
    for theirs, ours in NAMES.items():
        name = f".{name}".replace(f".{theirs}.", f".{ours}.")[1:]
    return name


def denoiser(ref: Any) -> Denoiser:
    return Denoiser(network(ref), Diffusion.vp(schedule.betas(ref.config["schedule"], ref.config["T"])))


class Tape:
    """The reference's draws in its order: a seed per channel of a simplex field, or a Gaussian array."""

    def __init__(self, draws: Iterable[Tensor]) -> None:
        self.draws = iter(draws)

    def __call__(self, like: Tensor, level: Level = 0) -> Tensor:
        draw = next(self.draws, None)
        if draw is None:
            return torch.zeros_like(like)  # the last step adds none
        if draw.is_floating_point():
            return draw
        return field(
            [int(draw), *(int(next(self.draws)) for _ in range(like.shape[1] - 1))], like, int(level)
        )


def field(seeds: list[int], like: Tensor, level: int) -> Tensor:
    """The field that `Simplex` draws at a level from these permutation seeds."""
    height, width = like.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    points = torch.stack((columns, rows, torch.full_like(rows, level - 1))).double().flatten(1)
    drawn = octaves(tables(seeds), points, LAW.octaves, LAW.persistence, LAW.wavelength)
    return drawn.reshape(like.shape).float()
