"""Every kind of prior that may be met: its process, what its network answers, whether it is told a class.

Each is made twice. In closed form, for pictures N(mean, std^2) whose answers are known exactly, so that what
a method makes of it can be judged; and with a small untrained network of the structure that such priors have,
for methods that look into networks, and for what is read from files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headwater.core.schedule import linear, zero_terminal_snr
from headwater.models import Prior, PriorConfig, ProcessConfig, convert

Shape = tuple[int, int, int]
STD = 0.15
"""Standard deviation of the pictures that the priors know."""
LEVELS = 1000
"""Timesteps of a prior."""
CHOSEN = 1
"""Class that is chosen where there are classes."""


@cache
def mean(shape: Shape) -> Tensor:
    """What the pictures have in common, (C, H, W) in [-0.5, 0.5]: a bright block, off centre, whose colour
    fades to the right."""
    _, height, width = shape
    found, left = torch.full(shape, -0.5), width // 3
    found[:, height // 4 : -height // 4, left:] = torch.linspace(0.5, 0.0, width)[left:]
    return found + 0.1 * torch.arange(len(found)).reshape(-1, 1, 1)


def drawn(shape: Shape, n: int) -> Tensor:
    """n pictures of those that the priors know."""
    noise = torch.randn(n, *shape, generator=torch.Generator().manual_seed(1))
    return mean(shape) + STD * noise


class Answer(nn.Module):
    """What the network of a config answers where pictures are N(mean, STD^2), each pixel on its own.

    Where it is told classes, pictures of the chosen class are those; those of others are their negatives.
    """

    label: Tensor
    scales: Tensor
    mean: Tensor

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        q, unit, own = config.process.build(), config.on_unit_range, mean(config.shape)
        self.config, self.std = config, STD / 2 if unit else STD
        told = q.alpha if config.network.get("kind") == "level" else q.label
        self.register_buffer("label", told[1:])
        self.register_buffer("scales", torch.stack([q.alpha[1:], q.sigma[1:]]))
        self.register_buffer("mean", (own + 1) / 2 if unit else own)

    def forward(self, x: Tensor, label: Tensor, y: Tensor | None = None) -> Tensor:
        if (y is None) != (self.config.class_count == 0):
            raise ValueError("labels y go with a network of classes, and only with one")
        at = (self.label[None] - label[:, None].double()).abs().argmin(1)
        a, b = (v[at].to(x).reshape(-1, 1, 1, 1) for v in self.scales)
        told = 1 if y is None else torch.where(y == CHOSEN, 1, -1).reshape(-1, 1, 1, 1)
        m, variance = told * self.mean.to(x), self.std**2
        total = a * a * variance + b * b
        x0, eps = (a * variance * x + b * b * m) / total, b * (x - a * m) / total
        out = {"x0": x0, "eps": eps, "v": a * eps - b * x0, "score": -eps / b}[self.config.predicts]
        return out if self.config.variance == "fixed" else torch.cat([out, -torch.ones_like(out)], 1)


@dataclass(frozen=True)
class PriorKind:
    """One kind of prior."""

    title: str
    """What its column is called."""
    said: str
    """What it is, in a few words."""
    config: Callable[[Shape, int], PriorConfig]
    """How it is described, for pictures of a shape and so many timesteps."""
    shape: Callable[[Shape], Shape] = lambda usual: usual
    """Shape of its pictures, for a method that is most often given another one."""
    read: Callable[[Prior, Path], Prior] | None = None
    """The same prior, gone through the kind of file that it comes in, if that is one of its own."""

    def exact(self, shape: Shape, T: int = LEVELS) -> Prior:
        """In closed form."""
        config = self.config(shape, T)
        return Prior(Answer(config), config)

    def untrained(self, shape: Shape, T: int = LEVELS) -> Prior:
        """With a small network that answers something else everywhere."""
        config = self.config(shape, T)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = config.build_network()
            for parameter in network.parameters():
                if parameter.ndim > 1:  # those that start at zero too
                    nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        return Prior(network.eval().requires_grad_(False), config)


def adm(shape: Shape, **changes: Any) -> dict[str, Any]:
    """The fields of a small U-Net."""
    network = {"kind": "adm", "in_channels": shape[0], "out_channels": shape[0], "model_channels": 32}
    network |= {"num_res_blocks": 1, "channel_mult": (1,), "attention_resolutions": ()}
    return network | {"num_head_channels": 32} | changes


def ours(shape: Shape, T: int) -> PriorConfig:
    return PriorConfig(adm(shape), shape, ProcessConfig(T=T, betas="cosine"), predicts="v")


def guided_diffusion(shape: Shape, T: int) -> PriorConfig:
    network = adm(shape, out_channels=2 * shape[0])
    return PriorConfig(network, shape, ProcessConfig(T=T), variance="learned_range")


def diffusers(shape: Shape, T: int) -> PriorConfig:
    return PriorConfig(adm(shape), shape, ProcessConfig(T=T))


def ve(shape: Shape, T: int) -> PriorConfig:
    """As `models.published` describes NCSN++: pictures in [0, 1]."""
    network = {"kind": "ncsnpp", "image_size": shape[-1], "channels": shape[0], "nf": 16, "ch_mult": (1, 2)}
    network |= {"num_res_blocks": 1, "attn_resolutions": (), "num_scales": 10, "centred": False}
    process = ProcessConfig("ve", T=T, low=0.01, high=50.0)
    return PriorConfig(network, shape, process, predicts="score", clip=False)


def vp_sde(shape: Shape, T: int) -> PriorConfig:
    """As `models.published` describes DDPM++."""
    network = ve(shape, T).network | {"centred": True, "scale_by_sigma": False, "embedding": "positional"}
    return PriorConfig(network, shape, ProcessConfig("vp_sde", T=T))


def zero_snr(shape: Shape, T: int) -> PriorConfig:
    betas = tuple(zero_terminal_snr(linear(T, 1e-4, min(20 / T, 0.9))).tolist())
    return PriorConfig(adm(shape), shape, ProcessConfig(T=T, betas=betas), predicts="v")


def edm(shape: Shape, T: int) -> PriorConfig:
    """As `models.diffusers` describes a folder with an EDM scheduler."""
    network = {"kind": "unet2d", "data_std": 0.5, "sample_size": shape[1:], "in_channels": shape[0]}
    network |= {"out_channels": shape[0], "block_out_channels": (32,), "layers_per_block": 1}
    network |= {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    process = ProcessConfig("edm", T=T, low=0.002, high=80.0)
    return PriorConfig(network, shape, process, predicts="x0")


def flow(shape: Shape, T: int) -> PriorConfig:
    return PriorConfig(adm(shape), shape, ProcessConfig("flow", T=T), predicts="v")


def level(shape: Shape, T: int) -> PriorConfig:
    """As `models.published` describes the network of SR3 that sees no picture, and DDPM-CD's."""
    network = {"kind": "level", "model_channels": 32, "channel_mult": (1,), "num_res_blocks": 1}
    network |= {"attention_resolutions": (), "in_channels": shape[0], "out_channels": shape[0]}
    return PriorConfig(network, shape, ProcessConfig(T=T, low=1e-6, high=min(20 / T, 0.9)))


def classes(shape: Shape, T: int) -> PriorConfig:
    return replace(untold(shape, T), label=CHOSEN)


def untold(shape: Shape, T: int) -> PriorConfig:
    return PriorConfig(adm(shape, num_classes=3), shape, ProcessConfig(T=T, betas="cosine"))


def from_folder(prior: Prior, folder: Path) -> Prior:
    prior.save_pretrained(folder / "ours")
    return Prior.from_pretrained(folder / "ours")


def from_weights(prior: Prior, folder: Path) -> Prior:
    torch.save(prior.network.state_dict(), folder / "model.pt")
    return Prior.from_pretrained(folder / "model.pt", shape=prior.shape, num_head_channels=32)


def from_generator(prior: Prior, folder: Path) -> Prior:
    torch.save(prior.network.state_dict(), folder / "gen.pth")
    return Prior.from_pretrained(folder / "gen.pth", shape=prior.shape)


def from_pipeline(prior: Prior, folder: Path) -> Prior:
    prior.save_pretrained(folder / "ours")
    convert(folder / "ours", folder / "theirs", to="diffusers")
    return Prior.from_pretrained(folder / "theirs")


KINDS: dict[str, PriorKind] = {
    "ours": PriorKind("ours", "a folder of ours that predicts v on a cosine chain", ours, read=from_folder),
    "guided-diffusion": PriorKind(
        "guided-diffusion",
        "a `.pt` file of guided-diffusion that predicts noise and its variance on a linear chain",
        guided_diffusion,
        read=from_weights,
    ),
    "diffusers": PriorKind(
        "diffusers",
        "a folder of diffusers that predicts noise on a linear chain",
        diffusers,
        read=from_pipeline,
    ),
    "score-sde-ve": PriorKind(
        "score-SDE, VE", "NCSN++: the score of pictures in [0, 1] under a variance that explodes", ve
    ),
    "score-sde-vp": PriorKind(
        "score-SDE, VP", "DDPM++: the noise of a variance-preserving process in continuous time", vp_sde
    ),
    "zero-snr": PriorKind("zero SNR", "v on a chain whose last timestep is pure noise", zero_snr),
    "edm": PriorKind("EDM", "EDM's preconditioned network and its noise levels", edm),
    "flow": PriorKind("flow", "straight paths from pictures to noise, predicting v", flow),
    "level": PriorKind(
        "level",
        "a `.pth` file of SR3's kind, as DDPM-CD's: told how much of the picture is left, no timestep",
        level,
        read=from_generator,
    ),
    "classes": PriorKind("classes", "a class-conditional network, read with `label=`", classes),
    "rgb": PriorKind("RGB", "pictures in colour", ours, lambda usual: (3, *usual[1:])),
    "grey": PriorKind("grey", "pictures in grey", ours, lambda usual: (1, *usual[1:])),
    "non-square": PriorKind(
        "not square", "pictures of unequal sides", ours, lambda usual: (usual[0], 12, usual[2])
    ),
}
"""By a short name, in the order of the page."""
