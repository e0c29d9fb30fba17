"""What the claim on DiffPure trains in the run: a classifier, and a prior small enough to attack hard."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from headwater.core import Denoiser
from headwater.data import Set
from headwater.methods.robustness.shared.purified import OnUnitRange
from headwater.metrics.classifier import train_classifier
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.nets.adm_blocks import timestep_embedding
from headwater.noise import derive
from headwater.sampling import Run
from headwater.training import TrainerConfig, train
from headwater.training.timesteps import stratified


class Perceptron(nn.Module):
    """Residual blocks on all pixels at once: for 8 x 8 pictures thirty times cheaper than a U-Net."""

    def __init__(self, pixels: int, width: int = 256, blocks: int = 3) -> None:
        super().__init__()
        self.width = width
        self.inward, self.time = nn.Linear(pixels, width), nn.Linear(width, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(blocks)
        )
        self.outward = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, pixels))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """(B, C, H, W), (B,) -> (B, C, H, W)."""
        h = self.inward(x.flatten(1)) + self.time(timestep_embedding(label, self.width).to(x))
        for block in self.blocks:
            h = h + block(h)
        return self.outward(h).view_as(x)


def train_prior(pictures: Tensor, seed: int, steps: int, progress: bool) -> Prior:
    """A prior of pictures (N, C, H, W) in [-1, 1], with the chain of Ho et al. 2020 and a v target."""
    shape = cast("tuple[int, int, int]", tuple(pictures.shape[1:]))
    config = PriorConfig({"kind": "perceptron"}, shape, ProcessConfig(), predicts="v")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, 1))
        network = Perceptron(pictures[0].numel())
    how = TrainerConfig(steps, 128, 2e-3, warmup=100, decay="cosine", ema=0.99)
    q = config.process.build()

    def loss(net: nn.Module, rows: Tensor, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(derive(seed, 2, number))
        x0 = pictures[rows]
        t = stratified(len(rows), q.T, torch.rand(len(rows), generator=generator) / len(rows))
        eps = torch.randn(x0.shape, generator=generator)
        return Denoiser(net, q, "v").loss(x0, t, eps).mean()

    return Prior(train(network, loss, len(pictures), how, Run(seed, progress=progress)), config)


def train_target(data: Set, seed: int, epochs: int) -> OnUnitRange:
    """The classifier under attack: trained on clean pictures, takes [0, 1]."""
    return OnUnitRange(train_classifier(data.images, cast(Tensor, data.labels), seed, epochs)).eval()
