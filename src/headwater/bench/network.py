"""The network that both sides call: the U-Net of the shipped priors, also as diffusers wants it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from headwater.models.config import PriorConfig
from headwater.models.prior import Prior
from headwater.nets.adm_blocks import UNetArchitecture

SHIPPED = UNetArchitecture(channel_mult=(1, 2, 2), num_head_channels=32)


def prior(side: int, clip: bool, architecture: UNetArchitecture = SHIPPED) -> Prior:
    """An untrained prior of gray pictures that predicts v over 1000 linear steps, as the shipped ones do."""
    network = {"kind": "adm", "in_channels": 1, "out_channels": 1, **asdict(architecture)}
    config = PriorConfig(network, (1, side, side), predicts="v", clip=clip)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = stirred(config.build_network()).eval()
    return Prior(built, config)


@torch.no_grad()
def stirred(network: nn.Module) -> nn.Module:
    """Draw the weights that start at 0, so that the network answers more than 0."""
    for parameter in network.parameters():
        if parameter.ndim > 1 and not parameter.any():
            parameter.normal_(0, 0.05)
    return network


def as_diffusers(network: nn.Module, side: int) -> Any:
    """A diffusers model whose call is a call of this very network."""
    from diffusers.configuration_utils import ConfigMixin, register_to_config
    from diffusers.models.modeling_utils import ModelMixin
    from diffusers.models.unets.unet_2d import UNet2DOutput

    class Shared(ModelMixin, ConfigMixin):
        @register_to_config
        def __init__(self, sample_size: int = 32, in_channels: int = 1) -> None:
            super().__init__()
            self.inner = network

        def forward(self, sample: Tensor, timestep: Tensor) -> UNet2DOutput:
            # A pipeline has one timestep for the batch, a training loop one per sample.
            return UNet2DOutput(sample=self.inner(sample, timestep.expand(len(sample))))

    return Shared(sample_size=side).train(network.training)
